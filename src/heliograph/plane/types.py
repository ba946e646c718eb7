"""What crosses the plane's boundary, as frozen values: events, track descriptions, counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Any, NamedTuple, Self, TypeAlias

from heliograph.model.media import Track


@dataclass(frozen=True, slots=True)
class SourceActive:
    """A source of a channel is the one relayed from now on."""

    channel: int
    """The plane's channel id."""
    source: int
    """The plane's source id."""
    epoch: int
    """The epoch its packets carry, 1 for the channel's first."""
    layout_changed: bool
    """Whether its tracks differ from those that readers of the channel had so far."""


@dataclass(frozen=True, slots=True)
class SourceSilent:
    """A source said nothing for the channel's silence time."""

    channel: int
    source: int


@dataclass(frozen=True, slots=True)
class ChannelSilent:
    """No source of the channel delivers any more."""

    channel: int


@dataclass(frozen=True, slots=True)
class ControlReceived:
    """A whole RTSP message, or WebSocket text message, came on an adopted connection."""

    conn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """An adopted connection is gone."""

    conn: int
    reason: str
    """``eof``, ``reset``, ``malformed``, ``overflow`` or ``closed``."""


@dataclass(frozen=True, slots=True)
class ReaderClosed:
    """A reader's connection or channel went away."""

    reader: int
    reason: str


@dataclass(frozen=True, slots=True)
class TapReady:
    """A tap has something to read where it had nothing."""

    reader: int


@dataclass(frozen=True, slots=True)
class RtcState:
    """A WebRTC peer is there (``connected``), or nothing is heard of it (``disconnected``)."""

    session: int
    state: str


@dataclass(frozen=True, slots=True)
class RtcClosed:
    """A WebRTC session ended."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class MeshUp:
    """Both ends of a mesh link hear each other."""

    link: int


@dataclass(frozen=True, slots=True)
class MeshMessage:
    """A message came on a mesh link."""

    link: int
    message: bytes


@dataclass(frozen=True, slots=True)
class MeshSilent:
    """Nothing is heard of a mesh link's peer, or never was."""

    link: int


@dataclass(frozen=True, slots=True)
class MeshBack:
    """A mesh link's peer is heard again."""

    link: int


@dataclass(frozen=True, slots=True)
class MeshCast:
    """A cast that is listened to is heard by multicast now, or is not any more."""

    link: int
    """To the peer that sends it."""
    cast: int
    """Its name."""
    heard: bool


@dataclass(frozen=True, slots=True)
class MeshClosed:
    """A mesh link is over."""

    link: int
    reason: str
    """``peer``: the peer ended it; ``malformed``: it sent nonsense."""


@dataclass(frozen=True, slots=True)
class SenderLow:
    """A paced sender that plays wants to be fed; told again after a feeding that is too little."""

    sender: int
    queued_us: int
    """Media time that is fed and not played, µs."""


@dataclass(frozen=True, slots=True)
class SenderEnded:
    """A paced sender has sent everything, up to the end or to ``until_us``."""

    sender: int


@dataclass(frozen=True, slots=True)
class SenderClosed:
    """A paced sender's connection went away, and the sender with it."""

    sender: int
    reason: str


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Events were dropped because they were not drained; state is to be asked for anew."""

    count: int


PlaneEvent: TypeAlias = (
    SourceActive
    | SourceSilent
    | ChannelSilent
    | ControlReceived
    | ConnectionClosed
    | ReaderClosed
    | TapReady
    | RtcState
    | RtcClosed
    | MeshUp
    | MeshMessage
    | MeshSilent
    | MeshBack
    | MeshCast
    | MeshClosed
    | SenderLow
    | SenderEnded
    | SenderClosed
    | EventsLost
)

_EVENTS: Mapping[str, type[PlaneEvent]] = {
    "source-active": SourceActive,
    "source-silent": SourceSilent,
    "channel-silent": ChannelSilent,
    "control": ControlReceived,
    "conn-closed": ConnectionClosed,
    "reader-closed": ReaderClosed,
    "tap-ready": TapReady,
    "rtc-state": RtcState,
    "rtc-closed": RtcClosed,
    "mesh-up": MeshUp,
    "mesh-message": MeshMessage,
    "mesh-silent": MeshSilent,
    "mesh-back": MeshBack,
    "mesh-cast": MeshCast,
    "mesh-closed": MeshClosed,
    "sender-low": SenderLow,
    "sender-ended": SenderEnded,
    "sender-closed": SenderClosed,
    "overflow": EventsLost,
}


def parse_event(raw: tuple[Any, ...]) -> PlaneEvent:
    """Make an event of the tuple that the boundary carries; ``ValueError`` for an unknown one."""
    kind = _EVENTS.get(raw[0]) if raw else None
    if kind is None or len(raw) != len(fields(kind)) + 1:
        raise ValueError(f"unknown plane event {raw!r}")
    return kind(*raw[1:])


class TrackSpec(NamedTuple):
    """A track as the plane needs to know it."""

    track: int
    """Track id, 0–255."""
    kind: str
    """``video``, ``audio`` or ``data``: what a lagging reader loses first."""
    codec: str
    """Name of ``model.media.Codec``; tells how keyframes are recognised and frames rebuilt."""
    clock_rate: int
    """RTP timestamp units a second."""
    payload_type: int
    """RTP payload type on the source's wire, 0–127. Readers see that of the first source with
    the same format."""
    parameter_sets: list[bytes]
    """Parameter sets sent out of band, NAL units without start codes."""
    aac: tuple[int, int, int]
    """``sizelength``, ``indexlength``, ``indexdeltalength`` of RFC 3640; zeros for other codecs."""

    @classmethod
    def of(
        cls,
        track: Track,
        parameter_sets: Sequence[bytes] = (),
        aac: tuple[int, int, int] = (0, 0, 0),
    ) -> TrackSpec:
        """Describe ``track`` to the plane."""
        return cls(
            track.id,
            track.kind.value,
            track.codec.value,
            track.clock_rate,
            track.payload_type,
            list(parameter_sets),
            aac,
        )


class TapFlag(IntFlag):
    """Flags of a tap's items."""

    KEYFRAME = 1
    DISCONTINUITY = 2
    RTCP = 4
    MARKER = 8


class TapItem(NamedTuple):
    """One packet or frame from a tap."""

    track: int
    epoch: int
    number: int
    """Continuous number of the packet, or of the frame, within its track."""
    time: int
    """RTP timestamp of a packet; presentation time of a frame in Unix µs."""
    arrival: int
    """When it came to the server, Unix µs."""
    flags: int
    """``TapFlag`` bits."""
    data: bytes


#: Reading the fields of a class each time would cost more than reading the counters.
_names_of: dict[object, tuple[str, ...]] = {}


def _names(cls: type[Any]) -> tuple[str, ...]:
    if cls not in _names_of:
        _names_of[cls] = tuple(field.name for field in fields(cls))
    return _names_of[cls]


class _Counters:
    """Builds a dataclass of counters from what the plane reports; absent keys keep defaults."""

    __slots__ = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**{name: raw[name] for name in _names(cls) if name in raw})


@dataclass(frozen=True, slots=True)
class PlaneTotals(_Counters):
    """Counters of the whole plane since it was opened."""

    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    foreign_packets: int = 0
    """Packets from an address, SSRC or payload type that no input expects."""
    malformed_packets: int = 0
    send_errors: int = 0
    events_lost: int = 0
    readers: int = 0
    senders: int = 0
    connections: int = 0


@dataclass(frozen=True, slots=True)
class InputStats(_Counters):
    """Counters of one input."""

    input: int = 0
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class SourceStats:
    """Counters of one source."""

    source: int = 0
    priority: int = 0
    state: str = "silent"
    """``active``: relayed; ``standby``: delivers and is ignored; ``silent``."""
    packets: int = 0
    lost: int = 0
    """Numbers that never came, as far as known."""
    duplicates: int = 0
    reordered: int = 0
    rejected: int = 0
    """Packets not relayed: malformed, late, before the first keyframe."""
    jitter_us: int = 0
    """Interarrival jitter after RFC 3550 section 6.4.1, µs."""
    last_packet_age_ms: int = -1
    """Since the newest packet; -1 before the first."""
    inputs: tuple[InputStats, ...] = ()

    @property
    def active(self) -> bool:
        """Whether it is the one relayed."""
        return self.state == "active"

    @property
    def bytes(self) -> int:
        """What came by all its inputs."""
        return sum(input.bytes for input in self.inputs)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> SourceStats:
        """Build from one entry of a channel's ``sources``."""
        counters = {name: raw[name] for name in _names(cls) if name in raw and name != "inputs"}
        return cls(**counters, inputs=tuple(InputStats.of(i) for i in raw.get("inputs", ())))


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Counters of one channel."""

    packets: int = 0
    bytes: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    readers: int = 0
    epoch: int = 0
    numbered_here: bool = False
    """Whether the epoch is that of a source of this unit, be it gone by now."""
    ring_packets: int = 0
    ring_bytes: int = 0
    bitrate_bps: int = 0
    """Payload bits a second that enter, over about the last second."""
    sources: tuple[SourceStats, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> ChannelStats:
        """Build from what ``Plane.channel_stats`` returns."""
        counters = {name: raw[name] for name in _names(cls) if name in raw and name != "sources"}
        sources = tuple(SourceStats.of(source) for source in raw.get("sources", ()))
        return cls(**counters, sources=sources)


@dataclass(frozen=True, slots=True)
class MeshStats(_Counters):
    """Counters of one end of a mesh link."""

    sent_datagrams: int = 0
    """Datagrams, repairs and reports included."""
    sent_bytes: int = 0
    """Their UDP payload."""
    sent_items: int = 0
    """Packets of channels."""
    sent_repairs: int = 0
    """Datagrams sent again because the peer asked."""
    sent_repair_bytes: int = 0
    repairs_refused: int = 0
    """Asked for too late, or more than the share of the link that repairs may take."""
    send_errors: int = 0
    overtaken: int = 0
    """Packets that a ring forgot before the link took them."""
    received_datagrams: int = 0
    received_bytes: int = 0
    received_items: int = 0
    lost: int = 0
    """Datagrams that did not come in their turn."""
    repaired: int = 0
    """Of these, came after they were asked for."""
    late: int = 0
    """Of these, came by themselves."""
    given_up: int = 0
    """Of these, never came."""
    broken: int = 0
    """Long packets of which a part never came."""
    replayed: int = 0
    """Datagrams refused because they came before."""
    forged: int = 0
    """Datagrams refused because the peer did not seal them."""
    round_trip_us: int = 0
    heard_ms: int = -1
    """Since the peer was heard; -1 for never."""


@dataclass(frozen=True, slots=True)
class ReaderStats(_Counters):
    """Counters of one reader."""

    packets: int = 0
    bytes: int = 0
    dropped_video: int = 0
    dropped_audio: int = 0
    lag_ms: int = 0
    """How far behind the newest packet of the channel the reader is."""
    rr_loss_permille: int = 0
    """Fraction lost in the newest receiver report, ‰."""
    rr_jitter_us: int = 0
    last_rtcp_age_ms: int = -1
    """Since the newest RTCP packet of the reader; -1 before the first."""
    state: str = "paused"
    """``playing``, ``paused`` or ``audio-only``."""
    estimate_bps: int = 0
    """Bits a second that the way to a viewer by WebRTC takes; 0 where that is not measured."""
    layer: str = ""
    """The simulcast layer that it gets, by its publisher's name; empty without simulcast."""


@dataclass(frozen=True, slots=True)
class SenderStats(_Counters):
    """Counters of one paced sender."""

    state: str = "idle"
    """``idle``, ``playing``, ``paused`` or ``ended``."""
    position_us: int = 0
    """Media time that plays now; not beyond the next packet to be sent."""
    queued_us: int = 0
    """Media time that is fed and not played."""
    queued_bytes: int = 0
    """Blocks that hold packets not sent."""
    packets: int = 0
    """RTP packets sent."""
    bytes: int = 0
    """Them with their headers."""
    late_1ms: int = 0
    """Packets that went out more than 1 ms after they were due."""
    late_5ms: int = 0
    late_20ms: int = 0
    late_100ms: int = 0
    late_max_us: int = 0
    underruns: int = 0
    """Times that it played and nothing was fed."""
    slipped_us: int = 0
    """By how much its clock was put back because it could not send in time."""
    stalled_us: int = 0
    """How long packets that were due waited for a connection that took nothing."""
    send_errors: int = 0
    """Messages that the kernel would not send."""
    resent: int = 0
    """Packets sent again because they were asked for."""
    resend_refused: int = 0
    """Asked for and not sent again: gone, asked for before, or never sent."""
    rr_loss_permille: int = 0
    """Fraction lost in the viewer's newest receiver report, ‰."""
    rr_jitter_us: int = 0
    last_rtcp_age_ms: int = -1
    """Since the newest RTCP packet of the viewer; -1 before the first."""
