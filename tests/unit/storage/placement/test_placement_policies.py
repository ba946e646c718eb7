"""What every placement promises, and what each is good for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.storage.placement.tables import blocks, disk, grown, history, ids_of, tables

from heliograph.model.errors import MalformedError, NotFoundError
from heliograph.storage.placement import (
    DEFAULT,
    POLICIES,
    Added,
    LogicalDisk,
    Part,
    Removed,
    Table,
    policy_named,
    whole,
)
from heliograph.storage.placement.simple import jump, jump_one

EVERY = pytest.mark.parametrize("name", POLICIES)
#: Those that move no more than they must; jump and round robin are there to be compared with.
FRUGAL = ("rendezvous", "random-slicing", "scaddar-128", "scaddar-64")
SEED = st.integers(0, 2**64 - 1)
MIXED = (5, 1, 2, (3,), 1, (0, 6), 4, (1,), 1, 1)


def test_the_policies_have_the_names_that_volumes_keep():
    assert set(POLICIES) == {
        "rendezvous",
        "random-slicing",
        "scaddar-32",
        "scaddar-64",
        "scaddar-128",
        "jump",
        "round-robin",
    }
    assert DEFAULT in POLICIES
    assert all(policy_named(name).name == name for name in POLICIES)
    with pytest.raises(NotFoundError, match=r"no placement 'raid'; there are .*rendezvous"):
        policy_named("raid")


@EVERY
@given(table=tables(), seed=SEED, first=st.integers(0, 2**50))
@settings(max_examples=25, deadline=None)
def test_blocks_are_on_disks_that_are_there_and_always_on_the_same(
    name: str, table: Table, seed: int, first: int
):
    policy = POLICIES[name]
    numbers = blocks(50, first)
    found = policy.locate(seed, numbers, table).tolist()
    assert set(found) <= ids_of(table)
    assert policy.locate(seed, numbers[::-1], Table(table.operations)).tolist() == found[::-1]
    assert policy.locate_few(seed, numbers.tolist(), table) == found


@pytest.mark.parametrize("name", FRUGAL)
@given(table=tables(4), seed=SEED, data=st.data())
@settings(max_examples=25, deadline=None)
def test_an_addition_moves_blocks_to_new_disks_only(
    name: str, table: Table, seed: int, data: st.DataObject
):
    policy = POLICIES[name]
    after = grown(table, data.draw(st.integers(1, 3)))
    was = policy.locate(seed, blocks(300), table)
    now = policy.locate(seed, blocks(300), after)
    assert set(now[now != was].tolist()) <= ids_of(after) - ids_of(table)


@pytest.mark.parametrize("name", FRUGAL)
@given(table=tables(4).filter(lambda one: len(one.disks) > 1), seed=SEED, data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_removal_moves_only_what_was_on_the_removed_disks(
    name: str, table: Table, seed: int, data: st.DataObject
):
    policy = POLICIES[name]
    ids = sorted(ids_of(table))
    gone = data.draw(st.sets(st.sampled_from(ids), min_size=1, max_size=len(ids) - 1))
    was = policy.locate(seed, blocks(300), table)
    now = policy.locate(seed, blocks(300), table.remove(sorted(gone)))
    assert set(was[now != was].tolist()) <= gone
    assert (np.isin(was, list(gone)) == (now != was)).all()


@pytest.mark.parametrize("name", ["rendezvous", "random-slicing", "scaddar-128", "jump"])
def test_blocks_stay_even_and_move_no_more_than_they_must(name: str):
    policy = POLICIES[name]
    count = 100_000
    before = None
    last = Table()
    moved = optimum = 0.0
    for table in history(MIXED):
        now = policy.locate(11, blocks(count), table)
        load = np.bincount(now, minlength=table.next_id)[sorted(ids_of(table))]
        # RO2. Chance spreads twelve disks of 8000 blocks by some 4 %.
        assert load.max() / load.min() - 1 < 0.08
        if before is not None:
            moved += np.count_nonzero(now != before)
            optimum += (
                count
                * abs(len(table.disks) - len(last.disks))
                / max(len(table.disks), len(last.disks))
            )
        before, last = now, table
    # RO1. Jump moves the last disk into each gap.
    assert 0.97 < moved / optimum < (1.5 if name == "jump" else 1.03)


@pytest.mark.parametrize("name", ["rendezvous", "random-slicing", "scaddar-128", "jump"])
def test_objects_and_neighbours_are_independent_of_each_other(name: str):
    policy = POLICIES[name]
    table = history(MIXED)[-1]
    n = len(table.disks)
    one, other = (policy.locate(seed, blocks(40_000), table) for seed in (1, 2))
    # Where blocks are by chance, 1/n of them share a disk with the next, or with another object's.
    assert np.mean(one == other) == pytest.approx(1 / n, abs=0.01)
    assert np.mean(one[1:] == one[:-1]) == pytest.approx(1 / n, abs=0.01)


@EVERY
def test_who_does_not_remember_is_the_same_after_a_new_start(name: str):
    policy = POLICIES[name]
    table = history(MIXED)[-1]
    was = policy.locate(1, blocks(1000), table)
    now = policy.locate(1, blocks(1000), table.restarted())
    assert (now == was).all() != policy.remembers


def test_round_robin_goes_from_disk_to_disk_and_moves_nearly_everything():
    policy = POLICIES["round-robin"]
    found = policy.locate(3, blocks(8), grown(Table(), 4)).tolist()
    assert found == [3, 0, 1, 2, 3, 0, 1, 2]
    moved = policy.locate(3, blocks(1000), grown(grown(Table(), 4), 1)) != policy.locate(
        3, blocks(1000), grown(Table(), 4)
    )
    assert moved.mean() > 0.7


def test_jump_gives_the_published_buckets():
    # From the tests of Guava's Hashing.consistentHash, which is the same function.
    known = {(10863919174838991, 11): 6, (2016238256797177309, 11): 3, (1673758223894951030, 11): 5}
    for (key, buckets), bucket in known.items():
        assert jump_one(key, buckets) == bucket
        assert jump(np.array([key], np.uint64), buckets).tolist() == [bucket]


def test_slices_stay_few():
    policy = POLICIES["random-slicing"]
    table = history((10, *[1, (0,), 2, (3,), 1] * 1, *[1] * 30))[-1]
    assert policy.state(table) < 12 * 1200


# What a table refuses


def test_a_table_tells_what_is_there():
    table = history((3, (1,), 2))[-1]
    assert [one.id for one in table.disks] == [0, 2, 3, 4]
    assert table.next_id == 5
    assert table.physical == (disk(0), disk(2), disk(3), disk(4))
    assert table.shares == dict.fromkeys(table.physical, 1.0)
    assert [type(one) for one in table.operations] == [Added, Removed, Added]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda table: table.add([]), "addition of nothing"),
        (lambda table: table.remove([]), "removal of nothing"),
        (lambda table: table.remove([1, 1]), "one disk twice"),
        (lambda table: table.remove([7]), "disk 7 is not there"),
        (lambda table: table.remove([0, 1, 2]), "leaves no disk"),
        (lambda table: table.add([whole(1, disk(9))]), "given before"),
        (lambda table: table.remove([1]).add([whole(1, disk(9))]), "given before"),
        (lambda table: table.add([whole(-1, disk(9))]), "id -1"),
        (lambda table: table.add([LogicalDisk(5, ())]), "add up to 1"),
        (lambda table: table.add([LogicalDisk(5, (Part(disk(9), 0.5),))]), "add up to 1"),
        (lambda table: table.add([LogicalDisk(5, (Part(disk(9), 0.5),) * 2)]), "two parts of one"),
        (lambda table: table.add([LogicalDisk(5, (Part(disk(9), 1.5),))]), "not from 0 to 1"),
        (lambda table: grown(table, 4097), "4096 logical disks"),
    ],
)
def test_a_table_refuses_what_cannot_be(change, why: str):
    with pytest.raises(MalformedError, match=why):
        change(grown(Table(), 3))
