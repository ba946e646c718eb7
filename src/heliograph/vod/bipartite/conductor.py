"""A player's session at the node that has control of it: what is asked for becomes orders."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from heliograph.model.errors import BusyError, GoneError, HelioError, WrongStateError
from heliograph.model.nodes import NodeId
from heliograph.vod.bipartite.ensemble import Ensemble, Layout, Place
from heliograph.vod.bipartite.order import MAX_MEMBERS, Lane, Member, Order
from heliograph.vod.block_reader import BlockReader
from heliograph.vod.blocks import FIRST, KEY, read
from heliograph.vod.feeding import MAX_PASSED, START_TIMEOUT
from heliograph.vod.manifest import Manifest
from heliograph.vod.playing import SPEEDS, Started, Turns, Viewer, Wish
from heliograph.vod.reading import entry, next_entry, picture_of
from heliograph.vod.sessions import RANGE

#: µs from an order to the instant that it names: every node has it by then, and has read.
LEAD_US = 200_000
#: Id of the header extension, as in the descriptions of titles.
EXTENSION = 1
#: Subject of the refusals: RTSP answers 453 for it.
BANDWIDTH = "bandwidth"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A track and the player's ports for it."""

    track: int
    rtp: int
    rtcp: int


class Conductor:
    """Made when tracks are set up; with ``of`` for a session that goes on."""

    def __init__(
        self,
        ensemble: Ensemble,
        session: str,
        manifest: Manifest,
        local: str,
        ahead_us: int = 0,
    ) -> None:
        """``session``: its id, 32 hexadecimal digits. ``local``: the address of this node at which
        the player came. ``ahead_us``: how far before they are due the player takes packets."""
        self.session = session
        self.manifest = manifest
        self.ahead_us = ahead_us
        self.grant = ""
        """Why the player may watch, as of ``Order``."""
        self._ensemble = ensemble
        self._local = local
        self._ssrcs: dict[int, int] = {}
        self._turns = Turns()

    def ssrc(self, track: int) -> int:
        """What a track will be sent with."""
        return self._ssrcs.setdefault(track, secrets.randbits(32))

    @property
    def order(self) -> Order | None:
        """The newest; None before the first, and after the end."""
        return self._ensemble.order(self.session)

    @property
    def playing(self) -> bool:
        """Whether packets are being sent."""
        part = self._ensemble.parts.get(self.session)
        return part is not None and part.playing

    @property
    def position_us(self) -> int:
        """Media time that plays now."""
        part = self._ensemble.parts.get(self.session)
        return 0 if part is None else part.position_us

    def touch(self) -> None:
        """The player was heard of."""
        part = self._ensemble.parts.get(self.session)
        if part is not None:
            part.touch()

    def age(self) -> float | None:
        """Seconds since the player was heard of by RTCP or asked for something."""
        part = self._ensemble.parts.get(self.session)
        return None if part is None else part.silent(asyncio.get_running_loop().time())

    async def members(self, viewer: Viewer) -> tuple[Layout, tuple[Member, ...]]:
        """Who would send now, and those of before that do no more."""
        layout = await self._ensemble.library.layout(self.manifest)
        before = () if self.order is None else self.order.members
        here = self._ensemble.places()
        kept = {one.node: one for one in before if one.until_us is None}
        number = max((one.number for one in before), default=-1) + 1
        found: list[Member] = []
        for node in layout.nodes:
            place = here.get(node)
            if place is None or len(found) >= MAX_MEMBERS:
                continue
            host = self._host(node, place, viewer.peer)
            if host is None:
                continue
            mine = kept[node].number if node in kept else number
            number += mine == number
            found.append(Member(mine, node, host, place.rtsp, place.rtp, place.rtcp))
        there = {one.number for one in found}
        # Numbers of those that are gone are not given again.
        gone = [replace(one, until_us=0) for one in before if one.number not in there]
        gone = gone[max(len(gone) - (MAX_MEMBERS - len(found)), 0) :]
        return layout, tuple(sorted([*gone, *found], key=lambda one: one.number))

    def _host(self, node: NodeId, place: Place, peer: str) -> str | None:
        if node == self._ensemble.node:
            return self._local
        return reachable(place.hosts, self._local, peer)

    # what the player asks for

    async def play(self, wish: Wish, wanted: Sequence[Wanted], viewer: Viewer) -> Started:
        """Play, or go on playing elsewhere in the title, or at another speed; errors as of
        ``PlaySession.play``. ``wanted``, ``viewer``: of the first time."""
        speed = min(max(wish.speed, SPEEDS[0]), SPEEDS[1])
        order = self.order
        if order is not None and order.controller != self._ensemble.node:
            raise WrongStateError("another node has control of the session")
        same = order is not None and wish.end_us == order.end_us
        ended = order is not None and order.state == "playing" and not self.playing
        if order is None or wish.start_us is not None or ended or not same:
            return await self._run(wish, speed, wanted, viewer)
        at = self._ensemble.clocks.now_us() + LEAD_US
        media = order.position_us(at)
        fresh = replace(
            order,
            version=order.version + 1,
            state="playing",
            media_us=media,
            at_us=at,
            speed=speed,
        )
        speed = await self._ordered(fresh)
        return await self._started(fresh, speed, media, False)

    async def _run(
        self, wish: Wish, speed: float, wanted: Sequence[Wanted], viewer: Viewer
    ) -> Started:
        await asyncio.sleep(self._turns.take(asyncio.get_running_loop().time()))
        order = self.order
        start = self._wanted(wish, order)
        tracks = [one.track for one in wanted] if order is None else _tracks(order)
        picture = picture_of(self.manifest.tracks, tracks)
        start, data = await self._enter(start, wish.end_us, picture)
        if wish.end_us is not None and wish.end_us <= start:
            raise WrongStateError(f"invalid range: it is at {start / 1e6:g} s", subject=RANGE)
        layout, members = await self.members(viewer)
        if not any(one.until_us is None for one in members):
            raise BusyError("no node sends this title", subject=BANDWIDTH, retry_after=1)
        at = self._ensemble.clocks.now_us() + LEAD_US
        order = self.order  # a node may have died meanwhile
        fresh = self._order(order, layout, members, wanted, viewer, wish.end_us, start, at, speed)
        chosen = await self._ordered(fresh)
        return await self._started(fresh, chosen, start, True, data)

    def _order(
        self,
        order: Order | None,
        layout: Layout,
        members: tuple[Member, ...],
        wanted: Sequence[Wanted],
        viewer: Viewer,
        end: int | None,
        start: int,
        at: int,
        speed: float,
    ) -> Order:
        if order is not None:
            return replace(
                order,
                version=order.version + 1,
                volume=layout.version,
                members=members,
                run=order.run + 1,
                start_us=start,
                end_us=end,
                state="playing",
                media_us=start,
                at_us=at,
                speed=speed,
            )
        bits = secrets.randbits
        lanes = tuple(
            Lane(one.track, self.ssrc(one.track), bits(16), bits(32), one.rtp, one.rtcp)
            for one in wanted
        )
        return Order(
            id=self.session,
            epoch=1,
            controller=self._ensemble.node,
            version=1,
            title=self.manifest.name,
            object=self.manifest.object,
            volume=layout.version,
            peer=viewer.peer,
            agent=viewer.agent,
            extension=EXTENSION,
            lanes=lanes,
            members=members,
            run=1,
            start_us=start,
            end_us=end,
            state="playing",
            media_us=start,
            at_us=at,
            speed=speed,
            ahead_us=self.ahead_us,
            grant=self.grant,
        )

    def _wanted(self, wish: Wish, order: Order | None) -> int:
        """Where to play from, in µs of media time."""
        if wish.start_us is not None:
            return wish.start_us
        at = 0 if order is None else self.position_us
        return 0 if at >= self.manifest.duration_us else at

    async def _enter(self, wanted: int, end: int | None, picture: int | None) -> tuple[int, bytes]:
        """The media time of the key unit there, and its block; errors as of ``Feeder.enter``."""
        where = entry(self.manifest, wanted, picture)
        number: int | None = where.block
        due = where.due_us
        reader = BlockReader(self._ensemble.library.source(self.manifest))
        fault: HelioError = GoneError(f"nothing of title {self.manifest.name} is left there")
        loop = asyncio.get_running_loop()
        until = loop.time() + START_TIMEOUT
        for _ in range(MAX_PASSED):
            if number is None or (end is not None and self.manifest.blocks[number].due_us >= end):
                break
            data, error = await reader.read(number, until - START_TIMEOUT, START_TIMEOUT)
            if data is not None:
                return due, data
            fault = error or fault
            if loop.time() >= until:
                break
            number, due = next_entry(self.manifest, number, picture)
        raise fault

    async def _ordered(self, order: Order) -> float:
        """Have an order carried out; the speed that nodes can send at. ``BusyError`` where one has
        no room for a new session."""
        try:
            refused = await self._ensemble.spread(order)
            for error in refused.values():
                if isinstance(error, BusyError):
                    raise error
        except BusyError as busy:
            if order.version > 1 and order.speed > 1:
                newest = self.order or order
                again = replace(order, version=max(newest.version, order.version) + 1, speed=1.0)
                await self._ensemble.spread(again)
                return 1.0
            if order.version == 1:
                await self._end(order)
            raise busy
        return order.speed

    async def _started(
        self, order: Order, speed: float, media: int, fresh: bool, data: bytes | None = None
    ) -> Started:
        end = self.manifest.duration_us if order.end_us is None else order.end_us
        block = self.manifest.block_at(media)
        if data is None:
            source = self._ensemble.library.source(self.manifest)
            loop = asyncio.get_running_loop()
            data, _ = await BlockReader(source).read(block, loop.time(), START_TIMEOUT)
        starts = {} if data is None else _starts(order, self.manifest, block, data, media, fresh)
        return Started(media, end, 1.0, speed, starts)

    async def pause(self, point_us: int | None = None) -> int:
        """Stop, soon or when a media time is reached; the media time where it will stand.

        ``WrongStateError`` where that time has passed.
        """
        order = self.order
        if order is None or not self.playing:
            return self.position_us
        at = self._ensemble.clocks.now_us() + LEAD_US
        media = order.position_us(at)
        if point_us is not None:
            if point_us < self.position_us:
                raise WrongStateError("invalid range: that time has passed", subject=RANGE)
            if point_us > media:
                at, media = at + round((point_us - media) / order.speed), point_us
        media = min(media, self.manifest.duration_us)
        await self._ensemble.spread(
            replace(order, version=order.version + 1, state="paused", media_us=media, at_us=at)
        )
        return media

    def close(self) -> None:
        """The player leaves: it is over at all nodes."""
        order = self.order
        if order is not None:
            self._ensemble.pass_on(replace(order, version=order.version + 1, state="closed"))

    async def _end(self, order: Order) -> None:
        await self._ensemble.spread(replace(order, version=order.version + 1, state="closed"))


def reachable(hosts: Sequence[str], local: str, peer: str) -> str | None:
    """Which of another node's addresses a player reaches; None: it has none of the player's family.

    ``local``: our own address that the player reached: nodes of a site are in the same networks, so
    it is the one that has most leading bits in common with ours. ``hosts``: best first. A loopback
    address is the player's own, so it is named only where there is no other.
    """
    version = ipaddress.ip_address(peer).version
    found = [one for one in map(ipaddress.ip_address, hosts) if one.version == version]
    found = [one for one in found if not one.is_loopback] or found
    here = ipaddress.ip_address(local)
    if here.version != version or here.is_loopback:
        return str(found[0]) if found else None
    near = min(found, key=lambda one: (int(one) ^ int(here)).bit_length(), default=None)
    return None if near is None else str(near)


def _tracks(order: Order) -> list[int]:
    return [lane.track for lane in order.lanes]


def _starts(
    order: Order, manifest: Manifest, block: int, data: bytes, media: int, fresh: bool
) -> dict[int, tuple[int, int]]:
    """By track: sequence number of the first packet from a media time on, and its RTP time.

    ``fresh``: at a start each track begins with its last key unit due by then.
    """
    records = read(data).records
    clocks = {one.track.id: one.track.clock_rate for one in manifest.tracks}
    found = {}
    for lane in order.lanes:
        mine = [one for one in records if one.track == lane.track]
        keys = [
            one for one in mine if one.flags & KEY and one.flags & FIRST and one.due_us <= media
        ]
        rest = [one for one in mine if one.due_us >= media]
        if fresh and keys:
            number = keys[-1].number
        elif rest:
            number = rest[0].number
        elif block + 1 < len(manifest.blocks):
            number = manifest.blocks[block + 1].first[lane.track]
        else:
            number = mine[-1].number + 1 if mine else manifest.blocks[block].first[lane.track]
        ticks = media * clocks[lane.track] // 1_000_000
        found[lane.track] = (
            (lane.sequence + number) & 0xFFFF,
            (lane.timestamp + ticks) & 0xFFFFFFFF,
        )
    return found
