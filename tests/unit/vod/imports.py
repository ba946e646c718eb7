"""Importing in tests: without the process, and a sink in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heliograph.model.errors import ResourceError
from heliograph.protocols.payload import AccessUnit, depacketizer
from heliograph.protocols.rtp import RtpPacket
from heliograph.vod import blocks
from heliograph.vod.encoding import decode_manifest, encode_manifest
from heliograph.vod.importing.titling import Titling
from heliograph.vod.importing.values import ImportOptions
from heliograph.vod.manifest import Manifest


@dataclass
class Title:
    """What an import gave."""

    manifest: Manifest
    blocks: list[bytes]
    remarks: list[str] = field(default_factory=list)

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        """See ``BlockSource``."""
        return self.blocks[number]

    def records(self, track: int) -> list[blocks.Record]:
        """All packets of a track."""
        return [r for data in self.blocks for r in blocks.read(data) if r.track == track]

    def units(self, track: int) -> list[AccessUnit]:
        """Access units as a viewer gets them: through the depacketizer."""
        description = self.manifest.tracks[track].track
        made = depacketizer(description)
        units = []
        for record in self.records(track):
            packet = RtpPacket(
                payload_type=description.payload_type,
                sequence_number=record.number & 0xFFFF,
                timestamp=record.timestamp,
                ssrc=1,
                payload=record.payload,
                marker=bool(record.flags & blocks.MARKER),
            )
            units += made.push(packet)
        return [*units, *made.flush()]


def titled(path: Path, *renditions: Path, **options: Any) -> Title:
    """Import in this process. Raises what the import raises."""
    found: list[bytes] = []
    wanted = ImportOptions(name="film", renditions=renditions, **options)
    titling = Titling([path, *renditions], wanted, found.append, lambda advance: None)
    manifest = titling.run()
    # as it will be read from a volume
    manifest = decode_manifest(encode_manifest(manifest))
    assert [len(one) for one in found] == [entry.bytes for entry in manifest.blocks]
    return Title(manifest, found, titling.remarks)


@dataclass
class MemorySink:
    """Keeps what an import gives."""

    refuse_after: int | None = None
    """Blocks until the disk is full."""
    blocks: list[bytes] = field(default_factory=list)
    head: bytes | None = None
    aborted: int = 0

    async def put(self, block: bytes) -> None:
        if self.refuse_after is not None and len(self.blocks) >= self.refuse_after:
            raise ResourceError("disk full")
        self.blocks.append(block)

    async def finish(self, head: bytes) -> None:
        self.head = head

    async def abort(self) -> None:
        self.aborted += 1
        if self.head is None:
            self.blocks.clear()
