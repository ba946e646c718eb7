"""Redundant members: made as the definitions say, and good for every loss they promise."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.storage import naive_parity

from heliograph.model.errors import MalformedError
from heliograph.storage import parity
from heliograph.storage.errors import CorruptError, LostError
from heliograph.storage.values import Code, Scheme

XOR = Scheme(4, 1, Code.XOR)
DOUBLE = Scheme(4, 2, Code.REED_SOLOMON)
SCHEMES = (
    Scheme(1, 1, Code.XOR),
    XOR,
    DOUBLE,
    Scheme(8, 3, Code.REED_SOLOMON),
    Scheme(5, 4, Code.REED_SOLOMON),
    Scheme(1, 2, Code.REED_SOLOMON),
    Scheme(1, 2, Code.COPIES),
    Scheme(1, 0, Code.COPIES),
    Scheme(3, 0, Code.XOR),
)


def group(
    scheme: Scheme, lengths: list[int], seed: int = 1
) -> tuple[list[bytes], dict[int, bytes]]:
    """Data members of these lengths, and all members by number."""
    payloads = [random.Random(seed + at).randbytes(size) for at, size in enumerate(lengths)]
    members = dict(enumerate(payloads))
    members.update(enumerate(parity.encode(scheme, payloads), scheme.data))
    return payloads, members


def shapes(scheme: Scheme) -> list[list[int]]:
    """Lengths of the members of whole and of short groups, equal and unequal."""
    unequal = [40 + 7 * (at * 5 % scheme.data) for at in range(scheme.data)]
    found = [[64] * scheme.data, unequal, [*unequal[:-1], 0]]
    return found + [unequal[:count] for count in range(1, scheme.data)]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_redundant_members_are_as_defined(scheme: Scheme) -> None:
    for lengths in shapes(scheme):
        payloads, _ = group(scheme, lengths)
        assert parity.encode(scheme, payloads) == naive_parity.encode(scheme, payloads)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_loss_within_the_promise_is_made_good(scheme: Scheme) -> None:
    for lengths in shapes(scheme):
        _, members = group(scheme, lengths)
        for count in range(scheme.parity + 1):
            for lost in combinations(members, count):
                left = {number: one for number, one in members.items() if number not in lost}
                assert parity.decode(scheme, left, lengths, lost) == {
                    number: members[number] for number in lost
                }


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_loss_beyond_the_promise_is_told(scheme: Scheme) -> None:
    lengths = [64] * scheme.data
    _, members = group(scheme, lengths)
    for lost in combinations(members, scheme.parity + 1):
        left = {number: one for number, one in members.items() if number not in lost}
        with pytest.raises(LostError):
            parity.decode(scheme, left, lengths, lost)
        for number, payload in parity.decode(scheme, left, lengths, tuple(left)).items():
            assert payload == members[number]  # what is there needs nobody


def test_a_short_group_stands_more_losses() -> None:
    """Members that never were cannot be lost."""
    _, members = group(DOUBLE, [50, 60])
    assert parity.decode(DOUBLE, {4: members[4], 5: members[5]}, [50, 60], [0, 1]) == {
        0: members[0],
        1: members[1],
    }
    assert parity.decode(DOUBLE, {0: members[0], 1: members[1]}, [50, 60], [4, 5, 3]) == {
        4: members[4],
        5: members[5],
        3: b"",
    }


def test_what_does_not_belong_together_is_refused() -> None:
    lengths = [64, 64, 64, 64]
    _, members = group(XOR, lengths)
    for wrong in ({0: b"short", **{n: members[n] for n in (1, 2, 4)}}, {4: members[4][:-1]}):
        with pytest.raises(CorruptError):
            parity.decode(XOR, wrong, lengths, [3])
    for bad in ([], [1] * 5, [64, 64, 64, -1]):
        with pytest.raises(MalformedError):
            parity.decode(XOR, members, bad, [3])
    with pytest.raises(MalformedError):
        parity.decode(XOR, {7: b""}, lengths, [3])
    with pytest.raises(MalformedError):
        parity.decode(XOR, members, lengths, [5])
    for payloads in ([], [b"x"] * 5):
        with pytest.raises(MalformedError):
            parity.encode(XOR, payloads)


@given(
    st.sampled_from([one for one in SCHEMES if one.parity]),
    st.data(),
)
def test_any_lengths_and_any_kind_of_buffer(scheme: Scheme, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, scheme.data))
    sizes = st.one_of(st.integers(0, 40), st.integers(0, 50_000))
    lengths = data.draw(st.lists(sizes, min_size=count, max_size=count))
    _, members = group(scheme, lengths)
    lost = data.draw(st.sets(st.sampled_from(sorted(members)), max_size=scheme.parity))
    left = {number: memoryview(one) for number, one in members.items() if number not in lost}
    found = parity.decode(scheme, left, lengths, sorted(members))
    assert found == members
    assert all(isinstance(one, bytes) for one in found.values())
