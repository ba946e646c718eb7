"""What the player asks of the server to keep its buffer neither empty nor full. Pure.

Two schemes of Yima (IEEE Computer, June 2002). *Pause and resume*: the server sends at one rate or
not at all, two watermarks. *Δp*: the server is told another distance between packets, that is
another rate, whenever the level crosses one of several watermarks. Units are the caller's: bytes
and bytes a second, or seconds of media and seconds a second.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Watermarks of Δp between underflow and overflow: more tell the server more often to no gain.
DEFAULT_MARKS = 5
MAX_MARKS = 64
#: A mark counts as crossed again only when the level went past it by this share of the least gap:
#: a level that trembles about a mark gives no stream of requests.
HYSTERESIS = 0.1
#: Each next gap towards a limit is so much of the one before, where spaced geometrically.
RATIO = 0.5
#: Samples of the consumption that are remembered.
MAX_SAMPLES = 4096


class Spacing(StrEnum):
    """How watermarks lie between the limits."""

    LINEAR = "linear"
    """Equal gaps."""
    GEOMETRIC = "geometric"
    """Gaps halve towards the limits: calm in the middle, quick where it matters."""


def watermarks(
    low: float, high: float, count: int, spacing: Spacing = Spacing.LINEAR
) -> tuple[float, ...]:
    """``count`` marks (2 or more) from ``low`` to ``high``, both included."""
    if not 2 <= count <= MAX_MARKS or not 0 <= low < high:
        raise ValueError(f"{count} watermarks from {low} to {high}")
    gaps = count - 1
    if spacing is Spacing.LINEAR:
        weights = [1.0] * gaps
    else:
        weights = [RATIO ** abs(i - (gaps - 1) / 2) for i in range(gaps)]
    step = (high - low) / sum(weights)
    marks = [low]
    for weight in weights[:-1]:
        marks.append(marks[-1] + step * weight)
    return (*marks, high)


class Consumption:
    """What the decoder took lately: the expectation Ĉ of what it will take next."""

    def __init__(self, window: float) -> None:
        """``window``: seconds looked back over."""
        if window <= 0:
            raise ValueError("a window of no length")
        self.window = window
        self._taken: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)
        self._sum = 0.0
        self._since: float | None = None

    def take(self, now: float, amount: float) -> None:
        """So much was taken since the last call."""
        if self._since is None:
            self._since = now
            return
        if len(self._taken) == MAX_SAMPLES:
            self._since, first = self._taken.popleft()
            self._sum -= first
        self._taken.append((now, amount))
        self._sum += amount

    def rate(self, now: float) -> float | None:
        """Amount a second over the window; ``None`` before anything is known."""
        while len(self._taken) > 1 and self._taken[0][0] <= now - self.window:
            self._since, amount = self._taken.popleft()
            self._sum -= amount
        if self._since is None or not self._taken or now <= self._since:
            return None
        return max(0.0, self._sum) / (now - self._since)


@dataclass(frozen=True, slots=True)
class Rate:
    """Ask for another rate; 0 is a pause."""

    rate: float
    level: float
    """At which it was decided."""
    mark: int
    """Index of the highest watermark at or below the level, −1 below all."""


class PauseResume:
    """All or nothing: pauses at the upper mark, resumes at the lower one."""

    def __init__(self, low: float, high: float, rate: float) -> None:
        """``rate``: what the server sends at, above any that is consumed for long."""
        if not 0 <= low < high:
            raise ValueError(f"watermarks {low} and {high}")
        self.marks = (low, high)
        self.rate = rate
        self.paused = False
        self.decisions = 0

    def decide(self, level: float) -> Rate | None:
        """What to ask for at this level, where it is something else than before."""
        low, high = self.marks
        if not self.paused and level >= high:
            self.paused = True
        elif self.paused and level <= low:
            self.paused = False
        else:
            return None
        self.decisions += 1
        return Rate(0.0 if self.paused else self.rate, level, 1 if self.paused else 0)


class MultiThreshold:
    """Δp: on crossing a watermark r = Ĉ(w) + (target − level) / w, within bounds."""

    def __init__(
        self,
        marks: Sequence[float],
        *,
        window: float,
        least: float = 0.0,
        most: float = float("inf"),
        target: float | None = None,
    ) -> None:
        """``window``: seconds in which the target is to be reached. ``target``: else the middle
        between the outermost marks. ``least``, ``most``: what the server can do."""
        if len(marks) < 2 or any(a >= b for a, b in itertools.pairwise(marks)):
            raise ValueError("watermarks that do not rise")
        if window <= 0 or not 0 <= least <= most:
            raise ValueError("no window, or no rate between the bounds")
        self.marks = tuple(marks)
        self.window = window
        self.least = least
        self.most = most
        self.target = (marks[0] + marks[-1]) / 2 if target is None else target
        self.decisions = 0
        gap = min(b - a for a, b in itertools.pairwise(marks))
        self._slack = gap * HYSTERESIS
        self._zone: int | None = None

    def decide(self, level: float, consumption: float) -> Rate | None:
        """The new rate where a mark was crossed; ``consumption``: amount a second expected."""
        zone = bisect_right(self.marks, level)
        if self._zone is None:
            self._zone = zone
            return self._decision(level, consumption)
        if zone == self._zone:
            return None
        # The mark nearest to where we were is the one that must be left behind.
        mark = self.marks[self._zone] if zone > self._zone else self.marks[self._zone - 1]
        if abs(zone - self._zone) == 1 and abs(level - mark) < self._slack:
            return None
        self._zone = zone
        return self._decision(level, consumption)

    def _decision(self, level: float, consumption: float) -> Rate:
        self.decisions += 1
        wanted = consumption + (self.target - level) / self.window
        assert self._zone is not None
        return Rate(max(self.least, min(self.most, wanted)), level, self._zone - 1)

    def forget(self) -> None:
        """Decide anew at the next level: after a seek or a pause."""
        self._zone = None
