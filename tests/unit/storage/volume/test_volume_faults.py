"""A volume with slow nodes, full, vanished and damaged disks, and states that are old."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.storage.volume.cluster import BLOCK, Cluster, all_at_home, check, payloads, write
from tests.unit.storage.volume.conftest import Make

from heliograph.model.errors import ResourceError, UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.storage.values import BlockKey, Code, Scheme
from heliograph.storage.volume import changes, fetching, reach
from heliograph.storage.volume.progress import Phase
from heliograph.storage.volume.state import Limits, VolumeState

PATIENCE = 15.0


def hanging(node: NodeId) -> Any:
    """Questions to that node are never answered."""

    def step(asked: NodeId, name: str, args: tuple[Any, ...]) -> Any:
        return asyncio.sleep(3600) if asked == node and name == "get" else None

    return step


async def test_a_block_is_made_from_others_when_its_disk_is_slow(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "SUSPICION", 60.0)
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    slow = cluster.node(3)
    cluster.steps = hanging(slow.id)
    reader = cluster.node(0).volume
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        for number, expected in enumerate(blocks):
            assert await reader.block(object, number, loop.time() + 0.5) == expected
    assert reader.counters.hedged == 1  # from then on nobody waits for that node
    assert reader.counters.rebuilt > 1


async def test_one_read_serves_all_who_want_a_block(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(4)
    object = await write(cluster, blocks)
    asked = 0
    go = asyncio.Event()

    def step(node: NodeId, name: str, args: tuple[Any, ...]) -> Any:
        nonlocal asked
        asked += name == "get"
        return go.wait()

    cluster.steps = step
    (disk,) = cluster.members(object)[BlockKey(object, 0, 0)]
    far = next(one for one in cluster.nodes.values() if one.id != cluster.entries[disk].node)
    source = far.volume.source(object)
    reads = [asyncio.ensure_future(source.block(0)) for _ in range(20)]
    await asyncio.sleep(0)
    reads[0].cancel()
    await asyncio.wait(reads, timeout=0.05)
    go.set()
    async with asyncio.timeout(PATIENCE):
        got = await asyncio.gather(*reads, return_exceptions=True)
    assert isinstance(got[0], asyncio.CancelledError)
    assert got[1:] == [blocks[0]] * 19
    assert asked == 1
    assert far.volume.shared.shared == 19


async def test_a_writer_fails_when_more_is_refused_than_parity_makes_up_for(make: Make) -> None:
    cluster = await make((1, 1, 1))
    cluster.node(1).up = cluster.node(2).up = False

    async def run() -> None:
        async with cluster.node(0).volume.writing() as writer:
            for payload in payloads(20):
                await writer.put(payload)
            await writer.finish(b"")

    with pytest.raises(ResourceError, match="could not be written"):
        await run()
    cluster.node(1).up = cluster.node(2).up = True
    assert await cluster.node(1).volume.objects() == {}


async def test_whoever_has_an_old_state_asks_for_the_newest(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    stale = cluster.node(9)
    stale.deaf = True
    old = [one.id for one in cluster.state.disks]
    new = [cluster.add(number) for number in (3, 4, 5)]
    await cluster.change(changes.add_disks(cluster.state, new))
    await cluster.settle()
    await cluster.change(changes.remove_disks(cluster.state, old))
    await cluster.settle()
    for disk in old:
        cluster.wipe(disk)

    async def nobody() -> VolumeState:
        raise UnreachableError("no database")

    stale.volume.reach._refresh = nobody
    with pytest.raises(UnreachableError):  # by no means lost
        await stale.volume.block(object, 0)

    async def newest() -> VolumeState:
        return cluster.state

    stale.volume.reach._refresh = newest
    await check(cluster, object, blocks)
    assert stale.volume.state.version == cluster.state.version


async def test_damaged_heads_are_brought_again(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(6)
    object = await write(cluster, blocks)
    paths = head_files(cluster)
    assert len(paths) == 3
    for path in paths[:2]:
        flip(path)
    await check(cluster, object, blocks)
    assert (await cluster.node(0).volume.head(object)).document == b"manifest"
    for node in cluster.nodes.values():
        await node.reconciler.scrub(10**9)
    await cluster.settle()
    assert len(head_files(cluster)) == 3
    for node in cluster.nodes.values():
        for reader in node.readers.values():
            for one, serial in reader.disk.heads():
                assert reader.disk.head(one)[0] == serial
    # With all of them damaged at once nothing is thrown away for that.
    for path in head_files(cluster):
        flip(path)
    cluster.now += 1000
    await cluster.passes(2)
    cluster.now += 1000
    await cluster.passes(2)
    await check(cluster, object, blocks)


def head_files(cluster: Cluster) -> list[Path]:
    return sorted(path for path in cluster.path.rglob("heads/*/*") if path.is_file())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)


def move(source: str, target: str) -> None:
    Path(source).rename(target)


async def test_a_disk_that_vanishes_is_done_without_until_it_is_back(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    gone = cluster.state.disks[1].path
    away = f"{gone}-away"
    move(gone, away)
    await check(cluster, object, blocks)
    assert not all(await cluster.passes())
    assert cluster.node(0).reconciler.progress.waiting
    other = payloads(20, seed=2)
    written = await write(cluster, other)
    await check(cluster, written, other)
    move(away, gone)
    await cluster.settle()
    for one, expected in ((object, blocks), (written, other)):
        await check(cluster, one, expected)
        all_at_home(cluster, one, len(expected))


async def test_a_full_disk_is_told_and_waited_for(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    entry = cluster.add(3)
    full = cluster.node(3).readers[entry.id].disk
    full._account._limit = full.usage().used + 3 * BLOCK
    await cluster.change(changes.add_disks(cluster.state, [entry]))
    for _ in range(3):
        await cluster.passes()
    node = cluster.node(3)
    assert node.reconciler.done < cluster.state.version
    assert "full" in node.reconciler.progress.waiting
    await check(cluster, object, blocks)
    full._account._limit = 1 << 30
    await cluster.settle()
    await check(cluster, object, blocks)


async def test_moving_keeps_to_its_rate_and_tells_how_far_it_is(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(60)
    object = await write(cluster, blocks)
    entry = cluster.add(3)
    rate = 20_000
    await cluster.change(
        changes.set_limits(changes.add_disks(cluster.state, [entry]), Limits(move=rate, scrub=1))
    )
    seen = []
    sleep = cluster.sleep

    async def watch(seconds: float) -> None:
        await sleep(seconds)
        seen.append(cluster.node(3).reconciler.progress)

    cluster.node(3).reconciler._work.sleep = watch
    began = cluster.now
    await cluster.node(3).reconciler.once()
    moved = sum(
        len(cluster.node(3).readers[entry.id].disk.get(key).payload)
        for key, disks in cluster.members(object).items()
        if entry.id in disks
    )
    assert cluster.now - began >= 0.9 * moved / rate - 1
    assert {one.phase for one in seen} == {Phase.MOVING}
    assert [one.bytes_done for one in seen] == sorted(one.bytes_done for one in seen)
    late = next(one for one in seen if one.bytes_done > one.bytes_all / 2)
    assert late.seconds is not None
    assert 0 < late.seconds < cluster.now - began
    assert seen[0].members_lacking > seen[-1].members_lacking


async def test_scrubbing_keeps_to_its_rate(make: Make) -> None:
    cluster = await make((1, 1, 1))
    await write(cluster, payloads(30))
    node = cluster.node(0)
    began = cluster.now
    await node.reconciler.scrub(10_000)
    progress = node.reconciler.progress
    assert progress.scrub_rounds == 1
    assert cluster.now - began >= progress.scrub_bytes / 10_000 - 1


async def test_a_reconciler_runs_until_it_is_cancelled(make: Make) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    running = [asyncio.ensure_future(node.reconciler.run()) for node in cluster.nodes.values()]
    gone = cluster.state.disks[2]
    cluster.wipe(gone.id)
    await cluster.change(changes.fail_disks(cluster.state, [gone.id]))
    for node in cluster.nodes.values():
        node.reconciler.wake()
    async with asyncio.timeout(PATIENCE):
        for node in cluster.nodes.values():
            while node.reconciler.done != cluster.state.version:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await check(cluster, object, blocks)
    assert (await cluster.node(0).volume.survey(object, read=True)).degraded == 0


async def test_without_protection_a_lost_disk_is_what_is_lost(make: Make) -> None:
    cluster = await make((1, 1), Scheme(1, 0, Code.COPIES, BLOCK))
    blocks = payloads(20)
    object = await write(cluster, blocks)
    gone = cluster.state.disks[1]
    lost = [key.group for key, disks in cluster.members(object).items() if disks == [gone.id]]
    cluster.nodes[gone.node].up = False
    reader = cluster.node(0).volume
    with pytest.raises(UnreachableError):
        await reader.block(object, lost[0])
    await cluster.change(changes.fail_disks(cluster.state, [gone.id]))
    assert (await reader.survey(object)).lost == tuple(sorted(lost))


def test_a_member_is_waited_for_before_it_is_given_up() -> None:
    assert fetching.LEAST_HEDGE < fetching.LEISURE * fetching.HEDGE < fetching.GRACE


async def test_a_head_on_too_few_disks_is_no_object_and_its_number_is_not_used_again(
    make: Make,
) -> None:
    cluster = await make((1, 1, 1, 1))
    blocks = payloads(4)
    writer = cluster.node(0).volume.writer(cluster.name_object())
    for payload in blocks:
        await writer.put(payload)
    homes = cluster.node(0).volume.reach.plan.head_homes(writer.object)
    away = {one.node for one in homes[:2]}

    def step(node: NodeId, name: str, args: tuple[Any, ...]) -> None:
        if name == "put_head" and node in away:
            raise UnreachableError("away")

    cluster.steps = step
    for node in away & {cluster.node(0).id}:  # this node's own disk is asked directly
        away |= {one.node for one in homes}
        away.discard(node)
    with pytest.raises(ResourceError, match="instead of 2"):
        await writer.grow(b"first")
    cluster.steps = None
    await writer.grow(b"second")
    assert (await cluster.node(1).volume.head(writer.object)).document == b"second"
    other = cluster.node(0).volume.writer()
    await other.put(blocks[0])
    cluster.steps = step
    away |= {*cluster.nodes}
    with pytest.raises(ResourceError):
        await other.finish(b"never")
    cluster.steps = None
    await other.abort()
    await cluster.passes(2)
    assert {*await cluster.node(2).volume.objects()} == {writer.object}
    assert cluster.members(other.object) == {}


async def test_what_cannot_be_mended_now_is_mended_later(make: Make) -> None:
    cluster = await make((1, 1, 1))
    blocks = payloads(4)
    object = await write(cluster, blocks)
    key = BlockKey(object, 0, 0)
    (disk,) = cluster.members(object)[key]
    node = cluster.nodes[cluster.entries[disk].node]
    cluster.corrupt(disk, key)
    others = [one for one in cluster.nodes.values() if one is not node]
    others[0].up = False
    await node.reconciler.scrub(10**9)
    for _ in range(3):
        await node.reconciler.once()
    assert node.reconciler.progress.mended == 0
    assert not node.reconciler.lost
    others[0].up = True
    await node.reconciler.once()
    assert node.reconciler.progress.mended == 1
    assert node.readers[disk].disk.get(key)
