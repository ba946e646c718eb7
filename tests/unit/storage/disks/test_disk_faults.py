"""What a disk says when its files are not what was written, or its system refuses."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.storage.disks.faulty import (
    HEADS,
    KEPT,
    OBJECT,
    OTHER,
    STATE,
    System,
    calls_of,
    check_kept,
    filled,
    recounted,
    standing_in,
)

from heliograph.model.errors import NotFoundError
from heliograph.storage.disks.account import USAGE
from heliograph.storage.disks.disk import Block, Disk
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.values import BlockKey, ObjectId

KEY = BlockKey(OBJECT, 1, 1)
PAYLOAD = b"twenty bytes of film"


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    with standing_in(System()):
        yield


@pytest.fixture
def one(tmp_path: Path) -> tuple[Disk, Path]:
    """A disk with one small block, and its file."""
    disk = Disk.create(tmp_path / "disk", "films")
    disk.put(KEY, PAYLOAD, (20, 11))
    return disk, next(Path(disk.path).rglob("00000001-01"))


def test_a_changed_bit_is_noticed_wherever_it_is(one: tuple[Disk, Path]) -> None:
    disk, file = one
    whole = file.read_bytes()
    for at in range(len(whole)):
        for flip in (1 << at % 8, 0xFF):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(CorruptError):
                disk.get(KEY)
    file.write_bytes(whole)
    assert disk.get(KEY) == Block(PAYLOAD, (20, 11))


def test_a_file_that_is_too_short_or_too_long_is_noticed(one: tuple[Disk, Path]) -> None:
    disk, file = one
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            disk.get(KEY)
    for more in (b"\0", b"x" * 5000, bytes(5 << 20)):
        file.write_bytes(whole + more)
        with pytest.raises(CorruptError):
            disk.get(KEY)


def test_zeros_and_holes_are_noticed(one: tuple[Disk, Path]) -> None:
    disk, file = one
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    with pytest.raises(CorruptError):
        disk.get(KEY)


def test_what_is_no_file_is_noticed(one: tuple[Disk, Path]) -> None:
    disk, file = one
    away = file.rename(file.with_name("away"))
    for make in (
        file.mkdir,
        lambda: file.symlink_to(away),
        lambda: os.mkfifo(file),
    ):
        make()
        with pytest.raises(CorruptError, match="no file"):
            disk.get(KEY)
        file.rmdir() if file.is_dir() else file.unlink()
    parent = file.parent
    shutil.rmtree(parent)
    parent.write_text("not a directory")
    with pytest.raises(CorruptError, match="no file"):
        disk.get(KEY)


def test_another_block_in_its_place_is_noticed(one: tuple[Disk, Path]) -> None:
    disk, file = one
    for other in (
        BlockKey(OBJECT, 2, 1),
        BlockKey(OBJECT, 1, 2),
        BlockKey(ObjectId("3f" + "b0" * 15), 1, 1),
    ):
        disk.put(other, PAYLOAD)
        found = next(
            path
            for path in Path(disk.path).rglob(f"{other.group:08x}-{other.member:02x}")
            if other.object in path.parts and path != file
        )
        shutil.copyfile(found, file)
        with pytest.raises(CorruptError, match="holds member"):
            disk.get(KEY)
    disk.put_head(OBJECT, 1, PAYLOAD)
    shutil.copyfile(next(Path(disk.path, "heads").rglob(f"{OBJECT}*")), file)
    with pytest.raises(CorruptError, match="is a head"):
        disk.get(KEY)


def test_a_damaged_block_is_mended_by_putting_it_again(one: tuple[Disk, Path]) -> None:
    disk, file = one
    file.write_bytes(file.read_bytes()[:100])
    disk.put(KEY, PAYLOAD, (20, 11))
    assert disk.get(KEY) == Block(PAYLOAD, (20, 11))
    assert disk.mended == 1
    large = BlockKey(OBJECT, 2, 2)
    disk.put(large, bytes(20_000))
    found = next(Path(disk.path).rglob("00000002-02"))
    found.write_bytes(found.read_bytes()[:-9000])
    disk.close()
    (Path(disk.path) / USAGE).unlink()
    with Disk.open(disk.path) as again:
        again.put(large, bytes(20_000))
        assert (again.usage().used, again.usage().blocks) == recounted(Path(disk.path))


def refuse(number: int) -> Callable[..., None]:
    def act(name: str, words: tuple[object, ...]) -> None:
        raise OSError(number, os.strerror(number))

    return act


NEW = BlockKey(ObjectId("77" * 16), 3, 0)
WORK: dict[str, tuple[Callable[[Disk], object], Callable[[Disk], object], object]] = {
    "put": (lambda d: d.put(NEW, PAYLOAD), lambda d: d.get(NEW).payload, PAYLOAD),
    "put again": (lambda d: d.put(KEY, KEPT[KEY]), lambda d: d.get(KEY).payload, KEPT[KEY]),
    "get": (lambda d: d.get(KEY), lambda d: d.get(KEY).payload, KEPT[KEY]),
    "get fresh": (lambda d: d.get(KEY, fresh=True), lambda d: d.get(KEY).payload, KEPT[KEY]),
    "put a head": (lambda d: d.put_head(OTHER, 2, b"2nd"), lambda d: d.head(OTHER), (2, b"2nd")),
    "head": (lambda d: d.head(OBJECT), lambda d: d.head(OBJECT), HEADS[OBJECT]),
    "put the state": (lambda d: d.put_state(b"8th", 8), lambda d: d.state(), (8, b"8th")),
    "state": (lambda d: d.state(), lambda d: d.state(), STATE),
    "delete": (lambda d: d.delete(KEY), lambda d: KEY in set(d.keys()), False),
    "delete a head": (
        lambda d: d.delete_head(OTHER),
        lambda d: OTHER in dict(d.heads()),
        False,
    ),
    "keys": (lambda d: list(d.keys()), lambda d: set(d.keys()), set(KEPT)),
    "heads": (
        lambda d: list(d.heads()),
        lambda d: dict(d.heads()),
        {object: serial for object, (serial, _) in HEADS.items()},
    ),
    "usage": (lambda d: d.usage(), lambda d: d.usage().blocks, len(KEPT)),
}
TOUCHED = {"delete": KEY, "put a head": OTHER, "delete a head": OTHER}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", WORK)
def test_an_error_at_any_call_is_told_and_harms_nothing(
    tmp_path: Path, name: str, number: int
) -> None:
    work, look, wanted = WORK[name]
    template = tmp_path / "template"
    filled(template)
    shutil.copytree(template, tmp_path / "dry")
    told = 0
    for at, call in enumerate(calls_of(tmp_path / "dry", work)):
        if call == "close":  # the kernel has closed it, whatever it says
            continue
        trial = tmp_path / f"trial{at}"
        shutil.copytree(template, trial)
        with Disk.open(trial) as disk:
            error: DiskError | None = None
            with standing_in(System(at, refuse(number))):
                try:
                    work(disk)
                except DiskError as caught:
                    error = caught
            if error is not None:
                told += 1
                assert (error.errno, error.subject) == (number, disk.id)
                assert error.path.startswith(str(trial))
            else:
                # Only what tidies up may fail unheard; a bad block is written anew.
                mended = name == "put again" and number == errno.EIO and disk.mended
                assert call in ("unlink", "rmdir") or mended, f"{call}, {at}"
            for file in (trial / "partial").iterdir():
                assert call == "unlink", f"{call}, {at}: {file.name} stays"
                file.unlink()
            touched = TOUCHED.get(name)
            check_kept(disk, but=touched, state=name != "put the state")
            work(disk)
            assert look(disk) == wanted
        with Disk.open(trial) as disk:
            assert look(disk) == wanted
            check_kept(disk, but=touched, state=name != "put the state")
    assert told


def test_what_is_read_short_is_corrupt(one: tuple[Disk, Path]) -> None:
    disk, _ = one

    class Short(System):
        def __getattr__(self, name: str) -> object:
            real = super().__getattr__(name)
            if name != "pread":
                return real
            return lambda descriptor, size, at: real(descriptor, size // 2, at)

    with standing_in(Short()), pytest.raises(CorruptError):
        disk.get(KEY)
    assert disk.get(KEY).payload == PAYLOAD


def test_a_block_that_cannot_be_read_is_written_anew(one: tuple[Disk, Path]) -> None:
    disk, _ = one

    class Bad(System):
        def __getattr__(self, name: str) -> object:
            if name == "pread":
                return lambda *_: refuse(errno.EIO)("pread", ())
            return super().__getattr__(name)

    with standing_in(Bad()):
        with pytest.raises(DiskError):
            disk.get(KEY)
        disk.put(KEY, PAYLOAD, (20, 11))
    assert disk.get(KEY).payload == PAYLOAD
    assert disk.mended == 1


def test_missing_is_told_from_gone(one: tuple[Disk, Path]) -> None:
    disk, file = one
    file.unlink()
    with pytest.raises(NotFoundError):
        disk.get(KEY)
