"""A web server with titles on its shelf, as a node with a volume is one.

    python -m tests.interop.peers.shelf DIRECTORY NAME=FILE[,FILE…] [+NAME=FILE] …

imports the files (further ones are renditions) and prints the port it listens on. A title behind
``+`` is being recorded: ``BEGUN`` seconds are there when somebody first asks for it, and from then
on it grows, half as fast as the clock goes so that slow machines see it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.unit.web.site import running

from heliograph.vod.folder import FolderSink, FolderSource
from heliograph.vod.importing import ImportOptions, import_file
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.ondemand import OnDemand
from heliograph.web.pictures import Pictures

from .program import Program, wait_until

#: Seconds that are there of a recording when somebody first asks for it.
BEGUN = 24.0
#: Seconds by which it grows in one.
PACE = 0.5


class FolderShelf:
    """Titles in folders."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._whole: dict[str, Manifest] = {}
        self._recorded: dict[str, float | None] = {}

    async def add(self, name: str, files: Sequence[Path], *, recorded: bool) -> None:
        options = ImportOptions(name, renditions=tuple(files[1:]))
        await import_file(files[0], FolderSink(self._directory, name), None, options)
        self._whole[name] = await FolderSource(self._directory / name).manifest()
        if recorded:
            self._recorded[name] = None

    def find(self, name: str) -> Manifest | None:
        whole = self._whole.get(name)
        if whole is None or name not in self._recorded:
            return whole
        began = self._recorded[name]
        if began is None:
            began = self._recorded[name] = time.monotonic()
        until = round((BEGUN + (time.monotonic() - began) * PACE) * 1e6)
        count = bisect_right(whole.blocks, until, key=lambda one: one.end_us)
        blocks = whole.blocks[:count]
        keys = [one for one in whole.keys if one.block < count]
        live = count < len(whole.blocks)
        return replace(whole, blocks=blocks, keys=keys, live=live, duration_us=blocks[-1].end_us)

    def current(self, manifest: Manifest) -> Manifest | None:
        return self.find(manifest.name)

    def source(self, manifest: Manifest) -> BlockSource:
        return FolderSource(self._directory / manifest.name)

    def titles(self) -> Sequence[Manifest]:
        begun = (name for name in self._whole if self._recorded.get(name, 0.0) is not None)
        found = (self.find(name) for name in sorted(begun))
        return [one for one in found if one is not None]

    def channel(self, manifest: Manifest) -> str:
        return ""


class ShelfServer(Program):
    """The server in a process of its own."""

    def __init__(self, directory: Path, *titles: str) -> None:
        argv = [sys.executable, "-m", "tests.interop.peers.shelf", str(directory), *titles]
        super().__init__("shelf", argv, directory)
        line = wait_until(lambda: next(iter(self._said()), ""), 60, "the titles are there")
        self.url = f"http://127.0.0.1:{int(line.split()[-1])}"

    def _said(self) -> list[str]:
        return [line for line in self.log.splitlines() if line.startswith("listening at ")]


async def main(directory: Path, titles: Sequence[str]) -> None:
    shelf = FolderShelf(directory)
    for title in titles:
        name, _, files = title.partition("=")
        paths = [Path(file) for file in files.split(",")]
        await shelf.add(name.lstrip("+"), paths, recorded=name.startswith("+"))
    ondemand = OnDemand(shelf)
    context = {"ondemand": ondemand, "pictures": Pictures()}
    async with running(context=context) as site:
        print(f"listening at {site.server.port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
