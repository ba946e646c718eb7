"""What is removed by old knowledge is lost: who does not know the newest removes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.storage.volume.cluster import Cluster, all_at_home, check, payloads, write
from tests.unit.storage.volume.conftest import Make

from heliograph.model.errors import NotFoundError, UnreachableError
from heliograph.storage.volume import changes
from heliograph.storage.volume.state import VolumeState

#: ``Cluster`` has nodes wait so long before they take blocks without a head for a dead writer's.
ORPHAN_AGE = 100.0


@pytest.mark.parametrize("answers", [True, False])
async def test_a_node_that_comes_back_with_an_old_state_removes_nothing_by_it(
    make: Make, answers: bool
) -> None:
    cluster = await make(disks=(1, 1, 1, 1))
    old = cluster.state
    blocks = payloads(40)
    object = await write(cluster, blocks)
    await cluster.change(changes.remove_disks(cluster.state, [old.disks[3].id]))
    await cluster.settle()
    all_at_home(cluster, object, len(blocks))
    before = cluster.members(object)
    # It restarts with what its disk knew before: by that, much of what it has is to be elsewhere.
    newest, cluster.state = cluster.state, old
    back = cluster.nodes[old.disks[2].node]
    back.start()
    cluster.state = newest
    assert back.volume.state.version < newest.version

    async def ask() -> VolumeState:
        if not answers:
            raise UnreachableError("no database")
        return newest

    back.volume.reach._refresh = ask
    await back.reconciler.once()
    after = cluster.members(object)
    assert all(set(disks) <= set(after[key]) for key, disks in before.items())
    if answers:
        assert back.volume.state.version == newest.version  # it goes on by that
        await cluster.settle()
    await check(cluster, object, blocks, nodes=[0, 1])


async def test_a_disk_that_returns_stale_brings_nothing_back_and_gets_what_it_lacks(
    make: Make, tmp_path: Path
) -> None:
    """An older copy of it is in its place, as a backup, or a controller that forgot writes."""
    cluster = await make(disks=(1, 1, 1, 1))
    kept, gone, new = payloads(20), payloads(20, seed=2), payloads(20, seed=3)
    first, second = await write(cluster, kept), await write(cluster, gone)
    stale = cluster.state.disks[2]
    await cluster.close()
    shutil.copytree(stale.path, tmp_path / "copy")
    cluster = await Cluster.open(cluster.path)
    cluster.objects = 2
    third = await write(cluster, new)
    await cluster.node(0).volume.delete(second)
    await cluster.passes(2)
    assert cluster.members(second) == {}
    await cluster.close()
    shutil.rmtree(stale.path)
    shutil.copytree(tmp_path / "copy", stale.path)
    cluster = await Cluster.open(cluster.path)
    for object, blocks in ((first, kept), (third, new)):
        await check(cluster, object, blocks)
    assert {*await cluster.node(2).volume.objects()} == {first, third}
    with pytest.raises(NotFoundError):
        await cluster.node(2).volume.head(second)
    await cluster.settle()
    await cluster.passes(2)
    assert cluster.members(second) == {}
    for object, blocks in ((first, kept), (third, new)):
        all_at_home(cluster, object, len(blocks))
        await check(cluster, object, blocks)
    await cluster.close()


async def test_blocks_of_a_writer_that_lives_are_no_orphans_on_disks_that_get_no_more(
    make: Make,
) -> None:
    cluster = await make(disks=(1,) * 8)
    writer = cluster.node(0).volume.writer(cluster.name_object())
    blocks = payloads(16)
    for block in blocks:  # slowly: most disks get nothing for longer than a dead writer is waited
        await writer.put(block)
        cluster.now += 0.6 * ORPHAN_AGE
        await cluster.passes()
    await writer.finish(b"manifest")
    await check(cluster, writer.object, blocks)


async def test_that_others_remove_their_orphans_is_no_sign_of_life(make: Make) -> None:
    cluster = await make(disks=(1, 1, 1))
    writer = cluster.node(0).volume.writer(cluster.name_object())
    for block in payloads(12):
        await writer.put(block)
    await writer._settle()
    nodes = [*cluster.nodes.values()]
    # Each meets them at another time, and removes its own when it has waited long enough.
    for node in nodes:
        await node.reconciler.once()
        cluster.now += 0.3 * ORPHAN_AGE
    for number, node in enumerate(nodes):
        cluster.now = ORPHAN_AGE + 0.3 * ORPHAN_AGE * number + 1
        await node.reconciler.once()
        left = {disk for disks in cluster.members(writer.object).values() for disk in disks}
        assert left.isdisjoint(node.readers), number
