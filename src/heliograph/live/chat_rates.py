"""How fast may be written in a chat: buckets that fill with time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Holds up to ``burst`` tokens; one more every ``refill`` seconds."""

    tokens: float
    at: float
    last: float = float("-inf")
    """When what it counts was last done; set by whoever does it."""

    def wait(self, now: float, burst: float, refill: float) -> float:
        """Seconds until a token can be had; 0: now. A clock that goes back costs nothing."""
        elapsed = max(0.0, now - self.at)
        self.tokens = min(burst, self.tokens + elapsed / refill)
        self.at = now
        return max(0.0, (1 - self.tokens) * refill)

    def take(self) -> None:
        """Use a token that ``wait`` said is there."""
        self.tokens -= 1


class Buckets:
    """One for each who writes, bounded: the one longest silent is forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, who: str, burst: float, now: float) -> Bucket:
        """The bucket of somebody; a full one for who was not known."""
        bucket = self._buckets.get(who)
        if bucket is None:
            while len(self._buckets) >= self._limit:
                self._buckets.popitem(last=False)
            bucket = self._buckets[who] = Bucket(burst, now)
        self._buckets.move_to_end(who)
        return bucket
