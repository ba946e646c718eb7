"""Opening and demuxing media files, and what strangers' files may not do. Blocking; worker only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.protocols.payload import MAX_UNIT_SIZE

#: Demuxers of files. Those of playlists, devices and networks are not among them: they would have
#: a stranger's file decide what this machine opens next.
FORMATS = (
    "3gp,aac,aiff,alp,amr,asf,au,av1,avi,caf,dv,flv,gxf,h264,hevc,ivf,lxf,m4v,matroska,mj2,"
    "mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,pcm_alaw,pcm_mulaw,rm,sox,vc1,w64,wav,webm,"
    "wtv,xmv,yuv4mpegpipe"
)
#: Bytes of a packet: a unit's bound, or much sampled audio.
MAX_PACKET = MAX_UNIT_SIZE
#: Entries of an index that are looked at, twice.
INDEX_SAMPLES = 2048
#: Packets without data in a row, at which a demuxer is taken to turn in circles.
MAX_EMPTY = 100_000


def reason_of(error: Exception) -> str:
    """What FFmpeg said, in one line."""
    log = getattr(error, "log", None)
    text = str(getattr(error, "strerror", None) or error)
    if log and len(log) == 3 and log[2]:
        text += f" ({log[2].strip()})"
    return "".join(c if c.isprintable() else " " for c in text)[:300]


class MediaFile:
    """A file that FFmpeg has opened."""

    def __init__(self, path: Path, called: str = "") -> None:
        """``called``: what people know it by. Raises ``MalformedError`` where it is no media,
        ``OSError`` where it cannot be read."""
        self.path = path
        self.name = called or path.name
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
        self._status = status
        self.size = status.st_size
        if not self.size:
            raise self.malformed("the file is empty")
        av.logging.set_level(av.logging.ERROR)
        try:
            self.container: InputContainer = av.open(
                f"file:{path.absolute()}",
                options={
                    "format_whitelist": FORMATS,
                    "protocol_whitelist": "file",
                    "fflags": "+genpts",
                },
            )
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            if isinstance(error, OSError) and isinstance(error, PermissionError):
                raise
            raise self.malformed(f"not media: {reason_of(error)}") from error
        self.position = 0
        """Bytes read so far, as packets tell."""

    def malformed(self, reason: str, offset: int | None = None) -> MalformedError:
        """That the file is at fault; ``offset`` in bytes."""
        return MalformedError(f"media file {self.name!r}", reason, offset=offset)

    def unsupported(self, reason: str) -> UnsupportedError:
        """That the file cannot be carried."""
        return UnsupportedError(f"media file {self.name!r}: {reason}", subject=self.name)

    @property
    def duration(self) -> float:
        """Seconds, as the file says; 0 where it does not."""
        duration = self.container.duration
        return duration / 1e6 if duration and duration > 0 else 0.0

    @property
    def start(self) -> Fraction:
        """Seconds at which its presentation starts, on its own clock."""
        return Fraction(self.container.start_time or 0, 1_000_000)

    def check_whole(self, streams: list[Stream]) -> None:
        """Refuse a file whose index speaks of bytes that are not there."""
        for stream in streams:
            entries = stream.index_entries
            count = len(entries)
            # Of a long index some, and the last ones: what else is missing shows in the packets.
            places = {*range(0, count, count // INDEX_SAMPLES + 1), *range(count)[-INDEX_SAMPLES:]}
            end = max((entries[at].pos + entries[at].size for at in places), default=0)
            if end > self.size:
                raise self.malformed(
                    f"track {stream.index} reaches to byte {end}, the file has {self.size}",
                    self.size,
                )

    def packets(self, streams: list[Stream]) -> Iterator[Packet[Any]]:
        """All packets with data. Raises ``MalformedError`` where the file is broken, with a place.

        Truncated ones are given with ``is_corrupt``.
        """
        empty = 0
        demuxed = self.container.demux(streams)
        while True:
            try:
                packet = next(demuxed, None)
            except (av.error.FFmpegError, ValueError, MemoryError) as error:
                raise self.malformed(f"broken: {reason_of(error)}", self.position) from error
            if packet is None:
                return
            if packet.pos is not None and packet.pos > self.position:
                self.position = min(packet.pos, self.size)
            if not packet.size:
                empty += 1
                if empty > MAX_EMPTY:
                    raise self.malformed("packets without data, and no end", self.position)
                continue
            empty = 0
            if packet.size > MAX_PACKET:
                raise self.malformed(
                    f"a packet of {packet.size} bytes in track {packet.stream_index}", packet.pos
                )
            yield packet

    def check_unchanged(self) -> None:
        """Refuse a file that was written while it was read."""
        now = self.path.stat()
        before = self._status
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (
            before.st_size,
            before.st_mtime_ns,
            before.st_ino,
        ):
            raise self.malformed("it was changed while it was read")

    def close(self) -> None:
        """Let go of it."""
        self.container.close()
