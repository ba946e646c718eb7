"""What may happen to a view: frozen values, applied by ``draft``.

Those in ``ORDERS`` are also orders: the shell sends them to the unit they name, with the
serial that ``Unit.ordered`` has after them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.manager.reports import Report
from heliograph.manager.view import Budgets, GroupId, Policy, State


@dataclass(frozen=True, slots=True)
class Enrol:
    """A unit is known from now on."""

    unit: str
    name: str
    location: str = ""
    budgets: Budgets = field(default_factory=Budgets)


@dataclass(frozen=True, slots=True)
class ChangeState:
    """A unit may be given more, or no more; one of ``STATE_CHANGES``."""

    unit: str
    state: State


@dataclass(frozen=True, slots=True)
class Lose:
    """A unit is gone, with its groups, its viewers' seats and its reservations."""

    unit: str


@dataclass(frozen=True, slots=True)
class Forget:
    """A unit that has nothing is known no more."""

    unit: str


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """A channel is there, without a group."""

    channel: str
    bitrate: int
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class CloseChannel:
    """A channel ends wherever it is."""

    channel: str
    units: tuple[str, ...] = ()
    """Those that had it, to be told."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """The channel's source enters at this unit from now on."""

    channel: str
    unit: str


@dataclass(frozen=True, slots=True)
class MoveIngest:
    """The publisher is to go to another unit; ``Ingest`` follows when it is there."""

    channel: str
    source: str
    target: str
    expires: float
    """When it is expected there no more, s; until then nobody is let in at ``source``."""


@dataclass(frozen=True, slots=True)
class GiveUpMove:
    """The publisher has not gone where it was told to: it may be told again, or stay."""

    channel: str


@dataclass(frozen=True, slots=True)
class Link:
    """A unit takes a channel from ``parent``, after a moment from both where it had another."""

    channel: str
    unit: str
    parent: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """A unit needs a channel no more."""

    channel: str
    unit: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A group of a unit belongs to a channel."""

    channel: str
    unit: str
    index: int
    places: int
    at: float
    """Now, s."""
    by_hand: bool = False
    """Whether somebody added it: the unit lends it to nobody by itself."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """An empty group is given back."""

    channel: str
    unit: str
    index: int


@dataclass(frozen=True, slots=True)
class Keep:
    """So many groups of a channel stay even if they are empty."""

    channel: str
    groups: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """A place is kept for somebody."""

    id: str
    channel: str
    unit: str
    index: int
    expires: float


@dataclass(frozen=True, slots=True)
class MoveViewers:
    """Viewers go from one group to another, where places are kept for them until ``expires``.

    They are counted where they were until they have left it; those of a lost unit are nowhere
    until they come.
    """

    id: str
    """Of the hold; each of them may take one place of it."""
    channel: str
    source: GroupId
    target: GroupId
    count: int
    expires: float


@dataclass(frozen=True, slots=True)
class Take:
    """Somebody for whom a place was kept sits on it."""

    id: str
    unit: str


@dataclass(frozen=True, slots=True)
class Lapse:
    """Places are kept no more: nobody came in time, or somebody said that he will not."""

    id: str
    unit: str
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Viewers have gone."""

    unit: str
    index: int
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Something could not be done; nothing changes by it."""

    channel: str
    budget: str
    """What is spent: ``places``, ``bandwidth``, ``cpu``, ``memory``, ``tree`` or ``units``;
    ``groups`` for those added by hand that are nowhere to be had again; or ``bound`` for a source
    that nobody can send elsewhere (``Channel.bound``)."""
    count: int
    """Viewers, units, or groups, for whom there is no room."""
    retry_after: int
    """Seconds until trying again may be of use."""
    unit: str = ""
    """Whom it concerns, where it is one unit."""


@dataclass(frozen=True, slots=True)
class Observe:
    """A unit said what it really runs."""

    report: Report


Transition: TypeAlias = (
    Enrol
    | ChangeState
    | Lose
    | Forget
    | OpenChannel
    | CloseChannel
    | Ingest
    | MoveIngest
    | GiveUpMove
    | Link
    | Unlink
    | Grant
    | Revoke
    | Keep
    | Reserve
    | MoveViewers
    | Take
    | Lapse
    | Leave
    | Refuse
    | Observe
)

#: Those that units are told.
ORDERS = (
    ChangeState,
    CloseChannel,
    Ingest,
    MoveIngest,
    Link,
    Unlink,
    Grant,
    Revoke,
    MoveViewers,
)
