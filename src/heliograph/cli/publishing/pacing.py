"""When the next unit goes out. Pure: the time is passed in.

Media time runs with the clock from an origin. What is late goes out faster than it was made, but
never all at once; what is hopelessly late moves the origin, and everything after it with it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Catching up, media time runs so much faster than the clock: a backlog of 0.5 s is gone after
#: 0.17 s, and a server sees four times the usual rate, which its readers' buffers take.
CATCH_UP = 4.0
#: Seconds behind that are caught up with. Players hold 0.2 to 1 s; what comes later than that is
#: late for them anyway, so the stream rather pauses as long as we did.
MAX_BEHIND = 0.5
#: A wait below this is no wait: event loops and kernels are not more exact.
GRAIN = 0.001


@dataclass(slots=True)
class Pacer:
    """Maps media time to the clock."""

    origin: float
    """Clock at media time 0, in seconds."""
    shifted: float = 0.0
    """Seconds by which the origin was moved in all; to be added to timestamps."""
    stalls: int = 0
    """How often it was moved."""
    _last_due: float | None = None
    _last_sent: float = 0.0

    def wait(self, due: float, now: float) -> float:
        """Seconds to wait before the unit due at media time ``due`` goes out; 0 for none.

        Ask again after waiting: a clock that was stopped meanwhile is noticed then.
        """
        behind = now - (self.origin + due)
        if behind > MAX_BEHIND:
            self.origin += behind
            self.shifted += behind
            self.stalls += 1
            behind = 0.0
        left = -behind
        if self._last_due is not None:
            step = max(0.0, due - self._last_due) / CATCH_UP
            left = max(left, self._last_sent + step - now)
        return left if left > GRAIN else 0.0

    def sent(self, due: float, now: float) -> None:
        """The unit went out, or was left out, now."""
        # Of two tracks the one that is ahead counts, or the other would reset the pace.
        if self._last_due is None or due >= self._last_due:
            self._last_due, self._last_sent = due, now

    def media_time(self, now: float) -> float:
        """Media time at ``now`` as timestamps count it: without what stalls took."""
        return now - self.origin + self.shifted


@dataclass(slots=True)
class Backoff:
    """Waiting times between attempts: doubled each time, with jitter, bounded."""

    first: float = 0.5
    """Seconds before the second attempt."""
    limit: float = 10.0
    """Seconds at most; a server is back for a tenth of a minute at worst without us."""
    failures: int = 0
    """Attempts that failed since the last success."""

    def next(self, random: float) -> float:
        """Seconds until the next attempt. ``random``: 0–1; up to a quarter less, so that a
        hundred publishers of one server do not come back together."""
        span = min(self.limit, self.first * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return span * (1 - random / 4)

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
