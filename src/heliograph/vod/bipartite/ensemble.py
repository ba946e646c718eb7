"""This node among those that send titles together: orders that come and go, nodes that die."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.presence import Arrived, Event, Gone
from heliograph.bus.wire import Json
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    NotFoundError,
    RemoteError,
)
from heliograph.model.nodes import NodeId
from heliograph.plane import PlaneLoop
from heliograph.vod.bipartite.clocks import Clocks
from heliograph.vod.bipartite.order import Order, decode
from heliograph.vod.bipartite.part import SILENCE, Part, Site
from heliograph.vod.bipartite.sharing import Home
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.promises import Promise
from heliograph.vod.sessions import Observer

log = structlog.get_logger(__name__)

#: Kind of the name by which a node tells that it sends titles with others, and where from.
KIND = "bipartite"
#: Method by which an order is passed on.
ORDER = "bipartite.order"
#: Seconds that a player's request waits for nodes to confirm its order.
CONFIRM = 0.3
#: Times that a node is told an order, seconds for its answer, and between two times.
ATTEMPTS, TIMEOUT, AGAIN = 3, 1.0, 0.2
#: Times that it is told of a session's end while it is there: it would send for a minute to a
#: player that is gone, and to whoever has its ports by then.
ENDING_ATTEMPTS = 30
#: Sessions that this node knows at once: some 100 KB each beside their blocks.
MAX_PARTS = 4096
#: Sessions that are over and remembered, so that a late order does not begin them again, and who
#: missed the end is told of it: some 2 KB each.
MAX_OVER = 1024
#: Orders on their way at once to a node that came back: it has as many sessions as it had.
MAX_RETOLD = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the blocks of a title are, by one version of its volume's state."""

    version: int
    nodes: tuple[NodeId, ...]
    """With disks of the volume, in the order of the disks."""
    home: Home


class Library(Protocol):
    """Titles of this node's volumes, for those who send them together."""

    def find(self, name: str) -> Manifest | None:
        """The title of that logical id as it is now; None: there is none."""

    def source(self, manifest: Manifest) -> BlockSource:
        """Where its blocks are read."""

    async def layout(self, manifest: Manifest, version: int | None = None) -> Layout:
        """Where its blocks are by a version of the state, None: the newest. ``NotFoundError``: the
        volume is not known here; ``WrongStateError``: nor is that version, or not any more."""

    def promise(
        self,
        manifest: Manifest,
        tracks: Sequence[int],
        nodes: Callable[[], Sequence[NodeId]],
        ahead_us: int,
    ) -> Promise | None:
        """This node's part of a stream that ``nodes`` send at present, ``ahead_us`` ahead of time
        at most; None: nothing is short.
        ``BusyError`` tells which budget is spent."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node sends from and takes requests."""

    hosts: tuple[str, ...]
    """Numeric addresses, best first."""
    rtsp: int
    rtp: int
    rtcp: int


class Ensemble:
    """One at a node; ``open`` when its servers listen, ``look`` every few seconds, ``close``."""

    def __init__(
        self,
        bus: Bus,
        library: Library,
        loop: PlaneLoop,
        endpoint: Callable[[], int],
        *,
        observe: Observer | None = None,
    ) -> None:
        """``endpoint``: the plane's, for media by UDP. ``observe``: told of sessions that this node
        has control of."""
        self.library = library
        self.node = bus.node
        self.clocks = Clocks(bus, loop.plane.monotonic_us)
        self.parts: dict[str, Part] = {}
        """By session."""
        self.counters: Counter[str] = Counter(
            orders=0,
            orders_refused=0,
            orders_unanswered=0,
            # Told to nodes that came back, or did not know the newest.
            orders_retold=0,
            deaths=0,
            taken_over=0,
            silent=0,
        )
        self.begun: list[Callable[[Part], None]] = []
        """Told of each part that begins."""
        self.past: list[Callable[[Part], None]] = []
        """Told of each part that is over."""
        self._site = Site(bus.node, loop, endpoint, self.clocks, observe)
        self._bus = bus
        self._over: OrderedDict[str, tuple[Order, float]] = OrderedDict()
        """By session: the last order, and when it was over, the loop's time."""
        self._watchers: dict[str, Callable[[Order], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._registrations: list[Registration] = []
        self._open = False

    def open(self, place: Place) -> None:
        """Send, from there."""
        value: Json = {
            "hosts": list(place.hosts),
            "rtsp": place.rtsp,
            "rtp": place.rtp,
            "rtcp": place.rtcp,
        }
        self._registrations += [
            self._bus.serve(ORDER, self._asked),
            self._bus.announce(KIND, "titles", value),
            self._bus.watch(KIND, self._seen),
        ]
        self._open = True

    async def close(self) -> None:
        """Send no more; the others go on."""
        self._open = False
        self._watchers.clear()  # players are not told that it is over, for it is not
        for registration in self._registrations:
            registration.close()
        self.clocks.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for part in [*self.parts.values()]:
            part.close("server stopping")

    @property
    def usable(self) -> bool:
        """Whether this node sends with others."""
        return self._open

    def places(self) -> dict[NodeId, Place]:
        """Nodes that are there, and where."""
        found = {}
        for (node, _), value in self._bus.present(KIND).items():
            place = _place(value)
            if place is not None:
                found[node] = place
        return found

    # orders

    def order(self, session: str) -> Order | None:
        """What is known of a session; None: it is not."""
        part = self.parts.get(session)
        return None if part is None else part.order

    def watch(self, session: str, watcher: Callable[[Order], None] | None) -> None:
        """Be told of each order of a session, and of its end, or no more with None."""
        if watcher is None:
            self._watchers.pop(session, None)
        else:
            self._watchers[session] = watcher

    async def spread(self, order: Order) -> dict[NodeId, HelioError]:
        """Go by an order of ours, and have the others do so: errors of those that refused in time.

        Returns when all have confirmed, or after ``CONFIRM`` seconds. What this node itself raises
        is raised.
        """
        await self._take(order)
        refused: dict[NodeId, HelioError] = {}
        here = self.places()
        others = {one.node for one in order.present}
        if order.controller in here:
            others.add(NodeId(order.controller))
        others.discard(self.node)
        # Who was left out may have come back, and goes by what it heard last: nobody waits for it.
        for node in {one.node for one in order.members if one.node in here} - others - {self.node}:
            self._start(self._tell(node, order, {}))
        tasks = [self._start(self._tell(node, order, refused)) for node in others]
        if tasks:
            await asyncio.wait(tasks, timeout=CONFIRM)
        return refused

    def pass_on(self, order: Order) -> None:
        """The same without waiting; what goes wrong is counted."""
        self._start(self._pass_on(order))

    async def _pass_on(self, order: Order) -> None:
        try:
            await self.spread(order)
        except HelioError as error:
            log.warning("order not passed on", session=order.id[:8], error=error.message)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self, node: NodeId, order: Order, refused: dict[NodeId, HelioError]) -> None:
        """Tell one node, again if need be; one that cannot be told sends no more."""
        error: HelioError | None = None
        ends = order.state == "closed"
        for attempt in range(ENDING_ATTEMPTS if ends else ATTEMPTS):
            if attempt:
                await asyncio.sleep(AGAIN)
                if ends and node not in self.places():
                    break
                newest = self.order(order.id)
                if newest is not None and newest.rank > order.rank:
                    return
            try:
                await self._bus.call(node, ORDER, order.to_json(), TIMEOUT)
                return
            except ConflictError:
                return  # it knows a newer one, which it tells
            except RemoteError as failed:
                error = failed
                self.counters["orders_unanswered"] += 1
            except HelioError as failed:
                error = failed
                break
        assert error is not None
        refused[node] = error
        log.warning("node goes by no order", node=node, session=order.id[:8], error=error.message)
        part = self.parts.get(order.id)
        if part is not None and not isinstance(error, BusyError):
            self.leave_out(part, node)

    async def _asked(self, request: Request) -> Json:
        order = decode(request.value)
        try:
            self._insist(order)
            await self._take(order)
        except ConflictError:
            self._retell(NodeId(request.caller), order)
            raise
        except HelioError:
            self.counters["orders_refused"] += 1
            raise
        return None

    def _insist(self, order: Order) -> None:
        """Who has control knows better who is there than others that did not see it for a while:
        ``ConflictError`` where an order is what they noted meanwhile, and ours goes to all."""
        known = self.order(order.id)
        over = self._over.get(order.id)
        if known is None and over is not None:
            known = over[0]
        if known is None or order.state == "closed" or known.controller != self.node:
            return
        if (order.epoch, order.controller) != (known.epoch, known.controller):
            return
        if order.rank > known.rank:
            self.pass_on(replace(known, version=order.version + 1))
            raise ConflictError("that node has control", subject=order.id)

    async def _take(self, order: Order) -> None:
        """Go by an order; ``ConflictError``: a newer one is known."""
        self.counters["orders"] += 1
        await self.clocks.ensure(order.controller)
        layout: Layout | None = None
        known = self.parts.get(order.id)
        if known is None:
            over = self._over.get(order.id)
            if over is not None and order.rank < over[0].rank:
                raise ConflictError("the session is over", subject=order.id)
            if over is not None and order.rank == over[0].rank:
                return
            if order.state == "closed":
                self._forget(order)
                return
        if order.state != "closed" and (known is None or known.order.volume != order.volume):
            manifest = self._title(order)
            layout = await self.library.layout(manifest, order.volume)
        known = self.parts.get(order.id)  # another order may have come meanwhile
        if known is not None:
            if order.rank < known.order.rank:
                raise ConflictError("a newer order is known", subject=order.id)
            if layout is not None:
                known.home = layout.home
            if known.promise is None:
                known.promise = self._promise(order, known.manifest)
            known.affordable(order)
            before = known.order.members
            known.follow(order)
            if known.promise is not None and known.order.members != before:
                known.promise.renew()
        elif layout is not None:
            self._begin(order, self._title(order), layout)
        self._told(order)

    def _title(self, order: Order) -> Manifest:
        manifest = self.library.find(order.title)
        if manifest is None or manifest.object != order.object:
            raise NotFoundError(f"there is no title {order.title}", subject=order.title)
        return manifest

    def _begin(self, order: Order, manifest: Manifest, layout: Layout) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise BusyError(f"{MAX_PARTS} titles are sent already", subject="places")
        promise = self._promise(order, manifest)
        try:
            source = self.library.source(manifest)
            part = Part(self._site, order, manifest, source, layout.home, promise, self._ended)
        except BaseException:
            if promise is not None:
                promise.release()
            raise
        self.parts[order.id] = part
        for listener in self.begun:
            listener(part)

    def _promise(self, order: Order, manifest: Manifest) -> Promise | None:
        """A promise of this node's part, where it has one."""
        if order.state == "closed" or self.node not in (one.node for one in order.present):
            return None

        def nodes() -> list[NodeId]:
            known = self.order(order.id)
            newest = order if known is None or known.rank < order.rank else known
            return [one.node for one in newest.present]

        tracks = [lane.track for lane in order.lanes]
        return self.library.promise(manifest, tracks, nodes, order.ahead_us)

    def _told(self, order: Order) -> None:
        watcher = self._watchers.get(order.id)
        if watcher is not None:
            watcher(order)

    def _ended(self, part: Part) -> None:
        if self.parts.pop(part.order.id, None) is None:
            return
        self._forget(part.order)
        for listener in self.past:
            listener(part)
        self._told(replace(part.order, state="closed"))

    def _forget(self, order: Order) -> None:
        self._over[order.id] = order, asyncio.get_running_loop().time()
        self._over.move_to_end(order.id)
        if len(self._over) > MAX_OVER:
            self._over.popitem(last=False)

    # nodes that come back

    def _retell(self, node: NodeId, *orders: Order) -> None:
        """Tell a node the newest that is known here of these sessions."""
        if orders:
            self._start(self._told_again(node, [one.id for one in orders]))

    async def _told_again(self, node: NodeId, sessions: Sequence[str]) -> None:
        """Some at a time; where it knows newer ones it tells them."""
        for first in range(0, len(sessions), MAX_RETOLD):
            found = [self._newest(one) for one in sessions[first : first + MAX_RETOLD]]
            orders = [one for one in found if one is not None]
            self.counters["orders_retold"] += len(orders)
            await asyncio.gather(*(self._tell(node, one, {}) for one in orders))

    def _newest(self, session: str) -> Order | None:
        over = self._over.get(session)
        return self.order(session) or (None if over is None else over[0])

    def _came(self, node: NodeId) -> None:
        """A node is there, maybe again: whoever has control of a session tells it, and is told;
        where that node is not there all tell all. It may have missed an end."""
        here = self.places()
        known = [
            one
            for one in (part.order for part in self.parts.values())
            if one.controller in (self.node, node) or one.controller not in here
        ]
        late = asyncio.get_running_loop().time() - SILENCE  # by then it has ended by itself
        known += [one for one, at in self._over.values() if one.state == "closed" and at > late]
        self._retell(node, *(one for one in known if one.concerns(node)))

    # control

    async def take_over(self, session: str) -> Order | None:
        """Take control of a session that is known here; None: it is not."""
        part = self.parts.get(session)
        if part is None:
            return None
        order = part.order
        if order.controller == self.node:
            return order
        plane = self._site.loop.plane
        local = self.clocks.local_us(order.controller, order.at_us)
        ours = self.clocks.now_us() - plane.monotonic_us()
        mine = replace(
            order,
            epoch=order.epoch + 1,
            controller=self.node,
            version=order.version + 1,
            at_us=max(local + ours, 0),
        )
        here = self.places()
        for member in order.present:
            if member.node not in here:
                mine = mine.without(member.node, self.clocks.now_us(), self._bus.lease)
        self.counters["taken_over"] += 1
        log.info("session taken over", session=session[:8], epoch=mine.epoch)
        await self.spread(mine)
        return mine

    def finish(self, part: Part) -> None:
        """End a session at all nodes."""
        order = part.order
        self.pass_on(replace(order, version=order.version + 1, state="closed"))

    def leave_out(self, part: Part, node: NodeId) -> None:
        """A node sends no more in a session: the others do what it would have."""
        order = part.order
        now = self._site.loop.plane.monotonic_us()
        shared = self.clocks.shared_us(order.controller, now)
        fresh = order.without(node, shared, self._bus.lease)
        if fresh is not order:
            self.counters["deaths"] += 1
            self.pass_on(fresh)

    def _seen(self, event: Event) -> None:
        """Nodes come and go."""
        node = event.name.node
        if node == self.node:
            return
        if isinstance(event, Arrived):
            self._came(node)
        elif isinstance(event, Gone):
            here = frozenset(self.places()) - {node}
            for part in [*self.parts.values()]:
                if part.order.steward(here) == self.node:
                    self.leave_out(part, node)

    # time

    async def look(self) -> None:
        """Measure the others' clocks, keep to them, and end what no player listens to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT * 4):
                await self.clocks.measure_all(self.places())
        now = asyncio.get_running_loop().time()
        for part in [*self.parts.values()]:
            part.trim()
            if part.silent(now) > SILENCE:
                self.counters["silent"] += 1
                part.close("silent")


def _place(value: Json) -> Place | None:
    if not isinstance(value, dict):
        return None
    hosts = value.get("hosts")
    ports = [value.get(name) for name in ("rtsp", "rtp", "rtcp")]
    if not isinstance(hosts, list) or not hosts:
        return None
    if not all(type(one) is int and 0 < one < 65536 for one in ports):
        return None
    rtsp, rtp, rtcp = (one for one in ports if isinstance(one, int))
    return Place(tuple(str(one) for one in hosts), rtsp, rtp, rtcp)
