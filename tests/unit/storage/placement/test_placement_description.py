"""What a page shows of a table."""

from __future__ import annotations

import json

import pytest
from tests.unit.storage.placement.tables import disk, grown, history

from heliograph.model.errors import MalformedError
from heliograph.storage.merging import Capacity, merge
from heliograph.storage.placement import POLICIES, Table
from heliograph.storage.placement.description import describe

DISKS = [
    Capacity(disk(number), space * 1e12, space * 5e7)
    for number, space in enumerate((4.0, 6.0, 6.0, 12.0))
]
NODES = {disk(number): f"node-{number}" for number in range(4)}


def test_a_table_is_told_as_json():
    table = merge(Table(), DISKS, width=2, nodes=NODES)
    found = json.loads(json.dumps(describe(POLICIES["rendezvous"], table, DISKS, 2, NODES)))
    assert found["policy"] == "rendezvous"
    assert (found["operations"], found["operations_left"]) == (1, 255)
    assert found["unevenness"] == 0
    assert [one["logical"] for one in found["disks"]] == [1, 1.5, 1.5, 3]
    assert [one["node"] for one in found["disks"]] == [f"node-{number}" for number in range(4)]
    for one in found["disks"]:
        assert one["load"] == pytest.approx(one["fair"], abs=0.02)
        assert one["unused_space"] == 0
    assert sum(one["load"] for one in found["disks"]) == pytest.approx(1)
    assert found["space"] == pytest.approx(28e12, rel=0.05)
    joined = [one for one in found["logical_disks"] if len(one["parts"]) > 1]
    halves = [{"disk": disk(number), "share": 0.5} for number in (1, 2)]
    assert [one["parts"] for one in joined] == [halves]


def test_uneven_loads_lessen_what_a_volume_can_hold():
    table = merge(Table(), DISKS, width=2, nodes=NODES)
    even, uneven = (
        describe(POLICIES[name], table, DISKS, 2, NODES)["space"]
        for name in ("rendezvous", "random-slicing")
    )
    assert uneven < 0.9 * even


def test_a_disk_that_holds_nothing_is_told_too():
    table = grown(Table(), 3)
    disks = [Capacity(disk(number), 1e12, 1e8) for number in range(4)]
    found = describe(POLICIES["jump"], table, disks, 2, NODES)
    last = found["disks"][-1]
    assert (last["load"], last["logical"], last["unused_space"]) == (0, 0, 1e12)


def test_a_table_that_is_worn_out_says_so_in_valid_json():
    table = history((4, *[1] * 20))[-1]
    disks = [Capacity(one, 1e12, 1e8) for one in table.physical]
    nodes = {one: one for one in table.physical}
    found = describe(POLICIES["scaddar-32"], table, disks, 1, nodes)
    assert found["unevenness"] is None
    json.dumps(found, allow_nan=False)
    with pytest.raises(MalformedError, match="capacity of disk"):
        describe(POLICIES["scaddar-32"], table, disks[1:], 1, nodes)
