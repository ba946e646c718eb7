"""A directory that holds blocks, heads and the state of a volume."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.storage.disks.faulty import recounted

from heliograph.model.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)
from heliograph.storage.disks.account import USAGE
from heliograph.storage.disks.disk import Block, Disk
from heliograph.storage.disks.marker import MARKER
from heliograph.storage.disks.measure import measure
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.values import MAX_BLOCK, BlockKey, DiskId, ObjectId, new_object

OBJECT = ObjectId("3f" * 16)
KEY = BlockKey(OBJECT, 28, 2)
PAYLOAD = bytes(range(256)) * 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.create(tmp_path / "disk", "films") as made:
        yield made


def file_of(disk: Disk, name: str) -> Path:
    return next(Path(disk.path).rglob(name))


def test_a_block_comes_back_as_it_was_put(disk: Disk) -> None:
    disk.put(KEY, PAYLOAD, (5120, 0, 17))
    assert disk.get(KEY) == Block(PAYLOAD, (5120, 0, 17))
    assert disk.get(KEY, fresh=True) == Block(PAYLOAD, (5120, 0, 17))
    empty = BlockKey(OBJECT, 0, 0)
    disk.put(empty, b"")
    assert disk.get(empty) == Block(b"")
    assert file_of(disk, "0000001c-02").relative_to(disk.path).parts[:3] == ("blocks", "3f", OBJECT)


def test_a_block_is_written_once(disk: Disk) -> None:
    disk.put(KEY, PAYLOAD)
    before = file_of(disk, "0000001c-02").stat()
    disk.put(KEY, memoryview(PAYLOAD))
    with pytest.raises(ConflictError):
        disk.put(KEY, PAYLOAD[:-1])
    with pytest.raises(ConflictError):
        disk.put(KEY, PAYLOAD, (1,))
    after = file_of(disk, "0000001c-02").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert disk.usage().blocks == 1


def test_what_is_not_there_is_not_found(disk: Disk) -> None:
    for ask in (
        lambda: disk.get(KEY),
        lambda: disk.head(OBJECT),
    ):
        with pytest.raises(NotFoundError):
            ask()
    assert disk.state() is None
    assert not disk.delete(KEY)
    assert not disk.delete_head(OBJECT)
    assert list(disk.keys()) == list(disk.keys(OBJECT)) == list(disk.heads()) == []


def test_keys_that_no_volume_gives_are_refused(disk: Disk) -> None:
    for bad in (
        BlockKey(ObjectId("../../etc/passwd"), 0, 0),
        BlockKey(OBJECT, -1, 0),
        BlockKey(OBJECT, 1 << 32, 0),
        BlockKey(OBJECT, 0, 256),
    ):
        with pytest.raises(MalformedError):
            disk.put(bad, b"x")
        with pytest.raises(MalformedError):
            disk.get(bad)
    with pytest.raises(MalformedError):
        disk.put_head(OBJECT, -1, b"x")
    with pytest.raises(TooLargeError):
        disk.put(KEY, bytes(MAX_BLOCK + 1))


def test_the_index_is_the_directory(disk: Disk) -> None:
    other = new_object()
    keys = [BlockKey(OBJECT, group, group % 3) for group in (0, 1, 4095, 4096, 1 << 31)]
    for key in [*keys, BlockKey(other, 3, 1)]:
        disk.put(key, b"x")
    assert list(disk.keys(OBJECT)) == keys
    assert sorted(disk.keys()) == sorted([*keys, BlockKey(other, 3, 1)])
    first = Path(disk.path, "blocks", "3f")
    (first / "notes.txt").write_text("by hand")
    (first / OBJECT / "00000" / "0000001c-02.bak").write_text("by hand")
    (first / OBJECT / "00001" / "00000005-01").write_text("of another place")
    (Path(disk.path, "heads") / "lost+found").mkdir()
    assert list(disk.keys(OBJECT)) == keys
    assert disk.strays == 2
    assert len(list(disk.keys())) == len(keys) + 1
    assert disk.strays == 5


def test_deleted_blocks_leave_no_directories(disk: Disk) -> None:
    disk.put(KEY, PAYLOAD)
    assert disk.delete(KEY)
    assert not disk.delete(KEY)
    assert list(Path(disk.path, "blocks", "3f").iterdir()) == []
    assert (disk.usage().used, disk.usage().blocks) == (0, 0)
    disk.put(KEY, b"again, and other content")


def test_the_newest_head_counts_and_older_ones_go(disk: Disk) -> None:
    disk.put_head(OBJECT, 1, b"first")
    disk.put_head(OBJECT, 5, b"fifth")
    disk.put_head(OBJECT, 5, b"fifth")
    assert disk.head(OBJECT) == (5, b"fifth")
    assert list(disk.heads()) == [(OBJECT, 5)]
    for serial, data in ((4, b"fourth"), (5, b"another fifth")):
        with pytest.raises(ConflictError):
            disk.put_head(OBJECT, serial, data)
    assert len(list(Path(disk.path, "heads", "3f").iterdir())) == 1
    assert disk.delete_head(OBJECT)
    with pytest.raises(NotFoundError):
        disk.head(OBJECT)


def test_a_damaged_head_gives_way_to_the_older_one_that_a_crash_left(disk: Disk) -> None:
    disk.put_head(OBJECT, 1, b"first")
    kept = file_of(disk, f"{OBJECT}.{1:016x}").read_bytes()
    disk.put_head(OBJECT, 2, b"second")
    newest = file_of(disk, f"{OBJECT}.{2:016x}")
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CorruptError):
        disk.head(OBJECT)
    newest.with_name(f"{OBJECT}.{1:016x}").write_bytes(kept)
    assert disk.head(OBJECT) == (1, b"first")
    disk.put_head(OBJECT, 2, b"second again")  # what is damaged does not stand in the way
    assert disk.head(OBJECT) == (2, b"second again")
    assert len(list(newest.parent.iterdir())) == 1


def test_a_head_under_another_name_is_not_taken(disk: Disk) -> None:
    disk.put_head(OBJECT, 2, b"second")
    file = file_of(disk, f"{OBJECT}.{2:016x}")
    file.rename(file.with_name(f"{OBJECT}.{9:016x}"))
    with pytest.raises(CorruptError, match="number 2"):
        disk.head(OBJECT)


def test_the_state_is_kept_like_a_head(disk: Disk) -> None:
    disk.put_state(b"one", 1)
    disk.put_state(b"three", 3)
    with pytest.raises(ConflictError):
        disk.put_state(b"two", 2)
    assert disk.state() == (3, b"three")


def test_usage_is_kept_over_closing_and_counted_after_a_crash(disk: Disk) -> None:
    disk.put(KEY, PAYLOAD)
    disk.put(BlockKey(OBJECT, 29, 0), PAYLOAD)
    disk.put_head(OBJECT, 1, b"x" * 5000)
    disk.put_state(b"x", 1)
    disk.delete(KEY)
    used = disk.usage()
    assert (used.used, used.blocks) == recounted(Path(disk.path)) == (8192 + 8192 + 4096, 1)
    disk.close()
    disk.close()
    for crashed in (False, True):
        if crashed:
            Path(disk.path, USAGE).unlink()
        with Disk.open(disk.path) as again:
            assert (again.usage().used, again.usage().blocks) == (used.used, used.blocks)
    Path(disk.path, USAGE).write_text("{")
    with Disk.open(disk.path) as again:
        assert (again.usage().used, again.usage().blocks) == (used.used, used.blocks)


def test_a_limit_is_kept(tmp_path: Path) -> None:
    with Disk.create(tmp_path / "small", "films", capacity=16384) as disk:
        disk.put(KEY, PAYLOAD)
        disk.put(BlockKey(OBJECT, 1, 0), b"x" * 3000)
        assert disk.usage().capacity == 16384
        assert disk.usage().free == 4096
        with pytest.raises(DiskError) as caught:
            disk.put(BlockKey(OBJECT, 2, 0), PAYLOAD)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.subject == disk.id
        disk.put(KEY, PAYLOAD)  # is there already
        disk.delete(KEY)
        disk.put(BlockKey(OBJECT, 2, 0), PAYLOAD)


def test_a_disk_belongs_to_one_volume(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "disk"
    with Disk.create(path, "films", DiskId("00" * 8), capacity=1 << 20) as disk:
        assert (disk.id, disk.volume, disk.capacity) == ("00" * 8, "films", 1 << 20)
    with Disk.create(path, "films") as disk:
        assert disk.id == "00" * 8
    with pytest.raises(ConflictError):
        Disk.create(path, "news")
    with pytest.raises(ConflictError):
        Disk.create(path, "films", DiskId("11" * 8))
    Disk.open(path).close()  # nobody holds it after that
    for bad in ({"id": DiskId("x")}, {"capacity": 0}):
        with pytest.raises(MalformedError):
            Disk.create(tmp_path / "other", "films", **bad)


def test_a_closed_disk_is_not_written_to(disk: Disk) -> None:
    disk.put(KEY, PAYLOAD)
    disk.close()
    with Disk.open(disk.path):
        for ask in (
            lambda: disk.put(BlockKey(OBJECT, 1, 1), PAYLOAD),
            lambda: disk.delete(KEY),
            lambda: disk.put_state(b"x", 1),
        ):
            with pytest.raises(DiskError) as caught:
                ask()
            assert caught.value.errno == errno.ESHUTDOWN


def test_a_disk_is_used_by_one_process(disk: Disk) -> None:
    with pytest.raises(ConflictError):
        Disk.open(disk.path)
    program = (
        "import sys; from heliograph.storage.disks.disk import Disk\n"
        "try: Disk.open(sys.argv[1])\nexcept Exception as error: print(type(error).__name__)"
    )
    command = [sys.executable, "-c", program, disk.path]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "ConflictError"
    disk.close()
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == ""


def test_what_is_no_disk_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DiskError) as caught:
        Disk.open(tmp_path / "nowhere")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(DiskError):
        Disk.open(tmp_path)
    marker = {"format": 1, "id": "00" * 8, "volume": "films", "capacity": None}
    for bad, error in (
        ("", CorruptError),
        ("[]", CorruptError),
        (json.dumps(marker | {"id": "7"}), CorruptError),
        (json.dumps(marker | {"capacity": "much"}), CorruptError),
        (json.dumps(marker | {"format": 2}), UnsupportedError),
    ):
        (tmp_path / MARKER).write_text(bad)
        with pytest.raises(error):
            Disk.open(tmp_path)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_disk_whose_directory_vanishes_says_so(disk: Disk, elsewhere: bool) -> None:
    disk.put(KEY, PAYLOAD)
    root = Path(disk.path)
    root.rename(root.with_name("moved"))
    if elsewhere:  # as the empty place where it was mounted
        root.mkdir()
    for ask in (
        lambda: disk.get(KEY),
        lambda: disk.put(KEY, PAYLOAD),
        lambda: disk.put(BlockKey(OBJECT, 1, 1), PAYLOAD),
        lambda: disk.delete(KEY),
        lambda: disk.put_head(OBJECT, 1, b"x"),
        lambda: disk.head(OBJECT),
        lambda: disk.put_state(b"x", 1),
        lambda: disk.state(),
        lambda: list(disk.keys()),
        lambda: list(disk.heads()),
        lambda: disk.usage(),
    ):
        with pytest.raises(DiskError) as caught:
            ask()
        assert caught.value.errno == errno.ENOENT
    assert not elsewhere or list(root.iterdir()) == []


def test_another_disk_in_its_place_is_not_written_to(disk: Disk, tmp_path: Path) -> None:
    disk.put(KEY, PAYLOAD)
    root = Path(disk.path)
    root.rename(tmp_path / "moved")
    with Disk.create(root, "films") as other:
        for ask in (
            lambda: disk.put(BlockKey(OBJECT, 1, 1), PAYLOAD),
            lambda: disk.put_head(OBJECT, 1, b"x"),
            lambda: disk.get(KEY),
        ):
            with pytest.raises(DiskError):
                ask()
        assert other.usage().blocks == 0
        assert list(other.keys()) == []
        assert list(other.heads()) == []


def test_many_threads_put_and_delete_the_same(disk: Disk) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(30):
                key = BlockKey(OBJECT, (turn * seed) % 5, 0)
                disk.put(key, b"%d" % key.group * 100)
                if turn % 3 == seed % 3:
                    disk.delete(key)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for key in sorted(disk.keys()):
        assert disk.get(key).payload == b"%d" % key.group * 100
    assert (disk.usage().used, disk.usage().blocks) == recounted(Path(disk.path))


def test_a_disk_is_measured_and_nothing_stays(tmp_path: Path) -> None:
    speed = measure(tmp_path)
    assert speed.read_bps > 0
    assert speed.write_bps > 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DiskError):
        measure(tmp_path / "nowhere")
