"""From audio and video messages to tracks and access units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.mp4.units import TimedUnit
from heliograph.protocols.payload import aac, av1, container, h264, h265, nal, opus, vp8, vp9
from heliograph.protocols.rtmp.amf import AmfValue
from heliograph.protocols.rtmp.events import MediaEvent, TrackRefused, TracksChanged, UnitReceived
from heliograph.protocols.rtmp.flv import Tag, What, parse_audio, parse_video

#: Milliseconds of media to wait for the other track's configuration, where metadata does not say
#: which tracks there are. ffmpeg and OBS send both before the first frame.
GATHER = 1000
#: Units held while tracks are gathered: 1 s at 240 pictures and 100 audio frames a second, twice.
MAX_HELD = 700
#: Bytes held likewise: two keyframes as large as they may be.
MAX_HELD_BYTES = 16 << 20
#: Milliseconds by which an audio frame may be off its place behind the one before. Messages count
#: in whole milliseconds, and encoders round both ways; more than this is a gap.
AUDIO_JITTER = 5
#: Hz; AAC goes to 96 000, an escaped rate could say 16 million.
MAX_SAMPLE_RATE = 192_000
#: Causes of ``TrackRefused`` told; more are counted only.
MAX_REFUSALS = 8

_NAMES = {
    Codec.H264: "h264",
    Codec.H265: "hevc",
    Codec.VP8: "vp8",
    Codec.VP9: "vp9",
    Codec.AV1: "av1",
    Codec.OPUS: "opus",
    Codec.AAC: "aac",
    Codec.PCMU: "pcm_mulaw",
    Codec.PCMA: "pcm_alaw",
}
#: Whose first frames tell nothing that the configuration has not told.
_NEEDS_CONFIG = frozenset((Codec.H264, Codec.H265, Codec.AAC))


@dataclass(slots=True)
class _Stream:
    """One track at work."""

    track: Track
    config: bytes
    length_size: int = 0
    sets: tuple[bytes, ...] = ()
    frame: int = 0
    """Ticks an audio frame lasts, 0 if it is not to be told."""
    expected: int | None = None
    """Where the next audio frame would stand."""


class _Clock:
    """Timestamps of 32 bits that wrap after 49 days become ones that never do."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._first = 0

    def unwrap(self, timestamp: int) -> int:
        """Milliseconds since the first timestamp seen; may be negative for what comes late."""
        if self._last is None:
            self._last = self._first = timestamp
            return 0
        ahead = (timestamp - self._last + (1 << 31)) % (1 << 32) - (1 << 31)
        self._last += ahead
        return self._last - self._first


class MediaReader:
    """Takes messages of one publication, gives events. Never raises for what they hold.

    Ill-formed messages are dropped and counted; nothing of one is left behind.
    """

    def __init__(self) -> None:
        self.malformed = 0
        """Messages that could not be read."""
        self.dropped = 0
        """Frames without a configuration, and those of refused tracks."""
        self._clock = _Clock()
        self._streams: dict[Kind, _Stream] = {}
        self._refused: set[tuple[Kind, str]] = set()
        self._expected: frozenset[Kind] | None = None
        self.told = False
        """Whether ``TracksChanged`` was given."""
        self._held: list[TimedUnit] = []
        self._held_bytes = 0
        self._since: int | None = None  # milliseconds of the first frame held
        self._events: list[MediaEvent] = []

    def metadata(self, values: Mapping[str, AmfValue]) -> None:
        """Learn from onMetaData which tracks there will be."""
        kinds = set()
        if values.get("videocodecid") or values.get("hasVideo") is True:
            kinds.add(Kind.VIDEO)
        if values.get("audiocodecid") is not None or values.get("hasAudio") is True:
            kinds.add(Kind.AUDIO)
        self._expected = frozenset(kinds) or None

    def push(self, kind: Kind, body: bytes, timestamp: int) -> list[MediaEvent]:
        """Take a message; what it gives."""
        now = self._clock.unwrap(timestamp)
        try:
            tags = parse_video(body) if kind is Kind.VIDEO else parse_audio(body)
            for tag in tags:
                self._take(kind, tag, now)
        except MalformedError:
            self.malformed += 1
        except UnsupportedError as error:
            self._refuse(kind, error)
        if not self.told and self._since is not None and now - self._since > GATHER:
            self._tell()
        return self._flush()

    def gathered(self) -> list[MediaEvent]:
        """Time is up, or the stream ends: go on with the tracks that are known."""
        if not self.told and self._streams:
            self._tell()
        return self._flush()

    def _flush(self) -> list[MediaEvent]:
        events, self._events = self._events, []
        return events

    def _refuse(self, kind: Kind, error: UnsupportedError) -> None:
        self.dropped += 1
        cause = (kind, error.message)
        if cause not in self._refused and len(self._refused) < MAX_REFUSALS:
            self._refused.add(cause)
            self._events.append(TrackRefused(kind, error))
            self._tell_if_complete()

    def _take(self, kind: Kind, tag: Tag, now: int) -> None:
        if tag.track != 0:
            self._refuse(kind, UnsupportedError(f"{kind} track {tag.track}", subject="rtmp"))
            return
        if tag.what is What.CONFIG:
            self._configure(kind, tag)
        elif tag.what is What.FRAME and tag.data:
            self._frame(kind, tag, now)

    # --- configuration ------------------------------------------------------------------------

    def _configure(self, kind: Kind, tag: Tag) -> _Stream:
        known = self._streams.get(kind)
        if known is not None and known.track.codec is tag.codec and known.config == tag.data:
            return known
        track_id = known.track.id if known is not None else len(self._streams)
        stream = _stream(tag, track_id)
        if known is not None and known.track.same_format(stream.track):
            stream.expected = known.expected
        self._streams[kind] = stream
        if self.told:
            self._tell()
        else:
            self._tell_if_complete()
        return stream

    def _tell_if_complete(self) -> None:
        wanted = self._expected or frozenset((Kind.VIDEO, Kind.AUDIO))
        missing = wanted - set(self._streams) - {kind for kind, _ in self._refused}
        if not missing and self._streams and not self.told:
            self._tell()

    def _tell(self) -> None:
        tracks = sorted((s.track for s in self._streams.values()), key=lambda track: track.id)
        if not tracks:
            return
        self.told = True
        self._events.append(TracksChanged(tuple(tracks)))
        self._events += [UnitReceived(unit) for unit in self._held]
        self._held, self._held_bytes = [], 0

    # --- frames -------------------------------------------------------------------------------

    def _frame(self, kind: Kind, tag: Tag, now: int) -> None:
        stream = self._streams.get(kind)
        if stream is None or stream.track.codec is not tag.codec:
            if tag.codec in _NEEDS_CONFIG:
                self.dropped += 1
                return
            stream = self._configure(kind, replace(tag, what=What.CONFIG, data=b""))
        rate = stream.track.clock_rate
        dts = _ticks(now, tag.nanoseconds, rate)
        pts = _ticks(now + tag.composition, tag.nanoseconds, rate)
        if kind is Kind.AUDIO:
            dts = pts = _smooth(stream, tag.data, dts)
        data, key = _unit(stream, tag)
        if data:
            self._give(TimedUnit(stream.track.id, dts, pts, key, data), now)

    def _give(self, unit: TimedUnit, now: int) -> None:
        if self.told:
            self._events.append(UnitReceived(unit))
            return
        if self._since is None:
            self._since = now
        self._held.append(unit)
        self._held_bytes += len(unit.data)
        if len(self._held) >= MAX_HELD or self._held_bytes >= MAX_HELD_BYTES:
            self._tell()


def _ticks(milliseconds: int, nanoseconds: int, rate: int) -> int:
    """Nearest tick; exact for video's 90 000."""
    return ((milliseconds * 1_000_000 + nanoseconds) * rate + 500_000_000) // 1_000_000_000


def _smooth(stream: _Stream, frame: bytes, dts: int) -> int:
    """Whole milliseconds back to the sample the frame begins with."""
    lasts = opus.duration(frame) if stream.track.codec is Codec.OPUS else stream.frame
    near = AUDIO_JITTER * stream.track.clock_rate // 1000
    if lasts and stream.expected is not None and abs(dts - stream.expected) <= near:
        dts = stream.expected
    stream.expected = dts + lasts if lasts else None
    return dts


def _stream(tag: Tag, track_id: int) -> _Stream:
    """A track of its configuration record, which may be empty where codecs need none."""
    if tag.codec in _NEEDS_CONFIG and not tag.data:
        raise MalformedError("flv", "an empty configuration")
    rate, channels, frame = _sound(tag)
    track = container.describe(
        _NAMES[tag.codec],
        track_id=track_id,
        extradata=tag.data,
        sample_rate=rate,
        channels=channels,
    )
    assert track is not None  # all of _NAMES have a format
    stream = _Stream(track, tag.data, frame=frame)
    match tag.codec:
        case Codec.H264:
            avc = h264.parse_extradata(tag.data)
            stream.length_size, stream.sets = avc.length_size, tuple(avc.parameter_sets)
        case Codec.H265:
            hevc = h265.parse_extradata(tag.data)
            stream.length_size, stream.sets = hevc.length_size, tuple(hevc.parameter_sets)
        case Codec.AV1:
            stream.sets = _sequence_header(tag.data)
    if tag.codec in (Codec.H264, Codec.H265) and not 0 < len(stream.sets) < nal.MAX_PARAMETER_SETS:
        raise MalformedError("flv", f"a configuration with {len(stream.sets)} parameter sets")
    return stream


def _sound(tag: Tag) -> tuple[int, int, int]:
    """Sample rate, channels and samples of a frame; 0 for video and what is not to be told."""
    match tag.codec:
        case Codec.AAC:
            config = aac.parse_config(tag.data)
            if not 0 < config.sample_rate <= MAX_SAMPLE_RATE:
                raise MalformedError("aac", f"a sample rate of {config.sample_rate}")
            return config.sample_rate, config.channels, config.frame_samples
        case Codec.PCMA | Codec.PCMU:
            return 8000, 1, 0  # annex E.4.2.1: whatever the tag's rate says
        case Codec.OPUS:
            # OpusHead (RFC 7845 §5.1): the channels are its tenth byte
            head = tag.data[:8] == b"OpusHead" and len(tag.data) > 9
            return opus.CLOCK_RATE, tag.data[9] if head else 2, 0
    return 0, 0, 0


def _sequence_header(record: bytes) -> tuple[bytes, ...]:
    """The sequence header of an AV1CodecConfigurationRecord (*AV1 in ISOBMFF* §2.3.3)."""
    if not record:
        return ()
    if len(record) < 4 or record[0] != 0x81:
        raise MalformedError("av1", "not an av1C record")
    obus = av1.split_stream(record[4:])
    return tuple(obu.sized() for obu in obus if obu.type == av1.SEQUENCE_HEADER)[:1]


def _unit(stream: _Stream, tag: Tag) -> tuple[bytes, bool]:
    """A frame as ``TimedUnit`` has it, and whether it is key; no data if nothing is to decode."""
    match tag.codec:
        case Codec.H264 | Codec.H265:
            return _nal_unit(stream, tag)
        case Codec.AV1:
            obus = av1.split_stream(tag.data)
            if len(obus) > av1.MAX_OBUS:
                raise MalformedError("av1", f"more than {av1.MAX_OBUS} units")
            kept = [o for o in obus if o.type not in (av1.TEMPORAL_DELIMITER, av1.TILE_LIST)]
            data = b"".join(obu.sized() for obu in kept)
            if tag.key and stream.sets and all(o.type != av1.SEQUENCE_HEADER for o in kept):
                data = stream.sets[0] + data
            return data, tag.key
        case Codec.VP9:
            return tag.data, vp9.is_key(tag.data)
        case Codec.VP8:
            return tag.data, vp8.is_key(tag.data)
    return tag.data, True


def _split(data: bytes, length_size: int, protocol: str) -> list[bytes]:
    """NAL units behind their lengths; or behind start codes, as some hardware encoders send.

    Lengths are tried first: 0x000001xx is a start code, and the length of many a small slice.
    """
    if length_size == 0:
        return nal.split_annexb(data)
    try:
        return nal.split_lengths(data, length_size, protocol)
    except MalformedError:
        if nal.looks_like_annexb(data):
            return nal.split_annexb(data)
        raise


def _nal_unit(stream: _Stream, tag: Tag) -> tuple[bytes, bool]:
    codec = tag.codec
    units = _split(tag.data, stream.length_size, codec.value)
    if len(units) > nal.MAX_NALS:
        raise MalformedError(codec.value, f"more than {nal.MAX_NALS} NAL units")
    of_type = h264.nal_type if codec is Codec.H264 else h265.nal_type
    if codec is Codec.H265 and any(len(unit) < 2 for unit in units):
        raise MalformedError("h265", "NAL unit without its header")
    types = {of_type(unit) for unit in units}
    last_slice = h264.IDR if codec is Codec.H264 else h265.LAST_SLICE
    first_slice = h264.SLICE if codec is Codec.H264 else 0
    if not any(first_slice <= kind <= last_slice for kind in types):
        return b"", False
    if tag.key:
        missing = [unit for unit in stream.sets if of_type(unit) not in types]
        delimiter = h264.DELIMITER if codec is Codec.H264 else h265.DELIMITER
        at = 1 if of_type(units[0]) == delimiter else 0
        units = units[:at] + missing + units[at:]
    return nal.join_annexb(units), tag.key
