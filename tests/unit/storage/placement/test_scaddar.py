"""SCADDAR against a naive implementation, and against what its authors prove of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.storage.placement.tables import blocks, grown, history, tables

from heliograph.storage.placement import POLICIES, Added, Removed, Table
from heliograph.storage.placement.generator import draw_one

BITS = (32, 64, 128)
GROWTH = (4, *[1] * 20)


def first_number(seed: int, number: int, bits: int) -> int:
    if bits == 128:
        return (draw_one(seed, 2 * number) << 64) + draw_one(seed, 2 * number + 1)
    return draw_one(seed, number) >> (64 - bits)


def naive(x: int, table: Table) -> int:
    """The paper's pseudo-code over a list of disks, one operation after the other."""
    disks: list[int] = []
    for operation in table.operations:
        match operation:
            case Added(new) if not disks:
                disks = [one.id for one in new]
            case Added(new):
                n, m = len(disks), len(disks) + len(new)
                q, r = x // n, x % n
                x = (q // m) * m + r if q % m < n else q
                disks = disks + [one.id for one in new]
            case Removed(ids):
                n = len(disks)
                left = [id for id in disks if id not in ids]
                q, r = x // n, x % n
                x = q * len(left) + left.index(disks[r]) if disks[r] in left else q
                disks = left
    return disks[x % len(disks)]


@pytest.mark.parametrize("bits", BITS)
@given(table=tables(10), seed=st.integers(0, 2**64 - 1), number=st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_blocks_are_where_a_naive_implementation_finds_them(
    bits: int, table: Table, seed: int, number: int
):
    policy = POLICIES[f"scaddar-{bits}"]
    numbers = blocks(20, number)
    expected = [naive(first_number(seed, int(one), bits), table) for one in numbers]
    assert policy.locate(seed, numbers, table).tolist() == expected
    assert policy.locate_few(seed, numbers.tolist(), table) == expected


@pytest.mark.parametrize("bits", BITS)
def test_many_disks_come_and_go_as_in_a_naive_implementation(bits: int):
    # Large numbers of disks make large rests, and carries from limb to limb.
    table = history([900, 90, tuple(range(0, 900, 3)), 500, (1,), 1])[-1]
    policy = POLICIES[f"scaddar-{bits}"]
    expected = [naive(first_number(9, number, bits), table) for number in range(100)]
    assert policy.locate(9, blocks(100), table).tolist() == expected


def follow(bits: int, changes: tuple[int | tuple[int, ...], ...], count: int = 60_000):
    """Moved over the optimum, and the highest load over the lowest less 1, after each operation."""
    policy = POLICIES[f"scaddar-{bits}"]
    before = None
    moved = optimum = 0.0
    found = []
    last = Table()
    for table in history(changes):
        at = policy.locate(77, blocks(count), table)
        if before is not None:
            n, m = len(last.disks), len(table.disks)
            moved += np.count_nonzero(at != before)
            optimum += count * abs(m - n) / max(m, n)
            load = np.bincount(at, minlength=table.next_id)[[one.id for one in table.disks]]
            found.append((moved / optimum, load.max() / max(1, load.min()) - 1))
        before, last = at, table
    return found


def test_128_bits_move_the_minimum_and_stay_even_over_20_operations():
    mixed = (8, 1, 1, (3,), 2, 1, (0, 9), 1, 1, (5,), 3, 1, 1, (12,), 1, 1, (2, 7), 1, 1, (14,), 1)
    for changes in (GROWTH, mixed):
        for moved, spread in follow(128, changes):
            assert moved == pytest.approx(1, abs=0.03)
            # Chance alone gives 24 disks with 2500 blocks each about 8 %.
            assert spread < 0.14


def test_32_bits_are_broken_after_about_eight_operations():
    # The paper, section 4.3: with 32 bits, eight disks and 5 %, eight operations at most.
    spreads = [spread for _, spread in follow(32, GROWTH)]
    assert max(spreads[:6]) < 0.12
    assert max(spreads[10:]) > 0.3
    moved, _ = follow(32, GROWTH)[-1]
    assert moved < 0.75, "what hardly moves is not spread"


def test_64_bits_outlast_32_and_break_in_the_end():
    found = follow(64, GROWTH)
    assert max(spread for _, spread in found[:14]) < 0.14
    assert POLICIES["scaddar-64"].unevenness(history(GROWTH)[-1]) > 0.05


@pytest.mark.parametrize("bits", BITS)
def test_unevenness_is_the_papers_bound_of_what_happens(bits: int):
    policy = POLICIES[f"scaddar-{bits}"]
    for table in history(GROWTH[:8]):
        bound = policy.unevenness(table)
        if bound > 0.01:
            break
        # Numbers, not blocks: all of the range that is left is drawn evenly.
        load = np.bincount(policy.locate(3, blocks(200_000), table))
        assert load.max() / load.min() - 1 < bound + 6 / np.sqrt(200_000 / len(load)) * 1.5
    left = 1 << bits
    for n in (4, 5, 6):
        left //= n
    assert policy.unevenness(history(GROWTH[:4])[-1]) == 1 / (left // 7)


def test_the_bound_says_when_the_table_is_to_be_started_anew():
    policy = POLICIES["scaddar-32"]
    table = history(GROWTH)[-1]
    assert policy.unevenness(table) == float("inf")
    fresh = table.restarted()
    assert policy.unevenness(fresh) < 1e-6
    load = np.bincount(policy.locate(3, blocks(100_000), fresh))
    assert len(load) == 24
    assert load.max() / load.min() < 1.15


def test_an_operation_may_add_or_remove_several_disks():
    table = grown(Table(), 6)
    policy = POLICIES["scaddar-128"]
    before = policy.locate(1, blocks(60_000), table)
    after = policy.locate(1, blocks(60_000), grown(table, 3))
    moved = after != before
    assert moved.mean() == pytest.approx(3 / 9, abs=0.01)
    assert set(after[moved].tolist()) == {6, 7, 8}
