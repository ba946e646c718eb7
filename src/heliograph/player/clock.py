"""The playout clock: which media time is to be seen and heard now. Pure.

It runs at 1, stands while paused, and is brought to another position by a jump or, where nobody is
to notice, by running a little faster or slower for a while.
"""

from __future__ import annotations

#: Highest change of speed to catch up with: half a percent of pitch is below what listeners notice.
MAX_SLEW = 0.005


class PlayoutClock:
    """Maps the player's clock (seconds, any origin) to media time (seconds)."""

    def __init__(self, media: float = 0.0) -> None:
        self._media = media  # position at ``_at``
        self._at = 0.0
        self._running = False
        self._owed = 0.0  # media seconds still to be slewed in, signed

    @property
    def running(self) -> bool:
        """Whether media time goes on."""
        return self._running

    @property
    def owed(self) -> float:
        """Seconds that ``shift`` has still to bring in."""
        return self._owed

    def position(self, now: float) -> float:
        """Media time at ``now``."""
        return self._media + self._advance(now)[0]

    def _advance(self, now: float) -> tuple[float, float]:
        """Media seconds since the last change, and how many of them were slewed."""
        if not self._running:
            return 0.0, 0.0
        passed = max(0.0, now - self._at)
        most = passed * MAX_SLEW
        slewed = max(-most, min(most, self._owed))
        return passed + slewed, slewed

    def _settle(self, now: float) -> None:
        advanced, slewed = self._advance(now)
        self._media += advanced
        self._owed -= slewed
        self._at = now

    def start(self, now: float) -> None:
        """Run from the present position on."""
        self._settle(now)
        self._at = now
        self._running = True

    def pause(self, now: float) -> None:
        """Stand at the present position."""
        self._settle(now)
        self._running = False

    def jump(self, now: float, media: float) -> None:
        """Be at ``media`` at once; what was to be slewed is forgotten."""
        self._media, self._at, self._owed = media, now, 0.0

    def shift(self, now: float, seconds: float) -> None:
        """Come ``seconds`` further (less: back) little by little; replaces an earlier shift."""
        self._settle(now)
        self._owed = seconds
