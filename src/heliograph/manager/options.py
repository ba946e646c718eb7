"""How often, and for how long, a manager does what it does."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.manager.leadership import LeaseTimes
from heliograph.manager.orders import OrderTimes


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """In seconds, where nothing else is said."""

    lease: LeaseTimes = field(default_factory=LeaseTimes)
    orders: OrderTimes = field(default_factory=OrderTimes)
    tick: float = 1.0
    grace: float = 2.0
    """For which a new manager waits at most until all units that are there have reported."""
    fresh: float = 1.5
    """Age of a report that still tells what runs: units report each second."""
    silence: float = 10.0
    """After which a unit that is there and does not report is taken for dead."""
    publish: float = 0.5
    """Between two publications of the view."""
    grant: float = 0.3
    """For which a viewer waits until his unit knows of its new group."""
    command: float = 6.0
    """For one command: less than those wait who gave it."""
    shown: float = 600.0
    """For which a unit that is gone is still shown to people."""
