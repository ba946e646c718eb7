"""How popular titles are: each use counts one, and half as much with each half-life since.

Scores are kept as of one moment, the landmark, so that time that passes changes no number: a use
later than it counts more than one. Before the numbers grow too large, the landmark moves.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

#: Half-lives from the landmark until it moves: numbers of up to 2⁶⁴ times the uses are exact
#: enough, and far from the bound of floating-point numbers.
MOVE = 64
#: Titles that are remembered; more than twice as many as a large library has.
MAX_TITLES = 250_000
#: What of them stays when there are too many, the most popular ones.
KEEP = 0.9


@dataclass(frozen=True, slots=True)
class Popular:
    """A title and its score."""

    name: str
    score: float
    """Uses, each half as much with each half-life since."""


class Popularity:
    """Scores by name. Not for several threads."""

    def __init__(self, half_life: float, *, max_titles: int = MAX_TITLES) -> None:
        """``half_life`` in seconds, above 0."""
        if not (math.isfinite(half_life) and half_life > 0):
            raise ValueError("the half-life must be above 0")
        self.half_life = half_life
        self.forgotten = 0
        """Titles that went because there were too many."""
        self._max = max_titles
        self._landmark: float | None = None
        self._scores: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._scores)

    def add(self, name: str, at: float, uses: float = 1.0) -> None:
        """Count uses of a title at a time in seconds of any origin, in any order of times."""
        if self._landmark is None:
            self._landmark = at
        if at - self._landmark > MOVE * self.half_life:
            self._move(at)
        gain = uses * self._factor(at, self._landmark)
        self._scores[name] = self._scores.get(name, 0.0) + gain
        if len(self._scores) > self._max:
            self._forget()

    def score(self, name: str, now: float) -> float:
        """Of one title; 0 for one never used."""
        if self._landmark is None:
            return 0.0
        return self._scores.get(name, 0.0) * self._factor(self._landmark, now)

    def top(self, count: int, now: float) -> list[Popular]:
        """The most popular, the first of them first; equals by name."""
        if self._landmark is None:
            return []
        factor = self._factor(self._landmark, now)
        best = heapq.nsmallest(count, self._scores.items(), key=lambda one: (-one[1], one[0]))
        return [Popular(name, score * factor) for name, score in best]

    def scores(self, now: float) -> Mapping[str, float]:
        """Of all titles: what replication decides by."""
        return {one.name: one.score for one in self.top(len(self._scores), now)}

    def _factor(self, at: float, seen: float) -> float:
        """What one use at a time is worth at another."""
        exponent = (at - seen) / self.half_life
        return math.pow(2.0, max(-1000.0, min(exponent, 1000.0)))

    def _move(self, landmark: float) -> None:
        assert self._landmark is not None
        factor = self._factor(self._landmark, landmark)
        moved = {name: score * factor for name, score in self._scores.items()}
        # Nothing is left of those: a use 1000 half-lives ago.
        self._scores = {name: score for name, score in moved.items() if score > 1e-300}
        self._landmark = landmark

    def _forget(self) -> None:
        keep = max(1, int(self._max * KEEP))
        best = heapq.nlargest(keep, self._scores.items(), key=lambda one: one[1])
        self.forgotten += len(self._scores) - len(best)
        self._scores = dict(best)
