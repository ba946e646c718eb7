"""The way to the manager, for portals and the API, and what to do without one.

A portal hears the units' reports like a manager. Where no manager answers in time it chooses from
what it heard, with the same ranking, among groups that are granted already: it never grows. What
it gave away itself it counts until reports tell of it, or until nobody came.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import structlog

from heliograph.bus import Bus, Event, Registration
from heliograph.bus.wire import Json
from heliograph.catalogue.values import Actor
from heliograph.live.admission import RETRY_AFTER
from heliograph.live.placing import PATIENCE
from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.decisions.joining import RESERVATION_S
from heliograph.manager.draft import apply
from heliograph.manager.hearing import Hearing
from heliograph.manager.leadership import uptime
from heliograph.manager.ranking import seat_group, seat_unit
from heliograph.manager.view import Channel, Cluster
from heliograph.model.errors import (
    BusyError,
    MalformedError,
    RemoteError,
    UnreachableError,
    WrongStateError,
)
from heliograph.model.nodes import NodeId

log = structlog.get_logger(__name__)

#: Seconds for a command: the database may take its time.
COMMAND_TIMEOUT = 10.0
#: Seconds for the view.
VIEW_TIMEOUT = 2.0

#: Told what is new: ``view`` with the whole view, ``progress`` with that of a command.
Listener: TypeAlias = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a viewer goes."""

    id: str
    """Of the reservation."""
    unit: str
    index: int
    """Of the group."""
    channel: str
    by_manager: bool
    """False: nobody knows of it but this node."""


class Managers:
    """All managers of the cluster, for who needs one."""

    def __init__(
        self, bus: Bus, location: str = "", *, clock: Callable[[], float] = uptime
    ) -> None:
        """``location``: this node's, for viewers of whom nothing better is known."""
        self.hearing = Hearing(bus, clock)
        self.counters: Counter[str] = Counter(asked=0, alone=0, refused_alone=0)
        self._bus = bus
        self._location = location
        self._clock = clock
        self._news: asyncio.Future[None] | None = None
        """Done when a manager comes, goes or changes; None while nobody waits for that."""
        self._listeners: list[Listener] = []
        self._registrations = [bus.watch(wire.MANAGER, self._changed)]
        self._subscriptions: list[Registration] = []
        """To what the manager tells people, while somebody here listens: it is much."""
        self.hearing.start()

    def close(self) -> None:
        """Listen no more."""
        for one in (*self._registrations, *self._subscriptions):
            one.close()
        self.hearing.close()
        self._listeners.clear()

    def active(self) -> str | None:
        """The node of the active manager; None while there is none to be seen."""
        best: tuple[int, str] | None = None
        for (node, _), value in self._bus.present(wire.MANAGER).items():
            if isinstance(value, dict) and value.get("active") is True:
                epoch = value.get("epoch")
                best = max(best or (-1, ""), (epoch if isinstance(epoch, int) else 0, node))
        return None if best is None else best[1]

    def loads(self) -> dict[str, float]:
        """What units say that they send now: bits a second by the unit's name."""
        return {
            report.name: float(report.measured.bandwidth)
            for report in self.hearing.reports.values()
            if report.measured is not None
        }

    async def join(
        self,
        channel: str,
        *,
        location: str = "",
        origin: str = "",
        at: str = "",
        avoid: Collection[str] = (),
    ) -> Place:
        """A place for a viewer, kept for some seconds.

        ``origin``: the unit he was sent away from, or that died under him. ``at``: the unit he
        cannot avoid. ``avoid``: those that took him not, or gave no answer. ``BusyError`` without
        a place, ``NotFoundError`` for a channel nobody has.
        """
        asked = wire.Asked(channel, location or self._location, origin, at, tuple(avoid))
        self.counters["asked"] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ask(asked)
        except TimeoutError:
            pass
        except RemoteError as error:
            log.info("manager did not answer", error=error.message)
        return self._choose(asked)

    async def command(
        self, command: str, by: Actor, domains: tuple[str, ...] | None = None, /, **what: object
    ) -> dict[str, Any]:
        """Order something of the active manager; errors are its own.

        ``domains``: those of units that whoever orders it administers; None: everything.
        ``UnreachableError`` where no manager is active: nothing was done then.
        """
        value = wire.command_json(wire.Command(command, by, what, domains))
        async with asyncio.timeout(COMMAND_TIMEOUT):
            node = await self._found()
        return _object(await self._bus.call(node, wire.COMMAND, value, COMMAND_TIMEOUT))

    async def view(self) -> dict[str, Any]:
        """The cluster as its manager sees it (``describe``); ``RemoteError`` without one."""
        node = self.active()
        if node is None:
            raise UnreachableError("no manager is active", subject="manager")
        try:
            answer = await self._bus.call(node, wire.VIEW, {}, VIEW_TIMEOUT)
            return _object(wire.unpack(answer))
        except WrongStateError as error:
            raise UnreachableError(error.message, subject="manager") from None

    def watch(self, listener: Listener) -> Registration:
        """Be told of each published view and of the progress of commands."""
        self._listeners.append(listener)
        if not self._subscriptions:
            self._subscriptions = [
                self._bus.announce(wire.WATCHERS, "cluster"),
                self._bus.subscribe(wire.VIEWS, self._viewed),
                self._bus.subscribe(wire.PROGRESS, self._progressed),
            ]

        def undo() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if not self._listeners:
                for one in self._subscriptions:
                    one.close()
                self._subscriptions.clear()

        return Registration(undo)

    async def _ask(self, asked: wire.Asked) -> Place:
        """Ask the active manager, and the next one where it is so no more."""
        while True:
            news = self._next_news()
            node = self.active()
            if node is not None:
                try:
                    answer = await self._bus.call(node, wire.JOIN, wire.asked_json(asked), PATIENCE)
                    seat = wire.parse_seat(answer)
                    return Place(seat.id, seat.unit, seat.index, asked.channel, True)
                except (WrongStateError, UnreachableError):
                    pass
            elif not self._bus.present(wire.MANAGER):
                raise UnreachableError("there is no manager", subject="manager")
            await asyncio.shield(news)

    async def _found(self) -> str:
        while (node := self.active()) is None:
            if not self._bus.present(wire.MANAGER):
                raise UnreachableError("there is no manager", subject="manager")
            await asyncio.shield(self._next_news())
        return node

    def _next_news(self) -> asyncio.Future[None]:
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        return self._news

    def _changed(self, _event: Event) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.set_result(None)

    def _choose(self, asked: wire.Asked) -> Place:
        """Without a manager: a free place of a group that is granted."""
        now, hearing = self._clock(), self.hearing
        hearing.view = d.lapse(hearing.view, now).view
        view = hearing.view
        channel = view.channels.get(asked.channel)
        unit = None if channel is None else self._unit(view, channel, asked)
        if channel is None or unit is None:
            self.counters["refused_alone"] += 1
            raise BusyError(
                f"no manager answers, and no free place of {asked.channel!r} is known",
                subject="places",
                retry_after=min(2, RETRY_AFTER),
            )
        index = seat_group(view, channel, unit)
        id = f"0-{secrets.token_urlsafe(12)}"
        reserve = t.Reserve(id, asked.channel, unit, index, now + RESERVATION_S)
        hearing.view = apply(view, reserve)
        self.counters["alone"] += 1
        return Place(id, unit, index, asked.channel, False)

    def _unit(self, view: Cluster, channel: Channel, asked: wire.Asked) -> str | None:
        if asked.at:
            others: Collection[str] = channel.branches.keys() - {asked.at}
        else:
            others = {asked.origin, *asked.avoid}
        # Those that get the channel come first; on the others a viewer waits for it as well.
        dry = frozenset(one for one in channel.orphans if not self._is_fed(channel.name, one))
        for cut in (dry, frozenset[str]()):
            reached = replace(channel, ingest=channel.ingest or "", orphans=cut)
            unit = seat_unit(view, reached, asked.location, others)
            if unit is not None:
                return unit
        return None

    def _is_fed(self, channel: str, unit: str) -> bool:
        """Whether an orphan by our view says that it has a source: one that is no unit."""
        report = self.hearing.reports.get(unit)
        found = () if report is None else report.branches
        return any(one.channel == channel and (one.ingest or one.source) for one in found)

    def _viewed(self, node: NodeId, _topic: str, value: Json) -> None:
        # A manager may not know yet that it is active no more.
        if node != self.active():
            return
        try:
            self._tell("view", wire.unpack(value))
        except MalformedError as error:
            log.warning("view not understood", manager=node, error=error.message)

    def _progressed(self, _node: NodeId, _topic: str, value: Json) -> None:
        self._tell("progress", value)

    def _tell(self, kind: str, value: Json) -> None:
        if isinstance(value, dict):
            for listener in [*self._listeners]:
                listener(kind, value)


def _object(value: Json) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(wire.COMMAND, "the manager's answer is no object")
    return value
