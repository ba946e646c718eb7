"""How many offers of WebRTC one address may make, and how many sessions it may hold. Pure.

Taking an offer costs the server about a millisecond and a session's memory before anything is
known of the peer but its address, so that is what is counted. IPv6 addresses count by their /64,
of which every machine has as many as it likes.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from heliograph.model.addresses import household_of
from heliograph.model.errors import TooManyError

#: Addresses remembered for their rate: 2 MB. The one that asked longest ago is forgotten first,
#: which gives it a fresh allowance and nothing else.
MAX_ADDRESSES = 16_384
#: Offers that may come at once, in seconds of the rate: a page opened again and again by its
#: reader, a class that opens one page.
BURST_S = 30
#: Seconds after which who holds too many sessions may ask again: some of them end meanwhile.
RETRY_AFTER = 10


@dataclass(frozen=True, slots=True)
class OfferLimits:
    """What one address may do."""

    sessions: int = 256
    """Sessions open at once, 1 or more."""
    per_minute: int = 120
    """Offers a minute that go on for ever, 1 or more."""

    @property
    def burst(self) -> float:
        """Offers that may come at once after a pause."""
        return max(1.0, self.per_minute * BURST_S / 60)


class Offers:
    """Counts; every time is an argument (seconds of a clock that never goes back)."""

    def __init__(self, limits: OfferLimits) -> None:
        self.limits = limits
        self.counters: Counter[str] = Counter(offers_too_often=0, offers_too_many=0)
        """Offers refused: above the rate, above the number of sessions."""
        self._sessions: Counter[str] = Counter()
        self._buckets: dict[str, tuple[float, float]] = {}

    def asked(self, peer: str, now: float) -> None:
        """Somebody at ``peer`` makes an offer; ``TooManyError`` says when to ask again."""
        place, rate = household_of(peer), self.limits.per_minute / 60
        tokens, since = self._buckets.pop(place, (self.limits.burst, now))
        tokens = min(self.limits.burst, tokens + (now - since) * rate)
        # Put back at the end: the first of the table is the one that was silent for longest.
        self._buckets[place] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        if tokens < 1:
            self.counters["offers_too_often"] += 1
            raise TooManyError(
                f"more than {self.limits.per_minute} offers a minute from {place}",
                subject="offers",
                retry_after=math.ceil((1 - tokens) / rate),
            )

    def check(self, peer: str) -> None:
        """Raise ``TooManyError`` if ``peer`` may not hold one session more."""
        place = household_of(peer)
        if self._sessions[place] >= self.limits.sessions:
            self.counters["offers_too_many"] += 1
            raise TooManyError(
                f"{place} holds {self.limits.sessions} sessions already",
                subject="sessions",
                retry_after=RETRY_AFTER,
            )

    def opened(self, peer: str) -> None:
        """A session of ``peer`` began."""
        self._sessions[household_of(peer)] += 1

    def closed(self, peer: str) -> None:
        """It ended."""
        place = household_of(peer)
        self._sessions[place] -= 1
        if self._sessions[place] <= 0:
            del self._sessions[place]
