"""Rendezvous: every disk draws a number for a block, and the highest has it.

Thaler, Ravishankar: Using Name-Based Mappings to Increase Hit Rates, IEEE/ACM ToN 1998. Logical
disks are equal; a physical disk has as much weight as it makes up of them. Where weights are not
equal (``weighted``), the highest of -w / ln u is taken (Schindelhauer, Schomaker 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement.generator import GAMMA, Words, draw, draw_one, mix
from heliograph.storage.placement.values import Table

#: Numbers drawn at once, of all disks: what they need fits in a core's cache.
CHUNK = 1 << 16


class Rendezvous:
    """Depends on the disks at present alone; costs a number a logical disk."""

    name = "rendezvous"
    remembers = False

    def locate(self, seed: int, numbers: Words, table: Table) -> NDArray[np.int64]:
        """Logical disks of blocks."""
        ids, keys = _keys(table)
        drawn = draw(seed, numbers)
        found = np.empty(len(numbers), np.int64)
        rows = max(1, CHUNK // len(keys))
        for start in range(0, len(numbers), rows):
            piece = slice(start, start + rows)
            found[piece] = mix(drawn[piece, None] ^ keys).argmax(axis=1)
        return ids[found]

    def locate_few(self, seed: int, numbers: Sequence[int], table: Table) -> list[int]:
        """The same for few blocks."""
        ids, keys = _keys(table)
        drawn = np.array([draw_one(seed, number) for number in numbers], np.uint64)
        found: list[int] = ids[mix(drawn[:, None] ^ keys).argmax(axis=1)].tolist()
        return found

    def state(self, table: Table) -> int:
        """Bytes of the disks' numbers, four each."""
        return 4 * len(table.disks)

    def unevenness(self, table: Table) -> float:
        """None by construction."""
        return 0.0


@lru_cache(maxsize=16)
def _keys(table: Table) -> tuple[NDArray[np.int64], Words]:
    """Ids, and what a block's number is joined with for each disk."""
    ids = np.array([disk.id for disk in table.disks], np.int64)
    return ids, mix((ids.astype(np.uint64) + np.uint64(1)) * np.uint64(GAMMA))


def weighted(drawn: Words, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores below 0, of which the highest wins, in proportion to the weights.

    ``drawn``: 64 bits a block and candidate; candidates are the last axis, their
    weights above 0. Where all weights are alike the numbers themselves say who wins.
    """
    # The middle of each of 2^52 steps: never 0, never 1.
    u = ((drawn >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    scores: NDArray[np.float64] = u - 1
    if weights.min() != weights.max():
        scores = log(u) / weights
    return scores


def log(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm from the four basic operations alone.

    Those give the same bits on every machine; a library's logarithm does not, and two nodes
    could disagree where a block is.
    """
    mantissa, exponent = np.frexp(u)
    s = (mantissa - 1) / (mantissa + 1)  # from -1/3 to 0
    square = s * s
    total = np.zeros_like(u)
    for power in range(15, 0, -2):  # good to nine digits, more than chance needs
        total = total * square + 1 / power
    result: NDArray[np.float64] = exponent * 0.6931471805599453 + 2 * s * total
    return result
