"""What streams that several nodes send in turns take of one node's network. Pure.

Due times alone make a node send all of a stream or nothing of it, as blocks lie: with n streams
what is due at an instant varies as a binomial. Where packets may go some seconds before they are
due, what counts is not that instant but every stretch of time: all that is due within t seconds
has to go within t and the seconds before them.

What a stream wants of a node in t seconds has the variance ``drift`` * t + ``jump`` at most:
blocks by lot stray ever further from their share, dealt blocks stay near it as far as a node has
as many blocks of every group. With redundant members it has not: which ones are data is by lot.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from heliograph.vod.manifest import BlockEntry

#: Seconds before they are due that packets can count on.
COUNTED = 3.0
#: Seconds that players take beyond those at least: packets go on a grid, and wait for their turn.
MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class Turns:
    """How several nodes share a stream out."""

    part: float
    """Of the stream that this node sends."""
    seconds: float
    """Of a block."""
    group: int
    """Blocks that are dealt to the nodes together."""
    ahead: float
    """Seconds before they are due that the player takes packets."""
    spread: float
    """Variance of the number of blocks of a group that are this node's."""
    nodes: int = 1
    """How many they are."""

    def strays(self, bps: float) -> tuple[float, float]:
        """``drift`` and ``jump``, in bits² a second and bits². ``bps``: of the whole stream."""
        bits = (bps * self.seconds) ** 2
        # At both ends of a stretch a group is cut: of half a group the node has any of its blocks.
        part, others = self.part * (1 - self.part), max(self.group - 1, 1)
        cut = self.group**2 * part / (4 * others) if self.group > 1 else 0.0
        return bits * self.spread / (self.group * self.seconds), 2 * bits * cut


def needed(steady: float, drift: float, jump: float, deviations: float) -> float:
    """Bits a second that suffice for all stretches of time, going ``COUNTED`` s ahead.

    ``steady``: what does not even out; ``drift``, ``jump``: sums over streams; ``deviations``:
    standard deviations above the mean that are to go. It is the least c with
    steady * t + d * sqrt(drift * t) + d * sqrt(jump) <= c * (t + ahead) for every t.
    """
    reach, edge = steady * COUNTED, deviations * math.sqrt(jump)
    root = math.sqrt((reach - edge) ** 2 + COUNTED * deviations**2 * drift)
    return (reach + edge + root) / (2 * COUNTED)


def slow_share(blocks: Sequence[BlockEntry]) -> float:
    """By how much a title's rate varies from stretch to stretch of ``COUNTED`` s: variance over the
    square of the mean."""
    if not blocks:
        return 0.0
    begin, end = blocks[0].due_us, blocks[-1].end_us
    span = round(COUNTED * 1e6)
    if end - begin <= span:
        return 0.0
    edges = [one.due_us for one in blocks]
    sums = [0, *accumulate(one.bytes for one in blocks)]

    def until(us: int) -> float:
        at = bisect_right(edges, us) - 1
        one = blocks[at]
        within = (us - one.due_us) / max(one.end_us - one.due_us, 1)
        return sums[at] + one.bytes * min(within, 1.0)

    rates = [until(us + span) - until(us) for us in edges if us + span <= end]
    mean = sum(rates) / len(rates)
    if mean <= 0:
        return 0.0
    return sum((one - mean) ** 2 for one in rates) / len(rates) / mean**2
