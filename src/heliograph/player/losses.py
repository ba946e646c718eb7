"""What one session lost and asks for again: by stream, or by node where several send. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from heliograph.player.arrivals import Arrival
from heliograph.player.retransmission import Counters, Request, Retransmission


class Losses:
    """The gaps of one session."""

    def __init__(
        self, streams: Iterable[int] = (), *, together: bool = False, margin: float = 0.0
    ) -> None:
        """``streams``: those whose sender answers. ``together``: nodes count what they send over
        all of them. ``margin``: see ``Retransmission``."""
        self._all = Retransmission(None, margin=margin) if together else None
        self._each = {} if together else {s: Retransmission(s, margin=margin) for s in streams}

    def arrived(self, arrival: Arrival, media: float, position: float) -> None:
        """A packet came. ``media``: its media time; ``position``: the one being played."""
        watched = self._all or self._each.get(arrival.stream)
        if watched is not None:
            watched.arrived(arrival.node, arrival.node_sequence, media, arrival.time, position)

    def requests(self, now: float, position: float) -> list[Request]:
        """What to ask for now."""
        if self._all is not None:
            return self._all.requests(now, position)
        return [one for each in self._each.values() for one in each.requests(now, position)]

    def of(self, stream: int) -> Counters | None:
        """Of a stream; ``None`` where nodes count over all, or nothing is asked for."""
        watched = self._each.get(stream)
        return None if watched is None else watched.counters

    def of_node(self, node: int) -> Counters:
        """Of a node that counts over all streams."""
        return Counters() if self._all is None else self._all.of(node)

    def clear(self, stream: int) -> None:
        """A stream begins elsewhere."""
        watched = self._all or self._each.get(stream)
        if watched is not None:
            watched.clear()
