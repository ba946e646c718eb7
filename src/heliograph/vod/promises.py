"""Promises of streams: admission, kept for as long as a stream lasts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from heliograph.model.errors import BusyError
from heliograph.storage.values import DiskId, ObjectId
from heliograph.vod.admission import Budgets, Demand, Promised, check, demand_of, smoothed_rate
from heliograph.vod.ahead import Turns, slow_share
from heliograph.vod.manifest import Manifest

#: Titles whose smoothed rate is remembered: to find one takes some ms.
MAX_RATES = 1024


class Promise:
    """What one stream may take; until ``release``."""

    def __init__(self, ledger: Admission, demand: Demand) -> None:
        self._ledger = ledger
        self._usual = demand
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
        self._demand = self._ledger.exchange(self._demand, self._usual.times(max(rate, 1.0)))

    def release(self) -> None:
        """The stream is over."""
        if self._demand is not None:
            self._ledger.end(self._demand)
            self._demand = None


class Admission:
    """Who decides at a node whether a stream is promised. Not for several threads."""

    def __init__(
        self,
        budgets: Callable[[], Budgets],
        shares: Callable[[Manifest], Mapping[DiskId, float]],
        *,
        ahead_us: int = 3_000_000,
    ) -> None:
        """``budgets``: what there is at present; they may shrink, and promises are kept all the
        same. ``shares``: where a title's blocks are. ``ahead_us``: the read-ahead of streams, in
        µs of their time."""
        self.promised = Promised()
        self.refused = 0
        """Streams turned away since the start."""
        self._budgets = budgets
        self._shares = shares
        self._ahead = ahead_us
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
        disks: Collection[DiskId] | None = None,
        turns: Turns | None = None,
    ) -> Promise:
        """Promise a stream of those tracks; ``BusyError`` tells which budget is spent.

        ``disks``, ``turns``: of a stream that several nodes send, the disks that are this node's,
        and how it is shared out.
        """
        demand = self._demand(manifest, tracks)
        if disks is not None and turns is not None:
            demand = demand.part(turns, disks, self._measure(manifest)[1])
        self._check(demand)
        self.promised.add(demand)
        return Promise(self, demand)

    def look(self, manifest: Manifest, tracks: Sequence[int]) -> None:
        """Raise the ``BusyError`` that ``promise`` would raise now."""
        self._check(self._demand(manifest, tracks))

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

    def end(self, demand: Demand) -> None:
        """A stream is over."""
        self.promised.add(demand, -1)

    def _check(self, demand: Demand) -> None:
        try:
            check(self._budgets(), self.promised, demand)
        except BusyError:
            self.refused += 1
            raise

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
