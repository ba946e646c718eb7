"""An import as others see it: a process reads the file, its blocks go into a sink."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from heliograph.model.errors import (
    HelioError,
    MalformedError,
    NotFoundError,
    ResourceError,
    UnsupportedError,
)
from heliograph.vod import blocks
from heliograph.vod.encoding import decode_manifest
from heliograph.vod.importing import values
from heliograph.vod.importing.values import (
    MAX_MESSAGE,
    MESSAGE,
    SILENCE,
    Imported,
    ImportOptions,
    Progress,
    ProgressHook,
    Sink,
    check_wish,
)

log = structlog.get_logger(__name__)

_COMMAND = (sys.executable, "-m", "heliograph.vod.importing.worker")
#: Bytes of what the process says on standard error that are kept.
MAX_SAID = 4096


async def import_file(
    path: Path,
    sink: Sink,
    progress: ProgressHook | None,
    options: ImportOptions,
    *,
    command: Sequence[str] = _COMMAND,
    silence: float = SILENCE,
) -> Imported:
    """Make a title of a file: all its blocks and then its manifest are in ``sink``.

    Whatever goes wrong, and when it is cancelled, ``sink.abort`` is called and nothing was
    finished. ``MalformedError``, ``UnsupportedError``: the file is refused, with the reason and the
    place. ``NotFoundError``, ``ResourceError``: it, or this machine, cannot be read. What the sink
    raises goes through. ``silence``: seconds without a word until the process is ended.
    """
    try:
        check_wish(options.name, options.title, len(options.renditions))
        paths = [path, *options.renditions]
        size = sum([await asyncio.to_thread(_size, one) for one in paths])
        imported = await _Job(sink, progress, options, silence).run(paths, size, command)
    except BaseException as error:
        with contextlib.suppress(HelioError):
            await asyncio.shield(sink.abort())
        reason = error.message if isinstance(error, HelioError) else repr(error)
        log.info("import refused", title=options.name, file=path.name, reason=reason)
        raise
    log.info(
        "imported",
        title=options.name,
        file=path.name,
        blocks=len(imported.manifest.blocks),
        seconds=imported.manifest.duration_us / 1e6,
    )
    return imported


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise NotFoundError(f"{path}: {reason}", subject=path.name) from error
        raise ResourceError(f"{path}: {reason}", subject=path.name) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnsupportedError(f"{path}: not a file", subject=path.name)
    return status.st_size


class _Job:
    """One process and what it says."""

    def __init__(
        self, sink: Sink, progress: ProgressHook | None, options: ImportOptions, silence: float
    ) -> None:
        self._sink, self._progress, self._options = sink, progress, options
        self._silence = silence
        self._began = time.monotonic()
        self._remarks: tuple[str, ...] = ()
        self._sizes: list[int] = []
        self._packets = 0

    async def run(self, paths: Sequence[Path], size: int, command: Sequence[str]) -> Imported:
        """Start it, feed the sink, and end it whatever comes."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=1 << 20,
            )
        except OSError as error:
            raise ResourceError(f"no process to import with: {error}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said = asyncio.create_task(_tail(process.stderr), name="import stderr")
        try:
            process.stdin.write(self._job(paths, size))
            with contextlib.suppress(OSError):
                await process.stdin.drain()
            head = await self._feed(process.stdout)
            if head is None:
                raise await self._death(process, said)
            return await self._finish(head)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.stdin.close()
            said.cancel()
            # Its pipes may be full: what is left in them goes nowhere.
            await asyncio.shield(process.wait())

    def _job(self, paths: Sequence[Path], size: int) -> bytes:
        options = self._options
        job = {
            "paths": [os.fsencode(path.absolute()).hex() for path in paths],
            "size": size,
            "name": options.name,
            "title": options.title,
            "source": options.source,
            "called": list(options.called),
            "object": options.object,
            "block": options.block,
            "leave_out": options.leave_out,
            "partial": options.partial,
        }
        return json.dumps(job).encode() + b"\n"

    async def _feed(self, output: asyncio.StreamReader) -> bytes | None:
        """Take messages until the manifest; None where the process ended before."""
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    kind, length = MESSAGE.unpack(await output.readexactly(MESSAGE.size))
                    if length > MAX_MESSAGE:
                        raise ResourceError(f"the importer sends {length} bytes at once")
                    data = await output.readexactly(length)
            except asyncio.IncompleteReadError:
                return None
            except TimeoutError as error:
                raise MalformedError(
                    "media file", f"nothing comes of it for {self._silence:.0f} s"
                ) from error
            match kind:
                case values.BLOCK:
                    await self._put(data)
                case values.PROGRESS:
                    self._tell(json.loads(data))
                case values.MANIFEST:
                    return data
                case values.FAILED:
                    raise _error(json.loads(data))
                case _:
                    raise ResourceError(f"the importer sends messages of kind {kind}")

    async def _put(self, data: bytes) -> None:
        header = blocks.read_header(data)
        if header.before != self._packets:
            raise ResourceError("the importer's blocks do not follow each other")
        self._packets += header.packets
        self._sizes.append(len(data))
        await self._sink.put(data)

    def _tell(self, fields: list[float] | dict[str, list[str]]) -> None:
        if isinstance(fields, dict):
            self._remarks = tuple(fields["remarks"])
            return
        if self._progress is None:
            return
        read, total, media, duration = fields
        elapsed = time.monotonic() - self._began
        share = max(media / duration if duration else 0.0, read / total if total else 0.0)
        remaining = elapsed * (1 - min(1.0, share)) / share if share > 0 else None
        told = Progress(int(read), int(total), media, duration, elapsed, remaining)
        self._progress(told)

    async def _finish(self, head: bytes) -> Imported:
        manifest = decode_manifest(head)
        if (
            [entry.bytes for entry in manifest.blocks] != self._sizes
            or sum(one.packets for one in manifest.tracks) != self._packets
            or manifest.object != self._options.object
            or manifest.name != self._options.name
        ):
            raise ResourceError("the importer's manifest is not that of its blocks")
        await self._sink.finish(head)
        return Imported(manifest, self._remarks)

    async def _death(
        self, process: asyncio.subprocess.Process, said: asyncio.Task[bytes]
    ) -> HelioError:
        """Why there was no manifest: the file is the likely cause."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()
                await asyncio.wait([said])
        code = process.returncode
        text = said.result().decode("utf-8", "replace") if said.done() else ""
        log.warning("import process died", code=code, said=text[-1000:])
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            why = "it took too long to read" if name == "SIGXCPU" else f"reading it ended in {name}"
            return MalformedError("media file", why)
        return ResourceError(f"the importer ended with {code}: {text.strip()[-200:]}")


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The last of what a process says on standard error."""
    said = b""
    while data := await stream.read(65536):
        said = (said + data)[-MAX_SAID:]
    return said


def _error(fields: dict[str, Any]) -> HelioError:
    message = str(fields.get("message"))
    match fields.get("kind"):
        case "malformed":
            return MalformedError(str(fields["protocol"]), message, offset=fields["offset"])
        case "unsupported":
            return UnsupportedError(message, subject=fields.get("subject"))
        case _:
            return ResourceError(message)
