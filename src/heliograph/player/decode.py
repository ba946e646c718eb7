"""Decoders, each in a thread of its own: access units in, pictures or sound out.

Both queues are bounded. When pictures are not taken the thread waits, ``room`` turns false, and
packets stay in the circular buffer, where the level shows it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import av
import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from heliograph.model.errors import UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import payload
from heliograph.protocols.payload import AccessUnit

#: Units that wait for the decoder: two seconds of 120 pictures, or 5 s of sound.
MAX_UNITS = 256
#: Decoded and not yet shown: half a second of 60 pictures of a second; 3 MB each in 1080p.
MAX_PICTURES = 30
#: The same of sound: 4 s.
MAX_SOUNDS = 200
#: Seconds for the thread to end.
STOP_PATIENCE = 5.0

_DECODERS = {
    Codec.H264: "h264",
    Codec.H265: "hevc",
    Codec.VP8: "libvpx",
    Codec.VP9: "vp9",
    Codec.AV1: "libdav1d",
    Codec.MPEG2: "mpeg2video",
    Codec.OPUS: "libopus",
    Codec.AAC: "aac",
    Codec.AAC_LATM: "aac",
    Codec.PCMU: "pcm_mulaw",
    Codec.PCMA: "pcm_alaw",
}
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture."""

    stream: int
    media: float
    """When it is to be shown, in seconds of media time."""
    frame: VideoFrame = field(repr=False)
    """Planar YUV 4:2:0."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Decoded samples."""

    stream: int
    media: float
    """When the first one is to be heard."""
    rate: int
    """Samples a second."""
    samples: NDArray[np.float32] = field(repr=False)
    """By sample and channel, −1 to 1."""


Decoded: TypeAlias = Picture | Sound


@dataclass(slots=True)
class DecoderCounters:
    """What a decoder did so far."""

    units: int = 0
    decoded: int = 0
    """Pictures, or pieces of sound."""
    errors: int = 0
    """Units that could not be decoded."""
    skipped: int = 0
    """Units before the first keyframe."""


class Decoder:
    """Decodes one stream."""

    def __init__(self, stream: int, track: Track) -> None:
        """Raises ``UnsupportedError`` where there is no decoder."""
        self.stream = stream
        self.track = track
        self.counters = DecoderCounters()
        self.failure: Exception | None = None
        """Why the thread ended before it was told to."""
        self._make = _maker(track)
        self._most = MAX_PICTURES if track.kind is Kind.VIDEO else MAX_SOUNDS
        self._units: queue.Queue[tuple[int, AccessUnit | None, float]] = queue.Queue(MAX_UNITS)
        self._out: deque[Decoded] = deque()
        self._changed = threading.Condition()
        self._generation = 0
        self._closing = False
        self._pending = 0
        self._thread = threading.Thread(target=self._run, name=f"decode {stream}", daemon=True)
        self._thread.start()

    @property
    def room(self) -> bool:
        """Whether units can be given."""
        return self._units.qsize() < MAX_UNITS // 2

    @property
    def busy(self) -> bool:
        """Whether something was given that is not decoded yet."""
        return self._pending > 0

    def put(self, unit: AccessUnit, media: float) -> bool:
        """Decode a unit; False where there is no room and it is dropped."""
        return self._put(unit, media)

    def finish(self) -> bool:
        """Nothing follows: give out what the decoder holds back."""
        return self._put(None, 0.0)

    def _put(self, unit: AccessUnit | None, media: float) -> bool:
        with self._changed:
            self._pending += 1
            generation = self._generation
        try:
            self._units.put_nowait((generation, unit, media))
        except queue.Full:
            with self._changed:
                self._pending -= 1
            return False
        return True

    def due(self, until: float) -> list[Decoded]:
        """Take what is due up to media time ``until``, in order."""
        taken: list[Decoded] = []
        with self._changed:
            while self._out and self._out[0].media <= until:
                taken.append(self._out.popleft())
            if taken:
                self._changed.notify_all()
        return taken

    def next_media(self) -> float | None:
        """When the next one is due."""
        with self._changed:
            return self._out[0].media if self._out else None

    def clear(self) -> None:
        """Forget what was given and begin anew: after a seek."""
        with self._changed:
            self._generation += 1
            self._out.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread; harmless twice."""
        with self._changed:
            self._closing = True
            self._generation += 1
            self._out.clear()
            self._changed.notify_all()
        with contextlib.suppress(queue.Full):
            self._units.put_nowait((-1, None, 0.0))
        self._thread.join(STOP_PATIENCE)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            work = self._make(self.stream)
            generation = 0
            while not self._closing:
                of, unit, media = self._units.get()
                try:
                    if of != self._generation:
                        continue  # of before a seek
                    if of != generation:
                        work.restart()
                        generation = of
                    for decoded in self._decode(work, unit, media):
                        self._give(decoded, of)
                finally:
                    with self._changed:
                        self._pending -= of >= 0
        except Exception as error:
            self.failure = error

    def _decode(self, work: _Work, unit: AccessUnit | None, media: float) -> Iterator[Decoded]:
        if unit is not None:
            self.counters.units += 1
            if work.fresh and not unit.key:
                self.counters.skipped += 1
                return
            work.fresh = False
        try:
            for decoded in work.decode(unit, media):
                self.counters.decoded += 1
                yield decoded
        except (av.error.FFmpegError, ValueError):
            self.counters.errors += 1

    def _give(self, decoded: Decoded, generation: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._out) < self._most or generation != self._generation
            )
            if generation == self._generation:
                self._out.append(decoded)


class _Work:
    """A codec's state; used by the thread only."""

    fresh = True
    """Whether a keyframe is needed first."""

    def __init__(self, stream: int) -> None:
        self.stream = stream

    def decode(self, unit: AccessUnit | None, media: float) -> Iterator[Decoded]:
        raise NotImplementedError

    def restart(self) -> None:
        self.fresh = True


class _VideoWork(_Work):
    def __init__(self, stream: int, name: str) -> None:
        super().__init__(stream)
        self._context = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
        # Frame threads hold pictures back, one each; slices cost no delay.
        self._context.thread_type = "SLICE"

    def decode(self, unit: AccessUnit | None, media: float) -> Iterator[Decoded]:
        packet = None
        if unit is not None:
            packet = av.Packet(unit.data)
            packet.pts = round(media * _MICRO)
        for frame in self._context.decode(packet):
            if frame.format.name not in ("yuv420p", "yuvj420p"):
                pts = frame.pts
                frame = frame.reformat(format="yuv420p")
                frame.pts = pts
            yield Picture(self.stream, (frame.pts or 0) / _MICRO, frame)
        if packet is None:
            self._context.flush_buffers()

    def restart(self) -> None:
        super().restart()
        self._context.flush_buffers()


class _AudioWork(_Work):
    def __init__(self, stream: int, name: str, track: Track) -> None:
        super().__init__(stream)
        self._context = cast(AudioCodecContext, av.CodecContext.create(name, "r"))
        extradata = payload.description(track)
        if extradata is not None:
            self._context.extradata = extradata
        else:
            self._context.sample_rate = track.clock_rate
            self._context.layout = "stereo" if track.channels == 2 else "mono"
        self._resampler: av.AudioResampler | None = None

    def decode(self, unit: AccessUnit | None, media: float) -> Iterator[Decoded]:
        packet = None
        if unit is not None:
            packet = av.Packet(unit.data)
            packet.pts = round(media * _MICRO)
        for frame in self._context.decode(packet):
            at = media if frame.pts is None else frame.pts / _MICRO
            yield Sound(self.stream, at, frame.sample_rate, self._floats(frame))
        if packet is None:
            self._context.flush_buffers()

    def _floats(self, frame: AudioFrame) -> NDArray[np.float32]:
        if self._resampler is None:
            self._resampler = av.AudioResampler(
                format="flt", layout=frame.layout, rate=frame.sample_rate
            )
        channels = frame.layout.nb_channels
        frame.pts = None
        parts = [made.to_ndarray() for made in self._resampler.resample(frame)]
        samples = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), np.float32)
        return samples.reshape(-1, channels).astype(np.float32, copy=False)

    def restart(self) -> None:
        super().restart()
        self._context.flush_buffers()


class _LinearWork(_Work):
    """L16 and L24: samples as they are."""

    def __init__(self, stream: int, track: Track) -> None:
        super().__init__(stream)
        self._channels = max(1, track.channels)
        self._wide = track.codec is Codec.L24
        self._rate = track.clock_rate

    def decode(self, unit: AccessUnit | None, media: float) -> Iterator[Decoded]:
        if unit is None:
            return
        if self._wide:
            bytes_ = np.frombuffer(unit.data, np.uint8).reshape(-1, 3).astype(np.int32)
            whole = bytes_[:, 0] << 24 | bytes_[:, 1] << 16 | bytes_[:, 2] << 8
            flat = whole.astype(np.float32) / np.float32(2**31)
        else:
            flat = np.frombuffer(unit.data, ">i2").astype(np.float32) / np.float32(2**15)
        yield Sound(self.stream, media, self._rate, flat.reshape(-1, self._channels))


class _Maker:
    def __init__(self, track: Track) -> None:
        self._track = track

    def __call__(self, stream: int) -> _Work:
        track = self._track
        if track.codec in (Codec.L16, Codec.L24):
            return _LinearWork(stream, track)
        name = _DECODERS[track.codec]
        if track.kind is Kind.VIDEO:
            return _VideoWork(stream, name)
        return _AudioWork(stream, name, track)


def _maker(track: Track) -> _Maker:
    if track.codec not in (Codec.L16, Codec.L24):
        name = _DECODERS.get(track.codec)
        if name is None or name not in av.codecs_available:
            what = track.encoding or track.codec.value
            raise UnsupportedError(f"no decoder for {what}", subject=what)
    return _Maker(track)
