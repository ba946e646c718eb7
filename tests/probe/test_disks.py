"""Real disks that are full, read-only, failing, taken away: file systems made for the test.

They are mounted in a mount namespace of their own, in a child process: nobody else sees them, and
they are gone with it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.model.errors import NotFoundError
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.measure import measure
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.values import BlockKey, ObjectId

pytestmark = pytest.mark.probe

OBJECT = ObjectId("3f" * 16)
PAYLOAD = os.urandom(100_000)
_NEW_MOUNTS = 0x00020000


def key(number: int) -> BlockKey:
    return BlockKey(OBJECT, number, 0)


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, capture_output=True)


def in_own_mounts(work: Callable[[], None]) -> None:
    """Run something where what it mounts is its own."""
    child = os.fork()
    if child == 0:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_NEW_MOUNTS) != 0:
                raise OSError(ctypes.get_errno(), "a mount namespace needs root")
            shell("mount --make-rprivate /")
            work()
        except BaseException as error:
            traceback.print_exc()
            if isinstance(error, subprocess.CalledProcessError):
                os.write(2, error.stderr)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "see what the child wrote"


def refused(number: int, ask: Callable[[], object]) -> None:
    with pytest.raises(DiskError) as caught:
        ask()
    assert caught.value.errno == number


def fill(disk: Disk) -> list[BlockKey]:
    """Put until it is full; what was acknowledged."""
    kept: list[BlockKey] = []

    def more() -> None:
        for number in range(1000):
            disk.put(key(number), PAYLOAD)
            kept.append(key(number))

    with pytest.raises(DiskError) as caught:
        more()
    assert (caught.value.errno, caught.value.subject) == (errno.ENOSPC, disk.id)
    return kept


def check_read_only(disk: Disk) -> None:
    assert disk.get(key(1)).payload == PAYLOAD
    assert disk.head(OBJECT) == (1, b"head")
    assert disk.usage().blocks == 1
    for ask in (
        lambda: disk.put(key(2), PAYLOAD),
        lambda: disk.delete(key(1)),
        lambda: disk.put_head(OBJECT, 2, b"next"),
        lambda: disk.put_state(b"state", 1),
        lambda: disk.delete_head(OBJECT),
        lambda: measure(disk.path),
    ):
        refused(errno.EROFS, ask)
    disk.put(key(1), PAYLOAD)  # is there, and on the medium


@pytest.mark.parametrize("limit", ["size=2m", "size=1g,nr_inodes=30"])
def test_a_full_file_system_refuses_and_loses_nothing(tmp_path: Path, limit: str) -> None:
    def work() -> None:
        shell(f"mount -t tmpfs -o {limit} none {tmp_path}")
        with Disk.create(tmp_path, "films") as disk:
            kept = fill(disk)
            assert len(kept) > 5
            usage = disk.usage()
            assert usage.blocks == len(kept)
            for one in (lambda: disk.put(key(5000), PAYLOAD), lambda: disk.put_state(PAYLOAD, 1)):
                refused(errno.ENOSPC, one)
            assert list(Path(disk.path, "partial").iterdir()) == []
        with Disk.open(tmp_path) as disk:  # a full disk can be opened
            assert sorted(disk.keys()) == kept
            assert all(disk.get(one).payload == PAYLOAD for one in kept)
            disk.put(kept[0], PAYLOAD)  # is there
            assert disk.delete(kept[0])
            assert disk.delete(kept[1])
            disk.put(key(5000 if "size=2m" in limit else 999), PAYLOAD)

    in_own_mounts(work)


def test_a_disk_that_turns_read_only_is_read(tmp_path: Path) -> None:
    def work() -> None:
        shell(f"mount -t tmpfs none {tmp_path}")
        with Disk.create(tmp_path, "films") as disk:
            disk.put(key(1), PAYLOAD)
            disk.put_head(OBJECT, 1, b"head")
            Path(disk.path, "partial", "1-1").write_bytes(b"of a crash")
            shell(f"mount -o remount,ro {tmp_path}")
            check_read_only(disk)
        with Disk.open(tmp_path) as disk:
            check_read_only(disk)
            shell(f"mount -o remount,rw {tmp_path}")
            disk.put(key(2), PAYLOAD)
            assert disk.usage().blocks == 2
        with Disk.open(tmp_path) as disk:
            shell(f"mount -o remount,ro {tmp_path}")
            assert disk.usage().blocks == 2
            disk.put(key(1), PAYLOAD)

    in_own_mounts(work)


def test_a_device_that_fails_says_so_for_what_lay_there(tmp_path: Path) -> None:
    """The file below a loop device is cut off: reading beyond its end is an I/O error."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()

    def work() -> None:
        shell(f"truncate -s 16M {image} && mkfs.ext4 -q -O ^has_journal {image}")
        shell(f"mount -o loop {image} {mount}")
        try:
            disk = Disk.create(mount, "films")
            keys = [key(number) for number in range(60)]
            for one in keys:
                disk.put(one, PAYLOAD)
            shell(f"sync -f {mount} && truncate -s 6M {image}")
            found = []
            for one in keys:
                try:
                    found.append(disk.get(one, fresh=True).payload == PAYLOAD)
                except DiskError as error:
                    found.append(error.errno)
            assert set(found) == {True, errno.EIO}
        finally:
            shell(f"umount -l {mount}")

    in_own_mounts(work)


def test_damage_below_the_file_system_is_noticed(tmp_path: Path) -> None:
    """Bytes of the device change; the file system knows nothing of it."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()

    def work() -> None:
        shell(f"truncate -s 16M {image} && mkfs.ext4 -q -O ^has_journal {image}")
        shell(f"mount -o loop {image} {mount}")
        try:
            disk = Disk.create(mount, "films")
            for number in range(20):
                disk.put(key(number), b"%06d" % number + PAYLOAD)
            shell(f"sync -f {mount}")
            raw = bytearray(image.read_bytes())
            for number in (3, 11):
                at = raw.find(b"%06d" % number + PAYLOAD[:1000])
                raw[at + 500] ^= 4
            with image.open("r+b") as file:
                file.write(raw)
            wrong = []
            for number in range(20):
                try:
                    disk.get(key(number), fresh=True)
                except CorruptError:
                    wrong.append(number)
            assert wrong == [3, 11]
            disk.put(key(3), b"%06d" % 3 + PAYLOAD)
            assert disk.get(key(3), fresh=True).payload[:6] == b"000003"
        finally:
            shell(f"umount -l {mount}")

    in_own_mounts(work)


def test_a_disk_taken_away_is_gone_and_its_place_stays_empty(tmp_path: Path) -> None:
    def work() -> None:
        shell(f"mount -t tmpfs none {tmp_path}")
        disk = Disk.create(tmp_path, "films")
        disk.put(key(1), PAYLOAD)
        with pytest.raises(NotFoundError):
            disk.get(key(2))
        shell(f"umount -l {tmp_path}")
        for ask in (
            lambda: disk.get(key(1)),
            lambda: disk.put(key(2), PAYLOAD),
            lambda: disk.delete(key(1)),
            lambda: disk.put_head(OBJECT, 1, b"x"),
            lambda: disk.usage(),
            lambda: list(disk.keys()),
            lambda: Disk.open(tmp_path),
        ):
            with pytest.raises(DiskError) as caught:
                ask()
            assert caught.value.errno == errno.ENOENT
        disk.close()
        assert list(tmp_path.iterdir()) == []

    in_own_mounts(work)


def test_a_disk_killed_while_it_writes_keeps_all_it_acknowledged(tmp_path: Path) -> None:
    """By SIGKILL, wherever that meets it."""
    for turn in range(5):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                disk = Disk.create(tmp_path, "films")
                for number in range(turn * 10_000, turn * 10_000 + 10_000):
                    disk.put(key(number), b"%d" % number * 1000)
                    disk.put_state(b"after %d" % number, number + 1)
                    os.write(writing, b"%d\n" % number)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading) as told:
            lines = [told.readline() for _ in range(10 + 7 * turn)]
            os.kill(child, 9)
            lines += told.readlines()
        os.waitpid(child, 0)
        said = [int(line) for line in lines if line.endswith("\n")]
        with Disk.open(tmp_path) as disk:
            for number in said:
                assert disk.get(key(number)).payload == b"%d" % number * 1000
            found = disk.state()
            assert found is not None
            assert found[0] - 1 in (said[-1], said[-1] + 1)
            assert len(list(disk.keys())) == disk.usage().blocks
            assert list(Path(disk.path, "partial").iterdir()) == []
