"""Who may not write in a chat: authors, and with a guest the network it came from.

A guest can be a new one with a click; so while a guest is muted, all guests of its network are.
Networks are words that tell no address, and empty where the address says nothing (a proxy's).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class Mutes:
    """Bounded: the oldest goes for a new one."""

    def __init__(self, limit: int, past: Iterable[tuple[str, str, float | None]] = ()) -> None:
        """``past``: authors, their networks, and until when (seconds since 1970; None: always)."""
        self._limit = limit
        self._authors: OrderedDict[str, tuple[str, float | None]] = OrderedDict()
        self._nets: dict[str, set[str]] = {}
        for author, net, until in past:
            self.add(author, net, until)

    def __len__(self) -> int:
        return len(self._authors)

    def add(self, author: str, net: str, until: float | None) -> str:
        """Mute; the network it is kept with, which is the first one until it is unmuted."""
        if author in self._authors:
            net = self._authors[author][0]
            self.remove(author)
        while len(self._authors) >= self._limit:
            self.remove(next(iter(self._authors)))
        self._authors[author] = (net, until)
        if net:
            self._nets.setdefault(net, set()).add(author)
        return net

    def remove(self, author: str) -> str | None:
        """Unmute; the network it was muted with, None where it was not muted."""
        if author not in self._authors:
            return None
        net, _ = self._authors.pop(author)
        if net:
            self._nets[net].discard(author)
            if not self._nets[net]:
                del self._nets[net]
        return net

    def until(self, author: str, net: str, now: float) -> float | None:
        """Until when an author may not write; infinity: until unmuted; None: it may.

        ``net`` is given for guests only: who has an account answers for himself.
        """
        ends = [self._end(one, now) for one in (author, *self._nets.get(net, ()))]
        return max((end for end in ends if end is not None), default=None)

    def _end(self, author: str, now: float) -> float | None:
        if author not in self._authors:
            return None
        until = self._authors[author][1]
        if until is None:
            return float("inf")
        if until <= now:
            self.remove(author)
            return None
        return until
