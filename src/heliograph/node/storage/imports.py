"""Files that become titles: received into a spool, then imported, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import structlog

from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    ResourceError,
    TooLargeError,
)
from heliograph.model.media import check_channel_name
from heliograph.vod.importing import ImportOptions, Progress, import_file

if TYPE_CHECKING:
    from heliograph.storage.volume.volume import Volume

log = structlog.get_logger(__name__)

#: Imports that are received or wait at one time: each may be a film on this machine's disk.
MAX_UNDER_WAY = 16
#: Imports that ended and are still told of.
MAX_TOLD = 100
#: Files that are read at a time: one takes a core.
AT_ONCE = 1
#: Bytes that stay free on the spool's file system.
SPARE = 256 << 20


@dataclass(slots=True)
class Import:
    """One file on its way."""

    id: str
    name: str
    title: str
    volume: str
    file: str
    """As the client called it, for people."""
    size: int | None
    """Bytes that were announced."""
    state: str = "receiving"
    """``receiving``, ``waiting``, ``importing``, ``done``, ``failed`` or ``cancelled``."""
    received: int = 0
    progress: Progress | None = None
    remarks: tuple[str, ...] = ()
    error: str = ""
    began: float = field(default_factory=time.time)
    ended: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the API."""
        progress = self.progress
        return {
            "id": self.id,
            "name": self.name,
            "title": self.title,
            "volume": self.volume,
            "file": self.file,
            "state": self.state,
            "bytes": self.received if progress is None else progress.bytes,
            "total": self.size if progress is None else progress.total,
            "media": 0.0 if progress is None else progress.media,
            "duration": 0.0 if progress is None else progress.duration,
            "remaining": None if progress is None else progress.remaining,
            "remarks": list(self.remarks),
            "error": self.error,
            "began": self.began,
            "ended": self.ended,
        }


class Imports:
    """Of one node."""

    def __init__(
        self,
        spool: Path,
        most: int,
        volume: Callable[[str], Volume],
        taken: Callable[[str], bool],
        done: Callable[[str], None],
    ) -> None:
        """``spool``: where files are received; ``most``: bytes of a file.

        ``volume`` gives a volume by its name, ``taken`` says whether there is a title of a name,
        ``done`` is told the volume that has another title.
        """
        self._spool = spool
        self._most = most
        self._volume = volume
        self._taken = taken
        self._done = done
        self._all: dict[str, Import] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        """Remove what a server that died had received."""
        shutil.rmtree(self._spool, ignore_errors=True)

    def begin(self, name: str, *, title: str, volume: str, file: str, size: int | None) -> Upload:
        """Receive a file. ``MalformedError``, ``ConflictError``, ``TooLargeError``, ``BusyError``,
        ``ResourceError`` (no room), ``NotFoundError`` (no such volume)."""
        check_channel_name(name)
        if len(title) > 200:
            raise MalformedError("title", "more than 200 characters")
        self._volume(volume)
        under_way = [one for one in self._all.values() if one.ended is None]
        if self._taken(name) or any(one.name == name for one in under_way):
            raise ConflictError(f"there is a title {name} already", subject=name)
        if len(under_way) >= MAX_UNDER_WAY:
            raise BusyError(f"{MAX_UNDER_WAY} imports are under way", subject=name, retry_after=30)
        if size is not None and size > self._most:
            raise TooLargeError(f"{size} bytes are more than the {self._most} allowed")
        try:
            self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self._spool).free - SPARE
        except OSError as error:
            raise ResourceError(f"{self._spool}: {error.strerror}", subject="spool") from error
        if size is not None and size > free:
            raise ResourceError(
                f"no room for {size} bytes where files are received: {max(0, free)} are free",
                subject="spool",
            )
        found = Import(secrets.token_hex(4), name, title, volume, file[:200], size)
        self._all[found.id] = found
        while len(self._all) > MAX_TOLD + MAX_UNDER_WAY:
            ended = [id for id, one in self._all.items() if one.ended is not None]
            del self._all[ended[0]]
        return Upload(self, found, self._spool / found.id, min(self._most, max(0, free)))

    def list(self) -> list[dict[str, Any]]:
        """All that are under way, and the last that ended, the newest first."""
        return [one.to_json() for one in reversed([*self._all.values()])]

    async def cancel(self, id: str) -> None:
        """End an import; nothing stays of it. ``NotFoundError``."""
        found = self._all.get(id)
        if found is None:
            raise NotFoundError(f"there is no import {id}", subject=id)
        found.state = "cancelled" if found.ended is None else found.state
        task = self._tasks.get(id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """End all."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, self._spool, ignore_errors=True)

    # of an upload

    def received(self, found: Import, path: Path) -> None:
        """It is here as a whole: import it."""
        found.state = "waiting"
        task = asyncio.get_running_loop().create_task(self._run(found, path), name="import")
        self._tasks[found.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(found.id, None))

    async def _run(self, found: Import, path: Path) -> None:
        try:
            async with self._slots:
                found.state = "importing"
                await self._import(found, path)
            found.state = "done"
            self._done(found.volume)
        except asyncio.CancelledError:
            found.state = "cancelled"
            raise
        except HelioError as error:
            found.state, found.error = "failed", error.message
        except Exception:
            found.state, found.error = "failed", "internal error"
            log.exception("import failed unexpectedly", title=found.name)
        finally:
            found.ended = time.time()
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _import(self, found: Import, path: Path) -> None:
        volume = self._volume(found.volume)
        writer = volume.writer()
        options = ImportOptions(
            found.name,
            title=found.title or Path(found.file).stem or found.name,
            source=found.file,
            object=writer.object,
            block=volume.state.scheme.block,
        )

        def progress(value: Progress) -> None:
            found.progress = value

        imported = await import_file(path, writer, progress, options)
        found.remarks = imported.remarks


class Upload:
    """A file that is being received; an async context, in which it is cancelled by leaving."""

    def __init__(self, imports: Imports, found: Import, path: Path, most: int) -> None:
        self._imports = imports
        self.found = found
        self._path = path
        self._most = most
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._file = await asyncio.to_thread(open, self._path, "xb")
        except OSError as error:
            self._end("failed", error.strerror or str(error))
            raise ResourceError(f"{self._path}: {error.strerror}", subject="spool") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:  # it was not finished
            with contextlib.suppress(OSError):  # what its buffer still has finds no room either
                await asyncio.to_thread(self._file.close)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._path.unlink, missing_ok=True)
            why = error.message if isinstance(error, HelioError) else "the file did not come whole"
            self._end("cancelled" if self.found.state == "cancelled" else "failed", why)

    async def write(self, data: bytes) -> None:
        """The next piece. ``TooLargeError``, ``ResourceError``, ``ConflictError``: cancelled."""
        assert self._file is not None
        if self.found.state == "cancelled":
            raise ConflictError("the import was cancelled", subject=self.found.name)
        self.found.received += len(data)
        if self.found.received > self._most:
            raise TooLargeError(f"more than {self._most} bytes", subject=self.found.name)
        try:
            await asyncio.to_thread(self._file.write, data)
        except OSError as error:
            raise ResourceError(
                f"{self._path}: {os.strerror(error.errno or 0)}", subject="spool"
            ) from error

    async def finish(self) -> dict[str, Any]:
        """That was all: the import begins. ``MalformedError``: less came than was announced."""
        assert self._file is not None
        found = self.found
        if found.size is not None and found.received != found.size:
            raise MalformedError("file", f"{found.received} bytes came of {found.size}")
        try:
            await asyncio.to_thread(self._file.close)
        except OSError as error:
            raise ResourceError(f"{self._path}: {error.strerror}", subject="spool") from error
        if found.state == "cancelled":
            raise ConflictError("the import was cancelled", subject=found.name)
        self._file = None
        self._imports.received(found, self._path)
        return found.to_json()

    def _end(self, state: str, why: str) -> None:
        self.found.state, self.found.error, self.found.ended = state, why, time.time()
