"""Unequal disks become equal logical ones, and stay so while disks come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.storage.placement.tables import disk

from heliograph.model.errors import MalformedError, ResourceError, TooLargeError
from heliograph.storage.merging import GRAINS, By, Capacity, merge, usable
from heliograph.storage.placement import POLICIES, Added, Removed, Table, place
from heliograph.storage.values import DiskId

TB = 1e12
MB = 1e6


def offer(number: int, space: float = 4, bandwidth: float = 200) -> Capacity:
    """A disk of so many terabytes and megabytes a second."""
    return Capacity(disk(number), space * TB, bandwidth * MB)


CAPACITIES = st.builds(
    offer,
    st.integers(0, 30),
    st.floats(0.5, 20),
    st.floats(20, 3000),
)
DISKS = st.lists(CAPACITIES, min_size=1, max_size=12, unique_by=lambda one: one.disk)


def check(table: Table, disks: list[Capacity]) -> None:
    """What holds of every table: parts add up, and nobody gives more than there is."""
    by_disk = {one.disk: one for one in disks}
    for one in table.disks:
        assert sum(part.share for part in one.parts) == 1
    assert set(table.physical) <= set(by_disk)
    found = usable(table, disks)
    count = len(table.disks)
    for id, share in table.shares.items():
        assert share * found.space / count <= by_disk[id].space * (1 + 1e-9)
        assert share * found.bandwidth / count <= by_disk[id].bandwidth * (1 + 1e-9)
    for unused in found.unused:
        used = table.shares.get(unused.disk, 0) * found.space / count
        assert used + unused.space == pytest.approx(by_disk[unused.disk].space)
        assert unused.share == table.shares.get(unused.disk, 0)


def test_equal_disks_are_logical_disks():
    disks = [offer(number) for number in range(5)]
    table = merge(Table(), disks)
    assert [one.parts[0].disk for one in table.disks] == [disk(number) for number in range(5)]
    assert len(table.operations) == 1
    found = usable(table, disks)
    assert (found.space, found.bandwidth) == (20 * TB, 1000 * MB)
    assert all((one.space, one.bandwidth) == (0, 0) for one in found.unused)


def test_twice_the_disk_is_two_logical_disks_and_halves_are_joined():
    disks = [offer(0, 4, 200), offer(1, 8, 400), offer(2, 6, 300), offer(3, 6, 300)]
    table = merge(Table(), disks)
    assert table.shares == {disk(0): 1, disk(1): 2, disk(2): 1.5, disk(3): 1.5}
    joined = table.disks[-1]
    assert [(part.disk, part.share) for part in joined.parts] == [(disk(2), 0.5), (disk(3), 0.5)]
    assert usable(table, disks).space == 24 * TB


def test_the_scarcer_of_space_and_bandwidth_decides_unless_told_otherwise():
    disks = [offer(0, 4, 200), offer(1, 4, 200), offer(2, 8, 200), offer(3, 4, 400)]
    assert merge(Table(), disks).shares[disk(2)] == 1
    by_space = merge(Table(), disks, by=By.SPACE)
    assert by_space.shares[disk(2)] == 2
    assert usable(by_space, disks).space == 20 * TB
    by_bandwidth = merge(Table(), disks, by=By.BANDWIDTH)
    assert by_bandwidth.shares[disk(3)] == 2
    assert usable(by_bandwidth, disks).bandwidth == 1000 * MB


def test_what_cannot_be_used_is_told():
    disks = [offer(0, 4, 200), offer(1, 4, 200), offer(2, 5, 900)]
    found = usable(merge(Table(), disks), disks)
    told = {one.disk: one for one in found.unused}
    assert told[disk(2)].space == pytest.approx(1 * TB, rel=0.05)
    assert told[disk(2)].bandwidth == pytest.approx(700 * MB, rel=0.05)
    assert found.space == pytest.approx(12 * TB, rel=0.02)


def test_one_small_disk_does_not_make_hundreds_of_logical_ones():
    disks = [*(offer(number, 20, 250) for number in range(10)), offer(10, 0.01, 250)]
    table = merge(Table(), disks, by=By.SPACE)
    assert len(table.disks) == 10
    assert usable(table, disks).unused[10].share == 0


def test_disks_that_come_are_added_and_others_stay_as_they_are():
    disks = [offer(number, 4 + number, 200 + 50 * number) for number in range(4)]
    table = merge(Table(), disks)
    more = merge(table, [*disks, offer(9, 12, 700)])
    assert more.operations[: len(table.operations)] == table.operations
    assert isinstance(more.operations[-1], Added)
    assert more.disks[: len(table.disks)] == table.disks
    assert more.shares[disk(9)] > 2


def test_a_disk_that_goes_takes_its_logical_disks_and_frees_the_others_parts():
    disks = [offer(0, 6, 300), offer(1, 6, 300), offer(2, 4, 200), offer(3, 6, 300)]
    table = merge(Table(), disks)
    (joined,) = [one for one in table.disks if len(one.parts) > 1]
    assert [part.disk for part in joined.parts] == [disk(0), disk(1)]
    left = [one for one in disks if one.disk != disk(0)]
    less = merge(table, left)
    assert [type(one) for one in less.operations[1:]] == [Removed, Added]
    # Disks 1 and 3 had a half to spare; now these make up one.
    assert less.shares == {disk(1): 1.5, disk(2): 1, disk(3): 1.5}
    check(less, left)


def test_all_disks_can_be_replaced_at_once():
    table = merge(Table(), [offer(0), offer(1)])
    other = merge(table, [offer(2), offer(3), offer(4)])
    assert other.physical == (disk(2), disk(3), disk(4))


def test_a_table_with_a_long_past_starts_anew_and_rendezvous_moves_nothing_for_it():
    disks = [offer(number) for number in range(6)]
    before, table = Table(), merge(Table(), disks)
    while len(table.operations) > len(before.operations):
        before, table = table, merge(merge(table, disks[:5]), disks)
    assert len(before.operations) > 250
    assert len(table.operations) <= 3
    nodes = {one.disk: one.disk for one in disks}
    policy = POLICIES["rendezvous"]
    was, now = (place(policy, 1, np.arange(3000), 2, one, nodes) for one in (before, table))
    assert (was == now).all(), "a disk that comes back finds its blocks"


def test_no_disk_gets_more_than_a_member_of_each_group():
    disks = [offer(0, 4, 200), offer(1, 4, 200), offer(2, 16, 800)]
    assert merge(Table(), disks).shares[disk(2)] == 4
    bounded = merge(Table(), disks, width=3)
    assert bounded.shares == {disk(0): 1, disk(1): 1, disk(2): 1}
    assert usable(bounded, disks).unused[2].space == 12 * TB
    assert merge(Table(), disks, width=2).shares[disk(2)] == 2


def test_no_node_gets_more_than_its_members_of_each_group():
    disks = [offer(number) for number in range(6)]
    nodes = {disk(number): "abbbbc"[number] for number in range(6)}
    shares = merge(Table(), disks, width=3, nodes=nodes).shares
    by_node = {
        name: sum(share for id, share in shares.items() if nodes[id] == name) for name in "abc"
    }
    assert by_node == {"a": 4, "b": 4, "c": 4}


def test_a_disk_kept_low_is_given_more_when_others_come():
    disks = [offer(0, 4, 200), offer(1, 4, 200), offer(2, 16, 800)]
    table = merge(Table(), disks, width=3)
    more = merge(table, [*disks, *(offer(number, 8, 400) for number in range(3, 8))], width=3)
    assert more.shares[disk(2)] == 4


@given(disks=DISKS, by=st.sampled_from(By), width=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_shares_add_up_and_less_than_a_logical_disk_is_left_over(
    disks: list[Capacity], by: By, width: int
):
    table = merge(Table(), disks, by=by, width=width)
    check(table, disks)
    assert merge(table, disks, by=by, width=width) is table, "once merged, nothing is left to do"
    found = usable(table, disks)
    assert table.disks
    if by is By.SPACE and width == 1:
        # Less than one in all, and a grain of each; what a logical disk is worth is that exact.
        spare = sum(one.space for one in found.unused) / (found.space / len(table.disks))
        assert spare < 1 + len(disks) / GRAINS


@given(data=st.data(), disks=DISKS, by=st.sampled_from(By))
@settings(max_examples=60, deadline=None)
def test_disks_come_and_go_and_everything_still_adds_up(
    data: st.DataObject, disks: list[Capacity], by: By
):
    table = merge(Table(), disks, by=by)
    for _ in range(4):
        before = table
        disks = data.draw(
            st.lists(
                st.one_of(st.sampled_from(disks), CAPACITIES),
                min_size=1,
                max_size=12,
                unique_by=lambda one: one.disk,
            )
        )
        try:
            table = merge(table, disks, by=by)
        except TooLargeError:
            return
        check(table, disks)
        here = {one.disk for one in disks}
        stayed = [one for one in before.disks if all(part.disk in here for part in one.parts)]
        assert [one for one in table.disks if one in before.disks] == stayed


def test_blocks_of_unequal_disks_follow_their_shares():
    disks = [offer(0, 4, 200), offer(1, 10, 500), offer(2, 6, 300), offer(3, 6, 300)]
    table = merge(Table(), disks)
    nodes: dict[DiskId, str] = {one.disk: one.disk for one in disks}
    rows = place(POLICIES["rendezvous"], 1, np.arange(60_000), 1, table, nodes)
    shares = np.array(list(table.shares.values()))
    assert np.bincount(rows[:, 0]) / 60_000 == pytest.approx(shares / shares.sum(), abs=0.01)


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(ResourceError, match="no disks"):
        merge(Table(), [])
    with pytest.raises(MalformedError, match="told twice"):
        merge(Table(), [offer(1), offer(1)])
    with pytest.raises(MalformedError, match=r"of 0.0 bytes"):
        offer(1, 0)
    with pytest.raises(MalformedError, match="capacity of disk"):
        usable(merge(Table(), [offer(1)]), [offer(2)])
    table = merge(Table(), [offer(0, 0.001, 0.1)])
    with pytest.raises(TooLargeError, match="start the table anew"):
        merge(table, [offer(0, 0.001, 0.1), offer(1, 20, 2000)])
