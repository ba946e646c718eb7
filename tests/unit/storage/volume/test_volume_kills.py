"""Everything is killed between any two changes of its disks, and then started again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.storage.disks.faulty import CHANGING, System, die, in_child, standing_in
from tests.unit.storage.volume.cluster import Cluster, all_at_home, check, payloads, write

from heliograph.model.errors import NotFoundError
from heliograph.storage.values import ObjectId
from heliograph.storage.volume import changes

BLOCKS = payloads(7)
OTHER = payloads(5, seed=2)
#: The object that is there from the beginning, the first of a cluster.
KEPT = Cluster(Path()).name_object()
NEW = ObjectId("ab" * 16)
#: Deaths of each operation that are tried every time; ``long`` tries them all.
SAMPLES = 5


@dataclass(frozen=True)
class Operation:
    """What is killed, and what has to be true after that."""

    prepare: Callable[[Cluster], Awaitable[None]]
    work: Callable[[Cluster], Awaitable[None]]
    look: Callable[[Cluster], Awaitable[None]]
    whole: tuple[ObjectId, ...] = (KEPT,)
    """Objects that are whole and at home in the end, by their blocks."""


async def nothing(cluster: Cluster) -> None:
    """No preparation, or nothing to look for."""


async def add(cluster: Cluster) -> None:
    cluster.add(4)
    entry = [*cluster.entries.values()][-1]
    await cluster.change(changes.add_disks(cluster.state, [entry]))


async def remove(cluster: Cluster) -> None:
    await cluster.change(changes.remove_disks(cluster.state, [cluster.state.disks[1].id]))


async def fail(cluster: Cluster) -> None:
    entry = cluster.state.disks[2]
    cluster.wipe(entry.id)
    await cluster.change(changes.fail_disks(cluster.state, [entry.id]))


async def replace(cluster: Cluster) -> None:
    cluster.add(4)
    entry = [*cluster.entries.values()][-1]
    await cluster.change(changes.replace_disk(cluster.state, cluster.state.disks[0].id, entry))


async def rebalance(cluster: Cluster) -> None:
    await cluster.change(changes.set_policy(cluster.state, "jump"))


async def damage(cluster: Cluster) -> None:
    for key, (disk,) in cluster.members(KEPT).items():
        if key.member == key.group % 2:
            cluster.corrupt(disk, key)


async def settle(cluster: Cluster) -> None:
    await cluster.settle()


async def mend(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        await node.reconciler.scrub(10**9)
    await cluster.settle()


async def write_new(cluster: Cluster) -> None:
    writer = cluster.node(0).volume.writer(NEW)
    for payload in OTHER:
        await writer.put(payload)
    await writer.finish(b"new")


async def all_or_nothing(cluster: Cluster) -> None:
    """An object whose writer died is whole, or leaves nothing."""
    try:
        await cluster.node(1).volume.head(NEW)
    except NotFoundError:
        cluster.now += 200
        await cluster.passes()
        cluster.now += 200
        await cluster.passes()
        assert cluster.members(NEW) == {}
    else:
        await check(cluster, NEW, OTHER)


async def publish_first(cluster: Cluster) -> None:
    writer = cluster.node(0).volume.writer(NEW)
    for payload in OTHER[:3]:
        await writer.put(payload)
    await writer.grow(b"three")


async def go_on(cluster: Cluster) -> None:
    writer = await cluster.node(1).volume.reopen(NEW)
    for payload in OTHER[3:]:
        await writer.put(payload)
    await writer.finish(b"five")


async def three_or_five(cluster: Cluster) -> None:
    """What was published is there, and can be continued."""
    head = await cluster.node(2).volume.head(NEW)
    assert (head.blocks, head.open) in ((3, True), (5, False))
    await check(cluster, NEW, OTHER[: head.blocks])
    if head.open:
        await go_on(cluster)
    await check(cluster, NEW, OTHER)


async def delete(cluster: Cluster) -> None:
    await cluster.node(0).volume.delete(NEW)
    await cluster.passes()


async def whole_or_gone(cluster: Cluster) -> None:
    """An object whose deletion was cut short is whole, or gone from everywhere."""
    try:
        await cluster.node(1).volume.head(NEW)
    except NotFoundError:
        await cluster.passes(2)
        assert cluster.members(NEW) == {}
    else:
        await check(cluster, NEW, OTHER)


OPERATIONS = {
    "write": Operation(nothing, write_new, all_or_nothing),
    "record": Operation(publish_first, go_on, three_or_five),
    "delete": Operation(write_new, delete, whole_or_gone),
    "add": Operation(add, settle, nothing),
    "remove": Operation(remove, settle, nothing),
    "fail": Operation(fail, settle, nothing),
    "replace": Operation(replace, settle, nothing),
    "rebalance": Operation(rebalance, settle, nothing),
    "mend": Operation(damage, mend, nothing),
}


async def make(path: Path, operation: Operation) -> None:
    """What is there before."""
    cluster = await Cluster.make(path, (1, 1, 1, 1))
    assert await write(cluster, BLOCKS) == KEPT
    await operation.prepare(cluster)
    await cluster.close()


async def run(path: Path, operation: Operation, system: System) -> None:
    """The operation, on a system that may end it."""
    cluster = await Cluster.open(path)
    with standing_in(system):
        await operation.work(cluster)
    await cluster.close()


async def look(path: Path, operation: Operation) -> None:
    """Started again, all is served at once, and in the end all is as it should be."""
    cluster = await Cluster.open(path)
    with standing_in(System()):
        await check(cluster, KEPT, BLOCKS)
        if operation.work in (settle, mend):
            for node in cluster.nodes.values():
                await node.reconciler.scrub(10**9)
            await cluster.settle()
            await check(cluster, KEPT, BLOCKS)
            gone = [one for one in cluster.entries if cluster.state.disk(one) is None]
            for disk in gone:
                cluster.wipe(disk)
            all_at_home(cluster, KEPT, len(BLOCKS))
        await operation.look(cluster)
    await cluster.close()


def calls_of(path: Path, operation: Operation) -> list[str]:
    """The calls that the operation makes, one after another."""
    system = System()
    asyncio.run(run(path, operation, system))
    return system.calls


def deaths(tmp_path: Path, name: str, samples: int | None) -> None:
    operation = OPERATIONS[name]
    template, trial = tmp_path / "template", tmp_path / "trial"
    with standing_in(System()):
        asyncio.run(make(template, operation))
    shutil.copytree(template, trial)
    calls = calls_of(trial, operation)
    points = [at for at, call in enumerate(calls) if call in CHANGING]
    assert len(points) > 10
    step = 1 if samples is None else max(1, len(points) // samples)
    killed = 0
    for at in points[::step]:
        shutil.rmtree(trial)
        shutil.copytree(template, trial)
        # Threads make the calls in another order each time: sometimes there is none to die at.
        status = in_child(lambda at=at: asyncio.run(run(trial, operation, System(at, die))))
        assert status in (0, 9)
        killed += status == 9
        asyncio.run(look(trial, operation))
    assert killed > 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_some_instant_a_volume_loses_nothing(tmp_path: Path, name: str) -> None:
    deaths(tmp_path, name, SAMPLES)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_instant_a_volume_loses_nothing(tmp_path: Path, name: str) -> None:
    deaths(tmp_path, name, None)
