"""One stream of a file on its way into a track: what a demuxer gives becomes units with times."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

from av.packet import Packet
from av.stream import Disposition, Stream

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec, Track
from heliograph.protocols.payload import (
    DEFAULT_PAYLOAD_SIZE,
    aac,
    av1,
    container,
    h264,
    h265,
    nal,
    opus,
    sampled,
    vp9,
)
from heliograph.protocols.payload.bits import BitReader
from heliograph.vod.importing.files import MediaFile
from heliograph.vod.importing.values import MAX_DURATION, MAX_JUMP, MAX_REORDER

#: Units that may come before one says when it is decoded (Matroska never says, FFmpeg guesses).
MAX_UNDATED = 64
#: Seconds of sound before the title's begin that are kept: decoders run up with them (Opus: 80 ms,
#: RFC 7845 §4.6; AAC one unit).
RUN_UP = 0.1
#: Seconds by which units may be out of order in the file before it is taken for a jump.
MAX_BACK = 10.0


class LaneUnit(NamedTuple):
    """An access unit on the clock of its file, whose zero is the file's start."""

    lane: int
    due_us: int
    pts: int
    """Presentation, in units of the track's clock."""
    key: bool
    data: bytes
    lasts: int
    """In units of the track's clock; 0 where it is not known."""


class Lane:
    """A stream that will be a track. Raises ``UnsupportedError`` for what RTP cannot carry."""

    def __init__(self, file: MediaFile, stream: Stream, index: int) -> None:
        context = stream.codec_context
        self.file = file
        self.stream = stream
        self.index = index
        """Its place among the lanes of all files."""
        self.name = context.codec.canonical_name
        self.video = stream.type == "video"
        self.width = getattr(context, "width", 0) or 0
        self.height = getattr(context, "height", 0) or 0
        self.where = f"track {stream.index} ({self.name})"
        self.begin: int | None = None
        """First presentation, in units of the clock, run-up left out; None before it is known."""
        self.end = 0
        """Where its last unit ends."""
        self.units = self.dropped = self.reordered = 0
        self.keys: list[int] = []
        """When key units of pictures are shown, µs."""
        self._codec = container.CODECS.get(self.name)
        if self._codec is None:
            raise UnsupportedError(f"{self.where}: cannot be carried by RTP", subject=self.name)
        if self._codec is Codec.OPUS and (getattr(context, "channels", 0) or 0) > 2:
            raise UnsupportedError(f"{self.where}: Opus of more than two channels", subject="opus")
        self._base: Fraction = stream.time_base or Fraction(1, 90_000)
        if not 0 < self._base <= 3600:
            raise file.malformed(f"{self.where}: a clock of {self._base} s")
        self._extradata = context.extradata or b""
        self._rate = getattr(context, "sample_rate", 0) or 0
        self._channels = getattr(context, "channels", 0) or 0
        self.track: Track | None = None
        self._undated: deque[tuple[Packet[Any], list[bytes]]] = deque()
        self._last_dts: int | None = None
        self._next: int | None = None  # where the next unit of sound is to follow
        self._begun = not self.video
        self._sets: list[bytes] = []
        self._frame: Callable[[bytes], list[bytes]] = lambda data: [data]
        if self._extradata or self._codec not in _NEEDS_FIRST:
            self._describe(b"")

    # --- what it is ---------------------------------------------------------------------------

    def _describe(self, first: bytes) -> None:
        try:
            if self._codec is Codec.AAC and not self._rate:  # FFmpeg saw no packet of it either
                config = aac.parse_config(self._extradata or aac.config_from_adts(first))
                self._rate, self._channels = config.sample_rate, config.channels
            track = container.describe(
                self.name,
                track_id=self.index,
                extradata=self._extradata,
                sample_rate=self._rate,
                channels=self._channels,
                first_packet=first,
            )
            self._frame = container.framing(self.name, self._extradata)
        except MalformedError as error:
            raise self.file.malformed(f"{self.where}: {error.reason}") from error
        assert track is not None
        if track.clock_rate < 1:
            raise self.file.malformed(f"{self.where}: sound of {track.clock_rate} Hz")
        if track.codec in _NAL:
            module = _NAL[track.codec]
            sets = module.parse_extradata(self._extradata or first).parameter_sets
            self._sets = [one for one in sets if len(one) > 1][: nal.MAX_PARAMETER_SETS]
        elif track.codec is Codec.AV1:
            self._sets = _av1_config(self._extradata)
        self.track = track
        self._clock = track.clock_rate
        # Exact arithmetic in whole numbers: ticks × up / down are units of the track's clock.
        scale = self._base * self._clock
        self._up, self._down = scale.numerator, scale.denominator
        micros = self._base * 1_000_000
        self._us_up, self._us_down = micros.numerator, micros.denominator
        start = self.file.start
        self._start = round(start * self._clock)
        self._start_us = round(start * 1_000_000)
        # Containers round times to their ticks; sound has none but whole units in a row.
        self._tolerance = -(-3 * self._up // (2 * self._down)) + 1
        self._aac = aac.unit_duration(track.fmtp, self._clock) if track.codec is Codec.AAC else 0
        self._sampled = (
            sampled.frame_size(track.codec, track.channels) if track.codec in sampled.WIDTH else 0
        )

    def with_id(self, track_id: int) -> Track:
        """The track under its id in the title."""
        assert self.track is not None
        kind = self.track.payload_type
        return replace(
            self.track, id=track_id, payload_type=kind if kind < 96 else 96 + track_id % 32
        )

    # --- packets ------------------------------------------------------------------------------

    def take(self, packet: Packet[Any]) -> list[LaneUnit]:
        """Units of a packet, those that had waited for a decoding time first.

        Raises ``MalformedError`` for what cannot be, with the place in the file.
        """
        if packet.has_sidedata("new_extradata"):
            self._extradata = bytes(packet.get_sidedata("new_extradata"))
            self._describe(bytes(packet))
        if self.track is None:
            self._describe(bytes(packet))
        try:
            data = self._frame(bytes(packet))
        except MalformedError as error:
            raise self._fault(packet, error.reason) from error
        if not self.video:
            return self._sound(packet, data)
        if packet.dts is None:
            self._undated.append((packet, data))
            if len(self._undated) > MAX_UNDATED:
                raise self._fault(packet, f"{MAX_UNDATED} pictures without a decoding time")
            return []
        units = self._date(packet) if self._undated else []
        units += self._picture(packet, packet.dts, data)
        return units

    def finish(self) -> list[LaneUnit]:
        """Units that still wait for a decoding time: nothing follows them."""
        units = []
        while self._undated:
            packet, data = self._undated.popleft()
            stamp = packet.pts if packet.pts is not None else self._last_dts or 0
            units += self._picture(packet, max(stamp, self._last_dts or stamp), data)
        return units

    def _date(self, packet: Packet[Any]) -> list[LaneUnit]:
        """Those before the first with a decoding time were decoded one picture's time apart."""
        assert packet.dts is not None
        shown = sorted(one.pts for one, _ in self._undated if one.pts is not None)
        step = packet.duration or (shown[1] - shown[0] if len(shown) > 1 else 1)
        dts = packet.dts - max(1, step) * len(self._undated)
        units = []
        while self._undated:
            one, data = self._undated.popleft()
            units += self._picture(one, dts, data)
            dts += max(1, step)
        return units

    def _picture(self, packet: Packet[Any], dts: int, data: list[bytes]) -> list[LaneUnit]:
        if packet.pts is None:
            raise self._fault(packet, "a picture that does not say when it is shown")
        due = self._due(packet, dts)
        pts = self._ticks(packet.pts)
        if abs(pts * 1_000_000 // self._clock - due) > MAX_REORDER * 1e6:
            raise self._fault(
                packet, f"shown at {pts / self._clock:.3f} s, decoded at {due / 1e6:.3f} s"
            )
        lasts = self._duration(packet)
        units = []
        for one in data:
            key = self._is_key(one, bool(packet.is_keyframe))
            if not self._begun:
                if not key:
                    self.dropped += 1
                    continue
                self._begun = True
            if key:
                self.keys.append(pts * 1_000_000 // self._clock)
                if self._sets:
                    one = self._with_sets(one)
            if not packet.is_discard and (self.begin is None or pts < self.begin):
                self.begin = pts
            self.end = max(self.end, pts + lasts)
            self.units += 1
            units.append(LaneUnit(self.index, due, pts, key, one, lasts))
        return units

    def _sound(self, packet: Packet[Any], data: list[bytes]) -> list[LaneUnit]:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None and self._next is None:
            raise self._fault(packet, "sound that does not say when it is heard")
        pts = self._next if stamp is None else self._ticks(stamp)
        assert pts is not None
        if self._next is not None and abs(pts - self._next) <= self._tolerance:
            pts = self._next
        skip, cut = self._padding(packet)
        if self.begin is None:
            self.begin = pts + skip
        units = []
        for one in self._cut(data):
            lasts = self._lasts(one)
            due = self._check_time(packet, pts * 1_000_000 // self._clock)
            if pts + lasts > self.begin - int(RUN_UP * self._clock) and one:
                units.append(LaneUnit(self.index, due, pts, True, one, lasts))
            pts += lasts
        self._next = pts
        self.units += len(units)
        told = self._duration(packet)
        end = pts - cut
        if len(units) == 1 and not cut and 0 < told < units[0].lasts - self._tolerance:
            end = units[0].pts + told  # the container cuts the last unit short
        self.end = max(self.end, end)
        return units

    def _cut(self, data: list[bytes]) -> list[bytes]:
        """Sampled sound in packets, each due in its turn; other units as they are."""
        if not self._sampled:
            return data
        step = DEFAULT_PAYLOAD_SIZE // self._sampled * self._sampled or self._sampled
        return [one[at : at + step] for one in data for at in range(0, len(one), step)]

    # --- times --------------------------------------------------------------------------------

    def _ticks(self, stamp: int) -> int:
        return (2 * stamp * self._up + self._down) // (2 * self._down) - self._start

    def _duration(self, packet: Packet[Any]) -> int:
        duration = packet.duration or 0
        return max(0, (2 * duration * self._up + self._down) // (2 * self._down))

    def _due(self, packet: Packet[Any], dts: int) -> int:
        due = (2 * dts * self._us_up + self._us_down) // (2 * self._us_down) - self._start_us
        return self._check_time(packet, due)

    def _check_time(self, packet: Packet[Any], due: int) -> int:
        last = self._last_dts
        if abs(due) > MAX_DURATION * 1e6:
            raise self._fault(packet, f"a time of {due / 1e6:.0f} s")
        if last is not None:
            if due > last + MAX_JUMP * 1e6 or due < last - MAX_BACK * 1e6:
                raise self._fault(packet, f"time jumps from {last / 1e6:.3f} to {due / 1e6:.3f} s")
            if due < last:
                self.reordered += 1
                due = last
        self._last_dts = due
        return due

    def _padding(self, packet: Packet[Any]) -> tuple[int, int]:
        """Units of the clock to skip at a packet's begin and end (FFmpeg: in samples)."""
        if not packet.has_sidedata("skip_samples"):
            return 0, 0
        data = bytes(packet.get_sidedata("skip_samples"))
        rate = self._rate or self._clock
        skip, cut = (
            int.from_bytes(data[at : at + 4], "little") * self._clock // rate for at in (0, 4)
        )
        return (skip if self.begin is None else 0), cut

    def _lasts(self, unit: bytes) -> int:
        if self._aac:
            return self._aac
        if self._sampled:
            return len(unit) // self._sampled
        return opus.duration(unit)

    # --- what units are -----------------------------------------------------------------------

    def _is_key(self, unit: bytes, told: bool) -> bool:
        """Whether decoding can begin here: by the unit itself, for containers lie."""
        match self._codec:
            case Codec.H264:
                return _h264_key(unit, told)
            case Codec.H265:
                at = _first_slice(unit, lambda head: head >> 1 & 0x3F <= h265.LAST_SLICE)
                kind = unit[at] >> 1 & 0x3F if at >= 0 else 0
                return h265.FIRST_IRAP <= kind <= h265.LAST_IRAP
            case Codec.VP8:
                return bool(unit) and not unit[0] & 1  # RFC 6386 §9.1
            case Codec.VP9:
                return vp9.is_key(unit)
            case Codec.AV1:
                return told and (bool(self._sets) or av1.codec_string_of(unit) is not None)
            case _:
                return told and b"\0\0\1\xb3" in unit[:4096]

    def _with_sets(self, unit: bytes) -> bytes:
        """Repeat the parameter sets before a key unit that lacks them: who joins needs them."""
        if self._codec is Codec.AV1:
            headed = any(obu.type == av1.SEQUENCE_HEADER for obu in av1.split_stream(unit))
            return unit if headed else self._sets[0] + unit
        if self._codec is Codec.H264:
            kinds: tuple[int, ...] = (h264.SPS, h264.PPS)
            of_type, delimiter = h264.nal_type, h264.DELIMITER
        else:
            kinds, of_type = (h265.VPS, h265.SPS, h265.PPS), h265.nal_type
            delimiter = h265.DELIMITER
        nals = nal.split_annexb(unit)
        present = {of_type(one) for one in nals}
        missing = [one for one in self._sets if of_type(one) not in present]
        if not missing:
            return unit
        at = 1 if of_type(nals[0]) == delimiter else 0
        own = sorted([*missing, *(one for one in nals if of_type(one) in kinds)], key=of_type)
        rest = [one for one in nals[at:] if of_type(one) not in kinds]
        return nal.join_annexb([*nals[:at], *own, *rest])

    def _fault(self, packet: Packet[Any], reason: str) -> MalformedError:
        return self.file.malformed(f"{self.where}: {reason}", packet.pos)


_NEEDS_FIRST = frozenset((Codec.H264, Codec.H265, Codec.AAC))
_NAL: dict[Codec, Any] = {Codec.H264: h264, Codec.H265: h265}


def _first_slice(unit: bytes, is_slice: Callable[[int], bool]) -> int:
    """Where the first slice's NAL unit header is in a byte stream; -1 without one."""
    at = unit.find(b"\0\0\1")
    while 0 <= at < len(unit) - 4:
        if is_slice(unit[at + 3]):
            return at + 3
        at = unit.find(b"\0\0\1", at + 3)
    return -1


def _h264_key(unit: bytes, told: bool) -> bool:
    """An IDR picture, or an I picture that the container calls a point to begin at."""
    at = _first_slice(unit, lambda head: h264.SLICE <= head & 31 <= h264.IDR)
    if at < 0:
        return False
    if unit[at] & 31 == h264.IDR:
        return True
    reader = BitReader(h264.unescape(unit[at : at + 32])[1:], "h264")
    try:
        reader.ue()
        return told and reader.ue() % 5 == 2  # H.264 §7.4.3: slice_type I is 2 or 7
    except MalformedError:
        return False


def _av1_config(extradata: bytes) -> list[bytes]:
    """The sequence header of an av1C record (AV1 in ISOBMFF §2.3), for units that lack it."""
    if len(extradata) < 5 or extradata[0] != 0x81:
        return []
    with contextlib.suppress(MalformedError):
        for obu in av1.split_stream(extradata[4:]):
            if obu.type == av1.SEQUENCE_HEADER:
                return [obu.sized()]
    return []


def title_streams(file: MediaFile) -> tuple[Sequence[Stream], list[str]]:
    """Streams of pictures and sound, and what is to be said of those that are neither."""
    streams, remarks = [], []
    for stream in file.container.streams:
        if stream.codec_context is None or stream.type not in ("video", "audio"):
            remarks.append(f"{file.name}: track {stream.index} ({stream.type}) is left out")
        elif stream.disposition & Disposition.attached_pic:
            remarks.append(f"{file.name}: the cover picture is left out")
        else:
            streams.append(stream)
    return streams, remarks
