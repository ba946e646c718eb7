"""Where everything is to be, compared with a naive count over all members."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.storage.volume.test_volume_state import disk

from heliograph.model.errors import MalformedError, TooLargeError, UnsupportedError
from heliograph.storage.placement import POLICIES, place_one, seed_of
from heliograph.storage.values import BlockKey, Code, DiskId, ObjectId, Scheme
from heliograph.storage.volume import changes, heads
from heliograph.storage.volume.heads import Head
from heliograph.storage.volume.pace import DEPTH, Bucket
from heliograph.storage.volume.planning import Plan, forecast, lacking, surplus
from heliograph.storage.volume.state import DiskState, Layout, VolumeState

OBJECT = ObjectId("5a" * 16)
SCHEMES = st.sampled_from(
    [
        Scheme(1, 0, Code.COPIES),
        Scheme(1, 1, Code.COPIES),
        Scheme(2, 1, Code.XOR),
        Scheme(3, 2, Code.REED_SOLOMON),
    ]
)


def naive(state: VolumeState, layout: Layout, blocks: int, growing: bool) -> dict[BlockKey, DiskId]:
    """Every member that there is, one after another, and its disk."""
    scheme = state.scheme
    nodes = {one.id: one.node for one in state.disks}
    standing = dict(layout.stands)
    nodes |= {place: nodes[disk] for place, disk in standing.items()}
    found = {}
    for group in range((blocks + scheme.data - 1) // scheme.data):
        row = place_one(
            POLICIES[layout.policy],
            seed_of(OBJECT) ^ state.seed,
            group,
            scheme.width,
            layout.table,
            nodes,
        )
        for member in range(scheme.width):
            number = group * scheme.data + member
            full = (group + 1) * scheme.data <= blocks
            if number < blocks if member < scheme.data else full or not growing:
                found[BlockKey(OBJECT, group, member)] = standing.get(row[member], row[member])
    return found


@settings(max_examples=40)
@given(
    SCHEMES,
    st.integers(5, 9),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from(["rendezvous", "random-slicing", "scaddar-64", "round-robin"]),
    st.sampled_from(["none", "add", "remove", "fail", "policy", "two", "replace"]),
)
def test_the_plan_says_what_counting_says(
    scheme: Scheme, disks: int, blocks: int, growing: bool, policy: str, change: str
) -> None:
    state = changes.create(
        "films", scheme, [disk(one, one // 2) for one in range(disks)], policy=policy, seed=99
    )
    if change in ("add", "two"):
        state = changes.add_disks(state, [disk(20, 9)])
    if change == "remove" and disks > scheme.width:
        state = changes.remove_disks(state, [disk(1).id])
    if change in ("fail", "two"):
        state = changes.fail_disks(state, [disk(2).id])
    if change == "replace":
        state = changes.replace_disk(state, disk(1).id, disk(20, 9))
        assert len({*state.layout.disks} ^ {*state.before[0].disks}) == 2
    if change == "policy":
        state = changes.set_policy(state, "jump")
    plan = Plan(state)
    now = naive(state, state.layout, blocks, growing)
    lost = {one.id for one in state.disks if one.state is DiskState.LOST}
    ids = [one.id for one in state.disks]
    expected = plan.expected(OBJECT, blocks, growing, ids)
    width = scheme.width
    for id in ids:
        codes = [key.group * width + key.member for key, at in now.items() if at == id]
        assert expected[id].tolist() == sorted(codes)
        present = np.array(codes[::2] + [10**6], np.int64)
        assert lacking(expected[id], present).tolist() == sorted(set(codes) - {*codes[::2]})
        assert surplus(expected[id], present).tolist() == [10**6]
    earlier = [naive(state, one, blocks, growing) for one in state.before]
    for key, at in now.items():
        assert plan.key(OBJECT, key.group * width + key.member) == key
        home = plan.home(key)
        assert (home.id if home else None) == (None if at in lost else at)
        tried = dict.fromkeys([at, *(one[key] for one in earlier)])
        assert [one.id for one in plan.places(key)] == [one for one in tried if one not in lost]
    spare = Counter(key.group for key in now if key.member >= scheme.data)
    for there in ({*ids}, {*ids[:-1]}, {*ids[::2]}, {*ids[:1]}, set[DiskId]()):
        missing = Counter(
            key.group for key in now if there.isdisjoint(one.id for one in plan.places(key))
        )
        bad = sum(count > spare[group] for group, count in missing.items())
        assert plan.unreadable(OBJECT, blocks, growing, there) == bad
    if not growing:
        moved: dict[DiskId, int] = {}
        for key, at in now.items():
            if earlier and (earlier[0][key] != at or earlier[0][key] in lost):
                moved[at] = moved.get(at, 0) + 1
        assert plan.moves(OBJECT, blocks) == moved
        told = forecast(state, [(OBJECT, blocks, blocks * 1000)])
        assert told == {id: count * 1000 for id, count in moved.items()}


@pytest.mark.parametrize(
    ("scheme", "disks", "each", "least", "most"),
    [
        (Scheme(4, 0, Code.XOR), 4, 1, 0.0, 0.0),  # a member at each node
        (Scheme(1, 0, Code.COPIES), 4, 1, 0.15, 0.22),  # by lot: 1/4 of 3/4
        (Scheme(4, 1, Code.XOR), 8, 2, 0.2, 0.5),  # which member is redundant is by lot
    ],
)
def test_how_far_a_node_strays_from_its_share_is_counted(
    scheme: Scheme, disks: int, each: int, least: float, most: float
) -> None:
    state = changes.create(
        "films",
        scheme,
        [disk(one, one // each) for one in range(disks)],
        policy="rendezvous",
        seed=1,
    )
    node = state.nodes[1]
    counts = [0] * 256
    for key, at in naive(state, state.layout, 256 * scheme.data, False).items():
        if key.member < scheme.data and at in {one.id for one in state.disks_of(node)}:
            counts[key.group] += 1
    found = Plan(state).spread(OBJECT, node, 256)
    assert found == pytest.approx(np.var(counts))
    assert least <= found <= most


def test_heads_lie_on_different_disks_and_nodes() -> None:
    scheme = Scheme(2, 1, Code.XOR)
    state = changes.create(
        "films", scheme, [disk(one, one // 2) for one in range(8)], policy="rendezvous", seed=1
    )
    for number in range(50):
        homes = Plan(state).head_homes(ObjectId(f"{number:032x}"))
        assert len(homes) == 3
        assert len({one.node for one in homes}) == 3
    small = changes.create("x", Scheme(1, 0, Code.COPIES), [disk(0)], policy="jump", seed=1)
    assert len(Plan(small).head_homes(OBJECT)) == 1


def test_an_unknown_policy_is_refused() -> None:
    state = changes.create("x", Scheme(1, 0, Code.COPIES), [disk(0)], policy="jump", seed=1)
    with pytest.raises(UnsupportedError, match="tarot"):
        Plan(changes.set_policy(state, "tarot"))


def test_a_head_is_read_as_it_was_written() -> None:
    head = Head(7, 3, 999, True, b"manifest")
    assert heads.decode(7, heads.encode(head)) == head
    assert head.exists
    for data in (b"", b"HGVH" + bytes(20), b"HGVH\x02" + bytes(30), b"HGVH\x01\x02" + bytes(30)):
        with pytest.raises(MalformedError):
            heads.decode(1, data)
    with pytest.raises(TooLargeError):
        heads.encode(Head(1, 0, 0, False, bytes(heads.MAX_HEAD)))


def test_a_bucket_lets_through_its_rate_and_a_small_burst() -> None:
    bucket = Bucket(1000, 0.0)
    now, spent = 0.0, 0
    while now < 100:
        spent += 400
        now += bucket.spend(400, now)
    assert spent <= 1000 * (now + DEPTH)
    assert spent > 950 * now
    bucket.set_rate(10, now)
    assert bucket.spend(100, now) > 9
    assert Bucket(1000, 0.0).spend(100, 50.0) == 0.0
