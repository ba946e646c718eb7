"""The servers as policies see them: how they answer, what they were given lately."""

from __future__ import annotations

import math
from collections.abc import Mapping

from heliograph.catalogue.contents.values import Condition, Server, ServerState
from heliograph.dispatcher.conditions import alive
from heliograph.dispatcher.doors import MAKE

#: Seconds in which what a decision committed decays to 37 %: people stay some minutes.
DECAY_S = 300.0
#: Bits a second taken for a file of which it is not known.
USUAL_BPS = 2_000_000
#: Bits a second taken for all servers where no capacity is known.
USUAL_CAPACITY = 1_000_000_000
#: Seconds from a server's return to its full share, unless it is said otherwise.
SLOW_START_S = 30.0
#: Share that it has at first.
FIRST_SHARE = 0.1
#: Growth of the measure of loads at which they are counted in another one.
MAX_SCALE = 1e9


class Member:
    """A server in use."""

    __slots__ = (
        "alive",
        "id",
        "inverse",
        "limit",
        "load",
        "name",
        "ours",
        "region",
        "response",
        "sessions",
        "share",
        "usable",
        "weight",
        "withdrawn",
    )

    def __init__(self, server: Server) -> None:
        self.id = server.id
        self.load = 0.0
        """Bits a second committed and not decayed yet, in the fleet's measure."""
        self.sessions = 0.0
        """The same of sessions."""
        self.alive = False
        """Whether it answers."""
        self.usable = False
        """Whether somebody new may be sent there."""
        self.share = 1.0
        """Of what it would get, 0 to 1: slow start."""
        self.response = math.inf
        """Smoothed response time, ms."""
        self.inverse = 1.0
        """1 by its capacity, in that of the mean."""
        self.describe(server)

    def describe(self, server: Server) -> None:
        """Take what the catalogue says of it."""
        self.name = server.name
        self.region = server.region
        self.weight = server.weight
        self.limit = server.max_sessions
        """Sessions at a time; 0: no bound."""
        self.withdrawn = server.drained or not server.enabled
        """Whether somebody decided that it gets nobody; no matter whether it answers."""
        self.ours = server.make == MAKE
        """Whether view tokens are for it."""


class Fleet:
    """All servers of a snapshot. What they were given outlives snapshots.

    Loads decay exponentially. Rather than all of them shrinking with time, what is added grows:
    ``scale`` is how much a bit committed now weighs beside one committed when counting began.
    """

    def __init__(self, decay: float = DECAY_S, slow_start: float = SLOW_START_S) -> None:
        """Seconds both: in which a commitment decays, and from a return to the full share."""
        self.members: dict[int, Member] = {}
        """By the server's id."""
        self.scale = 1.0
        self.total = 0.0
        """Load of all usable servers, in the fleet's measure."""
        self.capacity = 1.0
        """Of all usable servers, in that of the mean one."""
        self.stamp = 0
        """Grows whenever other servers are usable than before."""
        self.starting = False
        """Whether one of them has not its full share yet."""
        self.careful = False
        """Whether one of them is not for everybody: it is starting, or has a bound on sessions."""
        self.even = True
        """Whether they have the same capacity."""
        self.slow_start = slow_start
        """From the next ``observe`` on."""
        self._decay = decay
        self._since = 0.0
        self._servers: Mapping[int, Server] = {}

    def set_decay(self, decay: float, now: float) -> None:
        """Change the seconds in which a commitment decays."""
        self._renew(now)
        self._decay = decay

    def replace(self, servers: Mapping[int, Server]) -> None:
        """Take other servers, or other properties of them; loads stay."""
        self._servers = servers
        for gone in self.members.keys() - servers.keys():
            del self.members[gone]
        known = [server.capacity_bps for server in servers.values() if server.capacity_bps]
        usual = sum(known) / len(known) if known else USUAL_CAPACITY
        for id, server in servers.items():
            member = self.members.get(id)
            if member is None:
                member = self.members[id] = Member(server)
            else:
                member.describe(server)
            member.inverse = usual / (server.capacity_bps or usual)
        self.even = len({member.inverse for member in self.members.values()}) <= 1
        self.stamp += 1

    def observe(self, states: Mapping[int, ServerState], now: float) -> None:
        """Take what monitors say. ``now``: seconds since 1970.

        A monitor that doubts itself says what it knew before, so that those stay in use.
        """
        servers = self._servers
        for id, member in self.members.items():
            server, state = servers[id], states.get(id)
            lives = alive(state) and server.enabled  # others are not watched
            member.share = _share(state, now, self.slow_start)
            if state is not None and state.response_ms is not None:
                member.response = state.response_ms
            usable = lives and not server.drained
            if (lives, usable) != (member.alive, member.usable):
                member.alive, member.usable = lives, usable
                self.stamp += 1
        self.starting = any(member.share < 1 for member in self.members.values())
        self.careful = self.starting or any(member.limit for member in self.members.values())
        self._sum()

    def tick(self, now: float) -> None:
        """Let loads decay; each second or so. ``now``: seconds of any clock."""
        if not self._since:
            self._since = now
        self.scale = math.exp(min((now - self._since) / self._decay, 700.0))  # a clock may jump
        if self.scale > MAX_SCALE or self.scale < 1:  # a clock may be set back
            self._renew(now)

    def add(self, member: Member, bps: int) -> None:
        """Commit a session to a server."""
        scale = self.scale
        load = bps * scale
        member.load += load
        member.sessions += scale
        self.total += load

    def report(self, loads: Mapping[str, float]) -> None:
        """What servers of ours say that they send now, bits a second by the server's name: their
        load is that at least. What they do not count themselves is committed beside it, and who
        stays longer than a commitment lasts goes on to count."""
        for member in self.members.values():
            if member.ours:
                load = loads.get(member.name, 0.0) * self.scale
                if load > member.load:
                    if member.usable:
                        self.total += load - member.load
                    member.load = load

    def committed(self, member: Member) -> tuple[float, float]:
        """Bits a second and sessions of a server, decayed to now."""
        return member.load / self.scale, member.sessions / self.scale

    def _renew(self, now: float) -> None:
        scale = max(self.scale, 1.0)
        for member in self.members.values():
            member.load /= scale
            member.sessions /= scale
        self.scale, self._since = 1.0, now
        self._sum()

    def _sum(self) -> None:
        usable = [member for member in self.members.values() if member.usable]
        self.total = sum(member.load for member in usable)
        self.capacity = sum(1 / member.inverse for member in usable) or 1.0


def _share(state: ServerState | None, now: float, slow_start: float) -> float:
    if state is None or state.condition is not Condition.STARTING or slow_start <= 0:
        return 1.0
    return min(1.0, max(FIRST_SHARE, (now - state.since.timestamp()) / slow_start))
