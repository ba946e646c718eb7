"""Who sends a session: whose packets are taken, how they are numbered, whom to ask. Pure.

One server, or several nodes of a volume (``docs/wire/bipartite.md``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from heliograph.model.errors import MalformedError
from heliograph.player.arrivals import Arrival, Numbering, SharedNumbering
from heliograph.player.retransmission import Request
from heliograph.protocols import bipartite, rtcp
from heliograph.protocols.rtp import RtpPacket
from heliograph.protocols.rtsp.sharing import MAX_NODES, Node, Nodes

Address = tuple[str, int]
"""Host and port."""

#: Packets that one of several nodes may be behind the others: five seconds of 45 Mbit/s. More
#: cannot be told from a wrap of the sequence numbers.
MISORDER = 24_000
#: Packets that a path may lose at the end of what a node sends for a while, so that its count does
#: not tell: a burst. Of a block, more are missing.
MOST_UNSEEN = 8
#: Seconds for which gaps in nodes' counts explain what is missing: what a player has buffered.
LATELY = 15.0


class Senders(Protocol):
    """What a feed asks of them."""

    @property
    def shared(self) -> bool:
        """Whether they are several."""
        ...

    def knows(self, address: Address | None, *, control: bool) -> bool:
        """Whether a datagram from there is taken; ``None``: it came within the connection."""
        ...

    def arrival(
        self, stream: int, packet: RtpPacket, address: Address | None, now: float
    ) -> Arrival | None:
        """Number a packet; ``None``: leave it out; ``MalformedError``: it is not the session's."""
        ...

    def goodbye(self, stream: int, address: Address | None) -> None:
        """Nothing more comes of a stream, from there."""
        ...

    @property
    def finished(self) -> bool:
        """Whether all have said so."""
        ...

    def restart(self) -> None:
        """Media begin elsewhere."""
        ...

    def begin(self, stream: int, sequence: int) -> int | None:
        """The number of the packet that a stream begins with then, where all of it is to come;
        ``None``: with whichever comes first."""
        ...

    def reported_to(self) -> tuple[Address | None, ...]:
        """Where reports go; ``None``: where the server said at SETUP."""
        ...

    def asked_at(self, request: Request) -> Address | None:
        """Where a request goes, likewise."""
        ...

    def question(self, own: int, ssrc: int, request: Request) -> rtcp.RtcpPacket:
        """What a request says. ``own``, ``ssrc``: who asks for packets of whom."""
        ...


class Single:
    """One server sends all."""

    shared = False

    def __init__(self, host: str, streams: Collection[int]) -> None:
        """``host``: the server's address, whatever the ports."""
        self._host = host
        self._numberings = {stream: Numbering(stream) for stream in streams}
        self._ended: set[int] = set()

    def knows(self, address: Address | None, *, control: bool) -> bool:
        return address is None or address[0] == self._host

    def arrival(
        self, stream: int, packet: RtpPacket, address: Address | None, now: float
    ) -> Arrival | None:
        return self._numberings[stream].number(packet, now)

    def goodbye(self, stream: int, address: Address | None) -> None:
        self._ended.add(stream)

    @property
    def finished(self) -> bool:
        return self._ended >= self._numberings.keys()

    def restart(self) -> None:
        self._ended.clear()
        self._numberings = {stream: Numbering(stream) for stream in self._numberings}

    def begin(self, stream: int, sequence: int) -> int | None:
        return None

    def reported_to(self) -> tuple[Address | None, ...]:
        return (None,)

    def asked_at(self, request: Request) -> Address | None:
        return None

    def question(self, own: int, ssrc: int, request: Request) -> rtcp.RtcpPacket:
        lost = tuple(number & 0xFFFF for number in request.sequences)
        return rtcp.Nack(own, ssrc, lost)


@dataclass(slots=True)
class Sent:
    """What came from one node."""

    packets: int = 0
    first: int = 0
    highest: int = 0
    """By its own count, without wraps."""
    ended: bool = False
    since_start: bool = False
    """Whether it has sent since media began, or began elsewhere."""

    @property
    def missing(self) -> int:
        """Packets that did not come, or not yet."""
        return max(0, self.highest - self.first + 1 - self.packets) if self.packets else 0


class Shared:
    """Several nodes, each of which sends its own blocks."""

    shared = True

    def __init__(self, extensions: Mapping[int, int]) -> None:
        """``extensions``: by stream, the id of the extension that tells nodes apart."""
        self._extensions = dict(extensions)
        self._numbering = SharedNumbering()
        self._sources: frozenset[tuple[Address, int]] = frozenset()
        self._rtp: frozenset[Address] = frozenset()
        self._rtcp: dict[Address, int] = {}
        self._past: tuple[Node, ...] = ()
        self.nodes: tuple[Node, ...] = ()
        """As they were told last."""
        self.sent: dict[int, Sent] = {}
        """By number."""
        self._lost: deque[tuple[float, int]] = deque()  # when gaps were seen, and of how many
        self._lately = 0  # the sum of these

    def told(self, nodes: Nodes) -> None:
        """These send. Nodes told before are heard on: they may not have learned of it yet, or be
        away for the one that tells and not for us."""
        present = {node.number for node in nodes.nodes}
        before = [node for node in (*self._past, *self.nodes) if node.number not in present]
        self.nodes, self._past = nodes.nodes, tuple(before[-MAX_NODES:])
        heard = (*self._past, *self.nodes)
        self._sources = frozenset(((n.host, n.rtp), n.number) for n in heard)
        self._rtp = frozenset((n.host, n.rtp) for n in heard)
        self._rtcp = {(n.host, n.rtcp): n.number for n in heard}
        known = {node.number for node in heard}
        for number in [one for one in self.sent if one not in known]:
            del self.sent[number]
            self._numbering.forget(number)

    def knows(self, address: Address | None, *, control: bool) -> bool:
        return address in self._rtcp if control else address in self._rtp

    def arrival(
        self, stream: int, packet: RtpPacket, address: Address | None, now: float
    ) -> Arrival | None:
        mark = bipartite.mark_of(packet, self._extensions[stream])
        if address is None or (address, mark.node) not in self._sources:
            raise MalformedError("rtp", f"a packet of node {mark.node} from elsewhere")
        arrival = self._numbering.number(stream, packet, mark, now)
        sent = self.sent.get(mark.node)
        number = arrival.node_sequence
        if sent is None:
            sent = self.sent[mark.node] = Sent(first=number, highest=number)
        elif number > sent.highest:
            sent.ended = False  # another node's blocks were given to it after its last one
            if number > sent.highest + 1:
                self._lost.append((now, number - sent.highest - 1))
                self._lately += number - sent.highest - 1
        sent.packets += 1
        sent.first, sent.highest = min(sent.first, number), max(sent.highest, number)
        sent.since_start = True
        return arrival

    def goodbye(self, stream: int, address: Address | None) -> None:
        number = None if address is None else self._rtcp.get(address)
        if number in self.sent:
            self.sent[number].ended = True

    @property
    def finished(self) -> bool:
        those = [self.sent[node.number] for node in self.nodes if node.number in self.sent]
        those = [one for one in those if one.since_start]
        return bool(those) and all(one.ended for one in those)

    def restart(self) -> None:
        self._numbering.restart()
        for one in self.sent.values():
            one.ended = one.since_start = False

    def begin(self, stream: int, sequence: int) -> int | None:
        return self._numbering.begin(stream, sequence)

    def tolerates(self, now: float) -> int:
        """Packets of a stream that may be missing in a row by what paths lose. More are a node's
        that is late: another sends them once its death is known."""
        while self._lost and now - self._lost[0][0] > LATELY:
            self._lately -= self._lost.popleft()[1]
        return MOST_UNSEEN + self._lately

    def reported_to(self) -> tuple[Address | None, ...]:
        return tuple((node.host, node.rtcp) for node in self.nodes)

    def asked_at(self, request: Request) -> Address | None:
        heard = (*self.nodes, *self._past)
        return next(((n.host, n.rtcp) for n in heard if n.number == request.node), None)

    def question(self, own: int, ssrc: int, request: Request) -> rtcp.RtcpPacket:
        return bipartite.ask_again(own, request.sequences)
