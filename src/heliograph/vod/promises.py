"""Promises of streams: admission, kept for as long as a stream lasts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from heliograph.model.errors import BusyError, HelioError
from heliograph.storage.values import DiskId, ObjectId
from heliograph.vod.admission import Budgets, Demand, Promised, check, demand_of, smoothed_rate
from heliograph.vod.ahead import Turns, slow_share
from heliograph.vod.manifest import Manifest

#: Titles whose smoothed rate is remembered: to find one takes some ms.
MAX_RATES = 1024


class Promise:
    """What one stream may take; until ``release``."""

    def __init__(self, ledger: Admission, demand: Demand, make: Callable[[], Demand]) -> None:
        """``make``: what the stream takes at present, at its usual rate."""
        self._ledger = ledger
        self._usual = demand
        self._make = make
        self._rate = 1.0
        self._demand: Demand | None = demand

    @property
    def demand(self) -> Demand:
        """What is promised: of the stream as it was made, and never less than that."""
        return self._demand or self._usual

    def change(self, rate: float) -> None:
        """Let the stream go ``rate`` times as fast; ``BusyError`` leaves everything as it was.

        What was promised for the usual rate stays promised while it goes slower.
        """
        if self._demand is None:
            return
        self._ledger.refresh()
        rate = max(rate, 1.0)
        self._demand = self._ledger.exchange(self._demand, self._usual.times(rate))
        self._rate = rate

    def renew(self) -> None:
        """Count the stream as it is now, of which disks or nodes have come or gone; it is kept,
        even where that is more than there is."""
        if self._demand is None:
            return
        try:
            self._usual = self._make()
        except HelioError:  # its title is not known any more: as it was
            return
        fresh = self._usual if self._rate == 1.0 else self._usual.times(self._rate)
        self._ledger.recount(self._demand, fresh)
        self._demand = fresh

    def rest(self) -> None:
        """Nothing is sent for a while: it is kept until somebody else wants its room."""
        if self._demand is not None:
            self._ledger.resting[self] = None

    def wake(self) -> bool:
        """Go on; False: it was given to others, and is over."""
        self._ledger.resting.pop(self, None)
        return self._demand is not None

    def release(self) -> None:
        """The stream is over."""
        if self._demand is not None:
            self._ledger.end(self, self._demand)
            self._demand = None


class Admission:
    """Who decides at a node whether a stream is promised. Not for several threads."""

    def __init__(
        self,
        budgets: Callable[[], Budgets],
        shares: Callable[[Manifest], Mapping[DiskId, float]],
        *,
        ahead_us: int = 3_000_000,
        standing: Callable[[], Hashable] = lambda: None,
    ) -> None:
        """``budgets``: what there is at present; they may shrink, and promises are kept all the
        same. ``shares``: what of a title is read of which disk at present. ``ahead_us``: the
        read-ahead of streams, in µs of their time. ``standing``: what the shares depend on; when
        it is another, what was promised is counted anew."""
        self.promised = Promised()
        self.refused = 0
        """Streams turned away since the start."""
        self.resting: dict[Promise, None] = {}
        """Promises that newcomers may have, those that rest longest first."""
        self._budgets = budgets
        self._shares = shares
        self._ahead = ahead_us
        self._standing = standing
        self._counted: Hashable = None
        self._promises: set[Promise] = set()
        self._rates: dict[tuple[ObjectId, int], tuple[float, float]] = {}

    @property
    def ahead_bps(self) -> int:
        """Bits a second up to which the node sends what is not due yet."""
        return self._budgets().ahead_bps

    def promise(
        self,
        manifest: Manifest,
        tracks: Sequence[int],
        *,
        turns: Callable[[], Turns] | None = None,
    ) -> Promise:
        """Promise a stream of those tracks; ``BusyError`` tells which budget is spent.

        ``turns``: of a stream that several nodes send, how it is shared out at present.
        """

        def make() -> Demand:
            demand = self._demand(manifest, tracks)
            return demand if turns is None else demand.part(turns(), self._measure(manifest)[1])

        self.refresh()
        demand = make()
        self._check(demand)
        self.promised.add(demand)
        promise = Promise(self, demand, make)
        self._promises.add(promise)
        return promise

    def look(self, manifest: Manifest, tracks: Sequence[int]) -> None:
        """Raise the ``BusyError`` that ``promise`` would raise now."""
        self.refresh()
        self._room(self._demand(manifest, tracks))

    def exchange(self, before: Demand, after: Demand) -> Demand:
        """Promise ``after`` in place of ``before``."""
        self.promised.add(before, -1)
        try:
            if after.mean_bps > before.mean_bps:
                self._check(after)
        except BusyError:
            self.promised.add(before)
            raise
        self.promised.add(after)
        return after

    def refresh(self) -> None:
        """Count anew what was promised, where its disks are not what they were."""
        standing = self._standing()
        if standing != self._counted:
            self._counted = standing
            for one in self._promises:
                one.renew()

    def recount(self, before: Demand, after: Demand) -> None:
        """A stream that is promised takes something else."""
        self.promised.add(before, -1)
        self.promised.add(after)

    def end(self, promise: Promise, demand: Demand) -> None:
        """A stream is over."""
        self._promises.discard(promise)
        self.resting.pop(promise, None)
        self.promised.add(demand, -1)

    def _check(self, demand: Demand) -> None:
        """Make room, where there is none, with what is promised to those who have paused."""
        for one in self._room(demand):
            one.release()

    def _room(self, demand: Demand) -> list[Promise]:
        """Those who have paused whose streams would have to go, the oldest first; ``BusyError``
        where not even that makes room, and then nobody's goes."""
        budgets, resting, found = self._budgets(), [*self.resting], list[Promise]()
        try:
            while True:
                try:
                    check(budgets, self.promised, demand)
                except BusyError:
                    if len(found) == len(resting):
                        self.refused += 1
                        raise
                    one = resting[len(found)]
                    found.append(one)
                    self.promised.add(one.demand, -1)
                else:
                    return found
        finally:
            for one in found:
                self.promised.add(one.demand)

    def _demand(self, manifest: Manifest, tracks: Sequence[int]) -> Demand:
        rate, _ = self._measure(manifest)
        return demand_of(manifest, tracks, self._ahead, self._shares(manifest), read=rate)

    def _measure(self, manifest: Manifest) -> tuple[float, float]:
        """Its smoothed rate, and how that varies."""
        count = len(manifest.blocks)
        if manifest.live:  # what is recorded grows: anew after a few hundredths
            shift = max(0, count.bit_length() - 6)
            count = count >> shift << shift
        key = manifest.object, count
        found = self._rates.get(key)
        if found is None:
            found = smoothed_rate(manifest.blocks, self._ahead), slow_share(manifest.blocks)
            if len(self._rates) >= MAX_RATES:
                del self._rates[next(iter(self._rates))]
            self._rates[key] = found
        return found
