"""Sends units their orders: to each in sequence, again where there is no answer, never for ever.

Orders that were done already do no harm when they are told again, so whatever is not answered is
told again. What in the end nobody carried out is given up: the unit's report says what runs, and
decisions go on from there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from heliograph.bus import Bus
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.draft import Decision
from heliograph.manager.upkeep import receivers
from heliograph.manager.view import State
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    RemoteError,
)

log = structlog.get_logger(__name__)

#: Orders that wait for one unit; more than all that it has, several times.
MAX_WAITING = 5000


@dataclass(frozen=True, slots=True)
class OrderTimes:
    """In seconds."""

    timeout: float = 1.0
    """For one answer."""
    pause: float = 0.2
    """Before telling again, doubled each time."""
    attempts: int = 4
    """Until orders are given up."""

    def __post_init__(self) -> None:
        if min(self.timeout, self.pause) <= 0 or self.attempts < 1:
            raise MalformedError("order times", f"{self}")


@dataclass(frozen=True, slots=True)
class Term:
    """What orders are given by."""

    epoch: int
    active: Callable[[], bool]
    """Whether it still is."""
    outdated: Callable[[str], None]
    """Told the unit that knows a higher epoch."""
    given_up: Callable[[str], None]
    """Told the unit that did not carry out its orders."""


class Outboxes:
    """Orders of one manager's term to all units."""

    def __init__(
        self,
        bus: Bus,
        term: Term,
        clock: Callable[[], float],
        counters: Counter[str],
        times: OrderTimes | None = None,
    ) -> None:
        """``counters``: those of the manager, whatever its term."""
        self.bus = bus
        self.term = term
        self.clock = clock
        self.times = times or OrderTimes()
        self.counters = counters
        self._boxes: dict[str, _Outbox] = {}

    def send(self, decision: Decision) -> None:
        """Tell units what was decided for them."""
        by_unit: dict[str, list[t.Transition]] = {}
        for one in decision.transitions:
            for unit in receivers(one):
                by_unit.setdefault(unit, []).append(one)
        for unit, orders in by_unit.items():
            known = decision.view.units.get(unit)
            if known is not None and known.state is not State.GONE:
                self._box(unit).put(orders, known.ordered)

    def greet(self, unit: str, serial: int) -> None:
        """Let a unit know the epoch: from now on it takes no orders of a lower one."""
        self._box(unit).put([], serial)

    def pending(self, unit: str) -> bool:
        """Whether the unit has not answered all it was told."""
        box = self._boxes.get(unit)
        return box is not None and box.busy

    async def carried_out(self, unit: str) -> None:
        """Wait until the unit was told all that it is to be told now, or that was given up."""
        box = self._boxes.get(unit)
        if box is not None:
            await box.done()

    def forget(self, unit: str) -> None:
        """The unit is gone."""
        box = self._boxes.pop(unit, None)
        if box is not None:
            box.close()

    def close(self) -> None:
        """Nothing more is told to anybody."""
        for unit in [*self._boxes]:
            self.forget(unit)

    def _box(self, unit: str) -> _Outbox:
        if unit not in self._boxes:
            self._boxes[unit] = _Outbox(self, unit)
        return self._boxes[unit]


class _Outbox:
    """Of one unit."""

    def __init__(self, boxes: Outboxes, unit: str) -> None:
        self._boxes = boxes
        self._unit = unit
        self._waiting: deque[tuple[list[t.Transition], int]] = deque()
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return not self._idle.is_set()

    def put(self, orders: list[t.Transition], serial: int) -> None:
        if self._count + len(orders) > MAX_WAITING:
            self._give_up("too many orders wait for it")
            return
        for first in range(0, max(1, len(orders)), wire.MAX_ORDERS):
            some = orders[first : first + wire.MAX_ORDERS]
            # Serials count orders, so those of the parts are above all that came before.
            self._waiting.append((some, serial - (len(orders) - first - len(some))))
        self._count += len(orders)
        self._idle.clear()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"orders to {self._unit}"
            )

    async def done(self) -> None:
        await self._idle.wait()

    def close(self) -> None:
        self._waiting.clear()
        self._count = 0
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._idle.set()

    async def _run(self) -> None:
        while self._waiting:
            orders, serial = self._next()
            try:
                if not await self._tell(orders, serial):
                    return
            except Exception:  # the unit is to get what comes after all the same
                log.exception("orders failed", unit=self._unit)
                self._give_up("they failed unexpectedly")
        self._task = None
        self._idle.set()

    # What waits is told together.
    def _next(self) -> tuple[list[t.Transition], int]:
        orders, serial = self._waiting.popleft()
        orders = [*orders]
        while self._waiting and len(orders) + len(self._waiting[0][0]) <= wire.MAX_ORDERS:
            more, serial = self._waiting.popleft()
            orders += more
        self._count -= len(orders)
        return orders, serial

    async def _tell(self, orders: list[t.Transition], serial: int) -> bool:
        """Whether to go on with what waits."""
        boxes, term, times = self._boxes, self._boxes.term, self._boxes.times
        for attempt in range(times.attempts):
            if attempt:
                boxes.counters["orders_repeated"] += 1
                await asyncio.sleep(times.pause * 2 ** (attempt - 1))
            while not term.active():  # noqa: ASYNC110 - until that is told, or it is again
                await asyncio.sleep(times.pause)
            now = boxes.clock()
            value = wire.orders_json(wire.Orders(term.epoch, serial, tuple(orders)), now)
            try:
                await boxes.bus.call(self._unit, wire.ORDERS, value, times.timeout)
            except ConflictError as error:
                log.warning("unit knows a higher epoch", unit=self._unit, error=error.message)
                term.outdated(self._unit)
                return False
            except (RemoteError, BusyError) as error:
                log.info("unit did not answer", unit=self._unit, error=error.message)
            except HelioError as error:
                self._give_up(error.message)
                return True
            else:
                boxes.counters["orders"] += len(orders)
                return True
        self._give_up("no answer")
        return True

    def _give_up(self, why: str) -> None:
        self._boxes.counters["orders_given_up"] += 1
        log.warning("orders given up", unit=self._unit, reason=why)
        self._waiting.clear()
        self._count = 0
        self._boxes.term.given_up(self._unit)
