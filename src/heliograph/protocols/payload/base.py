"""What all payload formats share: access units, and how loss is seen in a run of packets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from heliograph.model.errors import MalformedError, PeerError, TooLargeError
from heliograph.protocols.rtp import MAX_MISORDER, RtpPacket, sequence_distance

#: 1 200 bytes of payload, 12 of RTP, 8 of UDP and 40 of IPv6 stay below 1 280, which every IPv6
#: link carries unfragmented, with 20 to spare for a header extension or SRTP's tag.
DEFAULT_PAYLOAD_SIZE = 1200
#: The least a packetizer accepts: below it headers outweigh the payload and some do not fit.
MIN_PAYLOAD_SIZE = 64
#: An unfinished unit may hold so much: half of a channel's ring (16 MiB), and many times a 4K
#: keyframe (1–2 MiB at 50 Mbit/s).
MAX_UNIT_SIZE = 8 << 20


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One frame, or one packet of audio, as a decoder takes it."""

    data: bytes
    """H.264/H.265: Annex B, four-byte start codes. AV1: OBUs with sizes. Else the codec's own."""
    timestamp: int
    """RTP timestamp of its presentation, 32 bits."""
    key: bool
    """Whether decoding can begin here; always for audio."""
    after_loss: bool = False
    """Whether something before this unit is missing."""


class Payload(NamedTuple):
    """One packet's payload, made by a packetizer."""

    data: bytes
    """At most the packetizer's ``max_size``."""
    marker: bool
    """The RTP marker bit."""
    timestamp_offset: int = 0
    """To add to the unit's timestamp: not 0 only where sampled audio is cut into packets."""


class Depacketizer(Protocol):
    """Makes access units of packets that come in the order of their sequence numbers."""

    def push(self, packet: RtpPacket) -> list[AccessUnit]:
        """Take the next packet; the units it completed.

        A unit of which a packet is missing is dropped and the next one says ``after_loss``. Raises
        ``PeerError`` (malformed, too large, not supported): then the unit at hand is dropped
        likewise, and the next packet can be pushed.
        """

    def flush(self) -> list[AccessUnit]:
        """The end has come: the unit at hand, if it can be taken for complete."""


class Packetizer(Protocol):
    """Makes RTP payloads of access units."""

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """The unit's payloads in order; none if there is nothing to send.

        Raises ``MalformedError`` if the unit is not of the codec.
        """


def check_payload_size(max_size: int) -> int:
    """Return ``max_size`` or raise ``ValueError``."""
    if not MIN_PAYLOAD_SIZE <= max_size <= 65_000:
        raise ValueError(f"a payload of at most {max_size} bytes (64 to 65 000)")
    return max_size


def pieces(data: bytes, size: int) -> list[bytes]:
    """Cut into as few pieces of at most ``size`` bytes as there must be, all of like length.

    Even pieces rather than full ones and a rest: a tiny last packet costs as much as a full one.
    """
    count = max(1, -(-len(data) // size))
    each = -(-len(data) // count) or 1
    return [data[at : at + each] for at in range(0, len(data), each)] or [b""]


class SequenceGuard:
    """Sees gaps and repetitions in a run of packets."""

    __slots__ = ("_next", "_ssrc")

    def __init__(self) -> None:
        self._next: int | None = None
        self._ssrc = 0

    def check(self, packet: RtpPacket) -> bool | None:
        """True: follows the last one. False: after a gap, or the first. None: late or repeated."""
        ahead = 1
        if self._next is not None and self._ssrc == packet.ssrc:
            ahead = sequence_distance(self._next, packet.sequence_number)
            if -MAX_MISORDER <= ahead < 0:
                return None
        self._next = (packet.sequence_number + 1) & 0xFFFF
        self._ssrc = packet.ssrc
        return ahead == 0

    @property
    def started(self) -> bool:
        """Whether a packet was seen."""
        return self._next is not None


class FrameAssembler(ABC):
    """Base of depacketizers whose unit spans packets of one timestamp, the last one marked.

    A format says what a packet adds (``_add``), whether a unit may begin with it after a gap
    (``_begins``), and what the unit is when it is whole (``_finish``).
    """

    protocol = "rtp"

    def __init__(self) -> None:
        self._guard = SequenceGuard()
        self._timestamp: int | None = None  # of the unit at hand
        self._skipping: int | None = None  # timestamp of a unit given up
        self._lost = False  # the next unit comes after a loss
        self._unsure = False  # a packet is missing before the next one that has a payload

    def push(self, packet: RtpPacket) -> list[AccessUnit]:
        """See ``Depacketizer.push``."""
        started = self._guard.started
        in_order = self._guard.check(packet)
        if in_order is None:
            return []
        if not in_order:
            self._unsure = True
            self._lost |= started
        units: list[AccessUnit] = []
        if self._timestamp is not None and (not in_order or self._timestamp != packet.timestamp):
            if in_order:  # a sender that marks nothing: the next timestamp ends the unit
                units += self._complete()
            elif self._timestamp == packet.timestamp:
                self._drop(packet.timestamp)
            else:  # its tail may be what is missing
                self._drop(None)
        if self._skipping is not None and self._skipping != packet.timestamp:
            self._skipping = None
        if packet.payload:  # else padding only: probing, keeps the numbers whole
            unsure, self._unsure = self._unsure, False
            self._take(packet, unsure)
        if packet.marker and self._timestamp is not None:
            units += self._complete()
        if packet.marker:
            self._skipping = None
        return units

    def flush(self) -> list[AccessUnit]:
        """See ``Depacketizer.flush``."""
        return self._complete() if self._timestamp is not None else []

    def _take(self, packet: RtpPacket, unsure: bool) -> None:
        if self._skipping is not None:
            return
        try:
            if self._timestamp is None:
                if unsure and not self._begins(packet.payload):
                    self._drop(packet.timestamp)
                    return
                self._timestamp = packet.timestamp
            if not self._add(packet.payload):
                self._drop(packet.timestamp)
                return
            if self._size() > MAX_UNIT_SIZE:
                raise TooLargeError(
                    f"{self.protocol}: a unit above {MAX_UNIT_SIZE} bytes", subject=self.protocol
                )
        except PeerError:
            self._drop(None if packet.marker else packet.timestamp)
            raise

    def _complete(self) -> list[AccessUnit]:
        timestamp, self._timestamp = self._timestamp, None
        assert timestamp is not None
        try:
            finished = self._finish()
        except MalformedError:
            self._lost = True
            raise
        finally:
            self._reset()
        if finished is None:
            self._lost = True
            return []
        data, key = finished
        if not data:
            return []
        unit = AccessUnit(data, timestamp, key, self._lost)
        self._lost = False
        return [unit]

    def _drop(self, skip: int | None) -> None:
        self._timestamp = None
        self._skipping = skip
        self._lost = True
        self._reset()

    def _malformed(self, reason: str) -> MalformedError:
        return MalformedError(self.protocol, reason)

    @abstractmethod
    def _begins(self, payload: bytes) -> bool:
        """Whether nothing of the unit can be missing before this payload."""

    @abstractmethod
    def _add(self, payload: bytes) -> bool:
        """Take a payload; False if the unit cannot be made whole."""

    @abstractmethod
    def _finish(self) -> tuple[bytes, bool] | None:
        """Data and key of the unit at hand; no data if there is nothing to decode in it.

        ``None`` if it is not whole.
        """

    @abstractmethod
    def _size(self) -> int:
        """Bytes the unit at hand occupies."""

    @abstractmethod
    def _reset(self) -> None:
        """Forget the unit at hand."""


class PacketUnits(ABC):
    """Base of depacketizers for audio: every packet stands alone, all units are key."""

    protocol = "rtp"

    def __init__(self) -> None:
        self._guard = SequenceGuard()
        self._lost = False
        self._unsure = False  # a packet is missing before the next one that has a payload

    def push(self, packet: RtpPacket) -> list[AccessUnit]:
        """See ``Depacketizer.push``."""
        started = self._guard.started
        in_order = self._guard.check(packet)
        if in_order is None:
            return []
        self._lost |= started and not in_order
        self._unsure |= not in_order
        if not packet.payload:  # padding only
            return []
        unsure, self._unsure = self._unsure, False
        try:
            units = self._units(packet, not unsure)
        except PeerError:
            self._lost = True
            raise
        made = []
        for data, offset in units:
            stamp = (packet.timestamp + offset) & 0xFFFFFFFF
            made.append(AccessUnit(data, stamp, True, self._lost))
            self._lost = False
        return made

    def flush(self) -> list[AccessUnit]:
        """See ``Depacketizer.flush``: nothing is ever held back."""
        return []

    @abstractmethod
    def _units(self, packet: RtpPacket, in_order: bool) -> list[tuple[bytes, int]]:
        """The packet's units, each with its distance from the packet's timestamp."""
