"""A unit's side of the manager's protocol: it does what the active manager orders, and says what
it runs.

What it does of itself: it takes another group where places run short, as long as a manager is
there to hear of it, and says that it is under pressure. Without a manager it goes on with what it
has.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from heliograph.bus import Arrived, Bus, Changed, Gone, Registration, Request
from heliograph.live.placing import MOVED
from heliograph.live.pressure import Pressure
from heliograph.live.readers import ReaderKind
from heliograph.live.reflector import Reflector
from heliograph.live.registry import Channels
from heliograph.live.seats import Seats, Spend, Viewer
from heliograph.live.seats import State as Standing
from heliograph.live.shared import SharedChannels
from heliograph.live.states import LiveEvent
from heliograph.manager import transitions as t
from heliograph.manager import view as model
from heliograph.manager import wire
from heliograph.manager.carrying import Carrying
from heliograph.manager.decisions.growing import grow_alone, spare
from heliograph.manager.decisions.reconciling import absorb
from heliograph.manager.draft import apply
from heliograph.manager.epochs import KnownEpoch
from heliograph.manager.meter import Meter, cpu_limit, memory_limit
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.view import Amounts, Budgets, State, View
from heliograph.model.errors import ConflictError, HelioError

log = structlog.get_logger(__name__)

#: Seconds between two reports where nothing happens.
PERIOD = 1.0
#: Seconds between two reports at least, whatever happens.
GAP = 0.1
#: Moves of viewers that are remembered, so that one told twice moves nobody twice.
MAX_MOVES = 1024


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """What a unit offers."""

    name: str
    """For people."""
    location: str = ""
    """Places from the large to the small, such as ``eu/de/berlin``; empty: not known."""
    groups: int = model.GROUPS
    places: int = model.PLACES
    """Of each group."""
    bandwidth: int = model.BANDWIDTH
    """Bits a second to viewers and other units."""
    cpu: int = 0
    """Microseconds of CPU a second; 0: most of what the machine has."""
    memory: int = 0
    """Bytes; 0: most of what the machine has."""
    domain: str = ""
    """Of the group of units that it is administered with; empty: of none."""

    def budgets(self) -> Budgets:
        """With what the machine has filled in."""
        limits = Amounts(self.bandwidth, self.cpu or cpu_limit(), self.memory or memory_limit())
        return Budgets(self.groups, self.places, limits)


@functools.lru_cache(maxsize=4096)  # asked for each channel whenever somebody comes
def cost(bits: int) -> Spend:
    """What the manager counts for a viewer of so many bits a second."""
    return Spend(*model.Channel.of("", bits).seat)


def seats_of(budgets: Budgets) -> Seats:
    """The seats of a unit with such budgets."""
    return Seats(budgets.groups, Spend(*budgets.limits), cost=cost)


class UnitAgent:
    """Of one node that is a unit."""

    def __init__(
        self,
        bus: Bus,
        channels: Channels,
        reflector: Reflector,
        shared: SharedChannels,
        options: UnitOptions,
        directory: Path,
        *,
        shown: Mapping[str, Any] | None = None,
        meter: Meter | None = None,
    ) -> None:
        """``directory``: where the node keeps what has to outlive it. ``shown``: what others are to
        see of this unit beside its location, as JSON."""
        self.node = bus.node
        self.options = options
        self.budgets = options.budgets()
        self.seats = seats_of(self.budgets)
        self.serial = 0
        """Of the last order carried out."""
        self.counters: Counter[str] = Counter(
            reports=0,
            reports_failed=0,
            orders=0,
            orders_repeated=0,
            orders_refused=0,
            orders_unfit=0,
            grown=0,
            lent=0,
            growth_refused=0,
            viewers_moved=0,
            publishers_moved=0,
            pressed=0,
        )
        """``orders_refused``: of managers that are so no more; ``orders_unfit``: of what is not
        so, such as a group that is in use; ``lent``: groups to channels that had no place left, by
        this unit itself; ``growth_refused``: no manager was there."""
        self._bus, self._channels = bus, channels
        self._carrying = Carrying(bus, channels, reflector, shared)
        self._shown = {**(shown or {}), "location": options.location}
        self._known = KnownEpoch(directory)
        self._meter = meter or Meter(channels.totals, reflector.sent_bytes)
        self._pressure = Pressure(self.seats.limits)
        self._spent = Spend()
        self._draining = False
        self._applied = 0
        """Serial of the last order of this epoch."""
        self._moves: OrderedDict[str, None] = OrderedDict()
        self._managers: dict[tuple[str, str], bool] = {}
        """Those that are there, and whether they are active."""
        self._by_hand: set[int] = set()
        """Groups that people added."""
        self._registrations: list[Registration] = []
        self._unsubscribe: Callable[[], None] = _nothing
        self._timer: asyncio.TimerHandle | None = None
        self._saying: asyncio.TimerHandle | None = None
        self._said = -math.inf

    async def start(self) -> None:
        """Give places from now on, show this unit, and take orders."""
        await self._known.load()
        self._registrations = [
            self._bus.watch(wire.MANAGER, self._manager),
            self._bus.serve(wire.ORDERS, self._orders),
            self._bus.announce(wire.UNIT, self.options.name, self._shown),
        ]
        self.seats.on_short = self._short
        for channel in self._channels:  # who is there already
            for reader in channel.audience.readers.values():
                if reader.counted:
                    multicast = reader.kind is ReaderKind.MULTICAST
                    self.seats.take(channel.name, reader, multicast=multicast)
        self._channels.seating = self.seats
        self._unsubscribe = self._channels.subscribe(self._observe)
        self._tick()

    async def close(self) -> None:
        """Show this unit no more; places are as many as the limits allow again."""
        for registration in reversed(self._registrations):
            registration.close()
        self._unsubscribe()
        if self._channels.seating is self.seats:
            self._channels.seating = None
        self.seats.on_short = _nothing
        for timer in (self._timer, self._saying):
            if timer is not None:
                timer.cancel()
        await self._known.close()

    @property
    def epoch(self) -> int:
        """The highest of a manager's lease that was heard of."""
        return self._known.value

    def counts(self) -> Mapping[str, int]:
        """Since the start."""
        return {**self.counters, **self._known.counters}

    @property
    def managed(self) -> bool:
        """Whether an active manager is there."""
        return any(self._managers.values())

    # what it says

    def report(self) -> Report:
        """What this unit runs."""
        return Report(
            self.node,
            self.options.name,
            _now(),
            self.options.location,
            State(self.seats.state.value),
            self.budgets,
            Amounts(*self._spent),
            self.serial,
            tuple(self._carrying.branches(self.seats.channels()))[: wire.MAX_ITEMS],
            tuple(GroupReport(one.index, one.channel, one.viewers) for one in self.seats.groups()),
            self.seats.taken()[-wire.MAX_ITEMS :],
            self.options.domain,
        )

    def _say(self) -> None:
        """Report at once, or as soon as that is allowed."""
        if self._saying is None:
            wait = max(0.0, self._said + GAP - _now())
            self._saying = asyncio.get_running_loop().call_later(wait, self._publish)

    def _publish(self) -> None:
        if self._saying is not None:
            self._saying.cancel()
            self._saying = None
        self._said = _now()
        try:
            self._bus.publish(wire.REPORTS, wire.report_json(self.report()))
            self.counters["reports"] += 1
        except HelioError as error:
            self.counters["reports_failed"] += 1
            log.warning("no report was sent", error=error.message)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)
        seen = self._meter.look()
        self._spent = seen.spent
        self._pressure.look(seen, _now())
        for channel in self._channels:
            if channel.active is not None:
                self.seats.price(channel.name, channel.bitrate)
        self.seats.measure(seen.spent, Spend(*self._carrying.costs()))
        self._restate()
        for name in self.seats.waiting():
            self._short(name)
        self._publish()

    def _restate(self) -> None:
        before, by = self.seats.state, self._pressure.by
        pressed = Standing.PRESSED if by else Standing.UP
        self.seats.state = Standing.DRAINING if self._draining else pressed
        self.seats.pressed_by = by or self.seats.pressed_by
        if self.seats.state is not before:
            self.counters["pressed"] += self.seats.state is Standing.PRESSED
            log.info("unit", state=self.seats.state.value, pressed_by=by)
            self._say()

    def _observe(self, event: LiveEvent) -> None:
        match event.kind:
            case "channel-closed":
                self._forget(event.channel)
                self._say()
            case "state" | "source" | "publisher-left":
                self._say()

    def _forget(self, name: str) -> None:
        self.seats.forget(name)
        self._carrying.forget(name)

    # growing

    def _manager(self, event: Arrived | Changed | Gone) -> None:
        at, value = (event.name.node, event.name.name), event.name.value
        self._managers.pop(at, None)
        if not isinstance(event, Gone):
            self._managers[at] = isinstance(value, dict) and value.get("active") is True

    def _short(self, channel: str) -> None:
        """Take further groups for a channel whose places run short, where that may be."""
        seats = self.seats
        free = seats.free(channel)
        enough = seats.has(channel) and free >= spare(seats.taken_places(channel))
        if enough or seats.state is not Standing.UP or self._channels.find(channel) is None:
            return
        if not self.managed:
            self.counters["growth_refused"] += free == 0
            return
        grown = 0
        try:
            while self._grow(channel):
                grown += 1
        except Exception:  # a viewer for whom there is a place is not to suffer from it
            log.exception("unit failed to grow", channel=channel)
        if grown:
            self.counters["grown"] += grown
            log.info("unit has grown", channel=channel, groups=grown)
            self._say()

    def _grow(self, channel: str) -> bool:
        """Take one further group, if one is called for and there is room.

        Where all are granted and the channel has no place left: an empty one of another channel.
        """
        groups = self.seats.groups()
        if len(groups) >= self.budgets.groups:
            lent = any(one.empty and one.channel != channel for one in groups)
            if not lent or self.seats.free(channel):
                return False
        view = absorb(View(), self._alone(channel)).view
        added = Counter(one.channel for one in groups if one.index in self._by_hand)
        view = apply(view, *(t.Keep(name, count + 1) for name, count in added.items()))
        for one in grow_alone(view, channel, self.node, _now()).transitions:
            match one:
                case t.Revoke(other, _, index):
                    if not self.seats.revoke(index, other):
                        return False
                    self.counters["lent"] += 1
                    log.info("group lent", group=index, channel=channel, of=other)
                case t.Grant(_, _, index, places):
                    self._by_hand.discard(index)
                    return self.seats.grant(index, channel, places)
        return False

    def _alone(self, channel: str) -> Report:
        """This unit as it sees itself: places that are kept are taken too.

        The group that has been empty longest comes first, so that it is lent first.
        """
        groups = sorted(self.seats.groups(), key=lambda one: one.since)
        names = dict.fromkeys((channel, *(one.channel for one in groups)))
        found = {name: self._channels.find(name) for name in names}
        return Report(
            self.node,
            self.options.name,
            _now(),
            budgets=self.budgets,
            measured=Amounts(*self.seats.committed()),
            branches=tuple(
                BranchReport(name, bitrate=0 if one is None else one.bitrate)
                for name, one in found.items()
            ),
            groups=tuple(
                GroupReport(one.index, one.channel, one.viewers + one.expected) for one in groups
            ),
        )

    # what it is told

    async def _orders(self, request: Request) -> dict[str, int]:
        orders = wire.parse_orders(request.value, time.time())
        self._accept(orders.epoch, request.caller)
        if orders.serial <= self._applied:
            self.counters["orders_repeated"] += len(orders.orders)
        else:
            for order in orders.orders:
                self._try(order)
            self._applied = orders.serial
            self.serial = max(self.serial, orders.serial)
        if any(isinstance(one, t.MoveViewers) for one in orders.orders):
            self._publish()  # they come back at once, and are not to be counted here any more
        else:
            self._say()
        return {"serial": self.serial}

    def _accept(self, epoch: int, caller: str) -> None:
        """Take orders of a manager's epoch, and of none before it; ``ConflictError``."""
        if epoch < self.epoch:
            self.counters["orders_refused"] += 1
            log.warning("orders of an old manager", manager=caller, epoch=epoch, known=self.epoch)
            raise ConflictError(
                f"epoch {epoch} is over, {self.epoch} is known here", subject="epoch"
            )
        if epoch > self.epoch:
            log.info("another manager", manager=caller, epoch=epoch)
            self._known.learn(epoch)
            self._applied = 0

    def _try(self, order: t.Transition) -> None:
        """Carry an order out. The report says what is so in truth, and the manager believes it."""
        self.counters["orders"] += 1
        try:
            done = self._carry_out(order)
        except Exception:  # the others are to be carried out all the same
            log.exception("order failed", order=str(order)[:200])
            done = False
        if not done:
            self.counters["orders_unfit"] += 1
            log.warning("order not carried out", order=str(order)[:200])

    def _carry_out(self, order: t.Transition) -> bool:
        me = self.node
        match order:
            case t.ChangeState(unit, state) if unit == me:
                self._change_state(state)
            case t.CloseChannel(channel):
                self._close(channel)
            case t.Ingest(channel, unit) if unit == me:
                return self._carrying.wait_for(channel)
            case t.Link(channel, unit, parent) if unit == me:
                return self._carrying.take_from(channel, parent)
            case t.Unlink(channel, unit) if unit == me:
                self._carrying.forget(channel)
            case t.MoveIngest(channel, source, target) if source == me:
                moved = self._carrying.send_away(channel, target, order.expires - time.time())
                self.counters["publishers_moved"] += moved
                log.info("publishers moved", channel=channel, unit=target, publishers=moved)
                return not self._carrying.binds(channel)
            case t.MoveIngest(channel, _, target) if target == me:
                self._carrying.welcome(channel)
            case t.Grant(channel, unit, index, places) if unit == me:
                (self._by_hand.add if order.by_hand else self._by_hand.discard)(index)
                return self.seats.grant(index, channel, places)
            case t.Revoke(channel, unit, index) if unit == me:
                return self.seats.revoke(index, channel)
            case t.MoveViewers() if order.source.unit == me:
                self._move_viewers(order)
            case _:
                return False
        return True

    def _change_state(self, state: State) -> None:
        self._draining = state in (State.DRAINING, State.GONE)
        if state is State.UP:
            self._carrying.let_in()
        if state is State.PRESSED:
            self._pressure.press()
        self._restate()

    def _close(self, name: str) -> None:
        self._carrying.dismiss(name, "channel closed")
        channel = self._channels.find(name)
        if channel is not None:
            readers = [reader for reader in channel.audience.readers.values() if reader.counted]
            self._kick(readers, "channel closed")
        self._forget(name)

    def _move_viewers(self, order: t.MoveViewers) -> None:
        if order.id in self._moves:
            return
        self._moves[order.id] = None
        if len(self._moves) > MAX_MOVES:
            self._moves.popitem(last=False)
        sitting = self.seats.sitting(order.source.number, order.channel)
        moved = sitting[max(0, len(sitting) - order.count) :]
        self._kick(moved, MOVED)
        self.counters["viewers_moved"] += len(moved)
        log.info("viewers moved", channel=order.channel, viewers=len(moved), to=order.target.unit)

    def _kick(self, viewers: Sequence[Viewer], why: str) -> None:
        for viewer in viewers:
            try:
                viewer.kick(why)
            except Exception:  # one whose owner fails keeps nobody else here
                log.exception("viewer not told", reason=why)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nothing(*_: object) -> None:
    """Nobody asked to be told."""
