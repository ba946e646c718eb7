"""A session at one of its nodes: its own blocks, sent when orders say so."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from heliograph.model.errors import BusyError
from heliograph.model.nodes import NodeId
from heliograph.plane import PlaneLoop, SenderClosed, SenderEnded, SenderEvent, SenderStats
from heliograph.vod.bipartite.feeding import ShareFeeder
from heliograph.vod.bipartite.order import Member, Order
from heliograph.vod.bipartite.sharing import Home, Share
from heliograph.vod.block_reader import Counters
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.playing import Viewer
from heliograph.vod.promises import Promise
from heliograph.vod.sessions import Observer, SessionEvent, described, next_id

log = structlog.get_logger(__name__)

#: µs by which a sender may be off the controller's clock before it is put right: much less than
#: players wait for packets that come out of order.
TOLERANCE_US = 500
#: Seconds of the player's silence after which a node ends its part (RFC 2326 section 12.37).
SILENCE = 60.0


class Clock(Protocol):
    """The controller's clock as this node knows it."""

    def local_us(self, controller: NodeId, instant_us: int) -> int:
        """When the plane's clock shows what is an instant of a node's clock."""

    def shared_us(self, controller: NodeId, local_us: int) -> int:
        """The opposite."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a part needs of its node."""

    node: NodeId
    loop: PlaneLoop
    endpoint: Callable[[], int]
    """The plane's endpoint for media by UDP."""
    clock: Clock
    observe: Observer | None = None
    """Told of sessions that this node has control of."""


class Part:
    """One session here. ``follow`` its orders, ended by one, by silence, or by ``close``."""

    def __init__(
        self,
        site: Site,
        order: Order,
        manifest: Manifest,
        source: BlockSource,
        home: Home,
        promise: Promise | None,
        on_ended: Callable[[Part], None],
    ) -> None:
        """``home`` as of the order's version of the volume; ``on_ended``: told when it is over."""
        self.id = next_id()
        self.order = order
        self._manifest = manifest
        self.viewer = Viewer(order.peer, "rtsp-bipartite", order.agent)
        self.since = datetime.now(UTC)
        self.final: SenderStats | None = None
        """The counters at the end."""
        self.ended = False
        """Whether all of the run is sent."""
        self.promise = promise
        self.home = home
        """Where blocks are to be, as of the order's version of the volume."""
        self._site = site
        self._plane = site.loop.plane
        self._source = source
        self._on_ended = on_ended
        self._log: Any = log.bind(title=manifest.name, session=self.id, peer=order.peer)
        self._sender: int | None = None
        self._number = -1
        self._feeder: ShareFeeder | None = None
        self._running = False
        self._stood_us: int | None = None  # media time from which nothing of the run was sent
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self._heard_at = asyncio.get_running_loop().time()
        self._past = SenderStats()
        self._past_counters = Counters()
        self._follow(None)

    @property
    def manifest(self) -> Manifest:
        """The title."""
        return self._manifest

    # orders

    def follow(self, order: Order) -> None:
        """Go by a newer order; an older one is none."""
        if order.rank <= self.order.rank or self.final is not None:
            return
        before, self.order = self.order, order
        self._follow(before)

    def _follow(self, before: Order | None) -> None:
        order = self.order
        if order.state == "closed":
            self.close("closed")
            return
        self._tell_control()
        self._promise_speed(order.speed)
        me = order.member(self._site.node)
        if me is None or (self._sender is None and me.until_us is not None):
            return
        opened = self._sender is None or me.number != self._number
        if opened:
            self._open(me)
        if opened or before is None or order.run != before.run:
            self._begin()
            return
        if order.members != before.members:
            self._share(before)
        times = order.media_us, order.at_us, order.speed, order.state, order.controller
        if times != (before.media_us, before.at_us, before.speed, before.state, before.controller):
            self._retime()

    def _open(self, me: Member) -> None:
        self._shut()
        order = self.order
        tracks = {one.track.id: one.track for one in self.manifest.tracks}
        lanes = [
            (
                lane.track,
                lane.ssrc,
                tracks[lane.track].payload_type,
                tracks[lane.track].clock_rate,
                lane.sequence,
                lane.timestamp,
            )
            for lane in order.lanes
        ]
        sender = self._plane.open_sender(
            lanes,
            cname=f"{secrets.token_hex(8)}@heliograph",
            node=(me.number, order.extension),
            ahead_us=order.ahead_us,
        )
        to = [(lane.track, order.peer, lane.rtp, lane.rtcp) for lane in order.lanes]
        try:
            self._plane.sender_to_udp(sender, self._site.endpoint(), to)
        except BaseException:
            self._plane.close_sender(sender)
            raise
        self._site.loop.on_sender(sender, self._on_sender)
        self._sender, self._number = sender, me.number
        self._feeder = ShareFeeder(
            self.manifest,
            self._source,
            self._plane,
            sender,
            self._log,
            failed=self.close,
            ahead_us=order.ahead_us,
        )
        self._log.info("part of a title began", number=me.number, members=len(order.present))

    def _has(self) -> Callable[[int], bool]:
        return Share(self.order, self.manifest, self.home, self._number).has

    def _begin(self) -> None:
        """Start a run."""
        assert self._sender is not None
        assert self._feeder is not None
        self._cancel()
        order = self.order
        self._plane.sender_flush(self._sender)
        self._running = self.ended = False
        self._stood_us = None
        end = order.end_us if order.end_us is not None else self.manifest.duration_us + 1
        self._feeder.begin(self.manifest.block_at(order.start_us), end, self._has())
        self._retime()

    def _share(self, before: Order) -> None:
        """Others have gone, or took this node for gone."""
        assert self._feeder is not None
        assert self._sender is not None
        was, out = self._left_out(before), self._left_out(self.order)
        if out and not was:  # the others send what is still to come
            self._plane.sender_flush(self._sender)
            self._running = False
        if was or out:
            at = self.manifest.block_at(max(self.position_us, self.order.start_us))
            self._feeder.begin(at, self._end_us, self._has())
            self._retime()
            return
        gone = {one.number: one.until_us for one in before.members}
        untils = [
            one.until_us
            for one in self.order.members
            if one.until_us is not None and gone.get(one.number) is None
        ]
        if untils:
            self._feeder.share(self._has(), max(min(untils), self.order.start_us))

    def _left_out(self, order: Order) -> bool:
        mine = [one for one in order.members if one.number == self._number]
        return not mine or mine[0].until_us is not None

    def _retime(self) -> None:
        """Go by the order's times."""
        assert self._sender is not None
        assert self._feeder is not None
        self._cancel()
        order = self.order
        local = self._site.clock.local_us(order.controller, order.at_us)
        if order.state == "playing":
            if not self._running:
                # It may have stopped some packets short of where it was told to.
                media = order.media_us if self._stood_us is None else self._stood_us
                media = min(media, order.media_us)
                self._plane.sender_start(
                    self._sender,
                    media,
                    at_us=local - round((order.media_us - media) / order.speed),
                    rate=order.speed,
                    until_us=order.end_us,
                )
                self._running = True
                self._feeder.time(order.media_us, local, order.speed)
            else:
                self._at(local, self._change)
        elif self._running:
            self._at(local, self._stand)
        else:
            self._feeder.time(order.media_us, local, 0.0)

    def _at(self, local_us: int, act: Callable[[int], None]) -> None:
        """Do something at an instant of the plane's clock, or now if that has passed."""
        left = (local_us - self._plane.monotonic_us()) / 1e6
        if left <= 0:
            act(local_us)
        else:
            self._timer = asyncio.get_running_loop().call_later(left, act, local_us)

    def _change(self, local_us: int) -> None:
        self._timer = None
        if self._sender is None or self._feeder is None:
            return
        order = self.order
        self._plane.sender_rate(self._sender, order.speed, at_us=local_us, from_us=order.media_us)
        self._feeder.time(order.media_us, local_us, order.speed)

    def _stand(self, local_us: int) -> None:
        self._timer = None
        if self._sender is None or self._feeder is None:
            return
        self._stood_us = self._plane.sender_pause(self._sender)
        self._running = False
        self._feeder.time(self.order.media_us, local_us, 0.0)

    def trim(self) -> None:
        """Put the sender right where this node's clock and the controller's have drifted apart."""
        order = self.order
        waits = self._timer is not None or not self._running or self.ended
        if self._sender is None or self._feeder is None or waits:
            return
        now = self._plane.monotonic_us()
        wanted = order.position_us(self._site.clock.shared_us(order.controller, now))
        if abs(wanted - self._feeder.position_us) / order.speed > TOLERANCE_US:
            self._plane.sender_rate(self._sender, order.speed, at_us=now, from_us=wanted)
            self._feeder.time(wanted, now, order.speed)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _promise_speed(self, speed: float) -> None:
        if self.promise is not None:
            try:
                self.promise.change(speed)
            except BusyError:  # the controller is told by ``affordable`` before; what comes is sent
                self._log.warning("title is sent faster than was promised", speed=speed)

    def affordable(self, order: Order) -> None:
        """``BusyError`` where this node cannot send its part as fast as an order wants."""
        if self.promise is not None and order.speed > self.order.speed:
            self.promise.change(order.speed)

    # news

    def _on_sender(self, event: SenderEvent) -> None:
        if isinstance(event, SenderClosed):
            self.close(event.reason)
        elif isinstance(event, SenderEnded):
            if self._sender_stats().state == "ended":
                self.ended = True
                self._log.info("part of a title ended")
        elif self._feeder is not None:
            self._feeder.wake()

    def resync(self) -> None:
        """Ask the plane anew what is, after events were lost."""
        if self._sender is not None:
            self._on_sender(SenderEnded(self._sender))
        if self._feeder is not None:
            self._feeder.wake()

    def silent(self, now: float) -> float:
        """Seconds since the player was heard of here; ``now``: time of the loop."""
        age = self._sender_stats().last_rtcp_age_ms
        if age >= 0:
            self._heard_at = max(self._heard_at, now - age / 1000)
        return now - self._heard_at

    def touch(self) -> None:
        """The player was heard of by RTSP."""
        self._heard_at = asyncio.get_running_loop().time()

    # end

    def close(self, reason: str) -> None:
        """Send no more."""
        if self.final is not None:
            return
        self.final = self.stats()
        self._shut()
        if self.promise is not None:
            self.promise.release()
        self._log.info("part of a title over", reason=reason, lost=self.counters.lost)
        if self._told and self._site.observe is not None:
            self._site.observe(SessionEvent("session-left", self, reason))
        self._on_ended(self)

    def _shut(self) -> None:
        self._cancel()
        if self._feeder is not None:
            self._feeder.stop()
            self._past_counters = self.counters
            self._feeder = None
        if self._sender is not None:
            self._past = self.stats() if self.final is None else self.final
            self._site.loop.forget_sender(self._sender)
            self._plane.close_sender(self._sender)
            self._sender = None

    def _tell_control(self) -> None:
        """A play is told of once, by the node that has control."""
        if not self._told and self.order.controller == self._site.node:
            self._told = True
            if self._site.observe is not None:
                self._site.observe(SessionEvent("session-joined", self))

    # for people

    def _sender_stats(self) -> SenderStats:
        if self._sender is None:
            return SenderStats()
        try:
            return SenderStats.of(self._plane.sender_stats(self._sender))
        except KeyError:
            return SenderStats()

    def stats(self) -> SenderStats:
        """The counters of what this node sent; the last ones after the end."""
        return self.final or (self._past if self._sender is None else self._sender_stats())

    @property
    def counters(self) -> Counters:
        """What became of this node's blocks."""
        return self._past_counters if self._feeder is None else self._feeder.counters

    @property
    def playing(self) -> bool:
        """Whether packets are being sent, here or elsewhere."""
        return self.order.state == "playing" and self.position_us < self._end_us

    @property
    def position_us(self) -> int:
        """Media time that plays now."""
        order = self.order
        shared = self._site.clock.shared_us(order.controller, self._plane.monotonic_us())
        return min(order.position_us(shared), self._end_us)

    @property
    def _end_us(self) -> int:
        end = self.order.end_us
        return self.manifest.duration_us if end is None else min(end, self.manifest.duration_us)

    def describe(self) -> dict[str, Any]:
        """For the API: who watches what, with this node's counters."""
        stats, order = self.stats(), self.order
        return described(self, stats) | {
            "state": "ended" if order.state == "playing" and not self.playing else order.state,
            "position": self.position_us / 1e6,
            "scale": 1.0,
            "speed": order.speed,
            "underruns": self.counters.late,
            "read_latency": 0.0 if self._feeder is None else self._feeder.window.latency,
            "resent": stats.resent,
            "number": self._number,
            "nodes": _names(order.present),
            "control": order.controller,
        }


def _names(members: Iterable[Member]) -> dict[str, int]:
    return {one.node: one.number for one in members}
