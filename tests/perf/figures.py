"""What a measurement says, as values; percentile and verdict rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that a figure's value or ratio must keep."""

    limit: float
    """The bound itself."""
    at_most: bool
    """True: the value must not exceed the bound; False: it must reach it."""

    def met_by(self, value: float) -> bool:
        """Say whether a value keeps the bound."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


def at_most(limit: float) -> Target:
    """Bound from above."""
    return Target(limit, True)


def at_least(limit: float) -> Target:
    """Bound from below."""
    return Target(limit, False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity of one server."""

    what: str
    """The quantity, such as ``CPU a viewer-second at 800 viewers``."""
    server: str
    """``heliograph``, ``gstreamer`` or ``floor``."""
    value: float | None
    """The measured value; None when the server could not do it."""
    unit: str
    """Unit of the value."""
    against: str = ""
    """What the ratio compares with; empty without one."""
    ratio: float | None = None
    """Value divided by that of ``against``, measured in the same run."""
    target: Target | None = None
    """Bound of the ratio where there is one, of the value otherwise."""

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or empty without a target."""
        if self.target is None:
            return ""
        judged = self.ratio if self.against else self.value
        return "met" if judged is not None and self.target.met_by(judged) else "missed"


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of one scenario."""

    scenario: str
    """Name as given to ``--only``."""
    title: str
    """One line that says what is measured."""
    figures: tuple[Figure, ...]
    """In the order of the table."""
    notes: tuple[str, ...] = ()
    """What the reader of the table must know."""


def middle(values: Iterable[float | None]) -> float | None:
    """Median of the values that exist; None without any."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile; ``share`` is 0 to 1."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def ratio(value: float | None, other: float | None) -> float | None:
    """Quotient, where both exist and the divisor is not zero."""
    return None if value is None or not other else value / other


def compare(
    what: str,
    unit: str,
    values: dict[str, float | None],
    targets: dict[str, Target],
) -> list[Figure]:
    """Make the figures of one quantity: one line a server, and one more for each comparison.

    ``values`` maps servers to what was measured, ``targets`` maps the servers that heliograph is
    compared with to the bound of that ratio.
    """
    figures = []
    for server, value in values.items():
        if server != "heliograph":
            figures.append(Figure(what, server, value, unit))
            continue
        rivals = [other for other in values if other != server]
        if not rivals:
            figures.append(Figure(what, server, value, unit))
        for other in rivals:
            quotient = ratio(value, values[other])
            figures.append(Figure(what, server, value, unit, other, quotient, targets.get(other)))
    return figures
