"""Casts: channels that go from this node to several neighbours at once, and those that come so.

A cast goes beside links, never instead of them. Who asks for a channel over a link is sent it there
as always, is offered the cast, and when it hears that, the link rests: it carries the repairs, the
messages, and the channel again as soon as the cast is not heard. So a network that drops multicast
costs a trial now and then. Each cast has a key of its own; when a receiver has left, another cast
with another key takes its place.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import structlog

from heliograph.live.connections.compose import ANYHOW, Connection
from heliograph.live.connections.kinds import Seal
from heliograph.live.links import Links, MeshLink
from heliograph.live.registry import Channels
from heliograph.protocols.mesh import Cast, Hears

log = structlog.get_logger(__name__)

#: Seconds in which somebody has to hear a cast; after that it is ended for ``PAUSE``, doubled each
#: time.
TRIAL = 5.0
PAUSE, MOST_PAUSE = 60.0, 3600.0
#: Seconds that a cast goes on beside the one that takes its place, longer than repairs last; or
#: after its channel is not to be cast any more, until receivers have learned that as well.
OVERLAP = 2.0
#: Seconds that a cast lasts at least when a receiver has left, and at most: its key's life.
LEAST_LIFE, MOST_LIFE = 10.0, 3600.0
#: Seconds that a cast which fell silent is heard again before it is gone back to, doubled each
#: time up to a minute.
SETTLE, MOST_SETTLE = 1.0, 60.0
#: Casts of one channel that are listened to at a time: one, and those that follow it.
MAX_HEARD = 3


@dataclass(slots=True, eq=False)
class _Sent:
    """A cast that is sent."""

    name: int
    plane_cast: int
    group: str
    seal: Seal
    key: bytes = field(repr=False)
    since: float = 0.0


@dataclass(slots=True, eq=False)
class _Channel:
    """A channel that somebody can receive by casts."""

    plane_channel: int
    members: dict[tuple[MeshLink, int], int] = field(default_factory=dict)
    """Subscriptions that can receive it, and the name of the cast that each hears; 0: none."""
    cast: _Sent | None = None
    before: _Sent | None = None
    """The one that ``cast`` takes the place of, for a moment."""
    stale: bool = False
    """Somebody who has left knows the key."""
    unwanted_since: float | None = None
    """When it was not to be cast any more."""
    heard_at: float = 0.0
    """When somebody heard it last."""
    held_until: float = 0.0
    failures: int = 0
    """Casts that nobody heard, since somebody did."""


@dataclass(slots=True, eq=False)
class _Heard:
    """A subscription of this node's whose channel is offered by casts."""

    casts: dict[int, str] = field(default_factory=dict)
    """Names and groups of those that are listened to, the newest last."""
    heard: set[int] = field(default_factory=set)
    told: int = 0
    """The cast that the neighbour was told of as heard."""
    settle: float = 0.0
    timer: asyncio.TimerHandle | None = None


class Casts:
    """Of one node. Without ``Links.options.multicast`` there are none."""

    def __init__(
        self, links: Links, channels: Channels, fall_back: Callable[[MeshLink, int], None]
    ) -> None:
        """``fall_back``: subscribe anew to what comes under a number of a link."""
        self.counters: Counter[str] = Counter(
            casts_begun=0, casts_unheard=0, casts_lost=0, casts_refused=0
        )
        self._links = links
        self._known = channels
        self._groups = links.options.multicast
        self._fall_back = fall_back
        self._channels: dict[str, _Channel] = {}
        self._heard: dict[tuple[MeshLink, int], _Heard] = {}
        links.on_cast = self._news

    @property
    def port(self) -> int:
        """The UDP port of groups that can be received here; 0 for none."""
        return 0 if self._groups is None else self._groups.port

    def close(self) -> None:
        """End all."""
        for at in list(self._heard):
            self.forget(*at)
        for name, channel in list(self._channels.items()):
            self._end(name, channel)

    def _connection(self, channel: str) -> Connection:
        """How a channel is to travel, as far as this node knows now: others may have learned
        otherwise before it."""
        found = self._known.find(channel)
        return ANYHOW if found is None else found.options.connection

    # what this node sends

    def join(self, link: MeshLink, wire: int, channel: str, plane_channel: int) -> None:
        """A neighbour subscribed anew, and can receive casts."""
        known = self._channels.setdefault(channel, _Channel(plane_channel))
        known.members[link, wire] = 0
        if known.cast is None:
            self.tick()
        elif self._connection(channel).casts:
            self._offer(known.cast, link, wire)

    def leave(self, link: MeshLink, wire: int, channel: str) -> None:
        """It gets the channel no more, or not by casts."""
        known = self._channels.get(channel)
        if known is None or known.members.pop((link, wire), None) is None:
            return
        if not known.members:
            self._end(channel, known)
            return
        known.stale = True
        for cast in (known.cast, known.before):
            if cast is not None:
                self._links.port.dismiss(cast.plane_cast, link.plane_link)

    def hears(self, link: MeshLink, channel: str, said: Hears) -> None:
        """A neighbour hears a cast: its link rests."""
        known = self._channels.get(channel)
        at = (link, said.wire)
        if known is None or known.cast is None or known.cast.name != said.cast:
            return
        if at in known.members:
            known.members[at] = said.cast
            known.failures = 0
            link.rest(said.wire)

    def copies(self, channel: str) -> tuple[int, int]:
        """Casts of a channel that are sent, and receivers that need nothing besides."""
        known = self._channels.get(channel)
        if known is None:
            return 0, 0
        casts = sum(cast is not None for cast in (known.cast, known.before))
        return casts, sum(heard != 0 for heard in known.members.values())

    def tick(self) -> None:
        """Do what is due."""
        now = asyncio.get_running_loop().time()
        for (link, _), heard in list(self._heard.items()):
            if heard.told and link.heard(heard.told).get("heard") == 0:
                self._news(link, heard.told, False)  # its event may have been lost
        for name, channel in list(self._channels.items()):
            connection = self._connection(name)
            if not connection.casts:
                self._let_go(channel, now)
                continue
            channel.unwanted_since = None
            cast, before = channel.cast, channel.before
            seal = connection.link(self._links.options.kind).seal
            if cast is None:
                if len(channel.members) >= connection.enough and now >= channel.held_until:
                    self._begin(name, channel, seal, now)
                continue
            age = now - cast.since
            if before is not None and age >= OVERLAP:
                self._links.port.end_cast(before.plane_cast)
                channel.before = None
            sends = self._links.port.cast_stats
            if any(channel.members.values()) or not sends(cast.plane_cast)["sent_items"]:
                channel.heard_at = now  # where nothing was sent, nothing could be heard
            if now - max(cast.since, channel.heard_at) >= TRIAL:
                self._unheard(name, channel, now)
            elif age >= (LEAST_LIFE if channel.stale or cast.seal != seal else MOST_LIFE):
                self._begin(name, channel, seal, now)

    def _begin(self, name: str, channel: _Channel, seal: Seal, now: float) -> None:
        assert self._groups is not None
        number = secrets.randbelow((1 << 32) - 1) + 1
        key, group = secrets.token_bytes(seal.key_bytes), self._groups.group(number)
        try:
            plane_cast = self._links.port.cast(
                number,
                key,
                channel.plane_channel,
                group,
                keepalive_ms=self._links.options.keepalive_ms,
            )
        except (KeyError, ValueError) as error:  # the channel is just closing
            log.warning("channel not cast", channel=name, error=str(error))
            channel.held_until = now + PAUSE
            return
        self.counters["casts_begun"] += 1
        if channel.before is not None:
            self._links.port.end_cast(channel.before.plane_cast)
        channel.before = channel.cast
        channel.cast = _Sent(number, plane_cast, group, seal, key, now)
        channel.stale = False
        log.info("channel cast", channel=name, group=group, receivers=len(channel.members))
        for link, wire in channel.members:
            self._offer(channel.cast, link, wire)

    def _offer(self, cast: _Sent, link: MeshLink, wire: int) -> None:
        try:
            self._links.port.admit(cast.plane_cast, link.plane_link)
        except KeyError:
            return  # the link has ended; that is told as an event
        link.say(Cast(wire, cast.name, cast.group, cast.key))

    def _unheard(self, name: str, channel: _Channel, now: float) -> None:
        """The network does not carry it."""
        self.counters["casts_unheard"] += 1
        pause = min(PAUSE * 2**channel.failures, MOST_PAUSE)
        log.warning("cast not heard by anybody", channel=name, again_in=pause)
        self._silence(channel)
        channel.held_until, channel.failures = now + pause, min(channel.failures + 1, 16)

    def _let_go(self, channel: _Channel, now: float) -> None:
        """It is to go by links: who knows that asks for it there, and the others do so when they
        hear the cast no more."""
        if channel.cast is None:
            return
        if channel.unwanted_since is None:
            channel.unwanted_since = now
        if now - channel.unwanted_since >= OVERLAP:
            self._silence(channel)
            channel.members = dict.fromkeys(channel.members, 0)

    def _silence(self, channel: _Channel) -> None:
        for cast in (channel.cast, channel.before):
            if cast is not None:
                self._links.port.end_cast(cast.plane_cast)
        channel.cast = channel.before = None

    def _end(self, name: str, channel: _Channel) -> None:
        self._silence(channel)
        del self._channels[name]

    # what it receives

    def offered(self, link: MeshLink, cast: Cast) -> None:
        """A neighbour sends by multicast what it sends under a number of ours."""
        groups = self._groups
        name = link.named(cast.wire)
        if groups is None or name is None or not self._connection(name).casts:
            return
        if IPv4Address(cast.group) not in groups.network:
            self._refuse(link, f"{cast.group} is not in mesh.multicast")
            return
        heard = self._heard.setdefault((link, cast.wire), _Heard())
        if cast.cast in heard.casts:
            return
        try:
            link.listen(cast.wire, cast.cast, cast.key, cast.group)
        except KeyError:
            return  # the link has ended; that is told as an event
        except (OSError, ValueError) as error:
            self._refuse(link, str(error))
            return
        heard.casts[cast.cast] = cast.group
        while len(heard.casts) > MAX_HEARD:
            self._ignore(link, heard, next(iter(heard.casts)))

    def _refuse(self, link: MeshLink, why: str) -> None:
        self.counters["casts_refused"] += 1
        log.warning("cast not received", node=link.node, error=why)

    def _news(self, link: MeshLink, name: int, hears: bool) -> None:
        """A cast is heard now, or is not any more."""
        found = next(
            (at for at, one in self._heard.items() if at[0] is link and name in one.casts), None
        )
        if found is None:
            return
        heard, wire = self._heard[found], found[1]
        if hears:
            heard.heard.add(name)
            self._calm(heard)
            if heard.settle == 0:
                self._say(link, wire, heard, name)
            else:
                heard.timer = asyncio.get_running_loop().call_later(
                    heard.settle, self._say, link, wire, heard, name
                )
            return
        heard.heard.discard(name)
        if name != next(reversed(heard.casts)):
            self._ignore(link, heard, name)  # another has taken its place
        if heard.heard:
            return
        self._calm(heard)  # what was about to be said is not so any more
        if not heard.told:
            return
        heard.told = 0
        heard.settle = min(2 * heard.settle or SETTLE, MOST_SETTLE)
        self.counters["casts_lost"] += 1
        log.warning("cast not heard any more", node=link.node)
        self._fall_back(link, wire)

    def _say(self, link: MeshLink, wire: int, heard: _Heard, name: int) -> None:
        heard.timer = None
        if name in heard.heard:
            heard.told = name
            link.say(Hears(wire, name))

    def _calm(self, heard: _Heard) -> None:
        if heard.timer is not None:
            heard.timer.cancel()
            heard.timer = None

    def _ignore(self, link: MeshLink, heard: _Heard, name: int) -> None:
        del heard.casts[name]
        heard.heard.discard(name)
        link.ignore(name)

    def forget(self, link: MeshLink, wire: int) -> None:
        """What comes under a number is not wanted, or not by casts."""
        heard = self._heard.pop((link, wire), None)
        if heard is not None:
            self._calm(heard)
            for name in list(heard.casts):
                self._ignore(link, heard, name)

    # what there is

    def describe(self) -> dict[str, list[dict[str, Any]]]:
        """For the API: casts that are sent and received, with their counters."""
        sent = [
            {
                "channel": name,
                "group": cast.group,
                "hearing": sum(heard == cast.name for heard in channel.members.values()),
            }
            | self._links.port.cast_stats(cast.plane_cast)
            for name, channel in self._channels.items()
            if (cast := channel.cast) is not None
        ]
        received = [
            {"channel": link.named(wire), "node": link.node, "group": group} | link.heard(name)
            for (link, wire), heard in self._heard.items()
            for name, group in heard.casts.items()
        ]
        return {"sent": sent, "received": received}
