"""Where media come from: the test pattern, a file, a device. Blocking; runs in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any, cast

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame

from heliograph.cli.publishing import pattern
from heliograph.cli.publishing.encoders import (
    AUDIO_CLOCK,
    AUDIO_FRAME,
    VIDEO_CLOCK,
    OpusEncoder,
    VideoEncoder,
)
from heliograph.cli.publishing.units import Unit
from heliograph.model.errors import MalformedError, SettingsError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import payload
from heliograph.protocols.payload import container, h264

#: Packets read ahead until each stream has shown one: two seconds of a usual file.
MAX_AHEAD = 512
#: RTP clock units of one AAC frame, where a packet holds several (ISO/IEC 14496-3 §4.5.1.1).
AAC_FRAME = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How to make and encode pictures and sound."""

    width: int = 1280
    """Pixels, even."""
    height: int = 720
    """Pixels, even."""
    fps: int = 25
    """Frames a second, 1–120."""
    bitrate: int = 2_000_000
    """Video bits a second."""
    codec: Codec = Codec.H264
    """What to encode video with: H264 or VP8."""
    audio: bool = True
    """Whether to send sound."""
    loop: bool = False
    """Files: begin again at the end."""
    title: str = ""
    """Pattern: written into the picture."""


class PatternSource:
    """The test pattern in real time."""

    live = True

    def __init__(
        self, options: Options, clock: Callable[[], float], wall: Callable[[], float] = time.time
    ) -> None:
        """``clock``: monotonic seconds; ``wall``: Unix seconds for the clock in the picture."""
        self._options, self._clock, self._wall = options, clock, wall
        self._stopped = threading.Event()
        self.remarks: list[str] = []
        self.dropped = 0
        try:
            self._painter = pattern.Painter(
                options.width, options.height, options.fps, options.title
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error
        self._video = VideoEncoder(
            0, options.codec, options.width, options.height, options.fps, options.bitrate
        )
        self._audio = OpusEncoder(1) if options.audio else None
        tracks = [self._video.describe()]
        if self._audio is not None:
            tracks.append(self._audio.describe())
        self.tracks = tuple(tracks)

    def units(self) -> Iterator[Unit]:
        """A frame when its time has come, and the sound up to its end."""
        fps = self._options.fps
        start = self._clock()
        number = 0
        while True:
            late = self._clock() - start - number / fps
            if late < 0:
                if self._stopped.wait(-late):
                    return
            elif late > 2 / fps:  # encoding is too slow, or we were stopped
                skipped = int(late * fps)
                number += skipped
                self.dropped += skipped
            if self._stopped.is_set():
                return
            picture = self._painter.paint(number, int(self._wall() * 1e6))
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            yield from self._video.encode(frame, number * VIDEO_CLOCK // fps)
            number += 1
            yield from self._sound(number / fps)

    def _sound(self, until: float) -> Iterator[Unit]:
        if self._audio is None:
            return
        while self._samples / AUDIO_CLOCK < until:
            at = self._samples % AUDIO_CLOCK
            cut = self._tone[:, 2 * at : 2 * (at + AUDIO_FRAME)]
            frame = AudioFrame.from_ndarray(cut, format="s16", layout="stereo")
            frame.sample_rate = AUDIO_CLOCK
            yield from self._audio.encode(frame, self._samples)
            self._samples += AUDIO_FRAME

    _samples = 0
    _tone = np.ascontiguousarray(pattern.second_of_tone(AUDIO_CLOCK))

    def stop(self) -> None:
        """See ``Source.stop``."""
        self._stopped.set()

    def close(self) -> None:
        """See ``Source.close``."""


class _Lane:
    """One stream on its way into a track: as it is, or through decoder and encoder."""

    def __init__(self, stream: Stream, track_id: int, first: bytes, options: Options) -> None:
        self.stream = stream
        self.begin = inf
        """Earliest presentation so far, in seconds of media time."""
        self.end = 0.0
        """When the latest one is over."""
        self.remark: str | None = None
        self._id = track_id
        self._base: Fraction = stream.time_base or Fraction(1, 1000)
        self._frame: Callable[[bytes], list[bytes]] = lambda data: [data]
        self._encoder: VideoEncoder | OpusEncoder | None = None
        described = _as_it_is(stream, track_id, first)
        if described is not None:
            self.track, self._frame = described
        else:
            self._encoder = _encoder_for(stream, track_id, options)
            self.track = self._encoder.describe()
            name = stream.codec_context.name
            self.remark = f"{stream.type} is transcoded: {name} → {self.track.codec.value}"

    def units(self, packet: Packet[Any], start: Fraction, offset: Fraction) -> Iterator[Unit]:
        """Units of a packet; ``start``: of the file, ``offset``: of this run, in seconds."""
        shift = offset - start
        if self._encoder is not None:
            yield from self._transcode(packet, shift)
            return
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return
        rate = self.track.clock_rate
        presented = stamp * self._base + shift
        due = (packet.dts if packet.dts is not None else stamp) * self._base + shift
        self._note(presented, (packet.duration or 0) * self._base)
        step = AAC_FRAME if self.track.codec is Codec.AAC else 0
        for index, data in enumerate(self._frame(bytes(packet))):
            yield Unit(
                self._id,
                float(due) + index * step / rate,
                round(presented * rate) + index * step,
                bool(packet.is_keyframe) or self.track.kind is Kind.AUDIO,
                data,
            )

    def _note(self, presented: Fraction, lasts: Fraction) -> None:
        self.begin = min(self.begin, float(presented))
        self.end = max(self.end, float(presented + lasts))

    def _transcode(self, packet: Packet[Any], shift: Fraction) -> Iterator[Unit]:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            return  # a broken picture; the next one may be whole
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                continue
            presented = frame.pts * frame.time_base + shift
            if isinstance(frame, VideoFrame):
                encoder = cast(VideoEncoder, self._encoder)
                self._note(presented, Fraction(frame.duration or 0) * frame.time_base)
                small = frame.reformat(*encoder.size, format="yuv420p")
                small.pict_type = PictureType.NONE  # else the source's keyframes are ours too
                yield from encoder.encode(small, round(presented * VIDEO_CLOCK))
            elif isinstance(frame, AudioFrame):
                self._note(presented, Fraction(frame.samples, frame.sample_rate))
                audio = cast(OpusEncoder, self._encoder)
                yield from audio.encode(frame, round(presented * AUDIO_CLOCK))


def _as_it_is(
    stream: Stream, track_id: int, first: bytes
) -> tuple[Track, Callable[[bytes], list[bytes]]] | None:
    """The track and framing of a stream RTP can carry; ``None`` if it has to be transcoded."""
    context = stream.codec_context
    name = context.codec.canonical_name
    extradata = context.extradata or b""
    try:
        track = container.describe(
            name,
            track_id=track_id,
            extradata=extradata,
            sample_rate=getattr(context, "sample_rate", 0) or 0,
            channels=getattr(context, "channels", 0) or 0,
            first_packet=first,
        )
        if track is None:
            return None
        payload.packetizer(track.codec, channels=track.channels)
        frame = container.framing(name, extradata)
    except (MalformedError, UnsupportedError):
        return None
    if track.codec is Codec.H264:
        return track, _with_sets(frame, h264.parse_extradata(extradata).parameter_sets)
    return track, frame


def _with_sets(
    frame: Callable[[bytes], list[bytes]], sets: list[bytes]
) -> Callable[[bytes], list[bytes]]:
    """Repeat the parameter sets before keyframes that lack them: who joins late needs them."""
    head = b"".join(b"\x00\x00\x00\x01" + nal for nal in sets)

    def framed(data: bytes) -> list[bytes]:
        units = frame(data)
        return [head + unit if head and _lacks_sets(unit) else unit for unit in units]

    return framed


def _lacks_sets(unit: bytes) -> bool:
    types = set()
    at = unit.find(b"\x00\x00\x01")
    while 0 <= at < len(unit) - 3:
        kind = unit[at + 3] & 0x1F
        types.add(kind)
        if kind in (h264.SLICE, h264.IDR):  # what follows are slices of the same kind
            break
        at = unit.find(b"\x00\x00\x01", at + 3)
    return h264.IDR in types and h264.SPS not in types


def _encoder_for(stream: Stream, track_id: int, options: Options) -> VideoEncoder | OpusEncoder:
    if stream.type == "audio":
        return OpusEncoder(track_id)
    context = stream.codec_context
    width, height = getattr(context, "width", 0) & ~1, getattr(context, "height", 0) & ~1
    if not width or not height:
        raise UnsupportedError(f"a video stream without a size ({context.name})")
    rate = getattr(stream, "average_rate", None)
    fps = min(120, max(1, round(rate))) if rate else options.fps
    return VideoEncoder(track_id, options.codec, width, height, fps, options.bitrate)


class ContainerSource:
    """A file, or a device that libav opens as one."""

    def __init__(self, place: str, options: Options, *, device: str | None = None) -> None:
        """``device``: libav's input format, such as ``v4l2``."""
        self._place, self._options, self._device = place, options, device
        self.live = device is not None
        self.dropped = 0
        self._stopped = threading.Event()
        self._container = self._open()
        self._lanes: dict[int, _Lane] = {}
        self._ahead = self._look_ahead()
        if not self._lanes:
            self.close()
            raise UnsupportedError(f"{place}: no video or audio in it")
        lanes = sorted(self._lanes.values(), key=lambda lane: lane.track.id)
        self.tracks = tuple(lane.track for lane in lanes)
        self.remarks = [lane.remark for lane in lanes if lane.remark]

    def _open(self) -> InputContainer:
        options = {}
        if self._device == "v4l2":
            o = self._options
            options = {"video_size": f"{o.width}x{o.height}", "framerate": str(o.fps)}
        try:
            return av.open(self._place, format=self._device, options=options)
        except (av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(f"{self._place}: cannot be opened: {reason}") from error

    def _streams(self) -> list[Stream]:
        streams = self._container.streams
        wanted: list[Stream] = [
            *streams.video[:1],
            *streams.audio[: 1 if self._options.audio else 0],
        ]
        return [stream for stream in wanted if stream.codec_context is not None]

    def _look_ahead(self) -> list[Packet[Any]]:
        """Read until each stream has shown a packet, and make the lanes."""
        streams = self._streams()
        first: dict[int, bytes] = {}
        ahead = []
        if streams:
            for packet in self._container.demux(streams):
                if packet.size:
                    ahead.append(packet)
                    first.setdefault(packet.stream_index, bytes(packet))
                if len(first) == len(streams) or len(ahead) >= MAX_AHEAD:
                    break
        # A stream of which nothing came is left out: nobody would wait for it.
        shown = [stream for stream in streams if stream.index in first]
        self._lanes = {
            stream.index: _Lane(stream, place, first[stream.index], self._options)
            for place, stream in enumerate(shown)
        }
        return ahead

    def _packets(self) -> Iterator[Packet[Any]]:
        yield from self._ahead
        self._ahead = []
        streams = [lane.stream for lane in self._lanes.values()]
        for packet in self._container.demux(streams):
            if packet.size:
                yield packet

    def units(self) -> Iterator[Unit]:
        """Packets in the file's order; timestamps go on where the file begins again."""
        offset, lead = Fraction(0), None
        while True:
            yield from self._run(offset)
            end = max(lane.end for lane in self._lanes.values())
            if not self._options.loop or self._stopped.is_set() or end <= float(offset):
                return
            # Pictures out of order are decoded before the file's first one is shown: the next run
            # begins that much before the end of this one, so that what is shown has no gap.
            if lead is None:
                lead = min(lane.begin for lane in self._lanes.values())
            offset = Fraction(end - min(lead, 1.0)).limit_denominator(1_000_000)
            self._rewind()

    def _run(self, offset: Fraction) -> Iterator[Unit]:
        start: Fraction | None = None
        for packet in self._packets():
            if self._stopped.is_set():
                return
            if start is None:
                start = self._start(packet)
            yield from self._lanes[packet.stream_index].units(packet, start, offset)

    def _start(self, packet: Packet[Any]) -> Fraction:
        """The file's first time in seconds: of the packet, whose dts is the lowest there is."""
        stamp = packet.dts if packet.dts is not None else packet.pts or 0
        return stamp * (packet.time_base or Fraction(1, 1000))

    def _rewind(self) -> None:
        self._container.close()
        self._container = self._open()
        for index, lane in self._lanes.items():
            lane.stream = self._container.streams[index]

    def stop(self) -> None:
        """See ``Source.stop``."""
        self._stopped.set()

    def close(self) -> None:
        """See ``Source.close``."""
        self._container.close()
