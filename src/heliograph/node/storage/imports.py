"""Files that become titles: received into a spool, then imported, one title after the other.

A title may be made of several files, the same picture in several sizes (*renditions*): they are
sent one after the other, each when the one before is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import structlog

from heliograph.bus import Registration
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    ResourceError,
    TooLargeError,
    WrongStateError,
)
from heliograph.storage.values import ObjectId
from heliograph.vod.importing import ImportOptions, Progress, check_wish, import_file

if TYPE_CHECKING:
    from heliograph.storage.volume.volume import Volume
    from heliograph.storage.volume.writing import Writer

log = structlog.get_logger(__name__)

#: Imports that are received or wait at one time: each may be a film on this machine's disk.
MAX_UNDER_WAY = 16
#: Imports that ended and are still told of.
MAX_TOLD = 100
#: Files that are read at a time: one takes a core.
AT_ONCE = 1
#: Bytes that stay free on the spool's file system.
SPARE = 256 << 20
#: Seconds from the end of one file of a title to the begin of its next.
NEXT_WAIT = 60.0


@dataclass(slots=True)
class Import:
    """One file on its way."""

    id: str
    name: str
    title: str
    volume: str
    file: str
    """As the client called the first one, for people."""
    size: int | None
    """Bytes that were announced of all files so far; None: of one it was not said."""
    held: Registration
    """The name is the import's until this is closed."""
    renditions: int = 0
    """Further files that come."""
    called: list[str] = field(default_factory=list)
    """What those that came are called."""
    paths: list[Path] = field(default_factory=list)
    """Files in the spool."""
    expires: asyncio.TimerHandle | None = None
    """Runs while the next file is waited for."""
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
            "renditions": self.renditions,
            "came": len(self.called),
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
        claim: Callable[[str], Registration],
        confirm: Callable[[str, ObjectId], Awaitable[None]],
        done: Callable[[str], None],
    ) -> None:
        """``spool``: where files are received; ``most``: bytes of a file.

        ``volume`` gives a volume by its name. ``claim`` takes a name, ``confirm`` sees that it is
        still the title's before that exists: both raise ``ConflictError`` where there is a title of
        a name or one comes. ``done`` is told the volume that has another title.
        """
        self._spool = spool
        self._most = most
        self._volume = volume
        self._claim = claim
        self._confirm = confirm
        self._done = done
        self._all: dict[str, Import] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        """Remove what a server that died had received."""
        shutil.rmtree(self._spool, ignore_errors=True)

    def begin(
        self,
        name: str,
        *,
        title: str,
        volume: str,
        file: str,
        size: int | None,
        renditions: int = 0,
    ) -> Upload:
        """Receive a file, after which ``renditions`` further ones come. ``MalformedError``,
        ``ConflictError``, ``TooLargeError``, ``BusyError``, ``ResourceError`` (no room),
        ``NotFoundError`` (no such volume)."""
        check_wish(name, title, renditions)
        self._volume(volume)
        under_way = [one for one in self._all.values() if one.ended is None]
        if len(under_way) >= MAX_UNDER_WAY:
            raise BusyError(f"{MAX_UNDER_WAY} imports are under way", subject=name, retry_after=30)
        most = self._room(size)
        held = self._claim(name)
        id = secrets.token_hex(4)
        found = Import(id, name, title, volume, file[:200], size, held, renditions)
        self._all[found.id] = found
        while len(self._all) > MAX_TOLD + MAX_UNDER_WAY:
            ended = [id for id, one in self._all.items() if one.ended is not None]
            del self._all[ended[0]]
        return Upload(self, found, self._next_path(found), size, most)

    def coming(self, name: str) -> bool:
        """Whether a title of that name is on its way."""
        return any(one.name == name and one.ended is None for one in self._all.values())

    def rendition(self, id: str, *, file: str, size: int | None) -> Upload:
        """Receive the next file of a title. ``NotFoundError``: there is no such import;
        ``WrongStateError``: it waits for none; ``TooLargeError``, ``ResourceError`` (no room)."""
        found = self._all.get(id)
        if found is None:
            raise NotFoundError(f"there is no import {id}", subject=id)
        if found.expires is None:
            raise WrongStateError(f"import {id} waits for no rendition", subject=id)
        most = self._room(size)
        found.expires.cancel()
        found.expires = None
        found.called.append(file[:200])
        found.size = None if size is None or found.size is None else found.size + size
        return Upload(self, found, self._next_path(found), size, most)

    def _room(self, size: int | None) -> int:
        """Bytes that a file may have."""
        if size is not None and size > self._most:
            raise TooLargeError(f"{size} bytes are more than the {self._most} allowed")
        try:
            self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = max(0, shutil.disk_usage(self._spool).free - SPARE)
        except OSError as error:
            raise ResourceError(f"{self._spool}: {error.strerror}", subject="spool") from error
        if size is not None and size > free:
            raise ResourceError(
                f"no room for {size} bytes where files are received: {free} are free",
                subject="spool",
            )
        return min(self._most, free)

    def _next_path(self, found: Import) -> Path:
        path = self._spool / f"{found.id}-{len(found.paths)}"
        found.paths.append(path)
        return path

    def list(self) -> list[dict[str, Any]]:
        """All that are under way, and the last that ended, the newest first."""
        return [one.to_json() for one in reversed([*self._all.values()])]

    async def cancel(self, id: str) -> None:
        """End an import; nothing stays of it. ``NotFoundError``."""
        found = self._all.get(id)
        if found is None:
            raise NotFoundError(f"there is no import {id}", subject=id)
        found.state = "cancelled" if found.ended is None else found.state
        if found.expires is not None:
            await self.give_up(found, "cancelled", "")
        task = self._tasks.get(id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """End all."""
        for one in self._all.values():
            if one.expires is not None:
                one.expires.cancel()
                one.expires = None
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, self._spool, ignore_errors=True)

    # of an upload

    def received(self, found: Import) -> None:
        """A file is here as a whole: import it, or wait for the next one."""
        if len(found.called) < found.renditions:
            loop = asyncio.get_running_loop()
            found.expires = loop.call_later(NEXT_WAIT, self._expired, found)
            return
        found.state = "waiting"
        self._begin(found, self._run(found))

    async def give_up(self, found: Import, state: str, why: str) -> None:
        """Nothing more comes: what came is removed."""
        if found.expires is not None:
            found.expires.cancel()
            found.expires = None
        found.state, found.error, found.ended = state, why, time.time()
        found.held.close()
        await asyncio.to_thread(_remove, [*found.paths])

    def _expired(self, found: Import) -> None:
        found.expires = None
        reason = f"rendition {len(found.called) + 1} did not come within {NEXT_WAIT:.0f} s"
        self._begin(found, self.give_up(found, "failed", reason))

    def _begin(self, found: Import, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="import")
        self._tasks[found.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(found.id, None))

    async def _run(self, found: Import) -> None:
        try:
            async with self._slots:
                found.state = "importing"
                await self._import(found)
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
            found.held.close()
            await asyncio.to_thread(_remove, [*found.paths])

    async def _import(self, found: Import) -> None:
        volume = self._volume(found.volume)
        writer = volume.writer()
        await writer.claim()
        options = ImportOptions(
            found.name,
            title=found.title or Path(found.file).stem or found.name,
            source=found.file,
            renditions=tuple(found.paths[1:]),
            called=tuple(found.called),
            object=writer.object,
            block=volume.state.scheme.block,
        )

        def progress(value: Progress) -> None:
            found.progress = value

        sink = _Confirmed(writer, self._confirm, found.name)
        imported = await import_file(found.paths[0], sink, progress, options)
        found.remarks = imported.remarks


class _Confirmed:
    """An ``importing.Sink`` that sees, before the title exists, whether the name is still its."""

    def __init__(
        self, writer: Writer, confirm: Callable[[str, ObjectId], Awaitable[None]], name: str
    ) -> None:
        self._writer = writer
        self._confirm = confirm
        self._name = name
        self.put = writer.put
        self.abort = writer.abort

    async def finish(self, head: bytes) -> None:
        await self._confirm(self._name, self._writer.object)
        await self._writer.finish(head)


class Upload:
    """A file that is being received; an async context, in which it is cancelled by leaving."""

    def __init__(
        self, imports: Imports, found: Import, path: Path, size: int | None, most: int
    ) -> None:
        """``size``: bytes that were announced; None: it was not said. ``most``: that may come."""
        self._imports = imports
        self.found = found
        self._path = path
        self._size = size
        self._most = most
        self._received = 0
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._file = await asyncio.to_thread(open, self._path, "xb")
        except OSError as error:
            await self._imports.give_up(self.found, "failed", error.strerror or str(error))
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
            why = error.message if isinstance(error, HelioError) else "the file did not come whole"
            state = "cancelled" if self.found.state == "cancelled" else "failed"
            await self._imports.give_up(self.found, state, why)

    async def write(self, data: bytes) -> None:
        """The next piece. ``TooLargeError``, ``ResourceError``, ``ConflictError``: cancelled."""
        assert self._file is not None
        if self.found.state == "cancelled":
            raise ConflictError("the import was cancelled", subject=self.found.name)
        self.found.received += len(data)
        self._received += len(data)
        if self._received > self._most:
            raise TooLargeError(f"more than {self._most} bytes", subject=self.found.name)
        try:
            await asyncio.to_thread(self._file.write, data)
        except OSError as error:
            raise ResourceError(
                f"{self._path}: {os.strerror(error.errno or 0)}", subject="spool"
            ) from error

    async def finish(self) -> dict[str, Any]:
        """That was all of the file: the import begins, or the next file may come.
        ``MalformedError``: less came than was announced."""
        assert self._file is not None
        found = self.found
        if self._size is not None and self._received != self._size:
            raise MalformedError("file", f"{self._received} bytes came of {self._size}")
        try:
            await asyncio.to_thread(self._file.close)
        except OSError as error:
            raise ResourceError(f"{self._path}: {error.strerror}", subject="spool") from error
        if found.state == "cancelled":
            raise ConflictError("the import was cancelled", subject=found.name)
        self._file = None
        self._imports.received(found)
        return found.to_json()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
