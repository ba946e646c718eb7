"""One disk asked by many: order, sharing, bounds, and disks that hang."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heliograph.model.errors import BusyError, NotFoundError
from heliograph.model.nodes import NodeId
from heliograph.storage import reading
from heliograph.storage.disks.disk import Block, Disk
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.reading import DiskReader
from heliograph.storage.values import BlockKey, ObjectId
from heliograph.storage.volume.stores import LocalStore

OBJECT = ObjectId("3f" * 16)


def key(number: int) -> BlockKey:
    return BlockKey(OBJECT, number, 0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@dataclass
class SlowDisk(Disk):
    """A disk whose calls take until they are let go."""

    path: str = "/slow"
    id: str = "00" * 8  # type: ignore[assignment]
    asked: list[BlockKey] = field(default_factory=list)
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def get(self, key: BlockKey, *, fresh: bool = False) -> Block:
        self.asked.append(key)
        assert self.turns.acquire(timeout=20)
        if key.group == 404:
            raise NotFoundError("nothing")
        if key.group == 13:
            raise CorruptError("bad", path="file")
        return Block(b"%d" % key.group)

    def put(self, key: BlockKey, payload: object, lengths: tuple[int, ...] = ()) -> None:
        self.get(key)

    def delete(self, key: BlockKey) -> bool:
        self.get(key)
        return True

    def go(self, count: int = 1) -> None:
        for _ in range(count):
            self.turns.release()


@pytest.fixture
async def slow() -> AsyncIterator[SlowDisk]:
    disk = SlowDisk()
    yield disk
    disk.go(10_000)


def soon(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_blocks_are_written_read_and_deleted(tmp_path: Path) -> None:
    with Disk.create(tmp_path / "disk", "films") as disk:
        reader = DiskReader(disk)
        await asyncio.gather(*(reader.write(key(n), b"%d" % n * 100, (1,)) for n in range(20)))
        found = await asyncio.gather(*(reader.read(key(n), soon()) for n in range(20)))
        assert found == [Block(b"%d" % n * 100, (1,)) for n in range(20)]
        assert await reader.read(key(3), fresh=True) == found[3]
        assert await reader.delete(key(3))
        with pytest.raises(NotFoundError):
            await reader.read(key(3))
        assert (await reader.call(disk.usage)).blocks == 19
        counters = reader.counters
        assert (counters.reads, counters.writes, counters.in_time) == (22, 20, 20)
        assert counters.bytes_written == sum(len(one.payload) for one in found)
        assert counters.errors == {}
        await reader.close()
        with pytest.raises(DiskError) as caught:
            await reader.read(key(1))
        assert caught.value.errno == errno.ESHUTDOWN


async def test_reads_go_by_their_deadlines(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=1)
    first = asyncio.create_task(reader.read(key(0)))
    await until(lambda: slow.asked)
    waiting = [
        asyncio.create_task(reader.read(key(1))),
        asyncio.create_task(reader.read(key(2), background=True)),
        asyncio.create_task(reader.read(key(3), soon(90))),
        asyncio.create_task(reader.read(key(4), soon(30))),
        asyncio.create_task(reader.write(key(5), b"", deadline=soon(60))),
    ]
    await until(lambda: reader.waiting == 5)
    slow.go(6)
    await asyncio.gather(first, *waiting)
    assert [one.group for one in slow.asked] == [0, 4, 5, 3, 1, 2]
    await reader.close()


async def test_who_asks_for_the_same_shares_one_read(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=1)
    first = asyncio.create_task(reader.read(key(0)))
    others = [asyncio.create_task(reader.read(key(n), soon())) for n in (1, 2, 2, 0)]
    await until(lambda: slow.asked and reader.counters.coalesced == 2)
    others[1].cancel()
    first.cancel()
    slow.go(3)
    found = await asyncio.gather(*(others[n] for n in (0, 2, 3)))
    assert [one.payload for one in found] == [b"1", b"2", b"0"]
    assert [one.group for one in slow.asked] == [0, 1, 2]
    with pytest.raises(asyncio.CancelledError):
        await first
    await reader.close()


async def test_a_read_shared_with_somebody_in_a_hurry_hurries(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=1)
    tasks = [asyncio.create_task(reader.read(key(0)))]
    await until(lambda: slow.asked)
    for number, deadline, background in (
        (1, soon(50), False),
        (2, None, True),
        (2, soon(10), False),
    ):
        tasks.append(asyncio.create_task(reader.read(key(number), deadline, background=background)))
        await asyncio.sleep(0)
    slow.go(3)
    await asyncio.gather(*tasks)
    assert [one.group for one in slow.asked] == [0, 2, 1]
    await reader.close()


async def test_what_nobody_waits_for_any_more_is_not_read(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=1)
    tasks = [asyncio.create_task(reader.read(key(n))) for n in range(3)]
    await until(lambda: slow.asked)
    tasks[1].cancel()
    await until(lambda: reader.counters.abandoned == 1)
    slow.go(2)
    await asyncio.gather(tasks[0], tasks[2])
    assert [one.group for one in slow.asked] == [0, 2]
    assert reader.waiting == reader.running == 0
    await reader.close()


async def test_too_many_are_refused(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=2, limit=3)
    tasks = [asyncio.create_task(reader.read(key(n), soon())) for n in range(5)]
    await until(lambda: reader.waiting == 3 and reader.running == 2)
    with pytest.raises(BusyError) as caught:
        await reader.read(key(9), soon())
    assert caught.value.subject == slow.id
    same = asyncio.create_task(reader.read(key(4), soon()))  # costs nothing more
    slow.go(5)
    assert [one.payload for one in await asyncio.gather(*tasks, same)] == [
        *(b"%d" % n for n in range(5)),
        b"4",
    ]
    assert reader.counters.refused == 1
    await reader.close()


async def test_what_waits_to_be_written_is_bounded_in_bytes(
    slow: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WRITING", 2500)
    reader = DiskReader(slow, threads=1)
    tasks = [asyncio.create_task(reader.write(key(n), bytes(1000))) for n in range(2)]
    await until(lambda: slow.asked)
    with pytest.raises(BusyError):
        await reader.write(key(2), bytes(1000))
    tasks[1].cancel()
    await until(lambda: reader.waiting == 0)
    more = asyncio.create_task(reader.write(key(3), bytes(1000)))
    await until(lambda: reader.waiting == 1)
    slow.go(2)
    await asyncio.gather(tasks[0], more)
    slow.go()
    await reader.write(key(4), bytes(2500))
    await reader.close()


async def test_background_leaves_a_thread_to_readers(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=4)
    behind = [asyncio.create_task(reader.read(key(n), background=True)) for n in range(8)]
    await until(lambda: len(slow.asked) == 2)
    reading = asyncio.create_task(reader.read(key(100), soon()))
    await until(lambda: len(slow.asked) == 3)
    slow.go(9)
    await asyncio.gather(reading, *behind)
    await reader.close()


async def test_background_keeps_to_its_rate_which_can_be_changed(tmp_path: Path) -> None:
    with Disk.create(tmp_path / "disk", "films") as disk:
        reader = DiskReader(disk, background_bps=1.0)
        await reader.write(key(0), bytes(1000))
        await reader.read(key(0), background=True)  # 1000 s worth
        more = asyncio.create_task(reader.read(key(0), background=True))
        assert (await reader.read(key(0), fresh=True)).payload == bytes(1000)
        assert not more.done()
        reader.background_bps = None
        await more
        await reader.close()


async def test_errors_reach_all_who_asked_and_are_counted(slow: SlowDisk) -> None:
    reader = DiskReader(slow)
    slow.go(2)
    found = await asyncio.gather(
        *(reader.read(key(n)) for n in (13, 13, 404)), return_exceptions=True
    )
    assert [type(one) for one in found] == [CorruptError, CorruptError, NotFoundError]
    assert reader.counters.errors == {"CorruptError": 1}
    await reader.close()


async def test_lateness_is_counted_by_how_late(slow: SlowDisk) -> None:
    reader = DiskReader(slow)
    slow.go(3)
    await reader.read(key(0), soon())
    await reader.read(key(1), soon(-0.01))
    await reader.read(key(2), soon(-100.0))
    assert (reader.counters.in_time, reader.counters.late) == (1, 2)
    assert sum(reader.counters.lateness) == 2
    assert reader.counters.lateness[-1] == 1
    assert reader.overdue == 1
    await reader.close()


async def test_a_disk_that_hangs_is_given_up_until_it_answers(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=2, patience=0.05)
    tasks = [asyncio.create_task(reader.read(key(n))) for n in range(4)]
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, DiskError)
        assert error.errno == errno.ETIMEDOUT
    assert reader.hanging
    with pytest.raises(DiskError):  # at once
        await reader.read(key(5), soon())
    assert len(slow.asked) == 2
    assert reader.counters.hung == 2
    slow.go(100)
    await until(lambda: not reader.hanging and reader.running == 0)
    assert (await reader.read(key(6))).payload == b"6"
    await reader.close()


async def test_closing_fails_what_waits_and_awaits_what_runs(slow: SlowDisk) -> None:
    reader = DiskReader(slow, threads=1)
    tasks = [asyncio.create_task(reader.read(key(n))) for n in range(2)]
    await until(lambda: slow.asked)
    closing = asyncio.create_task(reader.close())
    with pytest.raises(DiskError):
        await tasks[1]
    assert not closing.done()
    slow.go()
    await closing
    assert (await tasks[0]).payload == b"0"
    await reader.close()


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_is_cancelled_everybody_else_gets_an_answer(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    with Disk.create(tmp_path / "disk", "films") as disk:
        for number in range(10):
            disk.put(key(number), b"%d" % number * 1000)
        reader = DiskReader(disk, threads=chance.randint(1, 4), limit=50)
        tasks: dict[asyncio.Task[Block], int] = {}
        for _ in range(400):
            number = chance.randrange(12)
            deadline = soon(chance.uniform(-1, 5)) if chance.random() < 0.6 else None
            read = reader.read(key(number), deadline, background=chance.random() < 0.3)
            tasks[asyncio.create_task(read)] = number
            if chance.random() < 0.3:
                chance.choice(list(tasks)).cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.choice((0, 0.001)))
        async with asyncio.timeout(60):
            await asyncio.wait(tasks)
        for task, number in tasks.items():
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                assert task.result().payload == b"%d" % number * 1000
            else:
                assert isinstance(error, BusyError) or number >= 10
        await until(lambda: reader.waiting == reader.running == 0)
        await reader.close()


async def test_blocks_and_heads_that_are_checked_are_read_from_the_medium(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk.create(tmp_path / "disk", "films")
    disk.put(key(0), bytes(1000))
    disk.put_head(OBJECT, 3, b"head")
    inode = _head_of(disk).stat().st_ino
    dropped: list[int] = []
    drop = os.posix_fadvise

    def noted(descriptor: int, offset: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        dropped.append(os.fstat(descriptor).st_ino)
        drop(descriptor, offset, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    store = LocalStore(NodeId("a" * 16), [DiskReader(disk)])
    assert await store.head(OBJECT) == (3, b"head")
    await store.get(disk.id, key(0), None)
    assert dropped == []  # what viewers want may come from memory
    assert await store.check(disk.id, key(0)) == 1000
    assert inode not in dropped
    assert await store.check_head(disk.id, OBJECT, 3) == 4
    assert inode in dropped
    for reader in store.readers.values():
        await reader.close()
    disk.close()


def _head_of(disk: Disk) -> Path:
    (found,) = Path(disk.path, "heads").glob(f"*/{OBJECT}.*")
    return found
