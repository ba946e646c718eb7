"""A power cut: what was acknowledged is on the medium, not only in the kernel's memory.

The file system is the worst that keeps its promises: contents are on the medium when the file was
synchronised, names when their directory was. Of the rest a cut keeps nothing, or the names alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.storage.disks.faulty import (
    HEADS,
    KEPT,
    OBJECT,
    OTHER,
    STATE,
    System,
    check_kept,
    filled,
    standing_in,
)

from heliograph.model.errors import NotFoundError
from heliograph.storage.disks.disk import Disk
from heliograph.storage.values import BlockKey, ObjectId

PAYLOAD = b"a new block" * 400
NEAR, FAR = BlockKey(OBJECT, 2, 1), BlockKey(ObjectId("77" * 16), 9000, 2)


class Inode:
    """A file: what is on the medium of it, and what would be after a cut that kept its name."""

    def __init__(self, content: bytes | None) -> None:
        self.synced = content
        self.written = b"" if content is None else content


Names = dict[str, Inode | None]
"""By path from the root; None is a directory."""


class Medium(System):
    """Does what it is told on the real files, and knows what a cut would leave of them."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.cuts: list[tuple[str, dict[str, bytes | None]]] = []
        self._root = str(root)
        self._names: Names = {}
        for path in root.rglob("*"):
            name = str(path.relative_to(root))
            self._names[name] = None if path.is_dir() else Inode(path.read_bytes())
        self._durable = dict(self._names)
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        real = super().__getattr__(name)
        note = getattr(type(self), f"_{name}", None)
        if note is None:
            return real

        def call(*words: Any, **named: Any) -> Any:
            self.cut(f"before {name}")
            result = real(*words, **named)
            note(self, result, *words)
            return result

        return call

    def cut(self, when: str) -> None:
        """Note what would be left: nothing that is not synchronised, or its names."""
        kept = {
            name: inode and (inode.synced or b"")
            for name, inode in self._durable.items()
            if all(str(above) in (*self._durable, ".") for above in Path(name).parents)
        }
        eager = {
            name: inode and (inode.written[:-3] if inode.synced is None else inode.synced)
            for name, inode in self._names.items()
        }
        for what, image in (("nothing", kept), ("the names", eager)):
            self.cuts.append((f"{when}, {len(self.calls)}, {what} kept", image))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._root)

    def _open(self, result: int, path: str, flags: int, *_: int) -> None:
        self._paths[result] = self._name(path)
        if flags & os.O_CREAT:
            self._names[self._name(path)] = Inode(None)

    def _writev(self, result: int, descriptor: int, views: list[bytes]) -> None:
        inode = self._names[self._paths[descriptor]]
        assert inode is not None
        inode.written += b"".join(views)[:result]

    def _fsync(self, _: None, descriptor: int) -> None:
        name = self._paths[descriptor]
        inode = self._names.get(name)
        if inode is not None:
            inode.synced = inode.written
            return
        inside = lambda one: os.path.dirname(one) == ("" if name == "." else name)  # noqa: E731
        self._durable = {one: at for one, at in self._durable.items() if not inside(one)}
        self._durable |= {one: at for one, at in self._names.items() if inside(one)}

    def _link(self, _: None, source: str, target: str) -> None:
        self._names[self._name(target)] = self._names[self._name(source)]

    def _rename(self, _: None, source: str, target: str) -> None:
        self._names[self._name(target)] = self._names.pop(self._name(source))

    def _unlink(self, _: None, path: str) -> None:
        del self._names[self._name(path)]

    def _mkdir(self, _: None, path: str, *rest: int) -> None:
        self._names[self._name(path)] = None

    def _rmdir(self, _: None, path: str) -> None:
        del self._names[self._name(path)]


def written(image: dict[str, bytes | None], root: Path) -> Path:
    """Make the files that a cut left."""
    root.mkdir()
    for name, content in sorted(image.items()):
        if content is None:
            (root / name).mkdir(exist_ok=True)
        else:
            (root / name).write_bytes(content)
    return root


def found(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except NotFoundError:
        return None


#: What is done, how to see it, what is seen before and after it, and what else it touches.
WORK: dict[str, tuple[Any, ...]] = {
    "put": (lambda d: d.put(NEAR, PAYLOAD), lambda d: d.get(NEAR).payload, None, PAYLOAD, None),
    "put far": (lambda d: d.put(FAR, PAYLOAD), lambda d: d.get(FAR).payload, None, PAYLOAD, None),
    "put a head": (
        lambda d: d.put_head(OTHER, 2, b"second"),
        lambda d: d.head(OTHER),
        HEADS[OTHER],
        (2, b"second"),
        OTHER,
    ),
    "put the state": (lambda d: d.put_state(b"8", 8), lambda d: d.state(), STATE, (8, b"8"), None),
    "delete a head": (
        lambda d: d.delete_head(OTHER),
        lambda d: d.head(OTHER),
        HEADS[OTHER],
        None,
        OTHER,
    ),
}


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    with standing_in(System()):
        yield


@pytest.mark.parametrize("name", WORK)
def test_after_a_power_cut_a_disk_has_the_old_or_the_new_and_all_it_acknowledged(
    tmp_path: Path, name: str
) -> None:
    work, look, before, after, touched = WORK[name]
    filled(tmp_path / "site" / "disk")
    with Disk.open(tmp_path / "site" / "disk") as disk:
        medium = Medium(tmp_path / "site")
        with standing_in(medium):
            work(disk)
            done = len(medium.cuts)
            medium.cut("after it")
    seen = set()
    for number, (when, image) in enumerate(medium.cuts):
        site = written(image, tmp_path / f"cut{number}")
        with Disk.open(site / "disk") as disk:
            content = found(lambda disk=disk: look(disk))  # type: ignore[misc]
            assert content in ((after,) if number >= done else (before, after)), when
            seen.add(content)
            check_kept(disk, but=touched, state=name != "put the state")
    assert seen == {before, after}


def test_a_disk_that_was_made_and_what_was_put_there_outlasts_a_power_cut(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    medium = Medium(site)
    with standing_in(medium):
        disk = Disk.create(site / "deep" / "disk", "films")
        made = len(medium.cuts)
        disk.put(NEAR, PAYLOAD)
        done = len(medium.cuts)
        medium.cut("after it")
        disk.close()
    for number, (when, image) in enumerate(medium.cuts):
        left = written(image, tmp_path / f"cut{number}")
        if number < made:
            Disk.create(left / "deep" / "disk", "films").close()
            continue
        with Disk.open(left / "deep" / "disk") as again:
            content = found(lambda again=again: again.get(NEAR).payload)  # type: ignore[misc]
            assert content in ((PAYLOAD,) if number >= done else (None, PAYLOAD)), when
            assert again.usage().blocks == (content is not None), when


def test_a_damaged_block_that_is_mended_outlasts_a_power_cut(tmp_path: Path) -> None:
    filled(tmp_path / "site" / "disk")
    key = next(iter(KEPT))
    file = next((tmp_path / "site").rglob("00000000-01"))
    file.write_bytes(b"?" * 300)
    with Disk.open(tmp_path / "site" / "disk") as disk:
        medium = Medium(tmp_path / "site")
        with standing_in(medium):
            disk.put(key, KEPT[key])
            medium.cut("after it")
    for number, (_, image) in enumerate(medium.cuts[-2:]):
        site = written(image, tmp_path / f"cut{number}")
        with Disk.open(site / "disk") as disk:
            check_kept(disk)
