"""Which channels a unit carries, from whom, and which enter there: what it was told, and what is
so in truth."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import structlog

from heliograph.bus import Bus
from heliograph.live.channel import Channel
from heliograph.live.placing import MOVED
from heliograph.live.publish import PublishKind
from heliograph.live.reflector import Reflector
from heliograph.live.registry import Channels
from heliograph.live.shared import SharedChannels
from heliograph.manager import wire
from heliograph.manager.reports import BranchReport
from heliograph.manager.view import Amounts
from heliograph.manager.view import Channel as Model

log = structlog.get_logger(__name__)

#: Seconds in which a channel comes from whom the manager named, or from somebody else in truth: a
#: link is up in a quarter of a second.
SWITCH = 3.0
#: Seconds for which a source that has ended is still said to enter here: programs connect again.
RETURN = 30.0
#: How often a publisher is sent to another unit: one that comes once more knows this address alone,
#: as most encoders do, and its viewers would have nothing to see as long as it is refused.
TURNED_AWAY = 3
#: Channels that this unit was told to take from somewhere, or to wait for.
MAX_TOLD = wire.MAX_ITEMS


class Carrying:
    """Of one unit."""

    def __init__(
        self, bus: Bus, channels: Channels, reflector: Reflector, shared: SharedChannels
    ) -> None:
        self._bus, self._channels = bus, channels
        self._reflector, self._shared = reflector, shared
        self._parents: dict[str, tuple[str, float]] = {}
        """Units from which channels are to be taken first, and when that was said."""
        self._ingests: dict[str, float] = {}
        """Channels that enter here, or are to, and until when they did; infinite: ordered."""
        self._sent_away: dict[str, tuple[str, float]] = {}
        """Channels whose publishers are to go to another unit, to which, and until when."""
        self._bound: dict[str, float] = {}
        """Channels whose publishers came back each time, and when they were last there."""

    # what it is told

    def take_from(self, channel: str, parent: str) -> bool:
        """Take a channel from a unit first; whether there is room to remember that."""
        if not self._room_for(channel):
            return False
        self._ingests.pop(channel, None)
        self._parents[channel] = (parent, _now())
        self._shared.prefer(channel, parent)
        return True

    def wait_for(self, channel: str) -> bool:
        """A channel is to enter here; whether there is room to remember that."""
        if not self._room_for(channel):
            return False
        self.forget(channel)
        self.welcome(channel)
        self._ingests[channel] = math.inf
        return True

    def forget(self, channel: str) -> None:
        """A channel is taken from wherever it is to be had, and is not waited for."""
        self._ingests.pop(channel, None)
        if self._parents.pop(channel, None) is not None:
            self._shared.prefer(channel, "")

    def dismiss(self, channel: str, reason: str) -> int:
        """Send a channel's publishers away; how many. What the server fetches itself would only be
        fetched again. The channel is where it was until it enters elsewhere."""
        if channel in self._ingests:
            self._ingests[channel] = min(self._ingests[channel], _now())
        found = self._channels.find(channel)
        ours = [
            publishing
            for publishing in (() if found is None else found.publishings.values())
            if publishing.kind not in (PublishKind.MESH, PublishKind.PULL)
        ]
        for publishing in ours:
            publishing.channel.dismiss(publishing, reason)
        return len(ours)

    def send_away(self, channel: str, unit: str, seconds: float) -> int:
        """Send a channel's publishers to another unit, and let none in here for so long: they
        connect again at once, and many know this address alone. How many were sent; none of those
        who came back each time."""
        if channel in self._bound:
            return 0
        if len(self._sent_away) < MAX_TOLD:
            self._sent_away[channel] = (unit, _now() + seconds)
            self._look_who_is_sent_away()
        return self.dismiss(channel, MOVED)

    def welcome(self, channel: str) -> None:
        """Let a channel's publishers in, who are sent here: nobody sends them back any more."""
        self._let_in(channel)
        found = self._channels.find(channel)
        if found is not None:
            found.turned_away = 0

    def let_in(self) -> None:
        """Let publishers in again, whatever was said of them."""
        for channel in [*self._channels]:
            self.welcome(channel.name)
        self._sent_away.clear()
        self._bound.clear()

    def binds(self, channel: str) -> bool:
        """Whether nobody can send a source of the channel elsewhere: this node fetches it itself,
        or its publisher came back each time."""
        found = self._channels.find(channel)
        sources = () if found is None else found.publishings.values()
        return channel in self._bound or any(one.kind is PublishKind.PULL for one in sources)

    def _let_in(self, channel: str) -> None:
        if self._sent_away.pop(channel, None) is not None:
            found = self._channels.find(channel)
            if found is not None:
                found.entrance = ""

    def _look_who_is_sent_away(self) -> None:
        there = {node for node, _ in self._bus.present(wire.UNIT)}
        for name, (unit, until) in [*self._sent_away.items()]:
            found = self._channels.find(name)
            if found is not None and found.turned_away >= TURNED_AWAY:
                self._bound[name], found.turned_away = _now(), 0
                log.warning("publisher knows this unit alone", channel=name, unit=unit)
                self._let_in(name)
            elif _now() >= until or unit not in there:
                self._let_in(name)
                # Who could go there did; one that comes back slowly is known by all its tries.
                gone = unit not in there or self._shared.enters_elsewhere(name)
                if found is not None and gone:
                    found.turned_away = 0
            elif found is not None:
                found.entrance = unit  # it may have been closed and opened since
        for name, seen in [*self._bound.items()]:
            found = self._channels.find(name)
            if found is not None and _fed_here(found):
                self._bound[name] = _now()
            elif _now() >= seen + RETURN:
                del self._bound[name]

    def _room_for(self, channel: str) -> bool:
        known = self._parents.keys() | self._ingests.keys()
        return channel in known or len(known) < MAX_TOLD

    # what is so

    def branches(self, granted: tuple[str, ...]) -> Iterator[BranchReport]:
        """Channels that are carried; ``granted``: those that have groups here."""
        self._look_for_sources(granted)
        self._look_who_is_sent_away()
        # What is only offered here because another node keeps it is nobody's business.
        here = [channel.name for channel in self._channels if channel.active is not None]
        told = (*granted, *self._parents, *self._ingests)
        names = dict.fromkeys((*told, *here, *self._reflector.copies()))
        for name in names:
            found = self._channels.find(name)
            stats = None if found is None else found.stats()
            ingest = name in self._ingests
            yield BranchReport(
                name,
                None if ingest else self._source(name),
                ingest,
                0 if stats is None else stats.epoch,
                0 if stats is None else stats.bitrate_bps,
                name in self._bound or (found is not None and _fetched_here(found)),
            )

    def costs(self) -> Amounts:
        """What channels take here beside viewers: having them, and copies to other units."""
        total, copies = Amounts(), self._reflector.copies()
        for channel in self._channels:
            if channel.active is not None:
                model = Model.of(channel.name, channel.bitrate)
                total = total.plus(model.carry).plus(model.seat.times(copies[channel.name]))
        return total

    def _source(self, name: str) -> str | None:
        """The unit that the channel is taken from, or will be in a moment."""
        path = self._reflector.configurator.path(name)
        parent, since = self._parents.get(name, ("", 0.0))
        if parent and _now() - since < SWITCH:
            return parent
        if len(path) > 1:
            return path[-2]
        # Nobody publishes just now: it will come from there when somebody does.
        silent = not self._shared.enters_elsewhere(name)
        there = any(node == parent for node, _ in self._bus.present(wire.UNIT))
        return parent if parent and silent and there else None

    def _look_for_sources(self, granted: tuple[str, ...]) -> None:
        now = _now()
        for channel in self._channels:
            if _fed_here(channel) and self._ingests.get(channel.name) != math.inf:
                self._ingests[channel.name] = now
        for name, at in list(self._ingests.items()):
            over = now - at > RETURN and name not in granted
            if over or self._shared.enters_elsewhere(name):
                del self._ingests[name]


def _fed_here(channel: Channel) -> bool:
    """Whether a publisher of this node is the one relayed."""
    return channel.active is not None and channel.active.kind is not PublishKind.MESH


def _fetched_here(channel: Channel) -> bool:
    return channel.active is not None and channel.active.kind is PublishKind.PULL


def _now() -> float:
    return asyncio.get_running_loop().time()
