"""What a dead writer had claimed goes at once; what one that lives writes is in nobody's way."""

from __future__ import annotations

import pytest
from tests.unit.storage.volume.cluster import Cluster, all_at_home, check, node_name, payloads
from tests.unit.storage.volume.conftest import Make

from heliograph.model.errors import ConflictError, MalformedError, NotFoundError, ResourceError
from heliograph.storage.values import ObjectId
from heliograph.storage.volume import changes
from heliograph.storage.volume.claims import Claim
from heliograph.storage.volume.heads import DELETED, Head
from heliograph.storage.volume.writing import Writer


async def begun(cluster: Cluster, node: int = 0, count: int = 15) -> Writer:
    """An object that is claimed, with some of its blocks."""
    writer = cluster.node(node).volume.writer(cluster.name_object())
    await writer.claim()
    for block in payloads(count):
        await writer.put(block)
    await writer._settle()
    return writer


def left(cluster: Cluster, object: ObjectId) -> int:
    return sum(len(one) for one in cluster.members(object).values())


async def test_what_is_claimed_is_no_object_yet(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster)
    volume = cluster.node(1).volume
    assert await volume.objects() == {}
    assert await volume.catalogue() == ({writer.object: 0}, True)
    for asked in (volume.head, volume.reopen, volume.delete):
        with pytest.raises(NotFoundError):
            await asked(writer.object)
    await writer.finish(b"manifest")
    assert await volume.objects() == {writer.object: 1}
    await cluster.settle()
    await check(cluster, writer.object, payloads(15))


async def test_what_lives_is_left_alone_for_as_long_as_it_writes(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster)
    before = cluster.members(writer.object)
    for _ in range(3):
        cluster.now += 60
        assert all(await cluster.passes())
        await writer.put(b"more")
    await writer.finish(b"manifest")
    assert before.keys() <= cluster.members(writer.object).keys()
    await check(cluster, writer.object, [*payloads(15), b"more", b"more", b"more"])


async def test_a_node_that_comes_back_removes_what_it_was_writing_at_once(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster)
    assert left(cluster, writer.object) > 0
    cluster.node(0).start()
    await cluster.node(0).reconciler.once()
    assert left(cluster, writer.object) == 0
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: DELETED}


async def test_a_claim_without_any_block_goes_as_well(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster, count=0)
    await cluster.passes(2)
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: 0}
    cluster.node(0).start()
    await cluster.node(0).reconciler.once()
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: DELETED}
    await cluster.passes()
    cluster.now += 100
    await cluster.passes(2)
    assert (await cluster.node(1).volume.catalogue())[0] == {}
    assert not cluster.node(0).reconciler._cleaner._seen


async def test_a_claim_that_reached_too_few_disks_goes_as_well(make: Make) -> None:
    cluster = await make()
    cluster.node(1).up = cluster.node(2).up = False
    writer = cluster.node(0).volume.writer(cluster.name_object())
    with pytest.raises(ResourceError):
        await writer.claim()
    cluster.node(1).up = cluster.node(2).up = True
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: 0}
    await cluster.node(0).reconciler.once()
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: DELETED}


@pytest.mark.parametrize("count", [0, 15])
async def test_a_claim_goes_in_time_though_its_node_lives(make: Make, count: int) -> None:
    """Its writer was aborted and could not remove it, and its node has no disks to look after."""
    cluster = await make(disks=(1, 1, 1, 0))
    writer = await begun(cluster, node=3, count=count)
    await cluster.passes()
    cluster.now += 99
    await cluster.passes()
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: 0}
    cluster.now += 1
    await cluster.passes()
    assert (await cluster.node(1).volume.catalogue())[0] == {writer.object: DELETED}
    assert left(cluster, writer.object) == 0


async def test_a_node_waits_for_its_own_writer_however_long(make: Make) -> None:
    cluster = await make(disks=(3,))
    writer = await begun(cluster)
    for _ in range(3):
        cluster.now += 1000
        await cluster.passes()
    await writer.finish(b"manifest")
    await check(cluster, writer.object, payloads(15))


@pytest.mark.parametrize("back", [True, False])
async def test_others_remove_what_a_node_without_disks_was_writing(make: Make, back: bool) -> None:
    cluster = await make(disks=(1, 1, 1, 0))
    writer = await begun(cluster, node=3)
    await cluster.passes()
    assert left(cluster, writer.object) > 0
    if back:
        cluster.node(3).start()
    else:
        cluster.node(3).up = False
    await cluster.node(1).reconciler.once()
    assert left(cluster, writer.object) == 0


async def test_what_an_aborted_writer_could_not_remove_is_removed_later(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster)
    cluster.node(2).up = False
    await writer.abort()
    cluster.node(2).up = True
    assert left(cluster, writer.object) > 0
    await cluster.passes(2)
    assert left(cluster, writer.object) == 0


async def test_nothing_is_removed_while_a_disk_that_may_have_the_head_is_away(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster)
    before = left(cluster, writer.object)
    cluster.node(0).start()
    cluster.node(2).up = False
    await cluster.node(0).reconciler.once()
    assert left(cluster, writer.object) == before
    cluster.node(2).up = True
    await cluster.node(0).reconciler.once()
    assert left(cluster, writer.object) == 0


async def test_a_writer_that_was_taken_for_dead_cannot_finish(make: Make) -> None:
    cluster = await make(disks=(1, 1, 1, 0))
    writer = await begun(cluster, node=3)
    run = cluster.node(3).claims.run
    cluster.node(3).claims.run = "another"
    await cluster.node(0).reconciler.once()
    cluster.node(3).claims.run = run
    with pytest.raises((ConflictError, ResourceError)):
        await writer.finish(b"manifest")
    await writer.abort()
    await cluster.passes(2)
    assert left(cluster, writer.object) == 0
    assert await cluster.node(0).volume.objects() == {}


async def test_a_finished_object_is_not_taken_for_a_claim_of_before(make: Make) -> None:
    cluster = await make()
    writer = await begun(cluster)
    await writer.finish(b"manifest")
    cluster.node(0).start()  # another run
    assert not await cluster.node(0).volume.disown(writer.object)
    await cluster.settle()
    await check(cluster, writer.object, payloads(15))


async def test_a_disk_leaves_while_an_object_is_being_written(make: Make) -> None:
    cluster = await make(disks=(1, 1, 1, 1, 1))
    writer = await begun(cluster)
    before = cluster.members(writer.object).keys()
    gone = cluster.state.disks[3].id
    assert any(gone in disks for disks in cluster.members(writer.object).values())
    await cluster.change(changes.remove_disks(cluster.state, [gone]))
    await cluster.settle()  # by the simulated clock no time has passed
    assert cluster.now < 10
    assert cluster.state.disk(gone) is None
    cluster.wipe(gone)
    assert cluster.members(writer.object).keys() == before
    for block in payloads(5, seed=2):
        await writer.put(block)
    await writer.finish(b"manifest")
    await cluster.settle()
    blocks = [*payloads(15), *payloads(5, seed=2)]
    await check(cluster, writer.object, blocks)
    all_at_home(cluster, writer.object, len(blocks))


async def test_a_disk_leaves_though_a_writer_died(make: Make) -> None:
    cluster = await make(disks=(1, 1, 1, 1, 1))
    writer = await begun(cluster)
    cluster.node(0).start()
    gone = cluster.state.disks[3].id
    await cluster.change(changes.remove_disks(cluster.state, [gone]))
    await cluster.settle()
    assert cluster.now < 10
    assert left(cluster, writer.object) == 0


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = Claim(node_name(0), "run")
    assert Claim.of(claim.head()) == claim
    for document in (b"", b"{", b"[]", b'{"node": 7, "run": ""}', b'{"node": "x", "run": "y"}'):
        with pytest.raises(MalformedError):
            Claim.of(Head(0, 0, 0, True, document))
