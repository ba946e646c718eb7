"""Titles made of numbers, for tests."""

from __future__ import annotations

from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.payload.base import Payload
from heliograph.storage.values import ObjectId
from heliograph.vod.blocks import BlockWriter, WrittenBlock
from heliograph.vod.manifest import Manifest, TitleTrack

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96, encoding="H264", fmtp={"x": "1"})
AUDIO = Track(1, Kind.AUDIO, Codec.OPUS, 48_000, 97, channels=2, encoding="opus")


def written(
    seconds: float, *, size: int = 3000, limit: int = 64 << 10
) -> tuple[BlockWriter, list[WrittenBlock]]:
    """25 frames of ``size`` bytes and 50 packets of audio a second, a key unit every second."""
    writer = BlockWriter(2, pictures=[0], limit=limit)
    blocks = []
    for tick in range(int(seconds * 50)):
        due = tick * 20_000
        if tick % 2 == 0:
            frame = bytes([tick & 255]) * size
            parts = [frame[at : at + 1200] for at in range(0, size, 1200)]
            payloads = [Payload(part, part is parts[-1]) for part in parts]
            blocks += writer.add(0, due, due + 80_000, due * 9 // 100, tick % 50 == 0, payloads)
        sound = [Payload(b"s" * 160, False)]
        blocks += writer.add(1, due, due, due * 48 // 1000, True, sound)
    blocks += writer.finish(int(seconds * 1e6))
    return writer, blocks


def manifest(writer: BlockWriter, blocks: list[WrittenBlock], name: str = "film") -> Manifest:
    """Of what ``written`` gave."""
    tracks = tuple(
        TitleTrack(track, one.packets, one.units, one.bytes, language="deu", begin_us=80_000)
        for track, one in zip((VIDEO, AUDIO), writer.written, strict=True)
    )
    return Manifest(
        name=name,
        object=ObjectId("0123456789abcdef" * 2),
        title="Ein Film – „Größe“",
        duration_us=blocks[-1].entry.end_us,
        tracks=tracks,
        blocks=tuple(one.entry for one in blocks),
        keys=tuple(key for one in blocks for key in one.keys),
        peak_bps=writer.peak_bits,
        source="film.mp4",
        source_digest="ab" * 32,
        created=1.5e9,
    )
