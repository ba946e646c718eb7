"""Titles kept as files of a directory: for a node without a volume, and for tests.

A title is a directory named after it: ``00000000.block``, …, and ``manifest``, written last.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from heliograph.model.errors import ConflictError, NotFoundError, ResourceError
from heliograph.model.media import check_channel_name
from heliograph.vod.encoding import MAX_MANIFEST, decode_manifest
from heliograph.vod.manifest import Manifest

_HEAD = "manifest"


def _block(number: int) -> str:
    return f"{number:08}.block"


class FolderSink:
    """Where an import's blocks become files; see ``importing.Sink``.

    They are under a name of their own until ``finish``: a title is there as a whole or not at all.
    Raises ``ResourceError`` for what the disk refuses, ``ConflictError`` for a title that exists.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self._final = parent / check_channel_name(name)
        self._path = parent / f".{name}.new"
        self._number = 0
        self._finished = False

    async def put(self, block: bytes) -> None:
        """The next block."""
        await asyncio.to_thread(self._put, block)

    def _put(self, block: bytes) -> None:
        try:
            if self._number == 0:
                shutil.rmtree(self._path, ignore_errors=True)
                self._path.mkdir()
            (self._path / _block(self._number)).write_bytes(block)
        except OSError as error:
            raise ResourceError(f"{self._path}: {error.strerror}") from error
        self._number += 1

    async def finish(self, head: bytes) -> None:
        """The title is there from now on."""
        await asyncio.to_thread(self._finish, head)

    def _finish(self, head: bytes) -> None:
        if self._final.exists():
            raise ConflictError(f"title {self._final.name} exists", subject=self._final.name)
        try:
            self._path.mkdir(exist_ok=True)
            with (self._path / _HEAD).open("wb") as file:
                file.write(head)
                file.flush()
                os.fsync(file.fileno())
            self._path.rename(self._final)
        except OSError as error:
            raise ResourceError(f"{self._final}: {error.strerror}") from error
        self._finished = True

    async def abort(self) -> None:
        """Forget what was put, unless it was finished."""
        if not self._finished:
            await asyncio.to_thread(shutil.rmtree, self._path, True)


class FolderSource:
    """The blocks of a title in a directory; see ``BlockSource``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        """See ``BlockSource.block``."""
        return await asyncio.to_thread(_read, self._path / _block(number), 8 << 20)

    async def manifest(self) -> Manifest:
        """What is known of it. ``NotFoundError``, ``MalformedError``, ``ResourceError``."""
        return decode_manifest(await asyncio.to_thread(_read, self._path / _HEAD, MAX_MANIFEST + 1))


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: not there", subject=path.name) from error
    except OSError as error:
        raise ResourceError(f"{path}: {error.strerror}") from error
