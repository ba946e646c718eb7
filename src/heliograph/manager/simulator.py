"""A cluster without machines: a seeded load that drives the very decisions of the manager.

Time is a number and events are a heap, so an hour takes as long as its decisions. Viewers come
to channels by Zipf's law, sit down a moment after they were given a place (or never), stay, and
leave; units die, are drained, come under pressure and come back, and publishers and viewers do as
they are told then. ``clock`` measures what decisions take; the simulation itself does not look
at it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import fmean, pstdev
from typing import Any, TypeAlias

from heliograph.manager import transitions as t
from heliograph.manager.decisions import (
    bring_back,
    drain,
    join,
    lapse,
    leave,
    move_ingest,
    open_channel,
    press,
    progress,
    replace_unit,
    shrink,
    take,
)
from heliograph.manager.draft import Decision, apply
from heliograph.manager.invariants import check
from heliograph.manager.ranking import load
from heliograph.manager.tree import depths
from heliograph.manager.view import Amounts, Budgets, Policy, State, View
from heliograph.model.errors import BusyError, NotFoundError

#: Seconds from a place given to a viewer seated, at least and at most: a page's handshake.
SEATING = 0.1, 2.0
#: Share of those given a place who never come.
LOST_ON_THE_WAY = 0.02
#: Seconds until a page whose unit died asks again.
NOTICING = 0.3, 3.0
#: Seconds until viewers and publishers have gone where they were told to.
MOVING = 0.5, 3.0
#: Seconds between two looks at empty groups.
SHRINK_EVERY = 5.0
#: Seconds that a unit which died, or was drained, stays away.
AWAY = 20.0
#: Seconds that pressure lasts.
PRESSURE = 5.0
#: Bits a second of channels, from a webcam's to a camera's.
BITRATES = 500_000, 1_000_000, 1_500_000, 2_000_000

Seat: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated."""

    units: int = 300
    budgets: Budgets = field(
        default_factory=lambda: Budgets(110, 10, Amounts(2_500_000_000, 2_000_000, 8_000_000_000))
    )
    """Of each unit."""
    sites: int = 6
    """Locations over which units and viewers are spread."""
    channels: int = 2000
    zipf: float = 1.0
    """Exponent of popularity."""
    policy: Policy = field(default_factory=Policy)
    viewers: int = 300_000
    """Present at the end of the beginning."""
    fill_s: float = 60.0
    """Seconds in which they come."""
    stay_s: float = 600.0
    """Mean of an exponential distribution, from the end of the beginning."""
    churn_s: float = 60.0
    """Seconds that follow, in which as many come as go."""
    deaths: int = 3
    drains: int = 2
    presses: int = 3
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    join_s: list[float] = field(default_factory=list)
    """Time each decision to join took, its growth and the next view included."""
    replace_s: list[tuple[int, float]] = field(default_factory=list)
    """Viewers of each unit that died, and the time to plan without it."""
    drain_s: list[float] = field(default_factory=list)
    """Time each call took that moved something off a unit."""
    joined: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Viewers refused, by the budget that was spent."""
    unplaced: int = 0
    """Viewers of lost or drained units for whom no place could be held."""
    transitions: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What ``invariants.check`` and the simulation's own count of viewers found."""
    peak: int = 0
    """Viewers seated at the end of the beginning."""
    links: int = 0
    depth: int = 0
    fan_out: int = 0
    drained: int = 0
    """Units that were emptied."""


class Simulation:
    """One run."""

    def __init__(self, scenario: Scenario, clock: Callable[[], float]) -> None:
        self.scenario = scenario
        self.outcome = Outcome()
        self.view = View()
        self.now = 0.0
        self._clock = clock
        self._random = random.Random(scenario.seed)
        # Names of methods, not closures: of plain values the collector of garbage forgets that
        # they are there, and does not spend the decisions' time on a million of them.
        self._events: list[tuple[float, int, str, tuple[Any, ...]]] = []
        self._count = self._viewers = 0
        self._sitting: dict[Seat, set[int]] = defaultdict(set)
        self._seats: dict[int, Seat] = {}
        self._watching: dict[int, tuple[str, str]] = {}
        self._names = [f"c{number}" for number in range(scenario.channels)]
        weights = (1 / (rank + 1) ** scenario.zipf for rank in range(scenario.channels))
        self._weights = list(accumulate(weights))

    # --- the run ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Play the scenario; once."""
        scenario = self.scenario
        for number in range(1, scenario.units + 1):
            one = t.Enrol(str(number), str(number), self._site(), scenario.budgets)
            self.view = apply(self.view, one)
        for name in self._names:
            bitrate = self._random.choice(BITRATES)
            self._go(open_channel(self.view, name, bitrate, 0.0, scenario.policy))
        end = scenario.fill_s + scenario.churn_s
        self._at(0.0, "_arrivals", end)
        self._at(1.0, "_every", 1.0, end, "_lapse")
        self._at(SHRINK_EVERY, "_every", SHRINK_EVERY, end, "_shrink")
        self._at(scenario.fill_s + 2 * SEATING[1], "_peak")
        for count, what in (
            (scenario.deaths, "_death"),
            (scenario.drains, "_drain_one"),
            (scenario.presses, "_press"),
        ):
            for _ in range(count):
                self._at(
                    scenario.fill_s + (0.1 + 0.5 * self._random.random()) * scenario.churn_s, what
                )
        while self._events:
            at, _, what, arguments = heapq.heappop(self._events)
            if at > end:
                break
            self.now = at
            getattr(self, what)(*arguments)
        self._check()
        return self.outcome

    def _at(self, when: float, what: str, *arguments: Any) -> None:  # noqa: ANN401 - of ``what``
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, arguments))

    def _in(self, bounds: tuple[float, float], what: str, *arguments: Any) -> None:  # noqa: ANN401
        self._at(self.now + self._random.uniform(*bounds), what, *arguments)

    def _every(self, seconds: float, end: float, what: str) -> None:
        getattr(self, what)()
        if self.now + seconds <= end:
            self._at(self.now + seconds, "_every", seconds, end, what)

    def _go(self, decision: Decision) -> Decision:
        self.view = decision.view
        self.outcome.transitions.update(type(one).__name__ for one in decision.transitions)
        self.outcome.unplaced += sum(
            one.count for one in decision.refusals if one.budget not in ("tree", "units")
        )
        return decision

    def _site(self) -> str:
        return f"site-{self._random.randrange(self.scenario.sites)}"

    # --- viewers ------------------------------------------------------------------------------

    def _arrivals(self, end: float) -> None:
        scenario = self.scenario
        self._viewers += 1
        viewer = self._viewers
        [name] = self._random.choices(self._names, cum_weights=self._weights)
        self._watching[viewer] = name, self._site()
        self._join(viewer)
        stay = self._random.expovariate(1 / scenario.stay_s)
        self._at(max(self.now, scenario.fill_s) + stay, "_leave", viewer)
        filling = self.now < scenario.fill_s
        rate = scenario.viewers / (scenario.fill_s if filling else scenario.stay_s)
        gap = 1 / rate if filling else self._random.expovariate(rate)
        if self.now + gap < end:
            self._at(self.now + gap, "_arrivals", end)

    def _join(self, viewer: int, origin: str = "") -> None:
        if viewer not in self._watching or viewer in self._seats:
            return
        name, site = self._watching[viewer]
        self._count += 1
        before = self._clock()
        try:
            done = join(self.view, name, f"v{self._count}", self.now, location=site, origin=origin)
        except BusyError as error:
            self.outcome.join_s.append(self._clock() - before)
            self.outcome.refused[error.subject or ""] += 1
            return
        self.outcome.join_s.append(self._clock() - before)
        self.outcome.joined += 1
        self._go(done)
        if self._random.random() >= LOST_ON_THE_WAY:
            kept = done.reservation
            self._in(SEATING, "_take", viewer, kept.id, kept.unit, kept.index)

    def _take(self, viewer: int, id: str, unit: str, index: int) -> None:
        try:
            self._go(take(self.view, id, unit))
        except NotFoundError:  # the unit has died
            self._in(NOTICING, "_join", viewer, unit)
            return
        if viewer in self._watching:
            self._sit(viewer, (unit, index))
        else:
            self._go(leave(self.view, unit, index, self.now))

    def _sit(self, viewer: int, seat: Seat) -> None:
        self._seats[viewer] = seat
        self._sitting[seat].add(viewer)

    def _leave(self, viewer: int) -> None:
        self._watching.pop(viewer, None)
        seat = self._seats.pop(viewer, None)
        if seat is not None:
            self._sitting[seat].discard(viewer)
            self._go(leave(self.view, *seat, self.now))

    def _lapse(self) -> None:
        self._go(lapse(self.view, self.now))

    def _shrink(self) -> None:
        self._go(shrink(self.view, self.now))

    # --- units --------------------------------------------------------------------------------

    def _some_unit(self) -> str | None:
        up = [unit.id for unit in self.view.units.values() if unit.state is State.UP]
        return self._random.choice(up) if len(up) > 1 else None

    def _death(self) -> None:
        unit = self._some_unit()
        if unit is None:
            return
        viewers = self.view.units[unit].viewers
        groups = self.view.units[unit].groups
        before = self._clock()
        done = replace_unit(self.view, unit, self.now)
        self.outcome.replace_s.append((viewers, self._clock() - before))
        self._go(done)
        for index in groups:
            for viewer in self._sitting.pop((unit, index), ()):
                del self._seats[viewer]
                self._in(NOTICING, "_join", viewer, unit)
        self._at(self.now + AWAY, "_return", unit)
        self._check()

    def _return(self, unit: str) -> None:
        self._go(bring_back(self.view, unit))

    def _press(self) -> None:
        unit = self._some_unit()
        if unit is not None:
            self._go(press(self.view, unit, True))
            self._at(self.now + PRESSURE, "_release", unit)

    def _release(self, unit: str) -> None:
        self._go(press(self.view, unit, False))

    def _drain_one(self) -> None:
        unit = self._some_unit()
        if unit is not None:
            self._drain(unit)

    def _drain(self, unit: str) -> None:
        before = self._clock()
        done = drain(self.view, unit, self.now)
        self.outcome.drain_s.append(self._clock() - before)
        self._go(done)
        for one in done.transitions:
            if isinstance(one, t.MoveIngest):
                self._in(MOVING, "_enter", one)
            elif isinstance(one, t.MoveViewers):
                for _ in range(one.count):
                    self._in(MOVING, "_move", one)
        if progress(self.view, unit).done:
            self.outcome.drained += 1
            self._at(self.now + AWAY, "_return", unit)
        else:
            self._at(self.now + 1.0, "_drain", unit)

    def _enter(self, one: t.MoveIngest) -> None:
        if self.view.channels[one.channel].next_ingest == one.target:
            self._go(move_ingest(self.view, one.channel, one.target))

    def _move(self, one: t.MoveViewers) -> None:
        """One viewer of a group goes where places are held, before he leaves the old one."""
        viewers = self._sitting[one.source]
        if not viewers:
            return
        try:
            self._go(take(self.view, one.id, one.target.unit))
        except NotFoundError:
            return
        viewer = min(viewers)
        viewers.discard(viewer)
        self._go(leave(self.view, *one.source, self.now))
        self._sit(viewer, one.target)

    # --- what can be asked -------------------------------------------------------------------

    def watching(self) -> list[tuple[str, str]]:
        """Channel and location of each who has come and not left, seated or not."""
        return list(self._watching.values())

    def spread(self) -> tuple[float, float]:
        """Highest load of a unit against the mean, and the standard deviation of loads.

        Of the units that may be given something.
        """
        loads = [load(unit) for unit in self.view.units.values() if unit.state is State.UP]
        return max(loads) / (fmean(loads) or 1), pstdev(loads)

    # --- what holds ---------------------------------------------------------------------------

    def _peak(self) -> None:
        self.outcome.peak = len(self._seats)
        self._check()

    def _check(self) -> None:
        outcome = self.outcome
        outcome.wrong += check(self.view)
        for unit in self.view.units.values():
            for index, group in unit.groups.items():
                sitting = len(self._sitting.get((unit.id, index), ()))
                if sitting != group.viewers:
                    outcome.wrong.append(
                        f"unit {unit.id}: group {index} counts {group.viewers} of {sitting}"
                    )
        outcome.links = 0
        for channel in self.view.channels.values():
            outcome.links += sum(len(branch.children) for branch in channel.branches.values())
            outcome.depth = max(outcome.depth, *depths(channel).values(), 0)
            fans = (len(branch.children) for branch in channel.branches.values())
            outcome.fan_out = max(outcome.fan_out, *fans, 0)
