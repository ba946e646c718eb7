"""How one of several servers is chosen: functions of what is known, exchangeable by name.

A policy gets the copies that may be used, never none, and says which it is. ``POLICIES`` has them
by the names that settings and titles use; ``docs/extend/policies.md`` tells how one is added.
Chance comes as ``draw``, numbers from 0 to below 1, so that a simulation can be repeated.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, permutations
from typing import TypeAlias
from zlib import crc32

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.conditions import closeness
from heliograph.dispatcher.fleet import Fleet, Member

#: How far above its share rendezvous lets a server be loaded (Mirrokni, Thorup, Zadimoghaddam:
#: Consistent Hashing with Bounded Loads, 2018).
BOUND = 1.25
#: Copies of a title of which all pairs are kept ready to be drawn: 56 pairs of eight.
MAX_PAIRED = 8
_PAIRS = tuple(tuple(permutations(range(count), 2)) for count in range(MAX_PAIRED + 1))
#: Regions of clients for which the nearest copies of a title are remembered.
MAX_REGIONS = 64


class Candidate:
    """One copy of a title on one server."""

    __slots__ = ("bps", "file", "line", "server", "uri")

    def __init__(self, file: int, server: Member, uri: str, bps: int) -> None:
        self.file = file
        """Id of the file."""
        self.server = server
        self.uri = uri
        self.bps = bps
        """What a player of it draws, bits a second, above 0."""
        self.line = b""
        """The header that names it; made for the first who is sent there."""


class Pool:
    """The copies of one title in one format that may be used now, one a server."""

    __slots__ = (
        "_by_capacity",
        "_by_weight",
        "_near",
        "_ranked",
        "candidates",
        "count",
        "format",
        "name",
        "turn",
    )

    def __init__(self, name: str, format: Format, candidates: Sequence[Candidate]) -> None:
        """``name``: of the title. ``candidates``: at least one."""
        self.name = name
        self.format = format
        self.candidates = tuple(candidates)
        self.count = len(self.candidates)
        self.turn = 0
        """Grows with each turn of round robin; 0: there was none yet."""
        self._by_capacity: list[float] | None = None
        self._by_weight: list[float] | None = None
        self._ranked: tuple[Candidate, ...] = ()
        self._near: dict[str, Pool] | None = None

    def next_turn(self) -> int:
        """Count a turn; titles begin with different numbers."""
        self.turn = (self.turn or crc32(self.name.encode())) + 1
        return self.turn

    def by_capacity(self) -> list[float]:
        """Running sums of the servers' capacities."""
        if self._by_capacity is None:
            self._by_capacity = [*accumulate(1 / one.server.inverse for one in self.candidates)]
        return self._by_capacity

    def by_weight(self) -> list[float]:
        """Running sums of the servers' weights."""
        if self._by_weight is None:
            self._by_weight = [*accumulate(one.server.weight for one in self.candidates)]
        return self._by_weight

    def ranked(self) -> tuple[Candidate, ...]:
        """The copies in the order of weighted rendezvous for the title."""
        if not self._ranked:
            self._ranked = tuple(
                sorted(self.candidates, key=lambda one: -score(self.name, one.server))
            )
        return self._ranked

    def near(self, region: str) -> Pool:
        """The copies nearest to a region; all, where none is nearer than others."""
        if self._near is None:
            self._near = {}
        found = self._near.get(region)
        if found is None:
            distances = [closeness(one.server.region, region) for one in self.candidates]
            best = max(distances)
            nearest = [
                one
                for one, distance in zip(self.candidates, distances, strict=True)
                if distance == best
            ]
            if len(self._near) >= MAX_REGIONS:
                self._near.clear()
            found = self._near[region] = Pool(self.name, self.format, nearest)
        return found


Draw: TypeAlias = Callable[[], float]
#: Chooses for a client of the region, empty where that is not known.
Policy: TypeAlias = Callable[[Pool, Fleet, str, Draw], Candidate]


def score(name: str, server: Member) -> float:
    """How much a server wants a title: highest wins (weighted rendezvous hashing).

    Servers get titles by their capacities, and one that comes or goes moves only its own.
    """
    digest = hashlib.blake2b(f"{name}\0{server.id}".encode(), digest_size=8).digest()
    drawn = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -1 / (server.inverse * math.log(drawn))


def least_response_time(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """The server that answers its monitor soonest: the paper's. Everybody goes to one."""
    return min(pool.candidates, key=_response)


def _response(one: Candidate) -> tuple[float, int]:
    return one.server.response, one.server.id


def round_robin(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """Each server in turn; titles begin at different ones."""
    return pool.candidates[pool.next_turn() % pool.count]


def weighted(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """By chance, in proportion to the servers' weights."""
    return pool.candidates[_drawn(pool.by_weight(), draw)]


def least_sessions(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """The server with the fewest sessions for its weight, as far as this dispatcher knows."""
    return min(pool.candidates, key=_sessions)


def _sessions(one: Candidate) -> tuple[float, int]:
    return one.server.sessions / one.server.weight, one.server.id


def power_of_two(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """The less loaded of two that are drawn by capacity (Mitzenmacher, 2001).

    The load is what is committed in relation to the capacity, decisions of the last moments
    included: those who decide at the same time do not all go to one.
    """
    count = pool.count
    if count == 1:
        return pool.candidates[0]
    if fleet.even and count <= MAX_PAIRED:
        pairs = _PAIRS[count]
        first, second = pairs[int(draw() * len(pairs))]
    elif fleet.even:
        first, second = divmod(int(draw() * count * (count - 1)), count - 1)
        second += second >= first
    else:
        sums = pool.by_capacity()
        first = _drawn(sums, draw)
        second = _drawn(sums, draw)  # also the same: most of all is for one that has most of all
    one, other = pool.candidates[first], pool.candidates[second]
    mine, others = one.server, other.server
    if mine.load * mine.inverse <= others.load * others.inverse:
        return one
    return other


def rendezvous(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """The same server for the same title, unless that carries too much: caches stay warm."""
    ranked = pool.ranked()
    for one in ranked:
        server, added = one.server, one.bps * fleet.scale
        most = BOUND * (fleet.total + added) / fleet.capacity
        if (server.load + added) * server.inverse <= most:
            return one
    return min(ranked, key=_load)


def _load(one: Candidate) -> float:
    return one.server.load * one.server.inverse


def nearest(pool: Pool, fleet: Fleet, region: str, draw: Draw) -> Candidate:
    """Of the servers that have most of the client's region in common, by power of two."""
    return power_of_two(pool.near(region), fleet, region, draw)


def _drawn(sums: list[float], draw: Draw) -> int:
    return min(bisect_right(sums, draw() * sums[-1]), len(sums) - 1)


POLICIES: dict[str, Policy] = {
    "power-of-two": power_of_two,
    "least-response-time": least_response_time,
    "round-robin": round_robin,
    "weighted": weighted,
    "least-sessions": least_sessions,
    "rendezvous": rendezvous,
    "nearest": nearest,
}
#: Where neither settings nor the title say another.
DEFAULT = "power-of-two"
