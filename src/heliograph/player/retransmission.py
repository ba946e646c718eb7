"""Selective retransmission: what is missing is asked for once, where it can still be in time. Pure.

Each node numbers what it sends, of a stream or of all together; a gap in these numbers is a loss,
and tells whom to ask (Yima-2). Whether an answer can be in time is judged by the round trip
measured to that node, and by how far the playout is from the place of the loss.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

#: Seconds of round trip to begin with, where nothing was measured.
FIRST_ROUND_TRIP = 0.1
#: Seconds added to a round trip that never varied: event loops are not more exact.
GRAIN = 0.005
#: A gap must stay open for so long before it is called a loss: packets of one node overtake each
#: other by less on real paths.
PATIENCE = 0.01
#: Numbers of one node that are watched at once: a second of 5 Mbit/s.
MAX_MISSING = 512
#: A gap of more is an outage or a restart; asking for it would add load where there is too much.
MAX_GAP = 256
#: Nodes that may send one session, those included that were started anew.
MAX_NODES = 256
#: Media times of a node's packets that are further apart, in seconds, belong to different blocks:
#: it is not known to which of both a packet between them belongs.
BLOCK_STEP = 0.5
#: Numbers in one request: a generic NACK with 16 fields (RFC 4585 §6.2.1) names as many.
MAX_IN_REQUEST = 64
#: Retransmissions asked for are remembered so long for counting what comes; seconds.
MEMORY = 10.0


class RoundTrip:
    """Estimate of the round trip as RFC 6298 makes it for TCP: mean and deviation, smoothed."""

    __slots__ = ("_deviation", "_mean", "samples")

    def __init__(self) -> None:
        self._mean = FIRST_ROUND_TRIP
        self._deviation = FIRST_ROUND_TRIP / 2
        self.samples = 0

    def update(self, seconds: float) -> None:
        """An answer came after so many seconds."""
        if seconds < 0:
            return
        if not self.samples:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(self._mean - seconds) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8
        self.samples += 1

    @property
    def mean(self) -> float:
        """Seconds."""
        return self._mean

    @property
    def bound(self) -> float:
        """Seconds within which an answer comes almost surely (RFC 6298: mean + 4 deviations)."""
        return self._mean + max(GRAIN, 4 * self._deviation)


@dataclass(frozen=True, slots=True)
class Request:
    """Ask ``node`` to send these numbers of its own count once more."""

    stream: int | None
    """``None`` where it counts over all streams."""
    node: int
    sequences: tuple[int, ...]


@dataclass(slots=True)
class Counters:
    """What became of losses. ``lost`` = asked + hopeless + those that wait still."""

    lost: int = 0
    """Numbers that stayed missing beyond the patience."""
    reordered: int = 0
    """Came out of order before they were called lost."""
    asked: int = 0
    recovered: int = 0
    """Asked for, and came in time."""
    late: int = 0
    """Asked for, and came too late."""
    hopeless: int = 0
    """Not asked for, since no answer could be in time."""
    dropped: int = 0
    """Not asked for, since too many were missing at once."""


@dataclass(slots=True)
class _Node:
    highest: int | None = None
    due: float = 0.0  # media time of the highest
    counters: Counters = field(default_factory=Counters)
    round_trip: RoundTrip = field(default_factory=RoundTrip)
    missing: OrderedDict[int, tuple[float, float]] = field(default_factory=OrderedDict)
    # number -> (when it was noticed, media time by which it is needed)
    asked: OrderedDict[int, tuple[float, float]] = field(default_factory=OrderedDict)
    # number -> (when it was asked for, media time)


class Retransmission:
    """The losses of one stream, or of all that nodes count together."""

    def __init__(
        self, stream: int | None, *, patience: float = PATIENCE, margin: float = 0.0
    ) -> None:
        """``margin``: seconds an answer must be here before it is played, for the decoder."""
        self.stream = stream
        self._patience = patience
        self._margin = margin
        self._nodes: dict[int, _Node] = {}

    def arrived(self, node: int, sequence: int, due: float, now: float, position: float) -> None:
        """A packet came. ``due``: its media time; ``position``: media time being played."""
        known = self._nodes.get(node)
        if known is None:
            if len(self._nodes) >= MAX_NODES:
                return
            known = self._nodes[node] = _Node()
        if known.highest is None:
            known.highest, known.due = sequence, due
        elif sequence > known.highest:
            self._gap(known, known.highest + 1, sequence, due, now)
            known.highest, known.due = sequence, due
        elif sequence in known.missing:
            del known.missing[sequence]
            known.counters.reordered += 1
        elif sequence in known.asked:
            asked_at, _ = known.asked.pop(sequence)
            known.round_trip.update(now - asked_at)
            if due - position >= self._margin:
                known.counters.recovered += 1
            else:
                known.counters.late += 1

    def _gap(self, node: _Node, first: int, sequence: int, due: float, now: float) -> None:
        counters, count = node.counters, sequence - first
        if count > MAX_GAP:
            counters.lost += count
            counters.dropped += count
            return
        # Needed no sooner than what came before it: the safe side. Between two blocks of a node,
        # where others have sent meanwhile, that would give up what opens the second one.
        needed = node.due if due - node.due < BLOCK_STEP else due
        for number in range(first, sequence):
            if len(node.missing) >= MAX_MISSING:
                node.missing.popitem(last=False)
                counters.lost += 1
                counters.dropped += 1
            node.missing[number] = (now, needed)

    def requests(self, now: float, position: float) -> list[Request]:
        """What to ask for now. ``position``: media time being played, which runs at 1."""
        made = []
        for name, node in self._nodes.items():
            wanted = []
            for number, (noticed, due) in list(node.missing.items()):
                if now - noticed < self._patience:
                    break  # those behind were noticed no sooner
                del node.missing[number]
                node.counters.lost += 1
                if due - position - self._margin < node.round_trip.bound:
                    node.counters.hopeless += 1
                    continue
                wanted.append(number)
                node.asked[number] = (now, due)
            node.counters.asked += len(wanted)
            for at in range(0, len(wanted), MAX_IN_REQUEST):
                chosen = tuple(wanted[at : at + MAX_IN_REQUEST])
                made.append(Request(self.stream, name, chosen))
            self._forget(node, now)
        return made

    def _forget(self, node: _Node, now: float) -> None:
        while node.asked:
            number, (asked_at, _) = next(iter(node.asked.items()))
            if now - asked_at < MEMORY and len(node.asked) <= MAX_MISSING:
                break
            del node.asked[number]

    @property
    def counters(self) -> Counters:
        """Of all nodes."""
        total = Counters()
        for node in self._nodes.values():
            for name in Counters.__slots__:
                setattr(total, name, getattr(total, name) + getattr(node.counters, name))
        return total

    def of(self, node: int) -> Counters:
        """Of one node."""
        known = self._nodes.get(node)
        return Counters() if known is None else known.counters

    @property
    def waiting(self) -> int:
        """Gaps not yet called lost."""
        return sum(len(node.missing) for node in self._nodes.values())

    def timer(self) -> float | None:
        """When ``requests`` has something to decide next."""
        firsts = [
            next(iter(node.missing.values()))[0] for node in self._nodes.values() if node.missing
        ]
        return min(firsts) + self._patience if firsts else None

    def clear(self) -> None:
        """Forget gaps: after a seek numbers begin elsewhere, or what is missing is of the past."""
        for node in self._nodes.values():
            node.highest = None
            node.missing.clear()
            node.asked.clear()
