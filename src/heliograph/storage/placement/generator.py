"""Random numbers that every node of every version draws alike, in any order.

SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014; with
Vigna's constants): its state is a counter, so output ``i`` of a seed is computed without those
before. All arithmetic is on 64-bit numbers without a sign and wraps around.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.values import ObjectId

Words: TypeAlias = NDArray[np.uint64]

#: What the state grows by: 2^64 over the golden ratio, made odd.
GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def mix(words: Words) -> Words:
    """Spread each bit over all: the output of the generator at that state."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return words ^ (words >> np.uint64(31))


def mix_one(word: int) -> int:
    """The same of one number, 0 to below 2^64."""
    word = (word ^ (word >> 30)) * _FIRST & _MASK
    word = (word ^ (word >> 27)) * _SECOND & _MASK
    return word ^ (word >> 31)


def draw(seed: int, numbers: Words) -> Words:
    """Outputs ``numbers``, from 0, of the generator with that seed; 64 bits each."""
    first = np.uint64((seed + GAMMA) & _MASK)
    return mix(numbers * np.uint64(GAMMA) + first)


def draw_one(seed: int, number: int) -> int:
    """The same of one number."""
    return mix_one((seed + (number + 1) * GAMMA) & _MASK)


def seed_of(object: ObjectId) -> int:
    """The seed of an object's blocks, 0 to below 2^64: all of its id takes part."""
    return int(object[:16], 16) ^ mix_one(int(object[16:], 16))
