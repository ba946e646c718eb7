"""An RTSP server of titles that lie in a directory; a process of its own.

    python -m tests.interop.peers.title_house DIRECTORY [FAULT]

It says ``port N`` when it listens. ``FAULT`` ``lose N``: block N of every title is lost.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from heliograph.live.registry import Channels
from heliograph.model.errors import GoneError
from heliograph.plane import PlaneLoop, open_plane
from heliograph.servers.rtsp import RtspOptions, RtspServer
from heliograph.servers.rtsp_ondemand import RtspOnDemand
from heliograph.vod.folder import FolderSource
from heliograph.vod.manifest import BlockSource, Manifest


class Losing:
    """A source that has lost a block."""

    def __init__(self, source: BlockSource, lost: int) -> None:
        self._source, self._lost = source, lost

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        if number == self._lost:
            raise GoneError(f"block {number} is lost")
        return await self._source.block(number, deadline)


class FolderShelf:
    """The titles of a directory, as they are at the start."""

    def __init__(self, root: Path, lost: int | None) -> None:
        self._root, self._lost = root, lost
        self._titles: dict[str, Manifest] = {}

    async def read(self) -> None:
        for path in sorted(self._root.iterdir()):
            self._titles[path.name] = await FolderSource(path).manifest()

    def find(self, name: str) -> Manifest | None:
        return self._titles.get(name)

    def current(self, manifest: Manifest) -> Manifest | None:
        return self.find(manifest.name)

    def source(self, manifest: Manifest) -> BlockSource:
        source = FolderSource(self._root / manifest.name)
        return source if self._lost is None else Losing(source, self._lost)

    def titles(self) -> list[Manifest]:
        return list(self._titles.values())

    def channel(self, manifest: Manifest) -> str:
        return ""


async def main(root: Path, lost: int | None) -> None:
    shelf = FolderShelf(root, lost)
    await shelf.read()
    plane = open_plane()
    loop = PlaneLoop(plane)
    loop.start()
    channels = Channels(loop)
    server = RtspServer(channels, loop, RtspOptions(address="127.0.0.1", port=0, rtp_port=0))
    server.ondemand = RtspOnDemand(shelf, loop)
    await server.start()
    print(f"port {server.port}", flush=True)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await server.stop()
    channels.close()
    loop.stop()
    plane.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
