"""RTP: the packet, its header extensions, and the arithmetic of its wrapping numbers.

RFC 3550 (packet, loss, jitter), RFC 8285 (header extensions), RFC 5761 (telling RTCP apart).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct, pack, unpack_from
from typing import NamedTuple

from heliograph.model.errors import MalformedError

VERSION = 2
#: Version, padding, extension, CSRC count, marker, payload type; sequence, timestamp, SSRC.
HEADER = Struct("!BBHII")
#: RFC 8285 §4.2: the profile word that announces elements with a one-byte header.
ONE_BYTE = 0xBEDE
#: RFC 8285 §4.3: 12 bits fixed, the lower four are for the application.
TWO_BYTE = 0x1000
#: RFC 3550 §5.1: the CSRC count has four bits.
MAX_CSRC = 15
#: RFC 3550 §5.1: the padding count is one byte and counts itself.
MAX_PADDING = 255

#: RFC 3550 A.1: a jump ahead by more is taken for a restarted source, not for loss.
MAX_DROPOUT = 3000
#: RFC 3550 A.1: a packet this far behind is late; further behind the source was restarted.
MAX_MISORDER = 100
#: RFC 3550 §6.4.1: the cumulative number lost is a signed 24-bit field.
MAX_LOST = (1 << 23) - 1
MIN_LOST = -(1 << 23)


class HeaderExtension(NamedTuple):
    """One element of RFC 8285."""

    id: int
    """1–14 with a one-byte header, 1–255 with a two-byte one; SDP ``extmap`` gives its meaning."""
    data: bytes
    """1–16 bytes with a one-byte header, 0–255 with a two-byte header."""


def _malformed(reason: str, offset: int | None = None) -> MalformedError:
    return MalformedError("rtp", reason, offset=offset)


def parse_extensions(profile: int, data: bytes) -> tuple[HeaderExtension, ...]:
    """Take the elements out of an extension of RFC 8285; none if the profile is another's.

    Raises ``MalformedError`` when an element reaches beyond the extension.
    """
    one_byte = profile == ONE_BYTE
    if not one_byte and profile & 0xFFF0 != TWO_BYTE:
        return ()
    found = []
    at, end = 0, len(data)
    while at < end:
        if data[at] == 0:  # padding between elements
            at += 1
            continue
        if one_byte:
            identity, length = data[at] >> 4, (data[at] & 15) + 1
            if identity == 15:  # RFC 8285 §4.2: reserved, stop reading here
                break
            at += 1
        else:
            if at + 2 > end:
                raise _malformed("header extension element without length", at)
            identity, length = data[at], data[at + 1]
            at += 2
        if at + length > end:
            raise _malformed("header extension element reaches beyond the extension", at)
        if identity:  # an id of 0 with a length is padding in a one-byte extension
            found.append(HeaderExtension(identity, data[at : at + length]))
        at += length
    return tuple(found)


def build_extensions(elements: Iterable[HeaderExtension]) -> tuple[int, bytes]:
    """Profile and padded body for ``elements``: one-byte headers if all fit, else two-byte ones."""
    elements = tuple(elements)
    one_byte = all(1 <= e.id <= 14 and 1 <= len(e.data) <= 16 for e in elements)
    body = bytearray()
    for element in elements:
        if one_byte:
            body.append(element.id << 4 | len(element.data) - 1)
        elif 1 <= element.id <= 255 and len(element.data) <= 255:
            body += bytes((element.id, len(element.data)))
        else:
            raise _malformed(f"header extension {element.id} of {len(element.data)} bytes")
        body += element.data
    body += bytes(-len(body) % 4)
    return (ONE_BYTE if one_byte else TWO_BYTE), bytes(body)


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One RTP packet (RFC 3550 §5.1)."""

    payload_type: int
    """0–127; SDP gives its meaning."""
    sequence_number: int
    """0–65 535, one more for every packet sent, wraps."""
    timestamp: int
    """Sampling instant in clock-rate units, 32 bits, wraps, starts anywhere."""
    ssrc: int
    """Who sends: 32 bits, random."""
    payload: bytes = b""
    """What the payload format defines; without padding."""
    marker: bool = False
    """For video the last packet of a frame; for audio the first one after silence."""
    csrc: tuple[int, ...] = ()
    """Contributing sources, at most 15."""
    extension_profile: int | None = None
    """The 16 bits that say what the header extension is; ``None`` without an extension."""
    extension_data: bytes = b""
    """The extension's body as on the wire, a multiple of 4 bytes."""
    padding_size: int = 0
    """Bytes of padding behind the payload, the count included, 0–255."""
    version: int = VERSION
    """Always 2."""

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Read a datagram. Raises ``MalformedError``, nothing else.

        ``serialize`` gives the same bytes again, but for the padding's content, which RFC 3550
        tells receivers to ignore and which is written as zeros.
        """
        if len(data) < HEADER.size:
            raise _malformed(f"{len(data)} bytes are less than a header")
        first, second, sequence_number, timestamp, ssrc = HEADER.unpack_from(data)
        if first >> 6 != VERSION:
            raise _malformed(f"version {first >> 6}", 0)
        at = HEADER.size + 4 * (first & 15)
        if at > len(data):
            raise _malformed("truncated within the contributing sources", HEADER.size)
        csrc = unpack_from(f"!{first & 15}I", data, HEADER.size)
        profile: int | None = None
        extension = b""
        if first & 0x10:
            if at + 4 > len(data):
                raise _malformed("truncated within the extension's header", at)
            profile, words = unpack_from("!HH", data, at)
            start = at + 4
            at = start + 4 * words
            if at > len(data):
                raise _malformed("the extension reaches beyond the packet", start)
            extension = data[start:at]
        padding = 0
        if first & 0x20:
            padding = data[-1]
            if not 1 <= padding <= len(data) - at:
                raise _malformed(f"padding of {padding} bytes", len(data) - 1)
        return cls(
            payload_type=second & 0x7F,
            sequence_number=sequence_number,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=data[at : len(data) - padding],
            marker=second & 0x80 != 0,
            csrc=csrc,
            extension_profile=profile,
            extension_data=extension,
            padding_size=padding,
        )

    def serialize(self) -> bytes:
        """The packet as it goes on the wire; ``MalformedError`` for what cannot be written."""
        if len(self.csrc) > MAX_CSRC or not 0 <= self.padding_size <= MAX_PADDING:
            raise _malformed(f"{len(self.csrc)} sources, {self.padding_size} bytes of padding")
        first = VERSION << 6 | len(self.csrc)
        parts = [b"", pack(f"!{len(self.csrc)}I", *self.csrc)]
        if self.extension_profile is not None:
            if len(self.extension_data) % 4 or len(self.extension_data) >> 2 > 0xFFFF:
                raise _malformed(f"header extension of {len(self.extension_data)} bytes")
            first |= 0x10
            parts.append(pack("!HH", self.extension_profile, len(self.extension_data) >> 2))
            parts.append(self.extension_data)
        parts.append(self.payload)
        if self.padding_size:
            first |= 0x20
            parts.append(bytes(self.padding_size - 1) + bytes((self.padding_size,)))
        parts[0] = HEADER.pack(
            first,
            (0x80 if self.marker else 0) | self.payload_type,
            self.sequence_number,
            self.timestamp,
            self.ssrc,
        )
        return b"".join(parts)

    @property
    def extensions(self) -> tuple[HeaderExtension, ...]:
        """The elements of RFC 8285; raises ``MalformedError`` if the extension is ill-formed."""
        if self.extension_profile is None:
            return ()
        return parse_extensions(self.extension_profile, self.extension_data)


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram on a shared port is RTCP (RFC 5761 §4: second byte 192–223)."""
    return len(data) >= 2 and data[0] >> 6 == VERSION and 192 <= data[1] <= 223


def sequence_distance(a: int, b: int) -> int:
    """How far sequence number ``b`` is ahead of ``a``, −32 768 to 32 767."""
    return ((b - a + 0x8000) & 0xFFFF) - 0x8000


def timestamp_distance(a: int, b: int) -> int:
    """How far timestamp ``b`` is ahead of ``a``, −2³¹ to 2³¹ − 1."""
    return ((b - a + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class Unwrapper:
    """Makes a wrapping counter continuous: each value is taken as the nearest to the newest one.

    The first value is returned as it is, so what was reordered before it may come out negative.
    """

    __slots__ = ("_half", "_mask", "_newest")

    def __init__(self, bits: int) -> None:
        self._half = 1 << (bits - 1)
        self._mask = (1 << bits) - 1
        self._newest: int | None = None

    @classmethod
    def sequence(cls) -> Unwrapper:
        """For sequence numbers (16 bits)."""
        return cls(16)

    @classmethod
    def timestamp(cls) -> Unwrapper:
        """For timestamps (32 bits)."""
        return cls(32)

    def extend(self, value: int) -> int:
        """The continuous number of ``value``."""
        if self._newest is None:
            self._newest = value
            return value
        distance = ((value - self._newest + self._half) & self._mask) - self._half
        extended = self._newest + distance
        if distance > 0:
            self._newest = extended
        return extended


class JitterEstimator:
    """Interarrival jitter as RFC 3550 A.8 computes it."""

    __slots__ = ("_clock_rate", "_jitter", "_transit")

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._jitter = 0.0
        self._transit: int | None = None

    def update(self, now: float, timestamp: int) -> None:
        """A packet with this timestamp arrived at ``now`` (seconds)."""
        transit = (int(now * self._clock_rate) - timestamp) & 0xFFFFFFFF
        if self._transit is not None:
            difference = abs(timestamp_distance(self._transit, transit))
            self._jitter += (difference - self._jitter) / 16
        self._transit = transit

    @property
    def jitter(self) -> int:
        """In timestamp units, as a receiver report carries it."""
        return min(int(self._jitter), 0xFFFFFFFF)

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self._jitter / self._clock_rate


class LossAccount:
    """What was expected, what came (RFC 3550 A.1, A.3); without A.1's probation of new sources."""

    __slots__ = (
        "_bad",
        "_base",
        "_cycles",
        "_expected_prior",
        "_highest",
        "_misorder",
        "_received_prior",
        "received",
    )

    received: int
    """Packets that came, duplicates and late ones included, since the source (re)started."""

    def __init__(self, misorder: int = MAX_MISORDER) -> None:
        """``misorder``: how far behind a packet may come, below 2¹⁶ − ``MAX_DROPOUT``."""
        self._misorder = misorder
        self._base: int | None = None
        self._restart(0)
        self._base = None

    def _restart(self, sequence_number: int) -> None:
        self._base = self._highest = sequence_number
        self._cycles = 0
        self._bad: int | None = None
        self.received = 0
        self._expected_prior = self._received_prior = 0

    def update(self, sequence_number: int) -> bool:
        """Count a packet; False if it is too far off to be of this sequence (and was not counted).

        Two packets in a row after a wild jump are a restarted source, and counting starts anew.
        """
        if self._base is None:
            self._restart(sequence_number)
        ahead = (sequence_number - self._highest) & 0xFFFF
        if ahead < MAX_DROPOUT:
            if sequence_number < self._highest:
                self._cycles += 0x10000
            self._highest = sequence_number
        elif ahead <= 0x10000 - self._misorder:
            if sequence_number != self._bad:
                self._bad = (sequence_number + 1) & 0xFFFF
                return False
            self._restart(sequence_number)
        self.received += 1
        return True

    @property
    def extended_highest(self) -> int:
        """Highest sequence number with the wraps counted in its upper 16 bits."""
        return self._cycles + self._highest

    @property
    def expected(self) -> int:
        """Packets there should have been."""
        return 0 if self._base is None else self.extended_highest - self._base + 1

    @property
    def lost(self) -> int:
        """Expected less received; negative with duplicates; clamped to a report's 24 bits."""
        return max(MIN_LOST, min(MAX_LOST, self.expected - self.received))

    def fraction_lost(self) -> int:
        """Loss since the last call in 1/256, as in a report block; starts a new interval."""
        expected = self.expected - self._expected_prior
        lost = expected - (self.received - self._received_prior)
        self._expected_prior, self._received_prior = self.expected, self.received
        return 0 if expected <= 0 or lost <= 0 else min(255, (lost << 8) // expected)
