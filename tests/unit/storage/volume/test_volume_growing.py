"""Objects while they are written: recordings that grow, writers that die, changes meanwhile."""

from __future__ import annotations

import pytest
from tests.unit.storage.volume.cluster import all_at_home, check, payloads, write
from tests.unit.storage.volume.conftest import Make

from heliograph.model.errors import ConflictError, WrongStateError
from heliograph.storage.errors import LostError
from heliograph.storage.values import BlockKey
from heliograph.storage.volume import changes
from heliograph.storage.volume.writing import GrowingWriter


async def test_what_a_dead_writer_left_is_removed_after_a_while(make: Make) -> None:
    cluster = await make((1, 1, 1))
    writer = cluster.node(0).volume.writer()
    for payload in payloads(8):
        await writer.put(payload)
    await writer._settle()
    await cluster.passes()
    assert len(cluster.members(writer.object)) == 12
    cluster.now += 50
    await cluster.passes()
    assert len(cluster.members(writer.object)) == 12
    cluster.now += 60
    await cluster.passes()
    assert cluster.members(writer.object) == {}


async def test_an_aborted_writer_leaves_nothing(make: Make) -> None:
    cluster = await make((1, 1, 1))

    async def fail() -> None:
        async with cluster.node(0).volume.writing() as writer:
            for payload in payloads(9):
                await writer.put(payload)
            raise ValueError(writer.object)

    with pytest.raises(ValueError, match=r"[0-9a-f]{32}") as told:
        await fail()
    assert cluster.members(told.value.args[0]) == {}


async def test_a_recording_is_read_while_it_grows_and_continued_after_a_crash(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(9)
    writer = cluster.node(0).volume.writer()
    for payload in blocks[:5]:
        await writer.put(payload)
    await writer.grow(b"five")
    assert writer.protected == 4
    await check(cluster, writer.object, blocks[:5])
    await cluster.settle()  # must not protect a group that will still grow
    for payload in blocks[5:8]:
        await writer.put(payload)  # never published: the recorder dies
    await writer._settle()
    await cluster.passes()
    again = await cluster.node(1).volume.reopen(writer.object)
    assert again.blocks == 5
    for payload in (b"other", *blocks[6:]):
        await again.put(payload)
    await again.finish(b"nine")
    expected = [*blocks[:5], b"other", *blocks[6:]]
    await check(cluster, writer.object, expected)
    await cluster.settle()
    all_at_home(cluster, writer.object, 9)
    with pytest.raises(ConflictError):
        await cluster.node(1).volume.reopen(writer.object)


async def test_a_writer_that_missed_a_change_harms_nothing(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(30)
    stale = cluster.node(0)
    writer = stale.volume.writer()
    for payload in blocks[:10]:
        await writer.put(payload)
    stale.deaf = True
    await cluster.change(changes.add_disks(cluster.state, [cluster.add(4)]))
    for payload in blocks[10:]:
        await writer.put(payload)
    await writer.finish(b"")
    stale.deaf = False
    await stale.volume.update(cluster.state)
    await check(cluster, writer.object, blocks)
    await cluster.settle()
    await check(cluster, writer.object, blocks)
    all_at_home(cluster, writer.object, 30)


async def test_blocks_newer_than_a_growing_head_are_left_alone(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(11)
    writer = cluster.node(0).volume.writer()
    for number, payload in enumerate(blocks):
        await writer.put(payload)
        if number == 2:
            await writer.grow(b"three")
        await cluster.passes()
    cluster.now += 1000
    await cluster.passes()
    await writer.finish(b"all")
    await check(cluster, writer.object, blocks)
    assert cluster.node(1).volume.counters.rebuilt == 0


async def test_a_disk_does_not_leave_while_an_object_on_it_is_being_written(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(20)
    writer = cluster.node(0).volume.writer()
    for payload in blocks[:14]:
        await writer.put(payload)
    await writer._settle()
    gone = cluster.state.disks[1]
    await cluster.change(changes.remove_disks(cluster.state, [gone.id]))
    assert not all(await cluster.passes(3))
    assert "being written" in cluster.nodes[gone.node].reconciler.progress.waiting
    for payload in blocks[14:]:
        await writer.put(payload)
    await writer.finish(b"")
    await cluster.settle()
    cluster.nodes[gone.node].up = False
    await check(cluster, writer.object, blocks)


async def test_a_recorder_may_give_again_what_it_has_given(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(8)
    sink = GrowingWriter(cluster.node(0).volume.writer())
    object = sink.writer.object
    for number in range(5):
        await sink.put(number, blocks[number])
    await sink.grow(b"five")
    await sink.put(5, blocks[5])  # not told by any head when its node dies
    again = GrowingWriter(await cluster.node(1).volume.reopen(object))
    for number in range(3, 8):
        await again.put(number, blocks[number])
    with pytest.raises(WrongStateError):
        await again.put(9, b"x")
    await again.finish(b"eight")
    await check(cluster, object, blocks)
    all_at_home(cluster, object, 8)


async def test_what_a_crash_and_a_lost_disk_took_is_a_hole_in_what_goes_on(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(9)
    writer = cluster.node(0).volume.writer()
    for payload in blocks[:5]:
        await writer.put(payload)
    await writer.grow(b"five")  # the last one alone in its group, which nothing protects
    (gone,) = cluster.members(writer.object)[BlockKey(writer.object, 2, 0)]
    await cluster.change(changes.fail_disks(cluster.state, [gone]))
    cluster.wipe(gone)
    volume = cluster.node(1).volume
    again = await volume.reopen(writer.object)
    assert (again.blocks, again.lost) == (5, (4,))
    for payload in blocks[5:]:
        await again.put(payload)
    await again.finish(b"nine")
    await cluster.settle()
    for number, payload in enumerate(blocks):
        if number == 4:
            with pytest.raises(LostError):
                await volume.block(writer.object, number)
        else:
            assert await volume.block(writer.object, number) == payload
    survey = await volume.survey(writer.object)
    assert (survey.blocks, survey.lost, survey.degraded) == (9, (4,), 0)


async def test_objects_are_written_and_grow_while_a_node_is_known_to_be_gone(make: Make) -> None:
    cluster = await make((1, 1, 1))
    gone = cluster.node(2)
    gone.up = False
    cluster.unseen = {gone.id}
    blocks = payloads(9)
    writer = cluster.node(0).volume.writer()
    await writer.claim()
    for payload in blocks[:5]:
        await writer.put(payload)
    await writer.grow(b"five")
    await check(cluster, writer.object, blocks[:5])
    for payload in blocks[5:]:
        await writer.put(payload)
    await writer.finish(b"nine")
    await check(cluster, writer.object, blocks)
    erased = await write(cluster, payloads(3, seed=2), 1)
    await cluster.node(1).volume.delete(erased)
    gone.up, cluster.unseen = True, set()
    await cluster.settle()
    all_at_home(cluster, writer.object, 9)
    await check(cluster, writer.object, blocks)
    assert cluster.members(erased) == {}
