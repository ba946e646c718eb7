"""Small films as titles: their manifest, and a source that has their blocks in memory."""

from __future__ import annotations

import functools
import io
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
import numpy as np

from heliograph.model.errors import NotFoundError
from heliograph.model.media import Kind
from heliograph.protocols.payload import AccessUnit, h264, packetizer
from heliograph.protocols.payload.container import describe, framing
from heliograph.protocols.payload.nal import join_annexb
from heliograph.storage.values import ObjectId
from heliograph.vod.blocks import BlockWriter, WrittenBlock
from heliograph.vod.manifest import Manifest, TitleTrack

RATE = 25
SOUND = 48_000


@dataclass
class Film:
    """A title, with its blocks in memory."""

    manifest: Manifest
    data: list[bytes]
    units: list[tuple[int, int, int, bool, bytes]] = field(repr=False, default_factory=list)
    """What was put in: track, decoding and presentation time in its clock, key, data."""
    reads: Counter[int] = field(default_factory=Counter)
    """How often each block was asked for."""
    broken: dict[int, Exception] = field(default_factory=dict)
    """What is raised for a block."""

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        """As ``BlockSource`` has it."""
        self.reads[number] += 1
        if number in self.broken:
            raise self.broken[number]
        if not 0 <= number < len(self.data):
            raise NotFoundError("no such block")
        return self.data[number]

    def grown(self, until_us: int, *, live: bool = True) -> Manifest:
        """The manifest as it was while the film was recorded up to then."""
        whole = self.manifest
        entries = [one for one in whole.blocks if one.end_us <= until_us]
        keys = [one for one in whole.keys if one.block < len(entries)]
        end = entries[-1].end_us if entries else 0
        return replace(whole, blocks=entries, keys=keys, duration_us=end, live=live)


@functools.cache
def mp4(
    seconds: float = 12.0,
    *,
    key_every: int = 50,
    bframes: int = 2,
    heights: tuple[int, ...] = (96,),
    sounds: tuple[str, ...] = ("eng",),
    sound_codec: str = "aac",
    codec: str = "libx264",
) -> bytes:
    """A file with pictures of some heights, each in a track, and tones in some languages."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        pictures = []
        for height in heights:
            stream = container.add_stream(codec, rate=RATE)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = (
                height * 16 // 9 // 2 * 2,
                height,
                "yuv420p",
            )
            stream.gop_size = key_every
            if codec == "libx264":
                stream.options = {
                    "preset": "ultrafast",
                    "x264-params": f"keyint={key_every}:min-keyint={key_every}:scenecut=0"
                    f":bframes={bframes}:b-adapt=0",
                }
            pictures.append(stream)
        tones = []
        for language in sounds:
            stream = container.add_stream(sound_codec, rate=SOUND)
            assert isinstance(stream, av.AudioStream)
            stream.layout = "stereo"
            stream.metadata["language"] = language
            tones.append(stream)
        for stream in pictures:
            for number in range(round(seconds * RATE)):
                rows = np.arange(stream.height)[:, None] + np.arange(stream.width)[None, :]
                shade = ((rows + 3 * number) % 256).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(np.repeat(shade[..., None], 3, 2), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        for index, stream in enumerate(tones):
            size = stream.frame_size or 1024
            for at in range(0, round(seconds * SOUND) // size * size, size):
                wave = np.sin((at + np.arange(size)) * (440 + 110 * index) * 2 * np.pi / SOUND)
                plane = np.repeat((wave * 8000).astype(np.float32)[None, :] / 32768, 2, 0)
                frame = av.AudioFrame.from_ndarray(plane, "fltp", "stereo")
                frame.pts, frame.sample_rate, frame.time_base = at, SOUND, Fraction(1, SOUND)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return out.getvalue()


def title(data: bytes, *, name: str = "film", limit: int = 64 << 10, ballast: int = 0) -> Film:
    """A file's streams as a title with blocks of at most ``limit`` bytes.

    ``ballast``: bytes of filler in each picture of H.264.
    """
    filler = b"\x00\x00\x00\x01\x0c" + b"\xff" * ballast if ballast else b""
    tracks, found = [], []
    with av.open(io.BytesIO(data)) as container:
        split = {}
        for stream in container.streams:
            context = stream.codec_context
            extra = bytes(context.extradata or b"")
            track = describe(
                context.codec.canonical_name,
                track_id=len(tracks),
                extradata=extra,
                sample_rate=getattr(context, "sample_rate", 0) or 0,
                channels=getattr(context, "channels", 0) or 0,
            )
            assert track is not None
            split[stream.index] = track, framing(context.codec.canonical_name, extra)
            tracks.append((track, stream.language or ""))
        for packet in container.demux():
            if packet.dts is None:
                continue
            track, cut = split[packet.stream.index]
            rate = packet.time_base * track.clock_rate
            found.append(
                (
                    track,
                    round(packet.dts * rate),
                    round(packet.pts * rate),
                    packet.is_keyframe,
                    b"".join(cut(bytes(packet))) + (filler if track.kind is Kind.VIDEO else b""),
                )
            )
    lowest = min(Fraction(dts, track.clock_rate) for track, dts, *_ in found)
    moved = []
    for track, dts, pts, key, unit in found:
        back = round(lowest * track.clock_rate)
        moved.append((track, dts - back, pts - back, key or track.kind is Kind.AUDIO, unit))
    moved.sort(key=lambda one: Fraction(one[1], one[0].clock_rate))
    pictures = [track.id for track, _ in tracks if track.kind is Kind.VIDEO]
    writer = BlockWriter(len(tracks), pictures=pictures, limit=limit)
    packers = {track.id: packetizer(track.codec, channels=track.channels) for track, _ in tracks}
    written: list[WrittenBlock] = []
    for track, dts, pts, key, unit in moved:
        payloads = packers[track.id].packetize(AccessUnit(unit, pts & 0xFFFFFFFF, key))
        due, shown = (time * 1_000_000 // track.clock_rate for time in (dts, pts))
        written += writer.add(track.id, due, shown, pts & 0xFFFFFFFF, key, payloads)
    end = max(dts * 1_000_000 // track.clock_rate for track, dts, *_ in moved) + 40_000
    written += writer.finish(end)
    manifest = Manifest(
        name=name,
        object=ObjectId("0123456789abcdef" * 2),
        title="A film of tests",
        duration_us=end,
        tracks=tuple(
            TitleTrack(
                track,
                writer.written[track.id].packets,
                writer.written[track.id].units,
                writer.written[track.id].bytes,
                language,
                rendition=pictures.index(track.id) if track.id in pictures else 0,
            )
            for track, language in tracks
        ),
        blocks=tuple(one.entry for one in written),
        keys=tuple(key for one in written for key in one.keys),
        peak_bps=writer.peak_bits,
        created=1.7e9,
    )
    units = [(track.id, dts, pts, key, unit) for track, dts, pts, key, unit in moved]
    return Film(manifest, [one.data for one in written], units)


def joined(first: Film, second: Film) -> Film:
    """A title whose source changed: pictures of one title and then those of another, of H.264."""
    later = []
    (track,) = (one.track for one in second.manifest.tracks)
    end = first.units[-1][1] + track.clock_rate // RATE
    for _, dts, pts, key, unit in second.units:
        sets = join_annexb(h264.parameter_sets(track.fmtp)) if key else b""
        later.append((0, dts + end, pts + end, key, sets + unit))
    writer = BlockWriter(1, pictures=[0], limit=64 << 10)
    packer, written = packetizer(track.codec), []
    units = [*first.units, *later]
    for _, dts, pts, key, unit in units:
        due, shown = (time * 1_000_000 // track.clock_rate for time in (dts, pts))
        payloads = packer.packetize(AccessUnit(unit, pts, key))
        written += writer.add(0, due, shown, pts, key, payloads)
    written += writer.finish(units[-1][1] * 1_000_000 // track.clock_rate + 40_000)
    manifest = replace(
        first.manifest,
        duration_us=written[-1].entry.end_us,
        tracks=(
            replace(
                first.manifest.tracks[0],
                packets=writer.written[0].packets,
                units=len(units),
                bytes=writer.written[0].bytes,
            ),
        ),
        blocks=tuple(one.entry for one in written),
        keys=tuple(key for one in written for key in one.keys),
    )
    return Film(manifest, [one.data for one in written], units)
