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


class FolderRecording:
    """A directory as the sink of a recording; see ``recording.GrowingSink``."""

    def __init__(self, parent: Path, name: str) -> None:
        self._path = parent / check_channel_name(name)

    async def put(self, number: int, block: bytes) -> None:
        """See ``GrowingSink.put``."""
        await asyncio.to_thread(self._put, number, block)

    def _put(self, number: int, block: bytes) -> None:
        path = self._path / _block(number)
        try:
            self._path.mkdir(exist_ok=True)
            if path.exists() and path.read_bytes() != block:
                raise ConflictError(f"{path}: there is another block", subject=self._path.name)
            _replace(path, block)
        except OSError as error:
            raise ResourceError(f"{path}: {error.strerror}") from error

    async def grow(self, head: bytes) -> None:
        """See ``GrowingSink.grow``."""
        await asyncio.to_thread(self._head, head)

    async def finish(self, head: bytes) -> None:
        """See ``GrowingSink.finish``."""
        await asyncio.to_thread(self._head, head)

    def _head(self, head: bytes) -> None:
        try:
            self._path.mkdir(exist_ok=True)
            _replace(self._path / _HEAD, head)
        except OSError as error:
            raise ResourceError(f"{self._path}: {error.strerror}") from error


def _replace(path: Path, data: bytes) -> None:
    """Write a file as a whole, or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
