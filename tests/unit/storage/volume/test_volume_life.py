"""A volume from the first block to the last disk, with every byte checked each time."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.storage.volume.cluster import BLOCK, Cluster, all_at_home, check, payloads, write
from tests.unit.storage.volume.conftest import Make

from heliograph.model.errors import (
    ConflictError,
    NotFoundError,
    UnreachableError,
    WrongStateError,
)
from heliograph.storage.errors import LostError
from heliograph.storage.values import BlockKey, Code, Scheme
from heliograph.storage.volume import changes
from heliograph.storage.volume.progress import Damaged, Lost, Mended, Settled

SCHEMES = [
    Scheme(1, 0, Code.COPIES, BLOCK),
    Scheme(1, 2, Code.COPIES, BLOCK),
    Scheme(2, 1, Code.XOR, BLOCK),
    Scheme(3, 2, Code.REED_SOLOMON, BLOCK),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda one: f"{one.code}-{one.data}-{one.parity}")
@pytest.mark.parametrize("count", [1, 4, 7])
async def test_what_is_written_is_read_from_every_node(
    make: Make, scheme: Scheme, count: int
) -> None:
    cluster = await make((2, 2, 1), scheme)
    blocks = payloads(count)
    object = await write(cluster, blocks, document=b"film")
    await check(cluster, object, blocks)
    all_at_home(cluster, object, count)
    head = await cluster.node(1).volume.head(object)
    assert (head.blocks, head.document, head.size) == (count, b"film", sum(map(len, blocks)))
    assert await cluster.node(2).volume.objects() == {object: 1}
    with pytest.raises(NotFoundError):
        await cluster.node(1).volume.block(object, count)


@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda one: f"{one.code}-{one.data}")
async def test_as_many_nodes_as_parity_may_be_away(make: Make, scheme: Scheme) -> None:
    cluster = await make((1,) * (scheme.width + 1), scheme)
    blocks = payloads(40)
    object = await write(cluster, blocks)
    for number in range(scheme.parity):
        cluster.node(number).up = False
    await check(cluster, object, blocks)
    cluster.node(scheme.parity).up = False
    reader = cluster.node(scheme.width).volume
    reads = (reader.block(object, number) for number in range(40))
    got = await asyncio.gather(*reads, return_exceptions=True)
    failed = [one for one in got if isinstance(one, BaseException)]
    assert failed
    assert {type(one) for one in failed} == {UnreachableError}  # not lost: they may come back
    cluster.node(0).up = True
    await check(cluster, object, blocks)


async def test_a_disk_is_added_while_everything_is_read(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(60)
    object = await write(cluster, blocks)
    entry = cluster.add(3)
    await cluster.change(changes.add_disks(cluster.state, [entry]))
    await check(cluster, object, blocks)
    expected_moves = sum(cluster.node(0).volume.reach.plan.moves(object, 60).values())
    reading = asyncio.ensure_future(_read_on(cluster, object, blocks))
    await cluster.settle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await check(cluster, object, blocks)
    all_at_home(cluster, object, 60)
    on_new = [key for key, disks in cluster.members(object).items() if entry.id in disks]
    assert 10 < len(on_new) < 40  # 90 members over four disks: some 22
    moved = sum(one.reconciler.progress.moved for one in cluster.nodes.values())
    assert moved == expected_moves
    assert moved < len(on_new) * 2  # with as many nodes as members some give way to others
    assert all(Settled(2) in one.events for one in cluster.nodes.values())


async def _read_on(cluster: Cluster, object: object, blocks: list[bytes]) -> None:
    while True:
        await check(cluster, object, blocks)  # type: ignore[arg-type]
        await asyncio.sleep(0)


async def test_blocks_are_placed_by_another_function_while_everything_is_read(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(60)
    object = await write(cluster, blocks)
    before = cluster.members(object)
    await cluster.change(changes.set_policy(cluster.state, "jump"))
    await check(cluster, object, blocks)
    assert cluster.state.before
    reading = asyncio.ensure_future(check(cluster, object, blocks))
    await cluster.settle()
    await reading
    all_at_home(cluster, object, len(blocks))
    moved = sum(disks != before[key] for key, disks in cluster.members(object).items())
    assert moved > len(before) / 2
    assert not cluster.state.before
    await check(cluster, object, blocks)


async def test_a_disk_leaves_and_keeps_nothing_that_others_lack(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(40)
    object = await write(cluster, blocks)
    gone = cluster.state.disks[1]
    await cluster.change(changes.remove_disks(cluster.state, [gone.id]))
    await check(cluster, object, blocks)
    with pytest.raises(ConflictError):
        changes.remove_disks(cluster.state, [cluster.state.disks[0].id])
    await cluster.settle()
    assert cluster.state.disk(gone.id) is None
    cluster.nodes[gone.node].up = False
    await check(cluster, object, blocks)
    assert len(await cluster.node(0).volume.objects()) == 1


async def test_a_disk_fails_and_its_members_are_made_anew(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(40)
    object = await write(cluster, blocks)
    gone = cluster.state.disks[2]
    cluster.nodes[gone.node].up = False
    await cluster.change(changes.fail_disks(cluster.state, [gone.id]))
    await check(cluster, object, blocks)
    await cluster.settle()
    await check(cluster, object, blocks)
    survey = await cluster.node(0).volume.survey(object, read=True)
    assert (survey.lost, survey.unreachable, survey.degraded) == ((), (), 0)
    # The promise holds again: another one may go.
    cluster.nodes[cluster.state.disks[0].node].up = False
    await check(cluster, object, blocks)


async def test_without_a_disk_to_spare_a_volume_serves_until_the_lost_one_is_replaced(
    make: Make,
) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(30)
    object = await write(cluster, blocks)
    gone = cluster.state.disks[0]
    cluster.nodes[gone.node].up = False
    await cluster.change(changes.fail_disks(cluster.state, [gone.id]))
    await check(cluster, object, blocks)
    other = payloads(5, seed=2)
    written = await write(cluster, other, node=1)
    await check(cluster, written, other)
    entry = cluster.add(3)
    await cluster.change(changes.replace_disk(cluster.state, gone.id, entry))
    await cluster.settle()
    for one, expected in ((object, blocks), (written, other)):
        await check(cluster, one, expected)
        all_at_home_alive(cluster, one, len(expected))
    assert cluster.state.disk(gone.id) is None


async def test_a_disk_is_replaced_and_only_its_own_members_move(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(40)
    object = await write(cluster, blocks)
    old = cluster.state.disks[1]
    before = cluster.members(object)
    entry = cluster.add(1)
    await cluster.change(changes.replace_disk(cluster.state, old.id, entry))
    await check(cluster, object, blocks)
    await cluster.settle()
    after = cluster.members(object)
    cluster.nodes[old.node].store.readers.pop(old.id)
    await check(cluster, object, blocks)
    for key, disks in before.items():
        if disks != [old.id]:
            assert after[key] == disks
        else:
            assert entry.id in after[key]


async def test_a_second_disk_fails_while_the_first_is_being_made_anew(make: Make) -> None:
    scheme = Scheme(2, 2, Code.REED_SOLOMON, BLOCK)
    cluster = await make((1,) * 6, scheme)
    blocks = payloads(50)
    object = await write(cluster, blocks)
    for number in (1, 4):
        gone = cluster.state.disks[number]
        cluster.nodes[gone.node].up = False
        await cluster.change(changes.fail_disks(cluster.state, [gone.id]))
        await cluster.node(0).reconciler.once()
        await check(cluster, object, blocks)
    assert len(cluster.state.before) == 2
    await cluster.settle()
    await check(cluster, object, blocks)
    all_at_home_alive(cluster, object, 50)


def all_at_home_alive(cluster: Cluster, object: object, blocks: int) -> None:
    """As ``all_at_home``, of the nodes that are up."""
    for id in [id for id, one in cluster.nodes.items() if not one.up]:
        cluster.nodes[id].readers.clear()
    all_at_home(cluster, object, blocks)  # type: ignore[arg-type]


async def test_silent_damage_is_found_and_mended(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    members = cluster.members(object)
    damaged = [(members[key][0], key) for key in members if key.group % 4 == key.member]
    assert len(damaged) > 5
    for disk, key in damaged[:-1]:
        cluster.corrupt(disk, key)
    disk, key = damaged[-1]
    cluster.file(disk, key).write_bytes(b"")
    await check(cluster, object, blocks)  # served all the same
    for node in cluster.nodes.values():
        await node.reconciler.scrub(10**9)
    await cluster.passes()
    for disk, key in damaged:
        reader = cluster.nodes[cluster.entries[disk].node].readers[disk]
        reader.disk.get(key)
    told = [event for one in cluster.nodes.values() for event in one.events]
    assert {(one.disk, one.key) for one in told if isinstance(one, Mended)} == {*damaged}
    assert any(isinstance(one, Damaged) for one in told)
    assert sum(one.reconciler.progress.mended for one in cluster.nodes.values()) == len(damaged)


async def test_a_reader_who_meets_damage_has_it_mended(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(4)
    object = await write(cluster, blocks)
    key = BlockKey(object, 1, 0)
    (disk,) = cluster.members(object)[key]
    cluster.corrupt(disk, key)
    reader = cluster.node(0).volume
    assert await reader.block(object, 2) == blocks[2]
    assert reader.counters.corrupt >= 1
    await asyncio.gather(*reader.reach._words)
    await cluster.passes()
    assert cluster.nodes[cluster.entries[disk].node].readers[disk].disk.get(key)


async def test_beyond_parity_exactly_what_is_lost_is_listed(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(40)
    object = await write(cluster, blocks)
    members = cluster.members(object)
    gone = [one.id for one in cluster.state.disks[:2]]
    for entry in cluster.state.disks[:2]:
        cluster.nodes[entry.node].up = False
    await cluster.change(changes.fail_disks(cluster.state, gone))
    lost = [
        number
        for number in range(40)
        if members[BlockKey(object, number // 2, number % 2)][0] in gone
        and sum(members[BlockKey(object, number // 2, one)][0] in gone for one in range(3)) > 1
    ]
    assert 0 < len(lost) < 40
    reader = cluster.node(3).volume
    for number in range(40):
        if number in lost:
            with pytest.raises(LostError):
                await reader.block(object, number)
        else:
            assert await reader.block(object, number) == blocks[number]
    for read in (False, True):
        survey = await reader.survey(object, read=read)
        assert survey.lost == tuple(lost)
        assert survey.unreachable == ()
    # A new disk cannot bring it back, and what is lost stops nothing.
    await cluster.change(changes.add_disks(cluster.state, [cluster.add(4)]))
    await cluster.settle()
    assert (await reader.survey(object, read=True)).lost == tuple(lost)
    listed = {one for node in cluster.nodes.values() for one in node.reconciler.lost}
    assert {one.group * 2 + one.member for one in listed if one.member < 2} == set(lost)

    def missing() -> int:
        return sum(node.reconciler.missing().get(object, 0) for node in cluster.nodes.values())

    # It is told so while all is looked through anew as well, and counted once.
    assert missing() == len(lost)
    for node in cluster.nodes.values():
        node.reconciler._work.forget_lost()
        node.reconciler._filler.forget()
    assert missing() == len(lost)
    await cluster.settle()
    assert missing() == len(lost)
    assert any(isinstance(one, Lost) for node in cluster.nodes.values() for one in node.events)


async def test_a_node_that_was_away_gets_what_it_missed(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(30)
    object = await write(cluster, blocks)
    cluster.node(3).up = False
    other = payloads(30, seed=2)
    written = await write(cluster, other)  # a member a group is left out at most
    assert cluster.node(0).volume.counters.unwritten > 0
    await check(cluster, written, other)
    cluster.node(3).up = True
    await cluster.settle()
    all_at_home(cluster, object, 30)
    all_at_home(cluster, written, 30)
    assert (await cluster.node(0).volume.survey(written)).degraded == 0


async def test_a_node_that_was_away_does_not_bring_back_what_was_deleted(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    object = await write(cluster, payloads(30))
    cluster.node(3).up = False
    await cluster.node(0).volume.delete(object)
    assert await cluster.node(1).volume.objects() == {}
    with pytest.raises(NotFoundError):
        await cluster.node(1).volume.head(object)
    with pytest.raises(NotFoundError):
        await cluster.node(1).volume.delete(object)
    cluster.node(3).up = True
    await cluster.settle()
    assert cluster.members(object) == {}
    assert await cluster.node(3).volume.objects() == {}
    await cluster.passes()
    cluster.now += 200
    await cluster.passes(2)
    left = [
        one
        for node in cluster.nodes.values()
        for reader in node.readers.values()
        for one in reader.disk.heads()
    ]
    assert left == []


async def test_strays_are_read_and_taken_home(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(12)
    object = await write(cluster, blocks)
    members = cluster.members(object)
    for key, (disk,) in members.items():  # everything is where nobody would look for it
        home = cluster.nodes[cluster.entries[disk].node].readers[disk].disk
        other = next(
            reader.disk
            for node in cluster.nodes.values()
            for id, reader in node.readers.items()
            if id != disk and not any(k.group == key.group for k in [*reader.disk.keys(object)])
        )
        block = home.get(key)
        other.put(key, block.payload, block.lengths)
        home.delete(key)
        break
    await check(cluster, object, blocks)
    await cluster.passes(3)
    all_at_home(cluster, object, 12)


async def test_what_moved_stays_where_it_was_until_the_change_is_settled(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(30)
    object = await write(cluster, blocks)
    before = cluster.members(object)
    entry = cluster.add(3)
    await cluster.change(changes.add_disks(cluster.state, [entry]))
    reader = cluster.node(0).volume
    await check(cluster, object, blocks, nodes=[0])
    assert reader.counters.earlier > 0
    assert (reader.counters.rebuilt, reader.counters.strays, reader.counters.missing) == (0, 0, 0)
    await cluster.passes(2)
    for key, disks in cluster.members(object).items():
        assert {*before[key]} <= {*disks}
    await cluster.settle()
    all_at_home(cluster, object, 30)


async def test_the_only_copy_is_never_removed(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(12)
    object = await write(cluster, blocks)
    keeper = next(iter(cluster.node(0).readers.values())).disk
    for key, (disk,) in cluster.members(object).items():
        home = cluster.nodes[cluster.entries[disk].node].readers[disk].disk
        if key.group < 3 and home is not keeper:  # all of these groups on one disk
            block = home.get(key)
            keeper.put(key, block.payload, block.lengths)
            home.delete(key)
    await cluster.node(0).reconciler.once()  # before any other node has looked
    await check(cluster, object, blocks)
    await cluster.passes(2)
    all_at_home(cluster, object, 12)


async def test_nothing_is_written_to_a_disk_that_leaves(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    gone = cluster.state.disks[1]
    await cluster.change(changes.remove_disks(cluster.state, [gone.id]))
    store = cluster.nodes[gone.node].store
    object = cluster.name_object()
    with pytest.raises(WrongStateError):
        await store.put(gone.id, BlockKey(object, 0, 0), b"x")
    with pytest.raises(WrongStateError):
        await store.put_head(gone.id, object, 1, b"x")
