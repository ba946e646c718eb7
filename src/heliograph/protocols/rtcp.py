"""RTCP: compound packets, reports, feedback, and NTP time.

RFC 3550 §6 (SR, RR, SDES, BYE, APP), RFC 4585 (feedback), RFC 5104 §4.3.1 (FIR), RFC 5506 (a
compound need not start with a report), draft-alvestrand-rmcat-remb-03 (REMB),
draft-holmer-rmcat-transport-wide-cc-extensions-01 (transport-wide feedback).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import pack, unpack_from
from typing import NamedTuple, TypeAlias

from heliograph.model.errors import MalformedError
from heliograph.protocols import transport_feedback
from heliograph.protocols.transport_feedback import TransportFeedback

VERSION = 2
SR, RR, SDES, BYE, APP, RTPFB, PSFB = range(200, 207)

#: RFC 4585 §6.2.1, the draft's §3.1; RFC 4585 §6.3.1, RFC 5104 §4.3.1, RFC 4585 §6.4.
FMT_NACK, FMT_TRANSPORT_CC = 1, 15
FMT_PLI, FMT_FIR, FMT_APPLICATION = 1, 4, 15

#: RFC 3550 §6.5.1: the SDES item that names a participant over restarts.
CNAME = 1
#: RFC 3550 §6.1: the count in the common header has five bits.
MAX_COUNT = 31

#: Seconds from the NTP epoch (1900) to the Unix epoch (1970).
NTP_UNIX = 2_208_988_800


def ntp_from_unix_us(unix_us: int) -> int:
    """The 64-bit NTP time (32.32) of a Unix time in µs; wraps in 2036 as NTP does."""
    seconds, rest = divmod(unix_us, 1_000_000)
    return ((seconds + NTP_UNIX) << 32 | (rest << 32) // 1_000_000) & 0xFFFFFFFFFFFFFFFF


def unix_us_from_ntp(ntp: int) -> int:
    """The Unix time in µs, rounded; before 1968 means the next era (RFC 4330 §3)."""
    seconds = ntp >> 32
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - NTP_UNIX) * 1_000_000 + ((ntp & 0xFFFFFFFF) * 1_000_000 + (1 << 31) >> 32)


def ntp_middle(ntp: int) -> int:
    """The middle 32 bits, in units of 1/65 536 s, as report blocks refer to a sender report."""
    return ntp >> 16 & 0xFFFFFFFF


def round_trip(now_ntp: int, block: ReportBlock) -> float | None:
    """Round trip in seconds (RFC 3550 §6.4.1); ``None`` if no report had reached the receiver."""
    if not block.last_sr:
        return None
    units = (ntp_middle(now_ntp) - block.last_sr - block.delay_since_last_sr) & 0xFFFFFFFF
    # A clock that was set back gives a little less than 2³²; no real round trip is 9 hours.
    return 0.0 if units & 0x80000000 else units / 65536


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says about one source (RFC 3550 §6.4.1)."""

    ssrc: int
    """The source reported on, 32 bits."""
    fraction_lost: int
    """Loss since the last report in 1/256, 0–255."""
    lost: int
    """Packets lost since the beginning, signed 24 bits (duplicates make it negative)."""
    highest_sequence: int
    """Highest sequence number with the count of wraps above it, 32 bits."""
    jitter: int
    """Interarrival jitter in timestamp units, 32 bits."""
    last_sr: int
    """Middle of the NTP time of the last sender report seen; 0 if there was none."""
    delay_since_last_sr: int
    """Time since that report arrived, in 1/65 536 s, 32 bits."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR (RFC 3550 §6.4.1): ties RTP timestamps to a wall clock."""

    ssrc: int
    """The sender, 32 bits."""
    ntp: int
    """Wall clock, NTP 32.32."""
    rtp_timestamp: int
    """The same instant in the stream's timestamps, 32 bits."""
    packet_count: int
    """RTP packets sent, 32 bits, wraps."""
    octet_count: int
    """Payload bytes sent, 32 bits, wraps."""
    reports: tuple[ReportBlock, ...] = ()
    """On other sources, at most 31."""
    extension: bytes = b""
    """Profile-specific, a multiple of 4 bytes, verbatim."""


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR (RFC 3550 §6.4.2)."""

    ssrc: int
    """The receiver that reports, 32 bits."""
    reports: tuple[ReportBlock, ...] = ()
    """At most 31."""
    extension: bytes = b""
    """Profile-specific, a multiple of 4 bytes, verbatim."""


class SdesItem(NamedTuple):
    """One statement about a source."""

    type: int
    """1 CNAME, 2 NAME … 8 PRIV (RFC 3550 §12.2)."""
    value: bytes
    """0–255 bytes, UTF-8 but for PRIV."""


class SdesChunk(NamedTuple):
    """All statements about one source."""

    ssrc: int
    """The source, 32 bits."""
    items: tuple[SdesItem, ...]
    """In the order they came."""


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES (RFC 3550 §6.5)."""

    chunks: tuple[SdesChunk, ...]
    """At most 31."""


@dataclass(frozen=True, slots=True)
class Bye:
    """BYE (RFC 3550 §6.6)."""

    sources: tuple[int, ...]
    """Who leaves, at most 31."""
    reason: bytes | None = None
    """Text of 0–255 bytes, if given."""


@dataclass(frozen=True, slots=True)
class App:
    """APP (RFC 3550 §6.7)."""

    subtype: int
    """0–31."""
    ssrc: int
    """The sender, 32 bits."""
    name: bytes
    """Four ASCII characters."""
    data: bytes
    """A multiple of 4 bytes."""


@dataclass(frozen=True, slots=True)
class Nack:
    """Generic NACK (RFC 4585 §6.2.1)."""

    sender: int
    """Who asks, 32 bits."""
    media: int
    """The stream it asks for, 32 bits."""
    lost: tuple[int, ...]
    """Sequence numbers, in the order asked for."""


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """PLI (RFC 4585 §6.3.1): please send a keyframe."""

    sender: int
    """Who asks, 32 bits."""
    media: int
    """The stream it asks for, 32 bits."""


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """FIR (RFC 5104 §4.3.1): a keyframe, demanded."""

    sender: int
    """Who asks, 32 bits."""
    media: int
    """Unused, 0."""
    entries: tuple[tuple[int, int], ...]
    """(stream, request number 0–255); a number that repeats is the same request."""


@dataclass(frozen=True, slots=True)
class Remb:
    """Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2)."""

    sender: int
    """Who estimates, 32 bits."""
    media: int
    """Unused, 0."""
    bitrate: int
    """Bits a second; written with a mantissa of 18 bits, so large values lose their last bits."""
    sources: tuple[int, ...]
    """The streams this covers, at most 255."""


@dataclass(frozen=True, slots=True)
class UnknownPacket:
    """A type or feedback format not known here, kept verbatim."""

    packet_type: int
    """0–255."""
    count: int
    """The five bits of count, subtype or format."""
    body: bytes
    """Behind the common header, without padding, a multiple of 4 bytes."""


RtcpPacket: TypeAlias = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Bye
    | App
    | Nack
    | TransportFeedback
    | PictureLossIndication
    | FullIntraRequest
    | Remb
    | UnknownPacket
)


def _malformed(reason: str, offset: int | None = None) -> MalformedError:
    return MalformedError("rtcp", reason, offset=offset)


def parse(data: bytes) -> list[RtcpPacket]:
    """Read a compound packet. Raises ``MalformedError``, nothing else.

    Lengths must add up exactly. Padding is taken off and is allowed on the last packet only
    (RFC 3550 §6.4.1). A compound need not begin with a report (RFC 5506).
    """
    packets: list[RtcpPacket] = []
    at = 0
    if not data:
        raise _malformed("empty")
    while at < len(data):
        if at + 4 > len(data):
            raise _malformed("truncated header", at)
        first, packet_type, words = unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if first >> 6 != VERSION:
            raise _malformed(f"version {first >> 6}", at)
        if end > len(data):
            raise _malformed(f"length {4 * words} reaches beyond the datagram", at)
        body = data[at + 4 : end]
        if first & 0x20:
            padding = body[-1] if body else 0
            if end != len(data) or not 4 <= padding <= len(body) or padding % 4:
                raise _malformed(f"padding of {padding} bytes", at)
            body = body[: len(body) - padding]
        packets.append(_parse_one(packet_type, first & 31, body))
        at = end
    return packets


def serialize(packets: Iterable[RtcpPacket]) -> bytes:
    """A compound packet, without padding. ``MalformedError`` for what has no place in its field."""
    return b"".join(_serialize_one(packet) for packet in packets)


def _parse_one(packet_type: int, count: int, body: bytes) -> RtcpPacket:
    match packet_type:
        case 200:
            _need(body, 24 + 24 * count, "SR")
            ssrc, ntp, timestamp, sent, octets = unpack_from("!IQIII", body)
            reports = _parse_reports(body, 24, count)
            return SenderReport(
                ssrc, ntp, timestamp, sent, octets, reports, body[24 + 24 * count :]
            )
        case 201:
            _need(body, 4 + 24 * count, "RR")
            (ssrc,) = unpack_from("!I", body)
            reports = _parse_reports(body, 4, count)
            return ReceiverReport(ssrc, reports, body[4 + 24 * count :])
        case 202:
            return _parse_sdes(count, body)
        case 203:
            return _parse_bye(count, body)
        case 204:
            _need(body, 8, "APP")
            return App(count, int.from_bytes(body[:4], "big"), body[4:8], body[8:])
        case 205 | 206:
            return _parse_feedback(packet_type, count, body)
    return UnknownPacket(packet_type, count, body)


def _need(body: bytes, size: int, what: str) -> None:
    if len(body) < size:
        raise _malformed(f"{what} of {len(body)} bytes, {size} needed")


def _parse_reports(body: bytes, at: int, count: int) -> tuple[ReportBlock, ...]:
    reports = []
    for start in range(at, at + 24 * count, 24):
        ssrc, loss, highest, jitter, last, delay = unpack_from("!IIIIII", body, start)
        lost = loss & 0xFFFFFF
        if lost & 0x800000:
            lost -= 0x1000000
        reports.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last, delay))
    return tuple(reports)


def _parse_sdes(count: int, body: bytes) -> SourceDescription:
    chunks = []
    at = 0
    for _ in range(count):
        if at + 4 > len(body):
            raise _malformed("SDES ends before its last chunk")
        ssrc = int.from_bytes(body[at : at + 4], "big")
        at += 4
        items = []
        while True:
            if at >= len(body):
                raise _malformed("SDES chunk without an end")
            if body[at] == 0:  # ends the list and fills up to 32 bits
                at += 4 - at % 4
                break
            if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
                raise _malformed("SDES item reaches beyond the packet")
            size = body[at + 1]
            items.append(SdesItem(body[at], body[at + 2 : at + 2 + size]))
            at += 2 + size
        chunks.append(SdesChunk(ssrc, tuple(items)))
    return SourceDescription(tuple(chunks))


def _parse_bye(count: int, body: bytes) -> Bye:
    _need(body, 4 * count, "BYE")
    sources = unpack_from(f"!{count}I", body)
    rest = body[4 * count :]
    if not rest:
        return Bye(sources)
    if 1 + rest[0] > len(rest):
        raise _malformed("BYE reason reaches beyond the packet")
    return Bye(sources, rest[1 : 1 + rest[0]])


def _parse_feedback(packet_type: int, fmt: int, body: bytes) -> RtcpPacket:
    _need(body, 8, "feedback")
    sender, media = unpack_from("!II", body)
    control = body[8:]
    match packet_type, fmt:
        case 205, 1:
            lost: dict[int, None] = {}
            for at in range(0, len(control), 4):
                first, following = unpack_from("!HH", control, at)
                lost[first] = None
                for bit in range(16):
                    if following >> bit & 1:
                        lost[(first + bit + 1) & 0xFFFF] = None
            return Nack(sender, media, tuple(lost))
        case 205, 15:
            return transport_feedback.parse(sender, media, control)
        case 206, 1 if not control:
            return PictureLossIndication(sender, media)
        case 206, 4:
            if len(control) % 8:
                raise _malformed(f"FIR of {len(control)} bytes")
            entries = tuple(
                (int.from_bytes(control[at : at + 4], "big"), control[at + 4])
                for at in range(0, len(control), 8)
            )
            return FullIntraRequest(sender, media, entries)
        case 206, 15 if control[:4] == b"REMB":
            _need(control, 8, "REMB")
            count, mantissa = control[4], int.from_bytes(control[5:8], "big")
            if len(control) != 8 + 4 * count:
                raise _malformed(f"REMB of {len(control)} bytes for {count} sources")
            bitrate = (mantissa & 0x3FFFF) << (mantissa >> 18)
            return Remb(sender, media, bitrate, unpack_from(f"!{count}I", control, 8))
    return UnknownPacket(packet_type, fmt, body)


def _serialize_one(packet: RtcpPacket) -> bytes:
    match packet:
        case SenderReport(ssrc, ntp, timestamp, sent, octets, reports, extension):
            head = pack("!IQIII", ssrc, ntp, timestamp, sent, octets)
            return _frame(SR, len(reports), head + _build_reports(reports) + extension)
        case ReceiverReport(ssrc, reports, extension):
            return _frame(RR, len(reports), pack("!I", ssrc) + _build_reports(reports) + extension)
        case SourceDescription(chunks):
            return _frame(SDES, len(chunks), b"".join(map(_build_chunk, chunks)))
        case Bye(sources, reason):
            body = pack(f"!{len(sources)}I", *sources)
            if reason is not None:
                body += _counted(reason)
            return _frame(BYE, len(sources), body + bytes(-len(body) % 4))
        case App(subtype, ssrc, name, data):
            if len(name) != 4:
                raise _malformed(f"APP name {name!r}")
            return _frame(APP, subtype, pack("!I", ssrc) + name + data)
        case UnknownPacket(packet_type, count, body):
            return _frame(packet_type, count, body)
    return _build_feedback(packet)


def _build_feedback(
    packet: Nack | TransportFeedback | PictureLossIndication | FullIntraRequest | Remb,
) -> bytes:
    head = pack("!II", packet.sender, packet.media)
    match packet:
        case Nack(lost=lost):
            return _frame(RTPFB, FMT_NACK, head + _build_nack(lost))
        case TransportFeedback():
            return _frame(RTPFB, FMT_TRANSPORT_CC, head + transport_feedback.build(packet))
        case PictureLossIndication():
            return _frame(PSFB, FMT_PLI, head)
        case FullIntraRequest(entries=entries):
            body = b"".join(pack("!IBxxx", ssrc, number) for ssrc, number in entries)
            return _frame(PSFB, FMT_FIR, head + body)
        case Remb(bitrate=bitrate, sources=sources):
            exponent = max(0, bitrate.bit_length() - 18)
            if exponent > 63 or len(sources) > 255:
                raise _malformed(f"REMB of {bitrate} bit/s for {len(sources)} sources")
            rate = (exponent << 18 | bitrate >> exponent).to_bytes(3, "big")
            body = b"REMB" + bytes((len(sources),)) + rate
            return _frame(PSFB, FMT_APPLICATION, head + body + pack(f"!{len(sources)}I", *sources))


def _frame(packet_type: int, count: int, body: bytes) -> bytes:
    if count > MAX_COUNT or len(body) % 4 or len(body) >> 2 > 0xFFFF:
        raise _malformed(f"type {packet_type} with {count} members, {len(body)} bytes")
    return pack("!BBH", VERSION << 6 | count, packet_type, len(body) >> 2) + body


def _counted(text: bytes) -> bytes:
    if len(text) > 255:
        raise _malformed(f"text of {len(text)} bytes")
    return bytes((len(text),)) + text


def _build_reports(reports: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        pack(
            "!IIIIII",
            report.ssrc,
            report.fraction_lost << 24 | report.lost & 0xFFFFFF,
            report.highest_sequence,
            report.jitter,
            report.last_sr,
            report.delay_since_last_sr,
        )
        for report in reports
    )


def _build_chunk(chunk: SdesChunk) -> bytes:
    body = pack("!I", chunk.ssrc)
    body += b"".join(bytes((item.type,)) + _counted(item.value) for item in chunk.items)
    return body + bytes(4 - len(body) % 4)


def _build_nack(lost: tuple[int, ...]) -> bytes:
    """Join sequence numbers that follow each other within 16 into one entry."""
    entries: list[list[int]] = []
    newest = 0
    for number in lost:
        ahead = (number - entries[-1][0]) & 0xFFFF if entries else 0
        if entries and newest < ahead <= 16:
            entries[-1][1] |= 1 << (ahead - 1)
            newest = ahead
        else:
            entries.append([number, 0])
            newest = 0
    return b"".join(pack("!HH", first, following) for first, following in entries)
