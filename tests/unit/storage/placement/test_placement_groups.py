"""Where groups go: never two members on one disk, nor on one node where that can be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.storage.placement.tables import disk, grown, history, tables

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.storage.placement import (
    POLICIES,
    LogicalDisk,
    Part,
    Table,
    place,
    place_one,
    whole,
)
from heliograph.storage.values import DiskId

EVERY = pytest.mark.parametrize("name", POLICIES)
GOOD = pytest.mark.parametrize("name", ["rendezvous", "random-slicing", "scaddar-128"])


def nodes_of(table: Table, each: int) -> dict[DiskId, str]:
    """A node for so many disks."""
    return {one: f"node-{number // each}" for number, one in enumerate(table.physical)}


@EVERY
@given(
    table=tables(5),
    each=st.integers(1, 4),
    width=st.integers(1, 6),
    seed=st.integers(0, 2**64 - 1),
    first=st.integers(0, 2**40),
)
@settings(max_examples=25, deadline=None)
def test_members_are_on_different_disks_and_as_evenly_on_nodes_as_can_be(
    name: str, table: Table, each: int, width: int, seed: int, first: int
):
    nodes = nodes_of(table, each)
    policy = POLICIES[name]
    groups = np.arange(first, first + 30, dtype=np.uint64)
    if len(table.physical) < width:
        with pytest.raises(ResourceError, match="need as many disks"):
            place(policy, seed, groups, width, table, nodes)
        return
    rows = place(policy, seed, groups, width, table, nodes)
    disks_of_node = Counter(nodes.values())
    for group, row in zip(groups.tolist(), rows, strict=True):
        disks = [table.physical[index] for index in row]
        assert len(set(disks)) == width
        assert place_one(policy, seed, group, width, table, nodes) == tuple(disks)
        members = Counter(nodes[one] for one in disks)
        if len(disks_of_node) >= width:
            assert set(members.values()) == {1}
        # No node could give a member to one that has two fewer and a disk free.
        most = max(members.values())
        assert all(
            members[node] >= most - 1 or members[node] == disks_of_node[node]
            for node in disks_of_node
        )


@EVERY
def test_one_group_is_where_it_is_among_many(name: str):
    table = history((6, 2, (1,), 1))[-1]
    nodes = nodes_of(table, 2)
    rows = place(POLICIES[name], 3, np.arange(2000), 4, table, nodes)
    again = place(POLICIES[name], 3, [1999, 5], 4, table, dict(reversed(nodes.items())))
    assert again.tolist() == [rows[1999].tolist(), rows[5].tolist()]


def test_places_never_change():
    """What is on disks was put there by these; a new version has to find it."""
    table = history((4, 2, (1,), 1))[-1]
    nodes = nodes_of(table, 2)
    found = {
        name: place(POLICIES[name], 42, [0, 1, 1000], 3, table, nodes).tolist() for name in POLICIES
    }
    assert found == KNOWN


KNOWN = {
    "rendezvous": [[5, 2, 1], [5, 2, 1], [0, 2, 4]],
    "random-slicing": [[4, 0, 3], [3, 0, 5], [5, 0, 3]],
    "scaddar-128": [[2, 0, 4], [0, 5, 3], [2, 0, 4]],
    "scaddar-64": [[5, 3, 1], [0, 5, 2], [1, 4, 2]],
    "scaddar-32": [[1, 2, 4], [5, 2, 1], [5, 2, 1]],
    "jump": [[0, 3, 5], [2, 0, 5], [1, 2, 4]],
    "round-robin": [[0, 5, 2], [3, 4, 1], [0, 5, 2]],
}


@GOOD
def test_disks_are_loaded_alike(name: str):
    table = grown(Table(), 12)
    rows = place(POLICIES[name], 3, np.arange(30_000), 4, table, nodes_of(table, 2))
    load = np.bincount(rows.ravel())
    assert load.max() / load.min() - 1 < 0.06
    # Members alike as well: the redundant ones, which nobody reads, are everywhere.
    for member in rows.T:
        load = np.bincount(member)
        assert load.max() / load.min() - 1 < 0.15


@GOOD
@pytest.mark.parametrize(("width", "besides"), [(2, 0.13), (4, 0.3), (6, 0.5)])
def test_few_members_move_besides_those_that_must(name: str, width: int, besides: float):
    policy = POLICIES[name]
    if name == "rendezvous":
        besides /= 2
    table = grown(Table(), 12)
    nodes = {disk(number): str(number) for number in range(14)}
    was = place(policy, 3, np.arange(20_000), width, table, nodes)
    grew = grown(table, 1)
    now = place(policy, 3, np.arange(20_000), width, grew, nodes)
    # The physical disks are sorted by id, so that their numbers stay.
    assert np.mean(was != now) < (1 + besides) / 13
    shrunk = place(policy, 3, np.arange(20_000), width, table.remove([11]), nodes)
    must = was == 11
    assert (shrunk != was)[must].all()
    assert np.mean((shrunk != was) & ~must) < besides / 12


def test_parts_of_a_logical_disk_get_blocks_in_proportion():
    mixed = LogicalDisk(0, (Part(disk(0), 0.625), Part(disk(1), 0.25), Part(disk(2), 0.125)))
    table = Table().add([mixed, whole(1, disk(3))])
    nodes = dict.fromkeys(table.physical, "a")
    for name in ("rendezvous", "scaddar-128"):
        rows = place(POLICIES[name], 8, np.arange(40_000), 1, table, nodes)
        load = np.bincount(rows[:, 0]) / 40_000
        assert load == pytest.approx([0.3125, 0.125, 0.0625, 0.5], abs=0.01)


def test_parts_stay_where_they_are_when_other_disks_come():
    mixed = LogicalDisk(0, (Part(disk(0), 0.5), Part(disk(1), 0.5)))
    table = Table().add([mixed, whole(1, disk(2))])
    nodes = {disk(number): "a" for number in range(4)}
    was = place(POLICIES["rendezvous"], 8, np.arange(5000), 1, table, nodes)
    now = place(
        POLICIES["rendezvous"], 8, np.arange(5000), 1, table.add([whole(2, disk(3))]), nodes
    )
    assert set(now[now != was].tolist()) == {3}


@GOOD
def test_a_disk_that_is_hardly_ever_drawn_gets_its_member_all_the_same(name: str):
    """All four disks are needed, and one makes up a hundredth of a logical disk."""
    tiny = LogicalDisk(0, (Part(disk(0), 0.01), Part(disk(1), 0.99)))
    table = Table().add([tiny, *(whole(id, disk(id)) for id in (2, 3))])
    nodes = {one: one for one in table.physical}
    rows = place(POLICIES[name], 8, np.arange(500), 4, table, nodes)
    assert (np.sort(rows, axis=1) == [0, 1, 2, 3]).all()
    names = [tuple(table.physical[index] for index in row) for row in rows[:50]]
    assert names == [place_one(POLICIES[name], 8, g, 4, table, nodes) for g in range(50)]


# Disks of 1 to 9 logical disks, by how many are in a node.
SIZES = (9, 1, 3, 5, 2, 7, 4, 4, 6, 1, 2, 8)


@pytest.mark.parametrize(
    ("each", "width"), [(1, 2), (1, 4), (12, 1), (12, 5), (3, 3), (2, 6), (6, 4)]
)
def test_rendezvous_fills_unequal_disks_alike(each: int, width: int):
    sizes = SIZES
    if len(sizes) // each <= width:
        # Each node has as many members as any other, so it has to be as large.
        sizes = SIZES[:each] * (len(sizes) // each)
    table = Table()
    for number, size in enumerate(sizes):
        table = table.add([whole(table.next_id + one, disk(number)) for one in range(size)])
    nodes = nodes_of(table, each)
    rows = place(POLICIES["rendezvous"], 3, np.arange(60_000), width, table, nodes)
    fill = np.bincount(rows.ravel()) / sizes
    # Chance moves the fill of the smallest by two percent.
    assert fill.max() / fill.min() - 1 < 0.12
    assert fill / fill.mean() == pytest.approx(np.ones(len(sizes)), abs=0.07)


def test_a_disk_too_large_for_its_groups_has_nearly_all_and_leaves_the_rest_to_the_others():
    table = Table().add([whole(one, disk(0)) for one in range(50)])
    for number in range(1, 5):
        table = table.add([whole(table.next_id, disk(number))])
    nodes = {one: one for one in table.physical}
    rows = place(POLICIES["rendezvous"], 3, np.arange(20_000), 2, table, nodes)
    having = np.bincount(rows.ravel()) / 20_000
    assert having[0] > 0.97
    assert having[1:] == pytest.approx(np.full(4, (2 - having[0]) / 4), abs=0.02)


def test_what_cannot_be_placed_is_refused():
    table = grown(Table(), 3)
    nodes = nodes_of(table, 1)
    policy = POLICIES["rendezvous"]
    with pytest.raises(ResourceError, match="groups of 4 members need as many disks; there are 3"):
        place(policy, 1, [0], 4, table, nodes)
    with pytest.raises(MalformedError, match=f"node of disk {disk(2)} is not told"):
        place(policy, 1, [0], 2, table, {disk(0): "a", disk(1): "a"})
    with pytest.raises(MalformedError, match=r"0 members"):
        place(policy, 1, [0], 0, table, nodes)
    with pytest.raises(MalformedError, match=r"below 2\^48 / 2"):
        place(policy, 1, [1 << 47], 2, table, nodes)
    with pytest.raises(MalformedError, match=r"below 2\^48 / 2"):
        place_one(policy, 1, -1, 2, table, nodes)
    assert place(policy, 1, [], 2, table, nodes).shape == (0, 2)
