"""Measures all servers again and again, and agrees with the other monitors on how they are.

One task a probe, in a schedule of its own with a random phase. Conditions that change are published
and told at once, response times each second. Only one of the monitors of a database saves: the one
with the least node id of those that are heard. A database that is away stops nothing; measurements
wait for it up to a bound.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import structlog

from heliograph.bus import Arrived, Bus, Event, Gone, Registration
from heliograph.bus.options import LEASE
from heliograph.bus.wire import Json
from heliograph.catalogue.contents.values import Condition, Probe, Server, ServerState
from heliograph.dispatcher.monitor.agreement import View, agree
from heliograph.dispatcher.monitor.health import (
    Fleet,
    HealthOptions,
    Outcome,
    aim_of,
)
from heliograph.dispatcher.monitor.rounds import Pace, Probing, Rounds
from heliograph.dispatcher.monitor.saving import Save, Saver
from heliograph.dispatcher.monitor.tasks import Tasks
from heliograph.dispatcher.monitor.views import FRESH, MAX_SERVERS, Told, Views
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: What monitors announce on the bus, and below what topic they publish.
MONITOR = "monitor"
#: Seconds between two looks at what time alone changes.
TICK = 0.25
#: Seconds for which news are gathered, so that a thousand at once are told in a few messages.
GATHER = 0.01
#: Seconds between two publications of a part of the view, and servers of one part: to write, read
#: and agree on more at a time would hold up all else of the process for some ten milliseconds.
PUBLISH_PERIOD = 1.0
PART = 200
#: Greater than any id of a server.
MAX_ID = 1 << 62
#: Seconds that the database has for what is saved when the monitor ends.
LAST_SAVE_TIMEOUT = 2.0
#: Seconds by which the machine's clock may drift before the times that states tell follow it.
CLOCK_STEP = 0.5

#: A process that stood still for so many seconds was called gone by all others, and calls them gone
#: when it goes on: it waits for what they say as long as a view counts.
STOOD = LEASE

Changed = Callable[[Mapping[int, ServerState]], None]


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How a monitor works."""

    health: HealthOptions = field(default_factory=HealthOptions)
    measures: bool = True
    """Whether it measures; else it listens to what others found."""
    concurrency: int = 256
    """Probes at a time; others wait."""
    save_period: float = 3.0
    """Seconds between two savings."""


class Monitor:
    """Started by ``start`` in the running loop."""

    def __init__(
        self,
        bus: Bus,
        prober: Probing,
        options: MonitorOptions | None = None,
        *,
        of: str = "",
        save: Save | None = None,
        changed: Changed | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``of``: names the database that the servers are of: monitors of others do not know them.
        ``save`` is ``ContentStore.save_states``; ``changed`` is told the states whenever they are
        others."""
        self.options = options or MonitorOptions()
        self.counters: Counter[str] = Counter(
            probes=0,
            misses=0,
            stalled=0,
            waited=0,
            unwatched=0,
            published=0,
            unread=0,
        )
        self._bus = bus
        self._prober = prober
        self._of = of or bus.node
        self._saver = None if save is None else Saver(save)
        self._changed = changed
        self._start_ms = time.time_ns() // 1_000_000
        self._fleet = Fleet(self.options.health, epoch=_epoch())
        self._views = Views()
        self._servers: dict[int, Server] = {}
        self._states: Mapping[int, ServerState] = MappingProxyType({})
        self._tasks = Tasks()
        self._rounds = Rounds(
            prober,
            self._tasks,
            self.counters,
            Pace(self.options.concurrency, self.options.health.recheck),
            timeout=self._fleet.timeout,
            take=self._take,
            chance=chance,
        )
        self._registrations: list[Registration] = []
        self._seq = 0
        self._doubted = False
        self._news: set[int] = set()
        """Servers of which this monitor says something new that was not told yet."""
        self._heard_of: set[int] = set()
        """The same of other monitors."""
        self._flush: asyncio.TimerHandle | None = None
        self._next = 0
        """Place among the servers of the part that is told next."""
        self._rush = 0
        """Parts that are told without a pause."""
        self._running = False
        self._ran = time.monotonic()
        """When this process was last seen to run; at least each ``TICK``."""
        self._waits_until = 0.0
        """Until when views of those who are gone are kept, as it stood still itself."""

    # --- what owners call -----------------------------------------------------------------------

    @property
    def states(self) -> Mapping[int, ServerState]:
        """What all monitors say together, by server; a new mapping at each change."""
        return self._states

    @property
    def doubt(self) -> bool:
        """Whether this monitor doubts itself."""
        return self._fleet.doubt

    def views(self) -> list[View]:
        """What the monitors say, each for itself; this one's first."""
        others = self._views.fresh(time.monotonic())
        own = View(self._bus.node, self._fleet.doubt, self._fleet.states())
        return [own, *others] if self.options.measures else others

    def counts(self) -> Mapping[str, int]:
        """Since the start, for the metrics."""
        return {
            **self.counters,
            **self._prober.counters(),
            "doubts": self._fleet.doubts,
            "tasks_failed": self._tasks.failed,
            "views_missed": self._views.missed,
            "views_refused": self._views.refused,
            **({} if self._saver is None else self._saver.counts()),
        }

    def remember(self, saved: Iterable[ServerState]) -> None:
        """States that were saved before; to be told before the servers are."""
        self._fleet.remember({one.server: one for one in saved})

    def start(self) -> None:
        """Begin to measure, listen and tell."""
        self._running = True
        self._ran = time.monotonic()
        self._registrations = [
            self._bus.subscribe(f"{MONITOR}/{self._of}", self._heard),
            self._bus.watch(MONITOR, self._seen),
        ]
        if self.options.measures:
            self._registrations.append(self._bus.announce(MONITOR, self._of))
        self._tasks.own(self._tick_forever, "monitor")
        if self._saver is not None:
            self._tasks.own(self._save_forever, "monitor saves")
        self._schedule()

    async def close(self) -> None:
        """End; what is not saved yet is saved if that is quick."""
        if not self._running:
            return
        self._running = False
        for registration in self._registrations:
            registration.close()
        if self._flush is not None:
            self._flush.cancel()
        await self._tasks.close()
        self._rounds.close()
        if self._saver is not None and self._saves():
            await self._saver.save(self._states, LAST_SAVE_TIMEOUT, whole=True)

    def configure(self, options: MonitorOptions) -> None:
        """Go on by other rules; what was found stays."""
        before, self.options = self.options, options
        self._fleet.options = options.health
        if before.measures != options.measures and self._running:
            self._change_part(options.measures)
        self._rounds.configure(Pace(options.concurrency, options.health.recheck))
        self._tell(self._servers)

    def replace_servers(self, servers: Iterable[Server]) -> None:
        """Watch these and no others; new ones are measured at once.

        Beyond ``MAX_SERVERS`` those with the greatest ids are not watched, and counted.
        """
        ordered = sorted((one for one in servers if one.enabled), key=lambda one: one.id)
        if len(ordered) > MAX_SERVERS:
            self.counters["unwatched"] = len(ordered) - MAX_SERVERS
            log.warning("too many servers to monitor", most=MAX_SERVERS, given=len(ordered))
        gone = tuple(self._servers)
        self._servers = {one.id: one for one in ordered[:MAX_SERVERS]}
        changed = self._fleet.replace_servers(self._servers.values(), time.monotonic())
        self._prober.keep({one.host for one in self._servers.values()})
        if self._running:
            self._schedule()
        self._tell({*changed, *gone, *self._servers})
        self._say()

    # --- measuring ------------------------------------------------------------------------------

    def _schedule(self) -> None:
        self._rounds.schedule(self._servers.values() if self.options.measures else ())

    def _take(self, server: int, probe: Probe, outcome: Outcome) -> bool:
        self.counters["probes"] += 1
        self.counters["misses"] += outcome.ms is None
        if self._saver is not None:
            self._saver.add(server, probe.kind, outcome.ms)
        taken = self._fleet.take(server, aim_of(probe), outcome, time.monotonic())
        if taken.changed or self._fleet.doubt != self._doubted:
            self._tell(taken.changed)
        return taken.hurry

    def _change_part(self, measures: bool) -> None:
        if measures:
            self._registrations.append(self._bus.announce(MONITOR, self._of))
        else:
            self._registrations.pop().close()
            if self._saver is not None:
                self._saver.forget()
        self._schedule()

    # --- telling, and listening to others -------------------------------------------------------

    def _tell(self, ids: Iterable[int]) -> None:
        """Say soon what is new of these servers, to the other monitors and to our owner."""
        if self._fleet.doubt != self._doubted:
            self._doubted = self._fleet.doubt
            ids = self._servers
            words = "monitor doubts itself" if self._doubted else "monitor trusts itself again"
            log.warning(words, servers=len(self._servers))
        self._news.update(ids)
        self._soon()

    def _hear(self, ids: Iterable[int]) -> None:
        """Others say something new of these servers."""
        self._heard_of.update(ids)
        self._soon()

    def _soon(self) -> None:
        if (self._news or self._heard_of) and self._flush is None and self._running:
            self._flush = asyncio.get_running_loop().call_later(GATHER, self._say)

    def _say(self) -> None:
        """Say all that is new by now."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        news, heard = self._news, self._heard_of
        self._news, self._heard_of = set(), set()
        for id in news & self._servers.keys():
            self._log(id)
        if news:
            self._publish(news)
        self._agree(news | heard)

    def _log(self, id: int) -> None:
        state, before = self._fleet.state(id), self._states.get(id)
        if state is None or state.condition is Condition.UNKNOWN:
            return
        if before is None or before.condition is not state.condition:
            name = self._servers[id].name
            log.info("server", name=name, condition=state.condition.value, reason=state.reason)

    def _publish(self, ids: Iterable[int], part: tuple[int, int] | None = None) -> None:
        """Publish the states of some servers; ``part`` as of ``Told``."""
        if not self._running or not self.options.measures:
            return
        found, gone = {}, []
        for id in ids:
            state = self._fleet.state(id)
            if state is None:
                gone.append(id)
            else:
                found[id] = state
        self._seq += 1
        told = Told(
            self._start_ms, self._seq, self._fleet.doubt, part, found, tuple(gone[:MAX_SERVERS])
        )
        try:
            self._bus.publish(f"{MONITOR}/{self._of}", told.to_json())
            self.counters["published"] += 1
        except HelioError as error:
            log.debug("view not published", error=error.message)

    def _go_on(self) -> None:
        """Publish the next part of the view, and look at its servers again."""
        servers = [*self._servers]
        if self._next >= len(servers):
            self._next = 0
        some = servers[self._next : self._next + PART]
        last = self._next + PART >= len(servers)
        # The first and the last reach on, so that nothing is kept of servers that were removed.
        first_id = 0 if self._next == 0 else some[0]
        last_id = MAX_ID if last else servers[self._next + PART] - 1
        self._next += PART
        self._publish(some, (first_id, last_id))
        self._agree({*some})

    def _agree(self, ids: set[int]) -> None:
        """Find what all say together of some servers, and tell our owner where that is new."""
        if not ids:
            return
        wanted = ids & self._servers.keys()
        mine = {id: state for id in wanted if (state := self._fleet.state(id)) is not None}
        views = self._views.fresh(self._now())
        own = self._bus.node if self.options.measures else ""
        if own:
            views.append(View(own, self._fleet.doubt, mine))
        found = agree(views, own, wanted)
        if not own:  # of those that nobody speaks of it is something to know that they are there
            found = {**mine, **found}
        gone = ids & self._states.keys() - wanted
        fresh = {id: state for id, state in found.items() if self._states.get(id) != state}
        if not fresh and not gone:
            return
        kept = {id: state for id, state in self._states.items() if id not in gone}
        self._states = MappingProxyType(kept | fresh)
        if self._changed is not None:
            self._changed(self._states)

    def _heard(self, node: str, _topic: str, value: Json) -> None:
        if node == self._bus.node:
            return
        try:
            told = Told.from_json(value)
        except HelioError as error:
            self.counters["unread"] += 1
            log.debug("view not understood", node=node, error=error.message)
            return
        self._hear(self._views.hear(node, told, self._now()))

    def _seen(self, event: Event) -> None:
        node = event.name.node
        if node == self._bus.node or event.name.name != self._of:
            return
        if isinstance(event, Arrived):
            self._rush = 1 + len(self._servers) // PART  # so that it need not wait for our view
        elif isinstance(event, Gone) and self._now() >= self._waits_until:
            self._hear(self._views.drop(node))

    def _now(self) -> float:
        """The time; where this process stood still since it was asked, others are waited for."""
        now = time.monotonic()
        stood, self._ran = now - self._ran, now
        if stood > STOOD:
            log.warning("monitor stood still", seconds=round(stood, 1))
            self._views.wait(stood)
            self._waits_until = now + FRESH
        return now

    async def _tick_forever(self) -> None:
        went_on = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = self._now()
            self._fleet.epoch = _epoch(self._fleet.epoch)
            self._tell(self._fleet.look(now))
            self._hear(self._views.forget(now))
            if now - went_on >= PUBLISH_PERIOD or self._rush:
                went_on, self._rush = now, max(0, self._rush - 1)
                self._go_on()

    # --- saving

    def _saves(self) -> bool:
        """Whether this is the monitor that saves."""
        others = self._views.fresh(time.monotonic())
        return self.options.measures and all(self._bus.node < view.node for view in others)

    async def _save_forever(self) -> None:
        assert self._saver is not None
        while True:
            await asyncio.sleep(self.options.save_period)
            if self._saves():
                await self._saver.save(self._states)
            else:
                self._saver.forget()


def _epoch(known: float = 0.0) -> float:
    """Unix time at which the monotonic clock was 0; the known one unless somebody set the clock."""
    now = time.time() - time.monotonic()
    return known if abs(now - known) < CLOCK_STEP else now
