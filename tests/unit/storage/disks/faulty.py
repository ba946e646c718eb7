"""An operating system that fails or dies at a chosen call, and what a disk must be after that."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heliograph.storage.disks import files
from heliograph.storage.disks.account import GRAIN, USAGE
from heliograph.storage.disks.disk import Disk
from heliograph.storage.values import BlockKey, ObjectId

#: The calls of ``files.py`` that reach the kernel.
CALLS = frozenset(
    ("open", "close", "writev", "fsync", "link", "rename", "unlink", "mkdir", "rmdir")
    + ("pread", "posix_fadvise", "fstat", "stat", "statvfs", "listdir", "scandir")
)
OBJECT = ObjectId("3f" * 16)
OTHER = ObjectId("3f" + "a0" * 15)
KEPT = {BlockKey(OBJECT, group, 1): b"kept %d " % group * 300 for group in (0, 1, 5000)}
HEADS = {OBJECT: (3, b"third head"), OTHER: (1, b"first head")}
STATE = (7, b"the volume's state")


#: Those after which a disk is another than before, or its file.
CHANGING = frozenset(("open", "writev", "link", "rename", "unlink", "mkdir", "rmdir"))


class System:
    """Stands in for ``os``: counts calls, and at one of them does something else first.

    Nothing waits for the medium: that takes long, and who survives a process is not asked for it.
    """

    def __init__(self, at: int = -1, act: Callable[[str, tuple[Any, ...]], None] | None = None):
        self.calls: list[str] = []
        self._at, self._act = at, act

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*words: Any, **named: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self._at and self._act is not None:
                self._act(name, words)
            return None if name == "fsync" else real(*words, **named)

        return call


def filled(path: Path) -> None:
    """Make a disk with blocks, heads and a state; it is closed."""
    with Disk.create(path, "films") as disk:
        for key, payload in KEPT.items():
            disk.put(key, payload)
        disk.put_head(OTHER, 0, b"an older head")
        older = next((path / "heads").rglob(f"{OTHER}.*"))
        content = older.read_bytes()
        for object, (serial, data) in HEADS.items():
            disk.put_head(object, serial, data)
        disk.put_state(STATE[1], STATE[0])
    older.write_bytes(content)  # as a crash leaves it
    (path / USAGE).unlink()
    Disk.open(path).close()


def calls_of(path: Path, work: Callable[[Disk], object]) -> list[str]:
    """The calls that work on a disk makes."""
    with Disk.open(path) as disk:
        system = System()
        with standing_in(system):
            work(disk)
        return system.calls


class standing_in:
    """While it lasts, a disk's calls go to another system."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __enter__(self) -> None:
        self._before = files.os
        files.os = self._system  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        files.os = self._before


def die(name: str, words: tuple[Any, ...]) -> None:
    """As by SIGKILL, between two calls."""
    os._exit(9)


def die_half_written(name: str, words: tuple[Any, ...]) -> None:
    """As by SIGKILL, with half of what was to be written."""
    if name == "writev":
        descriptor, views = words
        whole = b"".join(views)
        os.write(descriptor, whole[: len(whole) // 2])
    os._exit(9)


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; its exit code, 1 after an exception."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def recounted(path: Path) -> tuple[int, int]:
    """Bytes and blocks of a disk, from its files."""
    used = blocks = 0
    for top in ("blocks", "heads", "state"):
        for file in (path / top).rglob("*"):
            if file.is_file():
                used += -(-file.stat().st_size // GRAIN) * GRAIN
                blocks += top == "blocks"
    return used, blocks


def check_kept(disk: Disk, *, but: BlockKey | ObjectId | None = None, state: bool = True) -> None:
    """Whatever was acknowledged is there, the counts are true, and nothing half is left."""
    for key, payload in KEPT.items():
        if key != but:
            assert disk.get(key).payload == payload
    for object, head in HEADS.items():
        if object != but:
            assert disk.head(object) == head
    if state:
        assert disk.state() == STATE
    assert set(KEPT) - {but} <= set(disk.keys())
    assert disk.strays == 0
    assert not list((Path(disk.path) / "partial").iterdir())
    usage = disk.usage()
    assert (usage.used, usage.blocks) == recounted(Path(disk.path))
