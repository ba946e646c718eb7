"""The cluster as the manager sees it: frozen values that are never changed, only replaced.

A view is two dictionaries of frozen records, and a record has small dictionaries of its own. A
next view copies the two outer dictionaries and the few records that change, and shares the
rest. At 300 units that is some microseconds for each dictionary, less than a persistent map
written in Python would need for one look-up, so there is none. What decisions ask for often is
kept in the records (``Unit.used``, ``Branch.free``, ``Channel.free``) and proved against a count
from scratch by ``invariants``.

Viewers are numbers, not names: a unit knows who sits where and reports how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from heliograph.model.errors import MalformedError

#: Groups of a unit and places of a group where the settings say nothing: the paper's numbers.
GROUPS, PLACES = 50, 10
#: Bits a second a unit may send where the settings say nothing: most of a gigabit link, the rest
#: for repairs, control and other programs.
BANDWIDTH = 900_000_000
#: Microseconds of CPU a second where the settings say nothing: one core of two.
CPU = 1_000_000
#: Bytes a unit may use for viewers and rings where the settings say nothing.
MEMORY = 2_000_000_000
#: Mesh links from the ingest unit to the farthest one. Each adds some milliseconds; where a unit
#: feeds 8 others, four links reach 4 000 units.
MAX_DEPTH = 4
#: Units that take a channel from one unit. Small, so that the death of one moves few links.
MAX_FAN_OUT = 8
#: CPU for one copy of a channel, in microseconds for a megabit: twice what plain RTP was measured
#: to take (docs/performance.md), because encryption takes as much again.
CPU_PER_MEGABIT = 350
#: Bytes for one viewer: cursor, session, and what is kept for repairs of an encrypted one.
MEMORY_PER_VIEWER = 64_000
#: Bytes a channel takes on a unit whoever watches, for a ring of 3 s of each bit: what was measured
#: at 2 Mbit/s (docs/performance.md), in proportion.
MEMORY_PER_BIT = 0.475

EMPTY: Mapping[str, Any] = MappingProxyType({})


class State(StrEnum):
    """What a unit may be given."""

    UP = "up"  # anything
    PRESSED = "pressed"  # nothing more; what it has stays
    DRAINING = "draining"  # nothing more; what it has goes elsewhere
    GONE = "gone"  # it does not answer, or was taken out: it has nothing


#: The states a unit may come to from each; staying is always allowed.
STATE_CHANGES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.UP: frozenset({State.PRESSED, State.DRAINING, State.GONE}),
        State.PRESSED: frozenset({State.UP, State.DRAINING, State.GONE}),
        State.DRAINING: frozenset({State.UP, State.GONE}),
        State.GONE: frozenset({State.UP, State.PRESSED, State.DRAINING}),
    }
)


class Order(StrEnum):
    """From whom a unit takes a channel, when there is a choice."""

    GROWN = "grown"  # the unit whose places ran short, else the fewest links from the ingest unit
    SHALLOW = "shallow"  # the fewest links from the ingest unit
    NEAR = "near"  # the nearest by location


class Amounts(NamedTuple):
    """What a unit spends, or may spend. Whole numbers, so that sums stay exact."""

    bandwidth: int = 0
    """Bits a second sent to viewers and other units."""
    cpu: int = 0
    """Microseconds of CPU time a second."""
    memory: int = 0
    """Bytes."""

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: Amounts) -> Amounts:
        return Amounts(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def times(self, count: int) -> Amounts:
        return Amounts(self[0] * count, self[1] * count, self[2] * count)


NOTHING = Amounts()
LIMITS = Amounts(BANDWIDTH, CPU, MEMORY)


class GroupId(NamedTuple):
    """Names a group of the cluster."""

    unit: str
    number: int
    """``Group.index``."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a unit offers. The settings of the unit say it, its reports carry it."""

    groups: int = GROUPS
    places: int = PLACES
    """Places of each group."""
    limits: Amounts = LIMITS
    """What may be spent at most."""

    def __post_init__(self) -> None:
        if self.groups < 0 or self.places < 1 or min(self.limits) < 0:
            raise MalformedError("budgets", f"{self.groups} groups of {self.places} places")


@dataclass(frozen=True, slots=True)
class Policy:
    """The shape of a channel's tree."""

    max_depth: int = MAX_DEPTH
    """Mesh links between the ingest unit and any other, at most."""
    max_fan_out: int = MAX_FAN_OUT
    """Units that take the channel from one unit, at most."""
    order: Order = Order.GROWN


@dataclass(frozen=True, slots=True)
class Group:
    """Some places of a unit, granted to a channel."""

    index: int
    """From 0, below ``Budgets.groups``."""
    channel: str
    places: int
    viewers: int = 0
    reserved: int = 0
    """Places kept for those who are on their way."""
    idle_since: float | None = 0.0
    """When the last viewer left, s; None while somebody sits here or is on his way."""

    @property
    def free(self) -> int:
        return self.places - self.viewers - self.reserved


@dataclass(frozen=True, slots=True)
class Reservation:
    """Places of a group kept for whoever shows ``id``; each can be taken once."""

    id: str
    channel: str
    unit: str
    index: int
    expires: float
    """When it lapses, s."""
    count: int = 1
    """Places still kept. More than one: a hold, for viewers that are moved here."""
    origin: GroupId | None = None
    """The group from which they are moved."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A machine that carries media."""

    id: str
    name: str
    """For people; the first half of a group's name in trees."""
    location: str = ""
    """Places from the large to the small, such as ``eu/de/berlin``; empty: not known."""
    domain: str = ""
    """Of the group of units that it is administered with; empty: of none."""
    state: State = State.UP
    budgets: Budgets = field(default_factory=Budgets)
    used: Amounts = NOTHING
    """Committed: seats, copies to other units, channels carried, and ``other``."""
    other: Amounts = NOTHING
    """What it was measured to spend beyond what our model says."""
    groups: Mapping[int, Group] = field(default_factory=dict)
    """Those granted, by index."""
    idle: int = 0
    """How many of them are empty."""
    carries: frozenset[str] = frozenset()
    """Channels that have a branch here."""
    reservations: Mapping[str, Reservation] = field(default_factory=dict)
    ordered: int = 0
    """Serial of the last order to this unit; of a report from before it not all is believed."""

    def lacks(self, cost: Amounts) -> str:
        """The first budget that ``cost`` more would exceed; empty: it fits."""
        used, limits = self.used, self.budgets.limits
        if used[0] + cost[0] > limits[0]:
            return "bandwidth"
        if used[1] + cost[1] > limits[1]:
            return "cpu"
        if used[2] + cost[2] > limits[2]:
            return "memory"
        return ""

    def room(self, cost: Amounts) -> int:
        """How often ``cost`` fits."""
        used, limits = self.used, self.budgets.limits
        fits = (limits[0] - used[0]) // (cost[0] or 1)
        fits = min(fits, (limits[1] - used[1]) // (cost[1] or 1))
        fits = min(fits, (limits[2] - used[2]) // (cost[2] or 1))
        return fits if fits > 0 else 0

    @property
    def free_groups(self) -> int:
        """Groups that no channel has."""
        return self.budgets.groups - len(self.groups)

    def free_index(self) -> int | None:
        """The lowest group nobody has; None where all are granted."""
        if self.free_groups <= 0:
            return None
        return next(i for i in range(self.budgets.groups) if i not in self.groups)

    @property
    def viewers(self) -> int:
        return sum(group.viewers for group in self.groups.values())


@dataclass(frozen=True, slots=True)
class Branch:
    """A channel on one unit. A unit takes a channel in once, however many groups watch it."""

    unit: str
    parent: str | None = None
    """The unit it takes the channel from; None at the ingest unit, and where it is cut off."""
    children: tuple[str, ...] = ()
    """Units that take it from here, in order of their coming."""
    groups: tuple[int, ...] = ()
    """In the order in which they were granted, each linked to the one before it. May be empty where
    the unit only passes the channel on."""
    seats: int = 0
    """Viewers and reserved places."""
    free: int = 0
    """Places nobody has; what the unit's budgets allow of them is another question."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel that is open."""

    name: str
    bitrate: int
    """Bits a second of one copy."""
    policy: Policy = field(default_factory=Policy)
    ingest: str | None = None
    """The unit where its source enters, or is expected to."""
    next_ingest: str | None = None
    """The unit its publisher was told to go to; it is not there yet."""
    move_expires: float = 0.0
    """Until when it is expected there, s."""
    bound: bool = False
    """Whether nobody can send the source elsewhere: the ingest unit fetches it itself, or its
    publisher came back to it each time."""
    epoch: int = 0
    """The highest source epoch that a unit reported."""
    kept: int = 1
    """Groups that are not given back even if they are empty. More than one: by hand; the one that
    any channel keeps is given back where groups are scarce."""
    branches: Mapping[str, Branch] = field(default_factory=dict)
    orphans: frozenset[str] = frozenset()
    """Units that are cut off: not the ingest unit, and without a parent that has the channel."""
    seats: int = 0
    free: int = 0
    holds: Mapping[str, str] = field(default_factory=dict)
    """Units by the ids of the holds for viewers that are moved."""
    seat: Amounts = NOTHING
    """What one viewer takes, and one copy to another unit."""
    carry: Amounts = NOTHING
    """What having the channel takes whoever watches."""

    @classmethod
    def of(cls, name: str, bitrate: int, policy: Policy | None = None) -> Channel:
        """A channel without a branch; works out what its viewers take."""
        cpu = bitrate * CPU_PER_MEGABIT // 1_000_000
        seat = Amounts(bitrate, cpu, MEMORY_PER_VIEWER)
        carry = Amounts(0, cpu, int(bitrate * MEMORY_PER_BIT))
        return cls(name, bitrate, policy or Policy(), seat=seat, carry=carry)

    @property
    def groups(self) -> int:
        return sum(len(branch.groups) for branch in self.branches.values())

    @property
    def by_hand(self) -> int:
        """Groups that stay however scarce groups are."""
        return self.kept if self.kept > 1 else 0


class Cluster(Protocol):
    """What decisions read: a view, or a draft of the next one."""

    @property
    def units(self) -> Mapping[str, Unit]: ...
    @property
    def channels(self) -> Mapping[str, Channel]: ...


@dataclass(frozen=True, slots=True)
class View:
    """All that is known at a moment."""

    units: Mapping[str, Unit] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    serial: int = 0
    """Counts orders to units. A manager begins above what any unit has reported."""
