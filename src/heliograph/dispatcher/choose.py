"""The dispatcher: requests for logical ids in, decisions out.

It holds the snapshot, what servers were given lately and, for each title that was asked for, which
copies may be used now. Reading a snapshot anew costs nothing here: what is kept of a title is made
again when it is asked for the next time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from heliograph.catalogue.contents.statistics import Decision
from heliograph.catalogue.contents.values import File, Format, ServerState
from heliograph.dispatcher import policies
from heliograph.dispatcher.answers import MAX_NAME, ORDER, Answer, Wish, redirect
from heliograph.dispatcher.barring import UNTOLD, Barring, Refusal, barred
from heliograph.dispatcher.begun import Begun
from heliograph.dispatcher.conditions import NOWHERE, Networks
from heliograph.dispatcher.fleet import DECAY_S, SLOW_START_S, USUAL_BPS, Fleet, Member
from heliograph.dispatcher.policies import POLICIES, Candidate, Draw, Policy, Pool
from heliograph.dispatcher.snapshot import Entry, Snapshot

#: Combinations of formats for which the copies of a title are remembered.
MAX_POOLS = 32
#: Titles of which is kept what may be used; then all are forgotten, and made again when asked for.
MAX_ROUTES = 200_000

#: Formats in which any portal can serve a title of our volumes itself.
FROM_HERE = frozenset((Format.HLS, Format.MP4))

#: Of answers: a playlist or manifest, a redirect, refusals.
STATUSES = (200, 302, 403, 404, 406, 451, 503)

#: Makes a decision in half of the time that its own constructor takes, for each redirect.
_tuple = tuple.__new__
#: The same: a member of an enumeration is found in a tenth of a microsecond.
_MP4 = Format.MP4

Recording = Callable[[Decision], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What can be set; ``[dispatcher]`` of the settings."""

    policy: str = policies.DEFAULT
    """Of titles that name none."""
    order: tuple[Format, ...] = ORDER
    """In which formats are chosen for those who take any."""
    decay: float = DECAY_S
    """Seconds in which a decision's commitment decays to 37 %."""
    steering_ttl: int = 10
    """Seconds until a player of HLS asks again which server to use: before its buffer is empty."""
    slow_start: float = SLOW_START_S
    """Seconds in which the share of a server that came back grows to the full one, as monitors
    have it; 0: at once."""


class Route:
    """What is known of one title that was asked for."""

    __slots__ = (
        "choose",
        "copies",
        "entry",
        "formats",
        "held",
        "name",
        "policy",
        "pool",
        "pools",
        "regions",
        "stamp",
        "stored",
    )

    def __init__(self, entry: Entry, policy: str, copies: dict[Format, list[Candidate]]) -> None:
        self.entry = entry
        self.name = entry.title.name
        self.regions = entry.title.regions
        self.policy = policy
        self.choose: Policy = POLICIES[policy]
        self.copies = copies
        """The best copy on each server that holds one, by format."""
        self.held = bool(copies)
        """Whether there are any."""
        self.stored = entry.stored > 0
        """Whether our volumes have it, so that nodes of ours serve it."""
        self.pools: dict[tuple[Format, ...], Pool | Refusal] = {}
        """By the formats that a client takes."""
        self.formats: tuple[Format, ...] = ()
        """Those that the last client took."""
        self.pool: Pool | Refusal | None = None
        """The one of ``pools`` for them."""
        self.stamp = -1
        """Of the fleet, when ``pools`` were made."""


class Dispatcher:
    """Decides; one a portal. Not for several threads."""

    def __init__(
        self,
        record: Recording | None = None,
        options: Options | None = None,
        *,
        draw: Draw = random.random,
    ) -> None:
        """``record`` is told of every decision, and must not fail. ``draw``: chance."""
        self.record: Recording = record or _forget
        self.options = options or Options()
        self.snapshot = Snapshot()
        self.barring = Barring(self)
        """Who is served nothing here, and which titles nobody gets: by the snapshot, and by what
        this node is told of the cluster's catalogue, where its own is another one."""
        self.fleet = Fleet(self.options.decay, self.options.slow_start)
        self.statuses = dict.fromkeys(STATUSES, 0)
        """Decisions by status."""
        self.chosen = dict.fromkeys(POLICIES, 0)
        """Redirects by policy."""
        self.begun = Begun()
        """Which copies of files are being played."""
        self.moved = 0
        """Players of HLS that were told to go to another server than the one they used."""
        self.routes: dict[str, Route] = {}
        """Titles that were asked for, by name; another dictionary whenever they are others."""
        self._before: dict[str, Route] = {}
        """Those of the snapshot before, as far as they were not looked at since."""
        self._networks: Networks | None = None
        """None: there are none."""
        self._draw = draw

    # what is known

    def replace(self, snapshot: Snapshot, now: float) -> None:
        """Decide by another snapshot from now on. ``now``: seconds since 1970."""
        other = snapshot.servers is not self.snapshot.servers
        same = snapshot.doors == self.snapshot.doors
        self.snapshot = snapshot
        if other:
            self._before, self.routes = self.routes, {}
            self._networks = None if snapshot.networks.empty else snapshot.networks
            self.fleet.replace(snapshot.servers)
        if not same:  # what was known of titles names nodes that are gone
            self.routes, self._before = {}, {}
        self.fleet.observe(snapshot.states, now)

    def observe(self, states: Mapping[int, ServerState], now: float) -> None:
        """Go on with what monitors say now; see ``Fleet.observe``."""
        self.snapshot = self.snapshot.with_states(states)
        self.fleet.observe(states, now)

    def carry(self, most: int) -> bool:
        """Keep what is known of titles that are as before, ``most`` of them at a time, and forget
        the rest; whether there are more. To be called after ``replace``."""
        before, routes, entries = self._before, self.routes, self.snapshot.entries
        for _ in range(min(most, len(before))):
            name, route = before.popitem()
            if entries.get(name) is route.entry:
                routes.setdefault(name, route)
        return bool(before)

    def tick(self, now: float) -> None:
        """Let time pass; each second. ``now``: seconds since 1970."""
        self.fleet.tick(now)
        self.begun.tick(now)

    def configure(self, options: Options, now: float) -> None:
        """Change what can be set while it runs."""
        self.options = options
        self.fleet.set_decay(options.decay, now)
        self.fleet.slow_start = options.slow_start
        self.fleet.observe(self.snapshot.states, now)
        self.routes, self._before = {}, {}

    def knows(self, name: str) -> bool:
        """Whether there is a title of that name."""
        return name in self.snapshot.entries

    def sends(self, name: str) -> bool:
        """Whether some server holds the title of that name, be it reachable or not."""
        route = self.route(name)
        return route is not None and bool(route.copies)

    def stored(self, name: str) -> bool:
        """Whether our volumes have the title of that name, so that nodes of ours serve it."""
        entry = self.snapshot.entries.get(name)
        return entry is not None and entry.stored > 0

    def for_here(self, name: str, wish: Wish) -> bool:
        """Whether a title that our volumes have is played where it is asked for, wherever else it
        is to be had: people who come with a browser stay with the portal whose page they know, and
        all where nobody knows yet whether any node answers."""
        if not self.stored(name):
            return False
        return (wish.page and not wish.named) or not self._answers(name, wish.formats)

    def _answers(self, name: str, formats: Collection[Format]) -> bool:
        """Whether some server has it in the format that is taken first, or somebody decided that
        none does."""
        copies = self.copies(name)
        for format in formats:
            if format in copies:
                return any(one.server.usable or one.server.withdrawn for one in copies[format])
            if format in FROM_HERE:
                return False
        return False

    def barred(self, name: str, client: str) -> Refusal | None:
        """Why a client may not have a title that there is, whoever holds it; None: he may."""
        return self.barring.barred(name, client) if self.knows(name) else None

    # decisions

    def decide(
        self, name: str, wish: Wish, client: str, now: float, status: int = 302
    ) -> Candidate | Refusal:
        """Choose a copy of a title for a client, and record that. ``now``: seconds since 1970.

        ``status``: of the answer that tells him.
        """
        route = self.routes.get(name) or self.route(name)
        if route is None:
            return self._refuse(_unknown(name), name, wish, client, now)
        return self.decide_for(route, wish, client, now, status)

    def decide_for(
        self, route: Route, wish: Wish, client: str, now: float, status: int = 302
    ) -> Candidate | Refusal:
        """The same for a title that is known; ``route``: one of ``routes``."""
        fleet = self.fleet
        if route.stamp != fleet.stamp:
            route.pools, route.pool = {}, None
            route.stamp = fleet.stamp
        networks = self._networks
        where = NOWHERE if networks is None else networks.find(client)
        if route.regions or where.refused or self.barring.told is not UNTOLD:
            refusal = barred(route.regions, where) or self.barring.barred_beside(route.name, client)
            if refusal is not None:
                return self._refuse(refusal, route.name, wish, client, now)
        if wish.later or wish.head:
            known = self._known(route, wish, client, now, status)
            if known is not None:
                return known
        pool = route.pool
        if route.formats is not wish.formats or pool is None:
            pool = self._pool(route, wish.formats)
        if fleet.careful:
            pool = self._narrowed(pool)
        if type(pool) is Refusal:
            return self._refuse(pool, route.name, wish, client, now)
        found = route.choose(pool, fleet, where.region, self._draw)
        server = found.server
        self.chosen[route.policy] += 1
        self.statuses[status] += 1
        if wish.head:
            if pool.format is _MP4:
                self.begun.look(client, route.name, server.id)
            return found
        fleet.add(server, found.bps)
        if pool.format is _MP4:
            self.begun.note(client, route.name, server.id)
        self.record(
            _tuple(Decision, (now, route.name, server.id, found.file, pool.format, client, status))
        )
        return found

    def answer(self, name: str, wish: Wish, client: str, now: float) -> Answer:
        """What a request for a title is answered with."""
        found = self.decide(name, wish, client, now)
        if isinstance(found, Refusal):
            return found.answer(wish)
        return redirect(found.uri, wish.shown if found.server.ours else "")

    def decided(
        self,
        name: str,
        status: int,
        client: str,
        now: float,
        format: Format | str = "",
        wish: Wish | None = None,
    ) -> None:
        """Record what was decided elsewhere: of live channels, and of what is played here.

        ``wish``: of a redirect, which counts where somebody begins to play by it.
        """
        self.statuses[status] += 1
        if wish is not None and wish.head:
            return
        if wish is not None and format is Format.MP4:
            begun = self.begun.find(client, name) == 0
            self.begun.note(client, name, 0)
            if wish.later and begun:
                return
        self.record(Decision(now, name[:MAX_NAME], 0, 0, str(format), client, status))

    def _refuse(self, refusal: Refusal, name: str, wish: Wish, client: str, now: float) -> Refusal:
        format = wish.formats[0] if len(wish.formats) == 1 else ""
        self.decided(name, refusal.status, client, now, format)
        return refusal

    # what is kept of titles

    def copies(self, name: str) -> Mapping[Format, list[Candidate]]:
        """All copies of a title, the best a server and format, whether they may be used or not."""
        route = self.route(name)
        return {} if route is None else route.copies

    def route(self, name: str) -> Route | None:
        """What is known of a title; None: there is no such title."""
        known = self.routes.get(name)
        if known is not None:
            return known
        entry = self.snapshot.entries.get(name)
        if entry is None:
            return None
        if len(self.routes) >= MAX_ROUTES:
            self.routes, self._before = {}, {}
        known = self._before.get(name)
        if known is not None and known.entry is entry:
            self.routes[name] = known
            return known
        best: dict[Format, dict[int, File]] = {}
        for file in self.snapshot.held(entry):
            held = best.get(file.format)
            if held is None:
                held = best[file.format] = {}
            other = held.get(file.server)
            if other is None or file.bits_per_second > other.bits_per_second:
                held[file.server] = file
        members = self.fleet.members
        copies = {
            format: [
                Candidate(one.id, members[server], one.uri, one.bits_per_second or USUAL_BPS)
                for server, one in held.items()
            ]
            for format, held in best.items()
        }
        wanted = entry.title.policy
        policy = wanted if wanted in POLICIES else self.options.policy
        self.chosen.setdefault(policy, 0)
        route = self.routes[name] = Route(entry, policy, copies)
        return route

    def _pool(self, route: Route, formats: tuple[Format, ...]) -> Pool | Refusal:
        known = route.pools.get(formats)
        route.formats, route.pool = formats, known or self._new_pool(route, formats)
        return route.pool

    def _new_pool(self, route: Route, formats: tuple[Format, ...]) -> Pool | Refusal:
        found: Pool | Refusal | None = None
        unusable: list[Member] = []
        for format in formats:
            held = route.copies.get(format)
            if not held:
                continue
            usable = [one for one in held if one.server.usable]
            if usable:
                found = Pool(route.name, format, usable)
                break
            unusable += [one.server for one in held]
        if found is None:
            found = _why_none(unusable) if unusable else _NO_FORMAT if route.copies else _NO_COPY
        if len(route.pools) >= MAX_POOLS:
            route.pools.clear()
        route.pools[formats] = found
        return found

    def _known(
        self, route: Route, wish: Wish, client: str, now: float, status: int
    ) -> Candidate | None:
        """The copy that a client is in the midst of, while its server answers: one that is drained
        goes on with those who play. Or the one that he looked at, if he may begin there.

        He was recorded when he began, and is now if he begins.
        """
        server = self.begun.find(client, route.name)
        wanted = wish.formats[:1] if wish.head else wish.formats
        if not server or Format.MP4 not in wanted:
            return None
        held = route.copies.get(Format.MP4, ())
        found = next((one for one in held if one.server.id == abs(server)), None)
        if found is None or not (found.server.alive if server > 0 else found.server.usable):
            return None
        self.statuses[status] += 1
        if wish.head:
            return found
        self.begun.note(client, route.name, found.server.id)
        if server < 0:
            self.fleet.add(found.server, found.bps)
            self.record(
                Decision(now, route.name, found.server.id, found.file, Format.MP4, client, status)
            )
        return found

    def _narrowed(self, pool: Pool | Refusal) -> Pool | Refusal:
        """Without servers that have their sessions, and mostly without those that just came."""
        if type(pool) is Refusal:
            return pool
        fleet, draw = self.fleet, self._draw
        free = [one for one in pool.candidates if _has_room(one.server, fleet)]
        if not free:
            return _FULL
        ready = [one for one in free if one.server.share >= 1 or draw() < one.server.share]
        left = ready or free
        if len(left) == pool.count:
            return pool
        narrowed = Pool(pool.name, pool.format, left)
        narrowed.turn = pool.next_turn()
        return narrowed


def _why_none(servers: Collection[Member]) -> Refusal:
    """Why none of the servers that hold a title is used: somebody's decision is no failure."""
    withdrawn = sum(server.withdrawn for server in servers)
    if not withdrawn:
        return _NOT_REACHED
    return _WITHDRAWN if withdrawn == len(servers) else _NOT_USED


def _has_room(server: Member, fleet: Fleet) -> bool:
    return not server.limit or server.sessions + fleet.scale <= server.limit * fleet.scale


def _forget(decision: Decision) -> None:
    """Where nobody keeps count."""


def _unknown(name: str) -> Refusal:
    return Refusal(404, f"there is nothing called “{name[:MAX_NAME]}” here")


_NO_FORMAT = Refusal(406, "this title is not to be had in a format that you take")
_NO_COPY = Refusal(404, "no server holds this title")
_NOT_REACHED = Refusal(503, "no server that holds this title can be reached now; try again")
_WITHDRAWN = Refusal(503, "what holds this title is out of service for now; try again later")
_NOT_USED = Refusal(
    503, "what holds this title is out of service for now, or cannot be reached; try again"
)
_FULL = Refusal(503, "all servers that hold this title are full; try again")
