"""The process that imports a file: where FFmpeg reads strangers' bytes, and may crash.

Standard input: a line of JSON, what to import. Standard output: messages (``values.MESSAGE``):
blocks, progress, and at the end a manifest or a failure.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from heliograph.model.errors import HelioError, MalformedError, TooLargeError, UnsupportedError
from heliograph.storage.values import check_object
from heliograph.vod.encoding import encode_manifest
from heliograph.vod.importing.titling import Advance, Titling
from heliograph.vod.importing.values import (
    BLOCK,
    CPU,
    CPU_PER_MIB,
    FAILED,
    MANIFEST,
    MEMORY,
    MESSAGE,
    PROGRESS,
    ImportOptions,
)


class Out:
    """Writes messages."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def send(self, kind: int, data: bytes) -> None:
        """One message; waits while the reader is slow."""
        self._stream.write(MESSAGE.pack(kind, len(data)))
        self._stream.write(data)
        self._stream.flush()

    def block(self, data: bytes) -> None:
        """The next block."""
        self.send(BLOCK, data)

    def advance(self, advance: Advance) -> None:
        """How far it is."""
        fields = [advance.bytes, advance.total, advance.media, advance.duration]
        self.send(PROGRESS, json.dumps(fields).encode())

    def failed(self, kind: str, message: str, **fields: str | int | None) -> None:
        """That the file is refused."""
        self.send(FAILED, json.dumps({"kind": kind, "message": message[:2000], **fields}).encode())


def serve(job: dict[str, Any], out: Out) -> None:
    """Import, and tell what came of it."""
    options = ImportOptions(
        name=job["name"],
        title=job["title"],
        source=job["source"],
        called=tuple(job["called"]),
        object=check_object(job["object"]),
        block=job["block"],
        leave_out=job["leave_out"],
        partial=job["partial"],
    )
    paths = [Path(os.fsdecode(bytes.fromhex(path))) for path in job["paths"]]
    try:
        titling = Titling(paths, options, out.block, out.advance)
        manifest = titling.run()
    except MalformedError as error:
        out.failed("malformed", error.reason, protocol=error.protocol, offset=error.offset)
    except (UnsupportedError, TooLargeError) as error:
        out.failed("unsupported", error.message, subject=error.subject)
    except HelioError as error:
        out.failed("malformed", error.message, protocol="media file", offset=None)
    except BrokenPipeError:
        return
    except MemoryError:
        out.failed("unsupported", f"it takes more than {MEMORY >> 20} MiB to read", subject=None)
    except OSError as error:
        out.failed("resource", f"{paths[0].name}: {error.strerror or error}")
    else:
        document = {"remarks": [one[:500] for one in titling.remarks[:100]]}
        out.send(PROGRESS, json.dumps(document).encode())
        out.send(MANIFEST, encode_manifest(manifest))


def limit(size: int) -> None:
    """Bound what this process may take, for files of ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = int(CPU + CPU_PER_MIB * (size >> 20))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes to its pipe and to nothing else


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us
    job = json.loads(sys.stdin.buffer.readline())
    limit(job["size"])
    os.nice(5)  # streams that are served come first
    # Whatever libraries print must not mix with the messages.
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    out = Out(os.fdopen(stream.fileno(), "wb", closefd=False))
    serve(job, out)


if __name__ == "__main__":
    main()
