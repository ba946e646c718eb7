"""Who sits where at a unit: groups of places, each granted to a channel, and what they may cost.

A reader takes a place of a group that was granted to its channel; taps are the server's own and
take none. Somebody for whom a place was kept elsewhere is *expected*: the place is his until the
reservation lapses, and a reservation is good for one. Who grants groups is not known here; whoever
does is asked (``on_short``) when a channel's places run short, before anybody is refused.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from heliograph.live.admission import RETRY_AFTER
from heliograph.model.errors import BusyError, ConflictError, NotFoundError

#: Reservations that are waited for at once; a manager keeps a place for 10 s, and no unit seats
#: more than some hundred viewers in that time.
MAX_EXPECTED = 4096
#: Used reservations that are remembered, so that none is used twice; the oldest is forgotten first,
#: and its time is over by then.
MAX_USED = 16_384
#: Seconds that a reservation is waited for at most, whatever it says: twice a manager's.
MOST_WAIT = 20.0
#: Seconds for which a report tells of a used reservation: reports may get lost.
TOLD = 5.0


class State(StrEnum):
    """Whether this unit takes more viewers."""

    UP = "up"
    PRESSED = "pressed"
    """It has too much to do: nobody more for now."""
    DRAINING = "draining"
    """It is to be emptied: nobody more."""


class Spend(NamedTuple):
    """What is spent, or may be."""

    bandwidth: int = 0
    """Bits a second sent."""
    cpu: int = 0
    """Microseconds of CPU a second."""
    memory: int = 0
    """Bytes."""


class Viewer(Protocol):
    """Somebody who takes a place; a channel's reader."""

    def kick(self, reason: str = ...) -> None:
        """Send it away."""


class Seating(Protocol):
    """What a channel asks where a unit has places; None of it where a node is alone."""

    def admit(self, channel: str, bits: int, reservation: str = "") -> None:
        """Return if there is room for a viewer of ``bits`` a second, else raise ``BusyError``."""

    def take(
        self, channel: str, viewer: Viewer, *, multicast: bool = False, reservation: str = ""
    ) -> None:
        """Somebody who was admitted is there."""

    def leave(self, viewer: Viewer) -> None:
        """Somebody has gone."""


@dataclass(frozen=True, slots=True)
class GroupUse:
    """A group, as it is used now."""

    index: int
    channel: str
    places: int
    viewers: int
    expected: int
    """Places kept for those who are on their way."""
    since: float
    """When it was granted, or the last one went, s."""

    @property
    def free(self) -> int:
        return max(0, self.places - self.viewers - self.expected)

    @property
    def empty(self) -> bool:
        return not self.viewers and not self.expected


@dataclass(slots=True)
class _Group:
    index: int
    channel: str
    places: int
    since: float
    sitting: dict[Viewer, None] = field(default_factory=dict)
    """In the order of their coming."""
    expected: int = 0

    @property
    def free(self) -> int:
        return self.places - len(self.sitting) - self.expected

    @property
    def empty(self) -> bool:
        return not self.sitting and not self.expected


@dataclass(slots=True)
class _Seat:
    channel: str
    group: _Group | None
    """None: there was no place; it is given the next that is free."""
    multicast: bool


@dataclass(frozen=True, slots=True)
class _Expected:
    channel: str
    group: _Group
    expires: float


@dataclass(slots=True)
class _Watched:
    """A channel that somebody watches, or is about to."""

    viewers: int = 0
    members: int = 0
    """Of these, in the channel's multicast group: its bits are sent but once."""
    expected: int = 0


def bits_alone(bits: int) -> Spend:
    """The cost of a viewer where nothing but bandwidth is counted."""
    return Spend(bits)


class Seats:
    """Of one unit; a ``Seating``."""

    def __init__(
        self,
        groups: int,
        limits: Spend,
        *,
        cost: Callable[[int], Spend] = bits_alone,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``groups``: how many the unit has. ``limits``: what may be spent at most. ``cost``: of
        one viewer of so many bits a second; of 0 bits: of a member of a multicast group.
        ``clock``: the one by which reservations expire, s.
        """
        self.groups_at_most = groups
        self.limits = limits
        self.state = State.UP
        self.pressed_by = "cpu"
        """The budget by which the unit is pressed."""
        self.on_short: Callable[[str], None] = lambda channel: None
        """Called when a channel needs a place, or somebody has taken one: may ``grant``."""
        self.counters: Counter[str] = Counter(
            seated=0, unseated=0, refused=0, expected=0, lapsed=0, reused=0
        )
        """``unseated``: came without a place, because none was asked for before."""
        self._cost = cost
        self._clock = clock
        self._groups: dict[int, _Group] = {}
        """In the order in which they were granted."""
        self._seats: dict[Viewer, _Seat] = {}
        self._waiting: dict[str, dict[Viewer, None]] = {}
        """Those without a place, by channel."""
        self._expected: dict[str, _Expected] = {}
        self._used: OrderedDict[str, float] = OrderedDict()
        """Reservations that were used, and when."""
        self._watched: dict[str, _Watched] = {}
        self._bits: dict[str, int] = {}
        """A second, of channels, as they were last known."""
        self._carried = Spend()
        self._other = Spend()

    # groups

    def grant(self, index: int, channel: str, places: int) -> bool:
        """Let a group belong to a channel; whether it does now. Somebody else's stays while
        anybody sits there."""
        if not 0 <= index < self.groups_at_most or places < 1:
            return False
        known = self._groups.get(index)
        if known is not None and known.channel != channel:
            if not known.empty:
                return False
            del self._groups[index]
            known = None
        if known is None:
            known = self._groups[index] = _Group(index, channel, places, self._clock())
        known.places = places
        self._seat_waiting(known)
        return True

    def revoke(self, index: int, channel: str) -> bool:
        """Take a channel's group back; whether it is gone. One that is in use stays."""
        known = self._groups.get(index)
        if known is None or known.channel != channel:
            return True
        self._lapse()
        if not known.empty:
            return False
        del self._groups[index]
        return True

    def forget(self, channel: str) -> None:
        """Take all groups of a channel that is no more back; who sits there still has no place."""
        self._bits.pop(channel, None)
        for id, one in list(self._expected.items()):
            if one.channel == channel:
                self._unexpect(id)
        for group in [one for one in self._groups.values() if one.channel == channel]:
            del self._groups[group.index]
            for viewer in group.sitting:
                self._seats[viewer].group = None
                self._waiting.setdefault(channel, {})[viewer] = None

    def groups(self) -> tuple[GroupUse, ...]:
        """All that are granted, in that order."""
        self._lapse()
        return tuple(
            GroupUse(one.index, one.channel, one.places, len(one.sitting), one.expected, one.since)
            for one in self._groups.values()
        )

    def sitting(self, index: int, channel: str) -> tuple[Viewer, ...]:
        """Who sits in a channel's group, in the order of their coming."""
        group = self._groups.get(index)
        return () if group is None or group.channel != channel else tuple(group.sitting)

    def has(self, channel: str) -> bool:
        """Whether the channel has a group here."""
        return any(one.channel == channel for one in self._groups.values())

    def free(self, channel: str) -> int:
        """Places of a channel that nobody has."""
        self._lapse()
        return sum(max(0, one.free) for one in self._of(channel))

    def taken_places(self, channel: str) -> int:
        """Places of a channel that somebody has, or is expected on."""
        return sum(len(one.sitting) + one.expected for one in self._of(channel))

    def waiting(self) -> tuple[str, ...]:
        """Channels that somebody watches without a place."""
        return tuple(self._waiting)

    def channels(self) -> tuple[str, ...]:
        """Channels with a group."""
        return tuple(dict.fromkeys(one.channel for one in self._groups.values()))

    # reservations

    def expect(self, id: str, channel: str, expires: float, index: int | None = None) -> None:
        """Keep a place for whoever shows ``id`` until ``expires``, in group ``index`` if it can be.

        Again is harmless until it is used. ``ConflictError``: it was used; ``NotFoundError``: it
        has lapsed; ``BusyError`` as ``admit``.
        """
        now = self._lapse()
        if id in self._used:
            self.counters["reused"] += 1
            raise ConflictError("the place was taken already", subject=channel)
        known = self._expected.get(id)
        if known is not None and known.channel == channel:
            return
        if known is not None or expires <= now:
            raise NotFoundError("the place is kept no more", subject=channel)
        if len(self._expected) >= MAX_EXPECTED:
            raise self._busy(channel, "places", "too many are on their way")
        group = self._room(channel, self._cost(self._bits.get(channel, 0)), index)
        group.expected += 1
        self._watch(channel).expected += 1
        self._expected[id] = _Expected(channel, group, min(expires, now + MOST_WAIT))
        self.counters["expected"] += 1

    def taken(self) -> tuple[str, ...]:
        """Reservations that were used a moment ago, for reports."""
        since = self._clock() - TOLD
        recent = []
        for id, at in reversed(self._used.items()):
            if at < since:
                break
            recent.append(id)
        return tuple(reversed(recent))

    def _unexpect(self, id: str) -> _Expected:
        one = self._expected.pop(id)
        one.group.expected -= 1
        one.group.since = self._clock()
        self._watched[one.channel].expected -= 1
        self._unwatch(one.channel)
        return one

    def _lapse(self) -> float:
        """Give up the places for which nobody came in time; the time."""
        now = self._clock()
        for id, one in list(self._expected.items()):
            if one.expires <= now or one.expires > now + MOST_WAIT:  # the clock was set back
                self._unexpect(id)
                self.counters["lapsed"] += 1
                self._seat_waiting(one.group)
        return now

    # viewers

    def admit(self, channel: str, bits: int, reservation: str = "") -> None:
        """Return if there is room for a viewer; ``bits``: a second that he costs more, 0 where a
        multicast group has them already.

        ``BusyError`` where a budget is spent: its ``subject`` is ``places``, ``bandwidth``,
        ``cpu`` or ``memory``, or ``units`` where this unit takes nobody more.
        """
        self._lapse()
        if bits > 0:
            self.price(channel, bits)
        kept = self._expected.get(reservation)
        if kept is not None and kept.channel == channel:
            self._check_state(channel)
            return
        self._room(channel, self._cost(bits))

    def take(
        self, channel: str, viewer: Viewer, *, multicast: bool = False, reservation: str = ""
    ) -> None:
        """Seat somebody; without a free place he stands until there is one."""
        if viewer in self._seats:
            return
        kept = self._expected.get(reservation)
        if kept is not None and kept.channel == channel:
            self._unexpect(reservation)
            self._used[reservation] = self._clock()
            if len(self._used) > MAX_USED:
                self._used.popitem(last=False)
            group: _Group | None = kept.group
        else:
            group = next((one for one in self._of(channel) if one.free > 0), None)
        seat = self._seats[viewer] = _Seat(channel, group, multicast)
        watched = self._watch(channel)
        watched.viewers += 1
        watched.members += multicast
        if group is not None:
            group.sitting[viewer] = None
            self.counters["seated"] += 1
        else:
            self._waiting.setdefault(channel, {})[viewer] = None
            self.counters["unseated"] += 1
        self.on_short(seat.channel)

    def leave(self, viewer: Viewer) -> None:
        """Somebody has gone; harmless for one who has no seat."""
        seat = self._seats.pop(viewer, None)
        if seat is None:
            return
        watched = self._watched[seat.channel]
        watched.viewers -= 1
        watched.members -= seat.multicast
        self._unwatch(seat.channel)
        if seat.group is None:
            self._stand_no_more(seat.channel, viewer)
        else:
            del seat.group.sitting[viewer]
            seat.group.since = self._clock()
            self._seat_waiting(seat.group)

    def _room(self, channel: str, cost: Spend, index: int | None = None) -> _Group:
        """A group with a free place, if the budgets allow one viewer more; ``BusyError``."""
        self._check_state(channel)
        lacks = self.lacks(cost)
        if lacks:
            raise self._busy(channel, lacks, f"no {lacks} left")
        group = self._free_group(channel, index)
        if group is None:
            self.on_short(channel)
            group = self._free_group(channel, index)
        if group is None:
            raise self._busy(channel, "places", f"no free place for channel {channel!r}")
        return group

    def _free_group(self, channel: str, index: int | None) -> _Group | None:
        free = [one for one in self._of(channel) if one.free > 0]
        return next((one for one in free if one.index == index), free[0] if free else None)

    def _check_state(self, channel: str) -> None:
        if self.state is State.PRESSED:
            raise self._busy(channel, self.pressed_by, "too much to do")
        if self.state is State.DRAINING:
            raise self._busy(channel, "units", "to be emptied: others take viewers")

    def _busy(self, channel: str, subject: str, what: str) -> BusyError:
        self.counters["refused"] += 1
        return BusyError(f"this unit has {what}", subject=subject, retry_after=RETRY_AFTER)

    def _of(self, channel: str) -> Iterator[_Group]:
        return (one for one in self._groups.values() if one.channel == channel)

    def _seat_waiting(self, group: _Group) -> None:
        """Give free places of a group to those without one."""
        if self._groups.get(group.index) is not group:
            return
        for viewer in list(self._waiting.get(group.channel, ())):
            if group.free <= 0:
                return
            self._stand_no_more(group.channel, viewer)
            self._seats[viewer].group = group
            group.sitting[viewer] = None
            self.counters["seated"] += 1

    def _stand_no_more(self, channel: str, viewer: Viewer) -> None:
        waiting = self._waiting[channel]
        del waiting[viewer]
        if not waiting:
            del self._waiting[channel]

    # budgets

    def price(self, channel: str, bits: int) -> None:
        """Know how many bits a second a channel has; 0 is not known, and changes nothing."""
        if bits > 0:
            self._bits[channel] = bits

    def measure(self, measured: Spend, carried: Spend) -> None:
        """Know what the unit spends in truth, and what it spends on channels beside viewers: what
        having them takes, and copies to other units. What is measured beyond our count stays
        spent."""
        self._carried = carried
        self._other = Spend()
        beyond = (max(0, m - c) for m, c in zip(measured, self.committed(), strict=True))
        self._other = Spend(*beyond)

    def committed(self) -> Spend:
        """What is spent, by count, and by measure where that is more."""
        bandwidth, cpu, memory = (a + b for a, b in zip(self._carried, self._other, strict=True))
        member = self._cost(0)
        for channel, one in self._watched.items():
            alone = self._cost(self._bits.get(channel, 0))
            people = one.viewers + one.expected
            streams = people - one.members + (one.members > 0)
            bandwidth += streams * (alone.bandwidth - member.bandwidth) + people * member.bandwidth
            cpu += streams * (alone.cpu - member.cpu) + people * member.cpu
            memory += streams * (alone.memory - member.memory) + people * member.memory
        return Spend(bandwidth, cpu, memory)

    def lacks(self, cost: Spend) -> str:
        """The first budget that ``cost`` more would exceed; empty: it fits."""
        for name, used, more, most in zip(
            Spend._fields, self.committed(), cost, self.limits, strict=True
        ):
            if used + more > most:
                return name
        return ""

    def _watch(self, channel: str) -> _Watched:
        return self._watched.setdefault(channel, _Watched())

    def _unwatch(self, channel: str) -> None:
        watched = self._watched[channel]
        if not watched.viewers and not watched.expected:
            del self._watched[channel]
