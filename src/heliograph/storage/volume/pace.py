"""How fast work in the background may go: a bucket that fills with time."""

from __future__ import annotations

#: Seconds of its rate that a bucket holds: a pause does not pay for a burst.
DEPTH = 0.25


class Bucket:
    """Bytes that may be spent. Spending is always allowed and may have to be waited for."""

    def __init__(self, rate: float, now: float) -> None:
        """``rate``: bytes a second, above 0."""
        self._rate = rate
        self._level = rate * DEPTH
        self._at = now

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self._rate

    def set_rate(self, rate: float, now: float) -> None:
        """Another rate from now on."""
        self._fill(now)
        self._rate = rate

    def spend(self, size: int, now: float) -> float:
        """Take bytes; returns the seconds to wait before they are used."""
        self._fill(now)
        self._level -= size
        return max(0.0, -self._level / self._rate)

    def _fill(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._level = min(self._level + passed * self._rate, self._rate * DEPTH)
