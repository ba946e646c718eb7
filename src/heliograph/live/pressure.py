"""When a unit has too much to do: a pure decision over what it spends, second by second.

It is under pressure when it spends nearly all CPU or memory that it may, or loses what it should
send, for a while; and is well again when it has been far from that for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.live.seats import Spend

#: Parts of a budget: above the first is too much, below the second is well. Between the two, a unit
#: stays what it is.
TOO_MUCH, WELL = 0.9, 0.8
#: Seconds of too much until a unit says so: many viewers who come at once cost more for a moment.
PATIENCE = 3.0
#: Seconds of being well until it takes viewers again.
RELIEF = 10.0
#: Packets lost of those sent that are too many: a viewer who has gone without a word loses his own
#: only, and that is far less where many watch.
LOST = 0.01
#: Lost packets in a look that are not worth a thought, however few are sent.
FEW = 50


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the time since the look before."""

    spent: Spend
    sent: int = 0
    """Packets."""
    lost: int = 0
    """Packets that the system did not take."""
    events_lost: int = 0
    """Events of the plane that nobody had time for."""


class Pressure:
    """Of one unit."""

    def __init__(self, limits: Spend) -> None:
        self.limits = limits
        self.by = ""
        """The budget that presses; empty: none does."""
        self._since: float | None = None
        """Since when it has been the other way round."""

    def press(self, by: str = "cpu") -> None:
        """Somebody else says that it has too much to do."""
        if not self.by:
            self.by, self._since = by, None

    def look(self, seen: Look, now: float) -> str:
        """Take a look, one a second or so; gives ``by``. ``now``: s, of a clock that goes on."""
        worst, share = self._worst(seen)
        changes = share >= TOO_MUCH if not self.by else share < WELL
        if not changes:
            self._since = None
            if self.by and share >= TOO_MUCH:
                self.by = worst
            return self.by
        if self._since is None:
            self._since = now
        if now - self._since >= (RELIEF if self.by else PATIENCE):
            self.by, self._since = ("" if self.by else worst), None
        return self.by

    def _worst(self, seen: Look) -> tuple[str, float]:
        """The budget that is nearest to its end, and how near."""
        if seen.events_lost:
            return "cpu", 1.0
        if seen.lost > FEW and seen.lost > LOST * seen.sent:
            return "bandwidth", 1.0
        shares: Sequence[tuple[str, float]] = (
            ("cpu", seen.spent.cpu / max(1, self.limits.cpu)),
            ("memory", seen.spent.memory / max(1, self.limits.memory)),
        )
        return max(shares, key=lambda one: one[1])
