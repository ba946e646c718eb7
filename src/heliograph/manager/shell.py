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
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from heliograph.bus import Announcement, Bus, Event, Gone, Registration, Request
from heliograph.bus.wire import MAX_MESSAGE, Json, encode
from heliograph.catalogue.leases import Lease
from heliograph.live.shared import CHANNEL, INGEST
from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.commands import Commands
from heliograph.manager.describe import describe, describe_progress
from heliograph.manager.desired import Desired
from heliograph.manager.draft import Decision, apply
from heliograph.manager.hearing import Hearing
from heliograph.manager.leadership import Change, Leader, Leases, LeaseTimes, uptime
from heliograph.manager.orders import OrderTimes, Outboxes, Term
from heliograph.manager.patience import Patience
from heliograph.manager.reports import Report
from heliograph.manager.upkeep import is_live, lose_unit, seat, tidy
from heliograph.manager.view import State, View
from heliograph.model.errors import HelioError, WrongStateError

log = structlog.get_logger(__name__)

#: Bytes of a published view; above it only the numbers that change are told.
MAX_VIEW = MAX_MESSAGE // 2
#: Channels that are brought in order in one tick: more wait for the next one, joins do not.
MAX_TIDIED = 200
#: Ticks after which all channels are looked at, whether something was heard of them or not: there
#: may be room by now where there was none.
ALL = 5


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """In seconds, where nothing else is said."""

    lease: LeaseTimes = field(default_factory=LeaseTimes)
    orders: OrderTimes = field(default_factory=OrderTimes)
    tick: float = 1.0
    grace: float = 2.0
    """For which a new manager waits at most until all units that are there have reported."""
    fresh: float = 1.5
    """Age of a report that still tells what runs: units report each second."""
    silence: float = 10.0
    """After which a unit that is there and does not report is taken for dead."""
    publish: float = 0.5
    """Between two publications of the view."""
    grant: float = 0.3
    """For which a viewer waits until his unit knows of its new group."""
    shown: float = 600.0
    """For which a unit that is gone is still shown to people."""


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
        changed: Callable[[bool], None] | None = None,
        clock: Callable[[], float] = uptime,
    ) -> None:
        """``name``: the node's, for people. ``changed`` is told whether we are active from now on;
        the service address follows it."""
        self.name = name
        self.options = options or ManagerOptions()
        self.desired = desired
        self._bus = bus
        self._clock = clock
        self._changed = changed
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
        self.kept: dict[str, int] = {}
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
        self._told: dict[str, Any] = {}
        self._gone_at: dict[str, float] = {}
        self._ticks = 0
        self._in_company = False
        self._carrying_out: set[asyncio.Task[Any]] = set()
        self._listening_since = 0.0
        self._commands = Commands(self)

    async def start(self) -> None:
        """Show this manager, listen, and try to become active."""
        self._listening_since = self._clock()
        self._here = self._bus.announce(wire.MANAGER, self.name, {"active": False, "epoch": 0})
        self.hearing.start()
        self._registrations = [
            self._bus.serve(wire.JOIN, self._join),
            self._bus.serve(wire.COMMAND, self._command),
            self._bus.serve(wire.VIEW, self._view),
            self._bus.watch(wire.MANAGER, self._manager),
        ]
        self.leader.start()

    async def close(self) -> None:
        """Give the lease back, so that a standby goes on at once."""
        for one in self._registrations:
            one.close()
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
        self.hearing.recall(unit)
        known = self.view.units.get(unit)
        if known is not None and known.state is State.DRAINING:
            self.decide(d.bring_back(self.view, unit))

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
            self._told.clear()
            self._gone_at.clear()
            self._tell_active(False, 0)

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

    def _tell_active(self, active: bool, epoch: int) -> None:
        if self._here is not None and not self._here.closed:
            with contextlib.suppress(HelioError):  # the bus may be closed before us
                self._here.update({"active": active, "epoch": epoch})
        if self._changed is not None:
            self._changed(active)

    # --- being active -----------------------------------------------------------------------

    async def _rule(self, lease: Lease, boxes: Outboxes) -> None:
        try:
            await self._take_over(boxes)
        except Exception:
            log.exception("manager failed to take over")
            self.leader.step_down("it failed to take over")
            return
        self._serving.set()
        self._tell_active(True, lease.epoch)
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
        for unit in sorted(self.drained):
            self._drain(unit, now)
        for unit, at in [*self._gone_at.items()]:
            known = self.view.units.get(unit)
            if known is None or known.state is not State.GONE:
                del self._gone_at[unit]
            elif now - at > self.options.shown and not known.carries:
                self.hearing.view = apply(self.view, t.Forget(unit))

    def _tidy(self, boxes: Outboxes, most: int) -> None:
        """Bring in order channels that something was reported of."""
        now = self.now()
        keepers: dict[str, set[str]] = {}
        for node, name in self._bus.present(CHANNEL):
            keepers.setdefault(name, set()).add(node)
        for name in [*self._dirty][:most]:
            del self._dirty[name]
            channel = self.view.channels.get(name)
            if channel is None or (channel.branches and not is_live(channel)):
                continue
            if any(map(boxes.pending, channel.branches)) or not self._patience.may(name, now):
                self._dirty[name] = None  # what was ordered comes first
                continue
            decision = tidy(self.view, name, now, keepers.get(name, ()))
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
        self.tell_progress("drain", unit)

    def progress(self, unit: str) -> dict[str, Any]:
        """What a unit still has; it is done when the unit has carried out all it was told."""
        found = describe_progress(d.progress(self.view, unit))
        if self._boxes is not None and self._boxes.pending(unit):
            found["done"] = False
        return {"done": found["done"], "progress": found}

    def tell_progress(self, command: str, unit: str) -> None:
        """Publish what a unit still has, where that is not what was said last."""
        said = {"command": command, "subject": unit, **self.progress(unit)}
        if self._told.get(unit) != said:
            self._told[unit] = said
            self._bus.publish(wire.PROGRESS, said)

    def _publish(self, lease: Lease) -> None:
        shown = describe(self.view, epoch=lease.epoch, manager=self.name, at=0.0)
        if self._told.get("view") == shown:
            return
        self._told["view"] = shown
        shown = {**shown, "at": round(time.time(), 3)}
        if len(encode_or_empty(shown)) > MAX_VIEW:
            shown = self._shown(lease, whole=False)
        self._bus.publish(wire.VIEWS, shown)

    def _shown(self, lease: Lease, *, whole: bool = True) -> dict[str, Any]:
        at = time.time()
        return describe(self.view, epoch=lease.epoch, manager=self.name, at=at, whole=whole)

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

    # --- what others ask --------------------------------------------------------------------

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

    async def _join(self, request: Request) -> Json:
        asked = wire.parse_asked(request.value)
        if not self.serving:
            await self.until_serving()
        lease = self.require_lease()
        id, now = f"{lease.epoch}-{secrets.token_urlsafe(12)}", self.now()
        offered = () if asked.channel in self.view.channels else self.offered()
        try:
            joined = seat(self.view, asked, id, now, offered)
        except HelioError:
            self.counters["refusals"] += 1
            raise
        self.decide(joined)
        self.counters["joins"] += 1
        kept = joined.reservation
        boxes = self._boxes
        if boxes is not None and boxes.pending(kept.unit):
            # Of a group that is granted this moment his unit has to know before he comes.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.options.grant):
                    await boxes.carried_out(kept.unit)
        left = max(0.0, kept.expires - self.now())
        return wire.seat_json(wire.Seat(kept.id, kept.unit, kept.index, lease.epoch, left))

    async def _command(self, request: Request) -> Json:
        command = wire.parse_command(request.value)
        await self.until_serving()
        self.counters["commands"] += 1
        # Half a command is worse than one whose answer nobody waits for any more.
        task = asyncio.get_running_loop().create_task(self._carry_out(command))
        self._carrying_out.add(task)
        task.add_done_callback(self._carrying_out.discard)
        return await asyncio.shield(task)

    async def _carry_out(self, command: wire.Command) -> Json:
        try:
            return await self._commands.carry_out(command)
        except WrongStateError as error:
            if self.lease is not None:  # the database says that it is another's
                self.leader.step_down(error.message)
            raise

    async def _view(self, request: Request) -> Json:
        return self._shown(self.require_lease())


def encode_or_empty(value: Json) -> bytes:
    """A value as bytes; as long as a message may be where it is longer."""
    try:
        return encode(value)
    except HelioError:
        return bytes(MAX_MESSAGE)
