"""Rates at which unequal disks are drawn: each ends up with its share."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.storage.placement.rates import CERTAIN, drawn, rates


def exact(found: list[float], members: int) -> list[float]:
    """The chance of each to be among the first: the sum over all orders in which they come."""
    chances = [0.0] * len(found)
    for order in permutations(range(len(found)), members):
        chance, left = 1.0, sum(found)
        for one in order:
            chance *= found[one] / left
            left -= found[one]
        for one in order:
            chances[one] += chance
    return chances


@given(st.lists(st.floats(0.05, 1), min_size=2, max_size=6), st.data())
@settings(max_examples=40, deadline=None)
def test_chances_are_those_of_all_orders(found: list[float], data: st.DataObject):
    members = data.draw(st.integers(1, len(found) - 1))
    assert drawn(np.array(found), members) == pytest.approx(exact(found, members), abs=1e-3)


@given(st.lists(st.floats(1, 9), min_size=3, max_size=30), st.data())
@settings(max_examples=40, deadline=None)
def test_each_gets_its_share(weights: list[float], data: st.DataObject):
    members = data.draw(st.integers(1, len(weights) - 1))
    sizes = np.array(weights)
    shares = sizes * members / sizes.sum()
    found = rates(sizes, members)
    assert found.sum() == pytest.approx(1, abs=1e-4)
    if shares.max() < CERTAIN:
        assert drawn(found, members) == pytest.approx(shares, rel=0.02)
    else:
        assert drawn(found, members)[shares.argmax()] > 0.95


def test_many_disks_are_done_by_the_formula():
    sizes = np.linspace(1, 5, 200)
    shares = sizes * 6 / sizes.sum()
    assert drawn(rates(sizes, 6), 6) == pytest.approx(shares, rel=0.02)


def test_equal_disks_are_drawn_alike_and_one_is_always_drawn():
    assert rates(np.full(4, 3.0), 2).tolist() == [0.25] * 4
    assert rates(np.array([7.0]), 1).tolist() == [1]
    assert rates(np.array([1.0, 3.0]), 1).tolist() == [0.25, 0.75]
