"""A small title made by hand, and a source of its blocks that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from heliograph.model.errors import HelioError, NotFoundError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.payload.base import Payload
from heliograph.storage.values import ObjectId
from heliograph.vod.blocks import BlockWriter, Record, WrittenBlock, read
from heliograph.vod.manifest import Manifest, TitleTrack

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96, encoding="H264")
SOUND = Track(1, Kind.AUDIO, Codec.PCMU, 8_000, 0, channels=1, encoding="PCMU")
FRAME_US, SOUND_US = 40_000, 20_000


def make_film(
    seconds: float = 20,
    *,
    name: str = "film",
    pictures: bool = True,
    sound: bool = True,
    group: int = 25,
    size: int = 400,
    limit: int = 1 << 20,
    span_us: int = 990_000,
) -> tuple[Manifest, list[bytes]]:
    """A title of 25 pictures a second, each of two packets of ``size`` bytes, a key unit every
    ``group``; its payloads say what they are: track and number of the unit."""
    writer = BlockWriter(2, pictures=[0], limit=limit, span_us=span_us)
    written: list[WrittenBlock] = []
    duration = round(seconds * 1e6)
    for due in range(0, duration, SOUND_US):
        if pictures and due % FRAME_US == 0:
            unit = due // FRAME_US
            text = b"v%d " % unit
            payloads = [
                Payload(text.ljust(size, b"."), marker=False),
                Payload(text.ljust(size, b"."), marker=True),
            ]
            key = unit % group == 0
            # Shown a picture later than it is due, as where there are B pictures.
            shown = due + FRAME_US
            written += writer.add(0, due, shown, shown * 9 // 100, key, payloads)
        if sound:
            unit = due // SOUND_US
            payload = [Payload((b"a%d " % unit).ljust(160, b"."), marker=False)]
            written += writer.add(1, due, due, due * 8 // 1000, True, payload)
    written += writer.finish(duration)
    tracks = tuple(
        TitleTrack(track, one.packets, one.units, one.bytes)
        for track, one in zip((VIDEO, SOUND), writer.written, strict=True)
        if one.packets
    )
    manifest = Manifest(
        name,
        ObjectId("f" * 32),
        "Film",
        duration,
        tracks,
        [one.entry for one in written],
        [key for one in written for key in one.keys],
        writer.peak_bits,
    )
    return manifest, [one.data for one in written]


def units(block: bytes, track: int) -> list[int]:
    """The units of a track of which a block has packets."""
    return list(dict.fromkeys(number_of(one) for one in read(block) if one.track == track))


def number_of(record: Record) -> int:
    return int(record.payload.split(b" ")[0][1:])


class Source:
    """Blocks in memory; ``faults`` says what becomes of a read."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks
        self.asked: list[int] = []
        self.deadlines: list[float] = []
        self.faults: dict[int, list[HelioError | bytes]] = {}
        """By block: what its reads give, one after the other; the last one stays."""
        self.gates: dict[int, asyncio.Event] = {}
        """Blocks that come when their event is set."""
        self.before: Callable[[int], None] = lambda number: None

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        self.asked.append(number)
        self.deadlines.append(deadline or 0.0)
        self.before(number)
        if number in self.gates:
            await self.gates[number].wait()
        await asyncio.sleep(0)
        faults = self.faults.get(number)
        if faults:
            found = faults[0] if len(faults) == 1 else faults.pop(0)
            if isinstance(found, HelioError):
                raise found
            return found
        if number >= len(self.blocks):
            raise NotFoundError(f"no block {number}")
        return self.blocks[number]


class OneShelf:
    """A shelf with titles in memory."""

    def __init__(self, *films: tuple[Manifest, list[bytes]]) -> None:
        self.films = {manifest.name: manifest for manifest, _ in films}
        self.sources = {manifest.object: Source(blocks) for manifest, blocks in films}

    def find(self, name: str) -> Manifest | None:
        return self.films.get(name)

    def current(self, manifest: Manifest) -> Manifest | None:
        return next((one for one in self.films.values() if one.object == manifest.object), None)

    def source(self, manifest: Manifest) -> Source:
        return self.sources[manifest.object]

    def titles(self) -> list[Manifest]:
        return sorted(self.films.values(), key=lambda one: one.name)

    def channel(self, manifest: Manifest) -> str:
        return ""
