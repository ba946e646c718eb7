"""A process that dies between any two calls of the system leaves the old or the new."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.storage.disks.faulty import (
    CHANGING,
    HEADS,
    KEPT,
    OBJECT,
    OTHER,
    STATE,
    System,
    calls_of,
    check_kept,
    die,
    die_half_written,
    filled,
    in_child,
    standing_in,
)

from heliograph.model.errors import NotFoundError
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.marker import MARKER
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.values import BlockKey, ObjectId

PAYLOAD = b"a new block" * 1000
NEAR = BlockKey(OBJECT, 2, 1)
#: In directories that are not there yet.
FAR = BlockKey(ObjectId("77" * 16), 9000, 2)
OLD = next(iter(KEPT))


def content(disk: Disk, key: BlockKey) -> bytes | None:
    try:
        return disk.get(key).payload
    except NotFoundError:
        return None


def head(disk: Disk, object: ObjectId) -> tuple[int, bytes] | None:
    try:
        return disk.head(object)
    except NotFoundError:
        return None


@dataclass(frozen=True)
class Operation:
    work: Callable[[Disk], object]
    look: Callable[[Disk], object]
    before: object
    after: object
    touches: BlockKey | ObjectId | None = None
    state: bool = True


OPERATIONS = {
    "put": Operation(
        lambda disk: disk.put(NEAR, PAYLOAD), lambda disk: content(disk, NEAR), None, PAYLOAD
    ),
    "put in a new directory": Operation(
        lambda disk: disk.put(FAR, PAYLOAD, (3, 4)),
        lambda disk: content(disk, FAR),
        None,
        PAYLOAD,
    ),
    "delete": Operation(
        lambda disk: disk.delete(OLD), lambda disk: content(disk, OLD), KEPT[OLD], None, OLD
    ),
    "put a head": Operation(
        lambda disk: disk.put_head(OBJECT, 4, b"fourth"),
        lambda disk: head(disk, OBJECT),
        HEADS[OBJECT],
        (4, b"fourth"),
        OBJECT,
    ),
    "delete a head": Operation(
        lambda disk: disk.delete_head(OTHER),
        lambda disk: head(disk, OTHER),
        HEADS[OTHER],
        None,
        OTHER,
    ),
    "put the state": Operation(
        lambda disk: disk.put_state(b"next", 8), Disk.state, STATE, (8, b"next"), state=False
    ),
}


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    with standing_in(System()):
        yield


def deaths(calls: list[str]) -> Iterator[tuple[int, Callable[..., None], str]]:
    """Where to die, how, and how to call it. Before a call that changes nothing is as before the
    next one that does."""
    for at, call in enumerate(calls):
        if call in CHANGING:
            yield at, die, f"before {call}, {at}"
        if call == "writev":
            yield at, die_half_written, f"within {call}, {at}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_call_a_disk_has_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    operation = OPERATIONS[name]
    template = tmp_path / "template"
    filled(template)
    trial = tmp_path / "trial"
    shutil.copytree(template, trial)
    calls = calls_of(trial, operation.work)
    seen = set()
    for at, death, where in deaths(calls):
        shutil.rmtree(trial)
        shutil.copytree(template, trial)

        def run(at: int = at, death: Callable[..., None] = death) -> None:
            with Disk.open(trial) as disk, standing_in(System(at, death)):
                operation.work(disk)

        assert in_child(run) == 9, where
        with Disk.open(trial) as disk:
            found = operation.look(disk)
            assert found in (operation.before, operation.after), where
            seen.add(found == operation.after)
            check_kept(disk, but=operation.touches, state=operation.state)
            if found == operation.before:  # it can be done again
                operation.work(disk)
            assert operation.look(disk) == operation.after
    assert False in seen


def test_killed_while_it_is_made_a_disk_is_made_the_second_time(tmp_path: Path) -> None:
    system = System()
    with standing_in(system), Disk.create(tmp_path / "first", "films"):
        pass
    for at, death, where in deaths(system.calls):
        path = tmp_path / where

        def run(at: int = at, death: Callable[..., None] = death, path: Path = path) -> None:
            with standing_in(System(at, death)), Disk.create(path, "films", capacity=1 << 20):
                pass

        assert in_child(run) == 9, where
        if not (path / MARKER).exists():
            with pytest.raises(DiskError):
                Disk.open(path)
        with Disk.create(path, "films", capacity=1 << 20) as disk:
            disk.put(NEAR, PAYLOAD)
            assert disk.get(NEAR).payload == PAYLOAD
            assert not list((path / "partial").iterdir())


def test_killed_while_a_damaged_block_is_mended_it_is_damaged_or_whole(tmp_path: Path) -> None:
    template = tmp_path / "template"
    filled(template)
    file = next(file for file in (template / "blocks").rglob("00000000-01"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    trial = tmp_path / "trial"
    shutil.copytree(template, trial)
    calls = calls_of(trial, lambda disk: disk.put(OLD, KEPT[OLD]))
    assert "rename" in calls
    for at, death, where in deaths(calls):
        shutil.rmtree(trial)
        shutil.copytree(template, trial)

        def run(at: int = at, death: Callable[..., None] = death) -> None:
            with Disk.open(trial) as disk, standing_in(System(at, death)):
                disk.put(OLD, KEPT[OLD])

        assert in_child(run) == 9, where
        with Disk.open(trial) as disk:
            check_kept(disk, but=OLD)
            if (trial / file.relative_to(template)).read_bytes() != whole:
                with pytest.raises(CorruptError):
                    disk.get(OLD)
                disk.put(OLD, KEPT[OLD])
            assert disk.get(OLD).payload == KEPT[OLD]


def test_killed_while_it_is_opened_or_closed_a_disk_knows_its_usage(tmp_path: Path) -> None:
    template = tmp_path / "template"
    filled(template)
    (template / "partial" / "1-1").write_bytes(b"half")
    trial = tmp_path / "trial"

    def use() -> None:
        with Disk.open(trial) as disk:
            disk.put(NEAR, PAYLOAD)

    shutil.copytree(template, trial)
    system = System()
    with standing_in(system):
        use()
    for at, death, where in deaths(system.calls):
        shutil.rmtree(trial)
        shutil.copytree(template, trial)

        def run(at: int = at, death: Callable[..., None] = death) -> None:
            with standing_in(System(at, death)):
                use()

        assert in_child(run) == 9, where
        with Disk.open(trial) as disk:
            check_kept(disk)
        with Disk.open(trial) as disk:  # and so does who opens it after a proper end
            check_kept(disk)
