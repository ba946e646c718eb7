"""The manager of one node: active with the lease, else standby with the same view.

Decisions are pure (``decisions``, ``upkeep``); here they meet clock, bus and database. All are made
one after the other on the event loop, without a pause between reading the view and replacing it.
What people order is written first, then decided, then acknowledged. Whoever loses the lease stops
at once and forgets what it had decided: its view is made of reports again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from heliograph.bus import Announcement, Bus, Event, Gone, Registration
from heliograph.bus.wire import Json
from heliograph.catalogue.desired import Closing, Desired
from heliograph.catalogue.leases import Lease, Leases
from heliograph.live.announced import CHANNEL, INGEST, home_in
from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.describe import describe_closing, describe_progress
from heliograph.manager.desk import Desk
from heliograph.manager.draft import Decision, apply
from heliograph.manager.hearing import Hearing
from heliograph.manager.leadership import Change, Leader, uptime
from heliograph.manager.options import ManagerOptions
from heliograph.manager.orders import Outboxes, Term
from heliograph.manager.patience import Patience
from heliograph.manager.reports import Report
from heliograph.manager.telling import Telling
from heliograph.manager.upkeep import is_live, lose_unit, tidy
from heliograph.manager.view import State, View
from heliograph.model.errors import HelioError, WrongStateError

log = structlog.get_logger(__name__)

#: Channels that are brought in order in one tick: more wait for the next one, joins do not.
MAX_TIDIED = 200
#: Ticks after which all channels are looked at, whether something was heard of them or not: there
#: may be room by now where there was none.
ALL = 5


class Manager:
    """One node's part in managing the cluster."""

    def __init__(
        self,
        bus: Bus,
        leases: Leases,
        desired: Desired,
        name: str,
        options: ManagerOptions | None = None,
        *,
        clock: Callable[[], float] = uptime,
    ) -> None:
        """``name``: the node's, for people."""
        self.name = name
        self.options = options or ManagerOptions()
        self.desired = desired
        self._bus = bus
        self._clock = clock
        self.hearing = Hearing(bus, clock, self._heard, self._gone)
        self.leader = Leader(
            leases, f"{bus.node}.{secrets.token_hex(8)}", self._led, self.options.lease, clock
        )
        self.counters: Counter[str] = Counter(
            joins=0, refusals=0, commands=0, orders=0, orders_repeated=0, orders_given_up=0, lost=0
        )
        """``lost``: units."""
        self.drained: set[str] = set()
        """Units that are to have nothing, as the database says."""
        self.removed: set[str] = set()
        """Those of them that are not to be shown."""
        self.kept: dict[str, int] = {}
        self.closed: set[str] = set()
        """Channels that nobody may publish on or watch, as the database says."""
        self._serving = asyncio.Event()
        """Set while we are active and know what runs."""
        self._standing = asyncio.Event()
        """Set while we are not even about to be."""
        self._standing.set()
        self._dirty: dict[str, None] = {}
        self._patience = Patience()
        self._boxes: Outboxes | None = None
        self._reign: asyncio.Task[None] | None = None
        self._here: Announcement | None = None
        self._registrations: list[Registration] = []
        self._telling = Telling(bus, name)
        self._closing: dict[str, tuple[str, ...]] = {}
        """Channels that end just now, and the units that had them."""
        self._gone_at: dict[str, float] = {}
        self._ticks = 0
        self._in_company = False
        self._listening_since = 0.0
        self._desk = Desk(self, bus)

    async def start(self) -> None:
        """Show this manager, listen, and try to become active."""
        self._listening_since = self._clock()
        self._here = self._bus.announce(wire.MANAGER, self.name, {"active": False, "epoch": 0})
        self.hearing.start()
        self._registrations = [self._bus.watch(wire.MANAGER, self._manager)]
        self._desk.open()
        self.leader.start()

    async def close(self) -> None:
        """Give the lease back, so that a standby goes on at once."""
        for one in self._registrations:
            one.close()
        await self._desk.close()
        await self.leader.close()
        self._stand_by()
        self.hearing.close()
        if self._here is not None:
            self._here.close()

    @property
    def view(self) -> View:
        """All that is known; a standby's is made of reports alone."""
        return self.hearing.view

    @property
    def lease(self) -> Lease | None:
        """While this manager is active."""
        return self.leader.lease

    @property
    def serving(self) -> bool:
        """Whether it is active and knows what runs."""
        return self._serving.is_set() and self.lease is not None

    def counts(self) -> Mapping[str, int]:
        """Since the start."""
        return {**self.counters, **self.hearing.counters(), **self.leader.counters()}

    # --- deciding ---------------------------------------------------------------------------

    def require_lease(self) -> Lease:
        """The lease, right now; ``WrongStateError`` for a manager that does not serve."""
        lease = self.lease
        if lease is None or not self._serving.is_set():
            raise WrongStateError("this manager is not the active one", subject="manager")
        return lease

    def decide(self, decision: Decision) -> None:
        """Let a decision on the present view be so, and tell units what it means for them."""
        assert self._boxes is not None
        self.hearing.view = decision.view
        self._boxes.send(decision)

    def bring_back(self, unit: str) -> None:
        """Let a unit be given things again, if it is there, as soon as it is."""
        self._telling.forget("drain", unit)
        self.hearing.recall(unit)
        known = self.view.units.get(unit)
        if known is not None and known.state is State.DRAINING:
            self.decide(d.bring_back(self.view, unit))

    def remove(self, unit: str) -> None:
        """Forget a unit that is gone. One that still runs stays drained, and is not shown as long
        as it has nothing: a publisher may yet come to it."""
        self.removed.add(unit)
        known = self.view.units.get(unit)
        if known is not None and known.state is State.GONE and not known.carries:
            self.decide(d.remove(self.view, unit))
        self._telling.forget("drain", unit)

    def close_channel(self, name: str) -> None:
        """Let a channel end at all units; every node is told that it is closed."""
        self.announce()
        if name in self.view.channels:
            had = tuple(self.view.channels[name].branches)
            self.decide(d.close_channel(self.view, name))
            self._closing[name] = had

    def open_channel(self, name: str) -> None:
        """Let everybody in again; every node is told."""
        self._closing.pop(name, None)
        self.announce()

    def forget(self, name: str, closing: Closing) -> None:
        """Want nothing more of a channel that was deleted, but for what ``closing`` says."""
        if closing is Closing.LIFTED:
            self.closed.discard(name)
        self.kept.pop(name, None)
        self._restore_kept(name)
        self.announce()

    def homes(self, name: str) -> set[str]:
        """Of the channels of a name that nodes keep, the nodes or databases they are of."""
        kept = self._bus.present(CHANNEL).items()
        return {home_in(value) or node for (node, one), value in kept if one == name}

    def offered(self, without: str = "") -> set[str]:
        """Channels that nodes keep, or where publishers enter; ``without``: that node's."""
        kinds = {**self._bus.present(CHANNEL), **self._bus.present(INGEST)}
        return {name for node, name in kinds if node != without}

    def now(self) -> float:
        """The time that decisions are made by, s."""
        return self._clock()

    # --- the lease --------------------------------------------------------------------------

    def _led(self, change: Change) -> None:
        if change.lease is None:
            self._stand_by()
            return
        lease = change.lease
        self._standing.clear()
        term = Term(lease.epoch, lambda: self.lease is not None, self._outdated, self._given_up)
        self._boxes = Outboxes(self._bus, term, self._clock, self.counters, self.options.orders)
        self._reign = asyncio.get_running_loop().create_task(
            self._rule(lease, self._boxes), name="manager"
        )

    def _stand_by(self) -> None:
        was = self._reign is not None
        self._serving.clear()
        self._standing.set()
        if self._reign is not None:
            self._reign.cancel()
            self._reign = None
        if self._boxes is not None:
            self._boxes.close()
            self._boxes = None
        if was:
            self.hearing.rebuild()
            self._dirty.clear()
            self._telling.clear()
            self._closing.clear()
            self._gone_at.clear()
            self.announce()

    def _outdated(self, unit: str) -> None:
        self.leader.step_down(f"unit {unit} knows a higher epoch")

    def _given_up(self, unit: str) -> None:
        self.hearing.believe(unit)
        self._mark(unit)

    def _manager(self, event: Event) -> None:
        value = event.name.value
        active = isinstance(value, dict) and value.get("active") is True
        left = isinstance(event, Gone) and active
        if event.name.node != self._bus.node and (left or not active):
            self.leader.hurry()

    def announce(self) -> None:
        """Say whether this manager is active, and which list of closed channels is good."""
        lease = self.lease if self._serving.is_set() else None
        said: Json = {"active": False, "epoch": 0}
        if lease is not None:
            version = wire.version_of(self.closed)
            said = {"active": True, "epoch": lease.epoch, "closed": version}
        if self._here is not None and not self._here.closed:
            with contextlib.suppress(HelioError):  # the bus may be closed before us
                self._here.update(said)

    # --- being active -----------------------------------------------------------------------

    async def _rule(self, lease: Lease, boxes: Outboxes) -> None:
        try:
            await self._take_over(boxes)
        except Exception:
            log.exception("manager failed to take over")
            self.leader.step_down("it failed to take over")
            return
        self._serving.set()
        self.announce()
        ticked = self._clock()
        while True:
            await asyncio.sleep(min(self.options.tick, self.options.publish))
            try:
                if self.lease is None:
                    continue
                if self._clock() - ticked >= self.options.tick * 0.9:
                    ticked = self._clock()
                    self._tick(boxes)
                self._publish(lease)
            except Exception:  # one decision that fails must not end all others
                log.exception("manager failed unexpectedly")

    async def _take_over(self, boxes: Outboxes) -> None:
        """Let all units know the epoch, hear what each runs, and bring that in order."""
        for unit in self.hearing.present:
            boxes.greet(unit, self.view.serial)
        began = self._clock()
        while True:
            try:
                async with asyncio.timeout(self.options.lease.timeout):
                    wanted = await self.desired.load()
                break
            except Exception as error:
                log.warning("what is wanted of units is not known", error=str(error)[:200])
                await asyncio.sleep(0.2)
        self.drained, self.kept = {*wanted.drained}, {**wanted.kept}
        self.removed, self.closed = {*wanted.removed}, {*wanted.closed}
        while self._clock() - began < self.options.grace:
            heard_for = self._clock() - self._listening_since >= self.options.fresh
            silent = self.hearing.unheard() or self.hearing.silent(began - self.options.fresh)
            if heard_for and not silent and not any(map(boxes.pending, self.hearing.present)):
                break
            await asyncio.sleep(0.02)
        self._dirty = dict.fromkeys(sorted(self.view.channels))
        for name in self._dirty:
            self._restore_kept(name)
        for unit in [*self.view.units]:
            if unit not in self.drained:  # the last manager may not have come to say so
                self.bring_back(unit)
        self._tidy(boxes, len(self._dirty))
        log.info("manager has taken over", epoch=boxes.term.epoch, units=len(self.view.units),
                 channels=len(self.view.channels))  # fmt: skip

    def _tick(self, boxes: Outboxes) -> None:
        now = self.now()
        self._ticks += 1
        alone = self._bus.nodes() == 1
        if alone and self._in_company:
            # Cut off from all, but not from the database: somebody else may be better placed.
            self._in_company = False
            self.leader.step_down("no other node is to be seen")
            return
        self._in_company = not alone
        self.hearing.view = d.lapse(self.view, now).view
        for unit in self.hearing.silent(now - self.options.silence):
            if unit in self.view.units and self.view.units[unit].state is not State.GONE:
                log.warning("unit does not report", unit=unit)
                self._replace(unit)
        if not self._ticks % ALL:
            self._dirty |= dict.fromkeys(self.view.channels)
        # What a unit that has just come runs may be what a channel lacks.
        if not self.hearing.unheard(now - self.options.grace):
            self._tidy(boxes, MAX_TIDIED)
            self.decide(d.shrink(self.view, now))
        self._fulfil(now)
        for unit, at in [*self._gone_at.items()]:
            known = self.view.units.get(unit)
            if known is None or known.state is not State.GONE:
                del self._gone_at[unit]
            elif now - at > self.options.shown and not known.carries:
                self.hearing.view = apply(self.view, t.Forget(unit))

    def _fulfil(self, now: float) -> None:
        """Go on with what people want and is not done yet."""
        for unit in sorted(self.drained):
            self._drain(unit, now)
        for name in [*self._closing]:
            self._follow_closing(name)
        for unit, machine in [*self.view.units.items()]:
            if machine.state is State.DRAINING and unit not in self.drained:
                self._return(unit, now)  # it was not there, or did not answer, when it was told

    def _tidy(self, boxes: Outboxes, most: int) -> None:
        """Bring in order channels that something was reported of."""
        now = self.now()
        keepers: dict[str, set[str]] = {}
        for node, name in self._bus.present(CHANNEL):
            keepers.setdefault(name, set()).add(node)
        for name in [*self._dirty][:most]:
            del self._dirty[name]
            channel = self.view.channels.get(name)
            closed = name in self.closed
            if channel is None or (channel.branches and not closed and not is_live(channel)):
                continue
            if any(map(boxes.pending, channel.branches)) or not self._patience.may(name, now):
                self._dirty[name] = None  # what was ordered comes first
                continue
            if closed:
                decision = d.close_channel(self.view, name)
            else:
                decision = tidy(self.view, name, now, keepers.get(name, ()))
                self._telling.lost_groups(name, decision.refusals)
            self._patience.ordered(name, decision.transitions, now)
            self.decide(decision)

    def _drain(self, unit: str, now: float) -> None:
        known = self.view.units.get(unit)
        if known is None or known.state is State.GONE:
            return
        decision = d.drain(self.view, unit, now)
        if self._patience.may(unit, now):
            self._patience.ordered(unit, decision.transitions, now)
            self.decide(decision)
        self._telling.progress("drain", unit, self.progress(unit))

    def _return(self, unit: str, now: float) -> None:
        if self._patience.may(unit, now):
            decision = d.bring_back(self.view, unit)
            self._patience.ordered(unit, decision.transitions, now)
            self.decide(decision)

    def progress(self, unit: str) -> dict[str, Any]:
        """What a unit still has; it is done when the unit has carried out all it was told."""
        found = describe_progress(d.progress(self.view, unit))
        if self._boxes is not None and self._boxes.pending(unit):
            found["done"] = False
        return {"done": found["done"], "progress": found}

    def _follow_closing(self, name: str) -> None:
        found = self.closing(name)
        self._telling.progress("close", name, found)
        if found["done"]:
            del self._closing[name]
            self._telling.forget("close", name)

    def closing(self, name: str) -> dict[str, Any]:
        """What is left of a channel that was closed."""
        boxes = self._boxes
        had = self._closing.get(name, ())
        busy = [unit for unit in had if boxes is not None and boxes.pending(unit)]
        found = describe_closing(self.view.channels.get(name), name, busy)
        return {"done": found["done"], "progress": found}

    def _publish(self, lease: Lease) -> None:
        self._telling.view(self.view, lease.epoch, self.closed, self.removed)

    # --- what units say ---------------------------------------------------------------------

    def _heard(self, report: Report, before: Report | None) -> None:
        same = before is not None and (
            (before.state, before.branches, before.groups, before.budgets, before.serial)
            == (report.state, report.branches, report.groups, report.budgets, report.serial)
        )
        if same or self._boxes is None:
            return
        for one in (*report.branches, *(() if before is None else before.branches)):
            if one.channel not in self._dirty:
                self._dirty[one.channel] = None
                self._restore_kept(one.channel)
        if before is None:
            self._boxes.greet(report.unit, self.view.serial)

    def _gone(self, unit: str) -> None:
        if self._boxes is not None:
            self._boxes.forget(unit)
        if self.serving and unit in self.view.units:
            self._replace(unit)
        else:
            self.hearing.lose(unit)

    def _replace(self, unit: str) -> None:
        self.counters["lost"] += 1
        self._gone_at[unit] = self.now()
        names = self.view.units[unit].carries
        decision = lose_unit(self.view, unit, self.now(), self.offered(unit))
        self.decide(decision)
        self._dirty |= dict.fromkeys(names)
        for refusal in decision.refusals:
            log.warning("no room for what a unit had", unit=unit, channel=refusal.channel,
                        budget=refusal.budget, count=refusal.count)  # fmt: skip

    def _mark(self, unit: str) -> None:
        known = self.view.units.get(unit)
        if known is not None:
            self._dirty |= dict.fromkeys(known.carries)

    def _restore_kept(self, name: str) -> None:
        channel = self.view.channels.get(name)
        if channel is not None and channel.kept != self.kept.get(name, 1):
            self.hearing.view = apply(self.view, t.Keep(name, self.kept.get(name, 1)))

    # --- waiting ----------------------------------------------------------------------------

    async def until_serving(self) -> None:
        """Wait while we are about to be active; ``WrongStateError`` for a standby."""
        if self._standing.is_set():
            raise WrongStateError("this manager is not the active one", subject="manager")
        waits = [asyncio.ensure_future(one.wait()) for one in (self._serving, self._standing)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        self.require_lease()

    async def until_told(self, unit: str) -> None:
        """Wait a moment until a unit has carried out what it was told."""
        boxes = self._boxes
        if boxes is not None and boxes.pending(unit):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.options.grant):
                    await boxes.carried_out(unit)

    def describe(self) -> Json:
        """The cluster for people, as this manager sees it."""
        lease = self.require_lease()
        return self._telling.asked(self.view, lease.epoch, self.closed, self.removed)
