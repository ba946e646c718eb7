"""What a unit says of itself, once a second and after each order: frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.manager.view import Amounts, Budgets, State


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group that runs."""

    index: int
    channel: str
    viewers: int = 0


@dataclass(frozen=True, slots=True)
class BranchReport:
    """A channel that a unit carries."""

    channel: str
    source: str | None = None
    """The unit it takes it from; None where it is cut off, or the source enters here."""
    ingest: bool = False
    """Whether the channel's source enters here."""
    epoch: int = 0
    """Of the source, as the packets carry it."""
    bitrate: int = 0
    """Bits a second as it knows the channel; 0: not known."""
    bound: bool = False
    """Whether the unit fetches the source itself, from a camera or another server, or its publisher
    came back each time that it was sent elsewhere."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a manager needs to know of a unit."""

    unit: str
    name: str
    at: float
    """When it was received, s."""
    location: str = ""
    state: State = State.UP
    budgets: Budgets = field(default_factory=Budgets)
    measured: Amounts | None = None
    """What it really spends; None: not measured, our model holds."""
    serial: int = 0
    """The highest serial of the orders it has carried out."""
    branches: tuple[BranchReport, ...] = ()
    groups: tuple[GroupReport, ...] = ()
    """In the order in which they were granted."""
    taken: tuple[str, ...] = ()
    """Reservations used since the last report; who used them is in ``GroupReport.viewers``."""
    domain: str = ""
    """Of the group of units that it is administered with; empty: of none."""
