"""Packets as the player counts them: a place in the stream, and a place in what one node sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.protocols.bipartite import Mark
from heliograph.protocols.rtp import MAX_DROPOUT, RtpPacket, Unwrapper, sequence_distance


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet that came."""

    stream: int
    """Index of the stream among those played together."""
    number: int
    """Place in the stream, without wraps; what the buffer puts in order by."""
    node: int
    """Which node sent it; 0 where one server sends all."""
    node_sequence: int
    """Place in what that node sends, of this stream or of all, without wraps; gaps are losses."""
    packet: RtpPacket = field(repr=False)
    time: float
    """When it came: seconds of the player's clock."""
    again: bool = False
    """Whether the sender marked it as a retransmission."""


class Numbering:
    """Numbers the packets of one stream that comes from one server, by RTP's sequence numbers."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._unwrapper = Unwrapper.sequence()
        self._offset = 0
        self._newest: int | None = None
        self._wild: int | None = None
        self.restarts = 0
        """Times the source began to count anew."""
        self.strays = 0
        """Packets too far off to be of this stream; one of each restart is among them."""

    def number(self, packet: RtpPacket, now: float) -> Arrival | None:
        """``None`` for a packet whose number is far off, until the next one confirms it.

        After a restart numbers go on behind the highest one, so that order is kept.
        """
        sequence = packet.sequence_number
        if self._newest is None:
            number = self._newest = self._unwrapper.extend(sequence)
        else:
            ahead = sequence_distance((self._newest - self._offset) & 0xFFFF, sequence)
            if abs(ahead) < MAX_DROPOUT:
                number = self._unwrapper.extend(sequence) + self._offset
            elif self._wild is not None and (sequence - self._wild) & 0xFFFF == 1:
                self.restarts += 1
                self._unwrapper = Unwrapper.sequence()
                self._offset = self._newest + 1 - self._unwrapper.extend(sequence)
                number = self._newest + 1
            else:
                self._wild = sequence
                self.strays += 1
                return None
        self._wild = None
        self._newest = max(self._newest, number)
        return Arrival(self._stream, number, 0, number, packet, now)


class SharedNumbering:
    """Numbers the packets of one session that several nodes send.

    In a stream they go by RTP's sequence numbers, which are the title's and do not restart: packets
    of different nodes come interleaved, and by some hundred milliseconds out of order.
    """

    def __init__(self) -> None:
        self._streams: dict[int, Unwrapper] = {}
        self._nodes: dict[int, Unwrapper] = {}

    def number(self, stream: int, packet: RtpPacket, mark: Mark, now: float) -> Arrival:
        """A packet of a node that is known to send."""
        streams = self._streams.setdefault(stream, Unwrapper.sequence())
        nodes = self._nodes.setdefault(mark.node, Unwrapper(32))
        number = streams.extend(packet.sequence_number)
        return Arrival(stream, number, mark.node, nodes.extend(mark.sent), packet, now)

    def begin(self, stream: int, sequence: int) -> int:
        """The number of what a stream begins with, before anything of it came."""
        return self._streams.setdefault(stream, Unwrapper.sequence()).extend(sequence)

    def restart(self) -> None:
        """After a seek places in the streams are others; nodes count on."""
        self._streams.clear()

    def forget(self, node: int) -> None:
        """It does not send any more."""
        self._nodes.pop(node, None)
