"""What may happen to a volume, and how its state is written down."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.model.errors import ConflictError, HelioError, MalformedError, NotFoundError
from heliograph.model.nodes import NodeId
from heliograph.storage.values import Code, DiskId, Scheme
from heliograph.storage.volume import changes, encoding
from heliograph.storage.volume.state import (
    MAX_BEFORE,
    DiskEntry,
    DiskState,
    Limits,
    VolumeState,
)

SCHEME = Scheme(2, 1, Code.XOR)


def disk(number: int, node: int | None = None, capacity: int = 1 << 30) -> DiskEntry:
    """One of many alike."""
    name = "abcdefghijklmno" + "abcdefghijklmnopqrstuvwxyz"[number if node is None else node]
    return DiskEntry(DiskId(f"{number:016x}"), NodeId(name), f"/disks/{number}", capacity, 10**8)


def volume(count: int = 4, scheme: Scheme = SCHEME) -> VolumeState:
    return changes.create(
        "films", scheme, [disk(one) for one in range(count)], policy="rendezvous", seed=3
    )


def test_a_volume_needs_a_disk_for_each_member() -> None:
    with pytest.raises(ConflictError, match="needs 3 disks"):
        volume(2)
    with pytest.raises(ConflictError, match="already"):
        changes.create("films", SCHEME, [disk(0), disk(1), disk(0)], policy="jump", seed=1)
    assert volume(3).version == 1


def test_a_change_waits_for_the_one_before_but_a_failure_does_not() -> None:
    state = changes.add_disks(volume(), [disk(4)])
    assert (state.version, len(state.before)) == (2, 1)
    for change in (
        lambda: changes.add_disks(state, [disk(5)]),
        lambda: changes.remove_disks(state, [disk(0).id]),
        lambda: changes.replace_disk(state, disk(0).id, disk(5)),
        lambda: changes.set_policy(state, "jump"),
    ):
        with pytest.raises(ConflictError, match="rearranged"):
            change()
    failed = changes.fail_disks(state, [disk(1).id])
    assert len(failed.before) == 2
    assert failed.before[0] == state.layout
    done = changes.settled(failed, failed.version)
    assert (done.version, done.before) == (4, ())
    assert done.disk(disk(1).id) is None


def test_only_the_version_in_force_is_settled() -> None:
    state = changes.add_disks(volume(), [disk(4)])
    with pytest.raises(ConflictError, match="in force"):
        changes.settled(state, 1)
    done = changes.settled(state, 2)
    with pytest.raises(ConflictError, match="no change"):
        changes.settled(done, done.version)


def test_a_disk_that_leaves_is_read_until_it_is_free() -> None:
    state = changes.remove_disks(volume(), [disk(2).id])
    entry = state.disk(disk(2).id)
    assert entry is not None
    assert entry.state is DiskState.LEAVING
    assert disk(2).id not in state.table.physical
    assert state.nodes == volume().nodes
    assert changes.settled(state, 2).disk(disk(2).id) is None
    with pytest.raises(ConflictError, match="needs 3 disks"):
        changes.remove_disks(volume(3), [disk(2).id])
    with pytest.raises(NotFoundError):
        changes.remove_disks(volume(), [disk(7).id])


def test_a_lost_disk_keeps_its_place_while_there_is_no_other() -> None:
    state = changes.fail_disks(volume(3), [disk(1).id])
    assert state.before == ()
    assert disk(1).id in state.layout.disks
    with pytest.raises(ConflictError, match="already lost"):
        changes.fail_disks(state, [disk(1).id])
    with pytest.raises(ConflictError, match="less than"):
        changes.replace_disk(state, disk(1).id, disk(5, capacity=1 << 20))
    replaced = changes.replace_disk(state, disk(1).id, disk(5))
    assert sorted(replaced.layout.disks) == sorted(disk(one).id for one in (0, 2, 5))
    assert replaced.table == state.table
    done = changes.settled(replaced, 3)
    assert done.disk(disk(1).id) is None
    with pytest.raises(ConflictError, match="already"):  # another stands under its name
        changes.add_disks(done, [disk(1)])
    again = changes.replace_disk(done, disk(5).id, disk(6))
    assert again.table == state.table
    assert disk(6).id in again.layout.disks
    assert disk(5).id not in again.layout.disks
    gone = changes.remove_disks(
        changes.settled(changes.add_disks(done, [disk(7)]), 5), [disk(5).id]
    )
    assert gone.stands == ()
    added = changes.add_disks(state, [disk(5)])
    assert disk(1).id not in added.table.physical
    for one in (replaced, added):
        assert changes.settled(one, 3).disk(disk(1).id) is None
    with pytest.raises(ConflictError, match="add the new one"):
        changes.replace_disk(added, disk(1).id, disk(6))


@settings(deadline=None)
@given(
    st.lists(st.integers(1 << 20, 1 << 44), min_size=3, max_size=8),
    st.lists(st.integers(0, 7), min_size=1, max_size=8),
)
def test_a_disk_can_fail_whatever_the_sizes_of_those_left(
    capacities: list[int], failing: list[int]
) -> None:
    """Some are too small beside the others to have a place in a table."""
    disks = [disk(number, capacity=one) for number, one in enumerate(capacities)]
    try:
        state = changes.create("films", SCHEME, disks, policy="rendezvous", seed=3)
    except ConflictError:  # too few of them are large enough
        return
    for number in dict.fromkeys(one % len(disks) for one in failing):
        before, state = state, changes.fail_disks(state, [disks[number].id])
        assert state.version == before.version + 1
        lost = state.disk(disks[number].id)
        assert lost is not None
        assert lost.state is DiskState.LOST
        assert len(state.table.physical) >= SCHEME.width
        if state.layout != before.layout:
            assert state.before[0] == before.layout
        assert encoding.decode(encoding.encode(state)) == state


def test_where_those_left_are_too_unequal_a_lost_disk_keeps_its_place() -> None:
    sizes = [1 << 40, 1 << 40, 1 << 40, 1 << 34]
    disks = [disk(number, capacity=one) for number, one in enumerate(sizes)]
    state = changes.create("films", SCHEME, disks, policy="rendezvous", seed=3)
    failed = changes.fail_disks(state, [disks[0].id])
    assert failed.layout == state.layout
    assert failed.before == ()
    mended = changes.replace_disk(failed, disks[0].id, disk(9, capacity=1 << 40))
    assert disk(9).id in mended.layout.disks


def test_earlier_layouts_are_bounded() -> None:
    state = changes.add_disks(volume(20), [disk(20)])
    for number in range(MAX_BEFORE + 3):
        state = changes.fail_disks(state, [disk(number).id])
    assert len(state.before) == MAX_BEFORE


def test_the_highest_version_counts() -> None:
    first = volume()
    second = changes.set_limits(first, Limits(1, 0))
    assert changes.newest([first, second, first]) is second
    assert changes.newest([]) is None


CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "fail", "replace", "settle"]), st.integers(0, 9)),
    max_size=12,
)


@settings(max_examples=40)
@given(CHANGES)
def test_whatever_happens_a_state_is_sound_and_is_read_as_it_was_written(
    done: list[tuple[str, int]],
) -> None:
    state = volume(4)
    fresh = 10
    for what, number in done:
        some = state.disks[number % len(state.disks)].id
        new = disk(fresh, fresh % 26)
        try:
            state = {
                "add": lambda s=state, n=new: changes.add_disks(s, [n]),
                "remove": lambda s=state, d=some: changes.remove_disks(s, [d]),
                "fail": lambda s=state, d=some: changes.fail_disks(s, [d]),
                "replace": lambda s=state, d=some, n=new: changes.replace_disk(s, d, n),
                "settle": lambda s=state: changes.settled(s, s.version),
            }[what]()
        except (ConflictError, NotFoundError):
            continue
        fresh += 1
        ids = {one.id for one in state.disks}
        assert set(state.layout.disks) <= ids
        assert len({*state.layout.disks}) >= SCHEME.width
        assert {one.id for one in state.active} <= set(state.layout.disks)
        assert encoding.decode(encoding.encode(state)) == state


def said() -> dict[str, Any]:
    state = changes.add_disks(volume(), [disk(4)])
    found: dict[str, Any] = json.loads(encoding.encode(state))
    return found


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("format", 2, "format: this program reads 1"),
        ("version", 0, "version: not within"),
        ("version", True, "version: not an integer"),
        ("name", "../x", "name: "),
        ("seed", -1, "seed: not within"),
        ("scheme.data", 99, "scheme: 99"),
        ("scheme.code", "zip", "scheme.code: 'zip' is unknown"),
        ("limits.move", 0, "limits.move: not within"),
        ("disks.3.capacity", "1", "disks[3].capacity: not an integer"),
        ("disks.3.state", "asleep", "disks[3].state: 'asleep' is unknown"),
        ("disks.1.id", "00", "disks[1].id: '00'"),
        ("disks.1.id", "0000000000000000", "disks: a disk is there twice"),
        ("disks.2.node", "x", "disks[2].node:"),
        ("disks.0.path", "a\0b", "disks[0].path"),
        ("layout.policy", "No!", "layout.policy"),
        ("layout.operations.0.added.0.parts.0.1", 0.5, "layout.operations[0].added[0]"),
        ("layout.operations.0.added.0.parts.0.0", "f" * 16, "is not one of the volume's"),
        ("layout.operations.0.added.0.parts.0", ["x"], "parts[0]: a disk and its share"),
        ("layout.operations.1", {"removed": [77]}, "layout.operations: logical disk 77"),
        ("layout.stands", [["0" * 16, "f" * 16]], "is not one of the volume's"),
        ("layout.stands", [["0" * 16]], "layout.stands[0]: two disks"),
        ("before.0.stands", [["0" * 16] * 2] * 2, "before[0].stands: a disk is there twice"),
        ("before", [{}] * 99, "before: 99 are more than"),
        ("before.0", [], "before[0]: not an object"),
        ("more", 1, "'more' is unknown"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(path: str, value: object, told: str) -> None:
    document = said()
    *way, last = path.split(".")
    at: Any = document
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    with pytest.raises(MalformedError) as found:
        encoding.decode(json.dumps(document).encode())
    assert told in found.value.reason


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1]", b'{"a":1,"a":2}', b"[" * 100_000, b"NaN"])
def test_what_is_no_document_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        encoding.decode(data)
    document = said()
    del document["disks"]
    with pytest.raises(MalformedError, match="disks is missing"):
        encoding.decode(json.dumps(document).encode())


def test_a_policy_is_changed_and_everything_knows_where_it_was() -> None:
    state = changes.set_policy(volume(), "jump")
    assert state.policy == "jump"
    assert state.before[0].policy == "rendezvous"
    with pytest.raises(ConflictError):
        changes.set_policy(volume(), "rendezvous")
    with pytest.raises(HelioError):
        changes.add_disks(volume(), [])
    assert dataclasses.replace(state, before=()) != state
