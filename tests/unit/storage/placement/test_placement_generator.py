"""Random numbers of blocks: the same for ever, whatever computes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heliograph.storage.placement import seed_of
from heliograph.storage.placement.generator import draw, draw_one, mix, mix_one
from heliograph.storage.placement.rendezvous import weighted
from heliograph.storage.values import ObjectId

WORD = st.integers(0, (1 << 64) - 1)


def test_the_generator_gives_the_published_numbers():
    # Rosetta Code, "Pseudo-random numbers/Splitmix64", seed 1234567.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert draw(1234567, np.arange(5, dtype=np.uint64)).tolist() == published
    assert [draw_one(1234567, number) for number in range(5)] == published


@given(seed=WORD, number=WORD)
@settings(max_examples=50)
def test_one_number_is_drawn_as_many_are(seed: int, number: int):
    assert draw(seed, np.array([number], np.uint64)).tolist() == [draw_one(seed, number)]
    assert mix(np.array([number], np.uint64)).tolist() == [mix_one(number)]


def test_seeds_of_objects_never_change():
    assert seed_of(ObjectId("0123456789abcdef" * 2)) == SEED_OF_COUNTING
    assert seed_of(ObjectId("0" * 31 + "1")) != seed_of(ObjectId("0" * 32))
    assert seed_of(ObjectId("1" + "0" * 31)) != seed_of(ObjectId("0" * 32))


SEED_OF_COUNTING = 0x0123456789ABCDEF ^ mix_one(0x0123456789ABCDEF)


def test_weights_decide_how_often_a_candidate_wins():
    drawn = draw(5, np.arange(400_000, dtype=np.uint64)).reshape(-1, 4)
    wins = np.bincount(weighted(drawn, np.array([1.0, 2.0, 0.5, 5.0])).argmax(axis=1), minlength=4)
    assert wins / len(drawn) == pytest.approx(np.array([2, 4, 1, 10]) / 17, abs=0.01)


@given(WORD)
@example((1 << 64) - 1)
@settings(max_examples=200, deadline=None)
def test_scores_are_logarithms(word: int):
    scores = weighted(np.array([[word, word]], np.uint64), np.array([2.0, 1.0]))[0]
    u = ((word >> 12) + 0.5) / 2**52
    assert (scores < 0).all()
    assert scores.tolist() == pytest.approx([math.log(u) / 2, math.log(u)], rel=1e-8)


def test_equal_weights_have_the_order_of_the_logarithms():
    drawn = draw(5, np.arange(1000, dtype=np.uint64))
    even = weighted(drawn, np.ones(1000))
    logarithms = weighted(drawn, np.array([*[1.0] * 999, 1.0000001]))
    assert even.argsort().tolist() == logarithms.argsort().tolist()
