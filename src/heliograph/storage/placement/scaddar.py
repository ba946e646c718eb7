"""SCADDAR: a block's random number is made anew by each operation, and most blocks stay.

Goel, Shahabi, Yao, Zimmermann: SCADDAR: An Efficient Randomized Technique to Reorganize Continuous
Media Blocks, ICDE 2002. With N disks before an operation and M after, q = X div N and r = X mod N:

- addition: if q mod M < N the block stays, X' = (q div M) · M + r; else it moves, X' = q;
- removal: if disk r survives it stays, X' = q · M + new(r), where ``new`` closes the gaps in the
  numbers of disks; else it moves, X' = q.

The block is on disk X mod N. Each operation divides the range of X by N, until too few numbers are
left to be even: ``unevenness`` says how uneven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement.generator import Words, draw, draw_one
from heliograph.storage.placement.values import Added, Table

#: Blocks worked on at once: what they need fits in a core's cache.
CHUNK = 1 << 14
_LIMB = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operation, as SCADDAR sees it."""

    before: int
    """Disks before it, N."""
    after: int
    """Disks after it, M."""
    survivors: NDArray[np.int64] | None
    """Of a removal, by number before: the number after, -1 where the disk went."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A table, as SCADDAR sees it."""

    first: int
    """Disks at the beginning."""
    steps: tuple[Step, ...]
    ids: NDArray[np.int64]
    """By number at present: the disk's id."""


@lru_cache(maxsize=16)
def steps_of(table: Table) -> Steps:
    """What was done, in numbers of disks."""
    present: list[int] = []
    steps: list[Step] = []
    for one in table.operations:
        before = len(present)
        survivors = None
        if isinstance(one, Added):
            present.extend(disk.id for disk in one.disks)
        else:
            gone = set(one.ids)
            stays = np.array([id not in gone for id in present])
            survivors = np.where(stays, np.cumsum(stays) - 1, -1).astype(np.int64)
            present = [id for id in present if id not in gone]
        steps.append(Step(before, len(present), survivors))
    return Steps(steps[0].after, tuple(steps[1:]), np.array(present, np.int64))


class Scaddar:
    """SCADDAR with numbers of 32, 64 or 128 bits."""

    remembers = True

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.name = f"scaddar-{bits}"

    def locate(self, seed: int, numbers: Words, table: Table) -> NDArray[np.int64]:
        """Logical disks of blocks; the numbers count the generator's outputs of ``bits`` bits."""
        steps = steps_of(table)
        found = np.empty(len(numbers), np.int64)
        for start in range(0, len(numbers), CHUNK):
            piece = slice(start, start + CHUNK)
            found[piece] = self._locate(seed, numbers[piece], steps)
        return steps.ids[found]

    def locate_few(self, seed: int, numbers: Sequence[int], table: Table) -> list[int]:
        """The same for few blocks: whole numbers of Python cost less than calls of numpy."""
        steps = steps_of(table)
        return [int(steps.ids[self._locate_one(seed, number, steps)]) for number in numbers]

    def state(self, table: Table) -> int:
        """Bytes of the log: a count and the disks' numbers, four bytes each."""
        return sum(
            4 + 4 * len(one.disks if isinstance(one, Added) else one.ids)
            for one in table.operations
        )

    def unevenness(self, table: Table) -> float:
        """How much likelier than another a disk may be, as a fraction, at most.

        1 / (R div N) of the paper, where R is what is left of the range; at least 1 where nothing
        is left to be even with.
        """
        steps = steps_of(table)
        left = 1 << self.bits
        for step in steps.steps:
            left //= step.before
        numbers = left // len(steps.ids)
        return 1 / numbers if numbers else float("inf")

    def _locate(self, seed: int, numbers: Words, steps: Steps) -> NDArray[np.int64]:
        limbs = self._drawn(seed, numbers)
        for step in steps.steps:
            limbs = _added(limbs, step) if step.survivors is None else _removed(limbs, step)
        return _divided(limbs, len(steps.ids))[1]

    def _locate_one(self, seed: int, number: int, steps: Steps) -> int:
        x = self._drawn_one(seed, number)
        for step in steps.steps:
            q, r = divmod(x, step.before)
            if step.survivors is None:
                x = q // step.after * step.after + r if q % step.after < step.before else q
            else:
                new = int(step.survivors[r])
                x = q if new < 0 else q * step.after + new
        return x % len(steps.ids)

    def _drawn(self, seed: int, numbers: Words) -> list[NDArray[np.int64]]:
        """The blocks' first numbers in limbs of 32 bits, the highest first.

        A number of 128 bits is two outputs, the first is the higher half; one of 32 bits is the
        higher half of an output.
        """
        if self.bits == 32:
            return [_high(draw(seed, numbers))]
        if self.bits == 64:
            words = [draw(seed, numbers)]
        else:
            twice = numbers * np.uint64(2)
            words = [draw(seed, twice), draw(seed, twice + np.uint64(1))]
        return [limb for word in words for limb in (_high(word), _low(word))]

    def _drawn_one(self, seed: int, number: int) -> int:
        if self.bits == 32:
            return draw_one(seed, number) >> 32
        if self.bits == 64:
            return draw_one(seed, number)
        return draw_one(seed, 2 * number) << 64 | draw_one(seed, 2 * number + 1)


def _high(words: Words) -> NDArray[np.int64]:
    return (words >> np.uint64(32)).astype(np.int64)


def _low(words: Words) -> NDArray[np.int64]:
    return (words & np.uint64(_LIMB)).astype(np.int64)


def _divided(
    limbs: list[NDArray[np.int64]], by: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Quotient and remainder, limb by limb as on paper; ``by`` below 2^31, so nothing overflows."""
    quotient = []
    rest = np.zeros_like(limbs[0])
    for limb in limbs:
        part = (rest << 32) | limb
        whole = part // by
        rest = part - whole * by
        quotient.append(whole)
    return quotient, rest


def _carried(limbs: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Bring limbs back to 32 bits; what is over, or below 0, goes to the next."""
    carry: NDArray[np.int64] | int = 0
    found = []
    for limb in reversed(limbs):
        total = limb + carry
        found.append(total & _LIMB)
        carry = total >> 32
    return found[::-1]


def _added(limbs: list[NDArray[np.int64]], step: Step) -> list[NDArray[np.int64]]:
    quotient, rest = _divided(limbs, step.before)
    above = _divided(quotient, step.after)[1]
    # (q div M) · M + r is q - q mod M + r.
    quotient[-1] = quotient[-1] + np.where(above < step.before, rest - above, 0)
    return _carried(quotient)


def _removed(limbs: list[NDArray[np.int64]], step: Step) -> list[NDArray[np.int64]]:
    assert step.survivors is not None
    quotient, rest = _divided(limbs, step.before)
    new = step.survivors[rest]
    stays = new >= 0
    factor = np.where(stays, step.after, 1)
    grown = [limb * factor for limb in quotient]
    grown[-1] += np.where(stays, new, 0)
    return _carried(grown)
