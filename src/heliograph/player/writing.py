"""To a file instead of a window: remuxed as it came (MP4, MKV), or decoded (.yuv, .wav).

A thread writes; what it cannot write in time waits in a bounded queue, and beyond that the session
ends with an error rather than with a file that has holes.
"""

from __future__ import annotations

import io
import queue
import threading
import wave
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.stream import Stream as AvStream

from heliograph.model.errors import HelioError, ResourceError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.player.audio import RATE, Mixer
from heliograph.player.decode import Decoded, Picture, Sound
from heliograph.protocols import mp4
from heliograph.protocols.hls.timing import Timing, gaps_of, reorder_depth, usual
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.payload.sampled import swap_bytes

#: Units that wait for the disk: some seconds of several streams.
MAX_QUEUED = 8192
#: Seconds of media looked at before the file begins: to learn what each stream is.
LOOK = 2.0
#: Units of a stream that are enough for that.
ENOUGH = 20
#: Seconds for the thread to end: the index of a long file is written then.
STOP_PATIENCE = 30.0

_PCM = {Codec.L16: ("pcm_s16le", 2), Codec.L24: ("pcm_s24le", 3)}
#: Codecs that need no description beside their units.
_BARE = {
    Codec.VP8: "vp8",
    Codec.MPEG2: "mpeg2video",
    Codec.PCMU: "pcm_mulaw",
    Codec.PCMA: "pcm_alaw",
}
CONTAINERS = (".mp4", ".mkv", ".ts")
RAW = (".yuv", ".wav")


class _Sink(Protocol):
    """What the thread writes to."""

    def take(self, item: tuple[int, AccessUnit, float] | Decoded) -> None: ...

    def close(self) -> None: ...


class Writer:
    """Writes one file."""

    def __init__(self, path: Path, tracks: Mapping[int, Track]) -> None:
        """``tracks``: by stream. The ending of the name says what is written; raises
        ``UnsupportedError`` for another one and ``ResourceError`` if it cannot be written."""
        self.path = path
        ending = path.suffix.lower()
        self.raw = ending in RAW
        """Whether it takes decoded media rather than units."""
        self.failure: HelioError | None = None
        """Why it cannot go on."""
        self.written = 0
        """Units, pictures or pieces of sound."""
        try:
            if ending in CONTAINERS:
                self._sink: _Sink = _Remux(path, tracks)
            elif ending == ".yuv":
                self._sink = _Yuv(path)
            elif ending == ".wav":
                self._sink = _Wav(path, tracks)
            else:
                known = ", ".join(CONTAINERS + RAW)
                raise UnsupportedError(f"{path.name}: the ending should be one of {known}")
        except OSError as error:
            raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
        self._queue: queue.Queue[tuple[int, AccessUnit, float] | Decoded | None] = queue.Queue(
            MAX_QUEUED
        )
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    def unit(self, stream: int, unit: AccessUnit, media: float) -> None:
        """Take a unit; ``media``: seconds."""
        if not self.raw:
            self._put((stream, unit, media))

    def decoded(self, item: Decoded) -> None:
        """Take a picture or sound."""
        if self.raw:
            self._put(item)

    def _put(self, item: tuple[int, AccessUnit, float] | Decoded) -> None:
        if self.failure is not None:
            return
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.failure = ResourceError(f"{self.path}: the disk is too slow")

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                self._sink.take(item)
                self.written += 1
        except HelioError as error:
            self.failure = error
        except (OSError, av.error.FFmpegError, ValueError) as error:
            self.failure = ResourceError(f"cannot write {self.path}: {error}")
        finally:
            try:
                self._sink.close()
            except HelioError as error:
                self.failure = self.failure or error
            except (OSError, av.error.FFmpegError, ValueError) as error:
                self.failure = self.failure or ResourceError(f"cannot end {self.path}: {error}")

    def close(self) -> None:
        """Write what waits and end the file; harmless twice. See ``failure`` afterwards."""
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join(STOP_PATIENCE)
        if self._thread.is_alive():
            self.failure = ResourceError(f"{self.path}: the disk does not answer")


class _Lane:
    """One stream of a remuxed file."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self.held: list[tuple[AccessUnit, float]] = []
        self.keyed = False
        self.out: AvStream | None = None
        self.timing: Timing | None = None
        self.media: float | None = None  # of the last unit
        self.dts = -(1 << 62)

    @property
    def span(self) -> float:
        times = [media for _, media in self.held]
        return max(times) - min(times) if times else 0.0


class _Remux:
    def __init__(self, path: Path, tracks: Mapping[int, Track]) -> None:
        self._path = path
        self._lanes = {stream: _Lane(track) for stream, track in tracks.items()}
        self._container: OutputContainer | None = None
        # Opened at once so that who cannot write learns it at once.
        path.touch()
        self._written = False

    def take(self, item: tuple[int, AccessUnit, float] | Decoded) -> None:
        assert isinstance(item, tuple)
        stream, unit, media = item
        lane = self._lanes.get(stream)
        if lane is None:
            return
        lane.keyed |= unit.key
        if not lane.keyed:
            return
        if self._container is not None:
            self._write(lane, unit, media)
            return
        lane.held.append((unit, media))
        enough = [len(one.held) >= ENOUGH for one in self._lanes.values()]
        if all(enough) or any(one.span >= LOOK for one in self._lanes.values()):
            self._begin()

    def _begin(self) -> None:
        lanes = [lane for lane in self._lanes.values() if lane.held]
        if not lanes:
            raise ResourceError(f"{self._path}: nothing came that could be written")
        self._container = container = av.open(str(self._path), "w")
        origin = min(media for lane in lanes for _, media in lane.held)
        for lane in lanes:
            lane.out = _out_stream(container, lane.track, lane.held[0][0])
            times = [round(media * lane.track.clock_rate) for _, media in lane.held]
            video = lane.track.kind is Kind.VIDEO
            lane.timing = Timing(
                lane.track.clock_rate,
                round(origin * 1e6),
                round(lane.held[0][1] * 1e6),
                gap=usual(gaps_of(times), lane.track.clock_rate // 25),
                depth=reorder_depth(list(dict.fromkeys(times))) if video else None,
            )
        container.start_encoding()
        held = [(media, lane, unit) for lane in lanes for unit, media in lane.held]
        for lane in lanes:
            lane.held = []
        # By time; within a lane the order of decoding stays, as a sort is stable and reordering
        # small against the muxer's interleaving.
        for _, lane, unit, media in _merged(held):
            self._write(lane, unit, media)

    def _write(self, lane: _Lane, unit: AccessUnit, media: float) -> None:
        if lane.out is None or lane.timing is None or self._container is None:
            return
        if media == lane.media:
            # What leads up to a point sought: some servers give it all one timestamp.
            dts = pts = lane.dts + 1
        else:
            dts, pts = lane.timing.times(round(media * 1e6))
        dts = max(dts, lane.dts + 1)
        lane.media, lane.dts = media, dts
        packet = av.Packet(_sample(lane.track, unit.data))
        packet.stream = lane.out
        packet.time_base = Fraction(1, lane.track.clock_rate)
        packet.dts, packet.pts = dts, max(dts, pts)
        packet.is_keyframe = unit.key
        self._container.mux(packet)

    def close(self) -> None:
        if self._container is None and any(lane.held for lane in self._lanes.values()):
            self._begin()
        if self._container is not None:
            self._container.close()
        elif self._path.exists() and self._path.stat().st_size == 0:
            self._path.unlink()
            raise ResourceError(f"{self._path}: nothing came that could be written")


def _merged(
    held: list[tuple[float, _Lane, AccessUnit]],
) -> list[tuple[float, _Lane, AccessUnit, float]]:
    """In order of time among lanes, in order of decoding within each."""
    made = []
    latest: dict[int, float] = {}
    for media, lane, unit in held:
        at = latest[id(lane)] = max(media, latest.get(id(lane), media))
        made.append((at, lane, unit, media))
    made.sort(key=lambda row: row[0])
    return made


def _sample(track: Track, data: bytes) -> bytes:
    if track.codec in _PCM:
        return swap_bytes(data, _PCM[track.codec][1])
    return mp4.muxer.sample(track.codec, data) if mp4.writable(track.codec) else data


def _out_stream(container: OutputContainer, track: Track, first: AccessUnit) -> AvStream:
    """A stream as the track is; what decoders must know is told by a tiny file of our own."""
    try:
        if mp4.writable(track.codec):
            return _from_template(container, track, first)
        if track.codec in _PCM:
            stream = container.add_stream(_PCM[track.codec][0], track.clock_rate)
            stream.layout = f"{max(1, track.channels)} channels"  # type: ignore[union-attr]
            return stream
        if track.codec is Codec.VP8:
            width, height = (
                int.from_bytes(first.data[at : at + 2], "little") & 0x3FFF for at in (6, 8)
            )
            return container.add_mux_stream("vp8", width=width, height=height)
        if track.codec in _BARE:
            return container.add_mux_stream(_BARE[track.codec], rate=None)
    except (ValueError, av.error.FFmpegError) as error:
        raise UnsupportedError(f"{track.codec.value} cannot be written there: {error}") from error
    raise UnsupportedError(f"{track.codec.value} cannot be written", subject=track.codec.value)


def _from_template(container: OutputContainer, track: Track, first: AccessUnit) -> AvStream:
    entry = mp4.describe(track, first.data)
    muxer = mp4.Muxer([entry])
    unit = mp4.TimedUnit(track.id, 0, 0, True, first.data)
    tiny = io.BytesIO(muxer.init() + muxer.fragment(1, [unit], {}))
    with av.open(tiny) as source:
        return container.add_stream_from_template(source.streams[0])


class _Yuv:
    """Pictures as they are decoded: I420, one after the other."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")

    def take(self, item: tuple[int, AccessUnit, float] | Decoded) -> None:
        if isinstance(item, Picture):
            self._file.write(item.frame.to_ndarray(format="yuv420p").tobytes())

    def close(self) -> None:
        self._file.close()


class _Wav:
    """Sound of all streams, each channel by itself, 16 bits."""

    def __init__(self, path: Path, tracks: Mapping[int, Track]) -> None:
        sources = {s: max(1, t.channels) for s, t in tracks.items() if t.kind is Kind.AUDIO}
        if not sources:
            raise UnsupportedError("there is no sound to be written")
        channels = sum(sources.values())
        rates = {t.clock_rate for t in tracks.values() if t.kind is Kind.AUDIO}
        rate = rates.pop() if len(rates) == 1 else RATE
        self._mixer = Mixer(sources, channels, rate)
        self._next: int | None = None
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 - closed in ``close``
        self._file.setnchannels(channels)
        self._file.setsampwidth(2)
        self._file.setframerate(rate)
        self._latest = 0

    def take(self, item: tuple[int, AccessUnit, float] | Decoded) -> None:
        if not isinstance(item, Sound):
            return
        self._mixer.add(item)
        end = round((item.media + len(item.samples) / item.rate) * self._mixer.rate)
        self._latest = max(self._latest, end)
        ready = self._mixer.ready()
        if self._next is None and ready is not None:
            self._next = min(self._mixer.starts())
        # One stream that falls silent does not hold the others for ever.
        self._flush(max(ready or 0, self._latest - 2 * self._mixer.rate))

    def _flush(self, until: int) -> None:
        if self._next is not None and until > self._next:
            samples = self._mixer.mix(self._next, until - self._next)
            whole = np.clip(np.rint(samples * 32768), -32768, 32767)
            self._file.writeframes(whole.astype("<i2").tobytes())
            self._next = until

    def close(self) -> None:
        self._flush(self._latest)
        self._file.close()
