"""Directories that were disks before: what is said of them, taken back, erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from heliograph.model.errors import ConflictError
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.reuse import Former, erase, former, take_back
from heliograph.storage.errors import DiskError
from heliograph.storage.values import BlockKey, new_object

FILM = new_object()
KEY = BlockKey(FILM, 3, 1)


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A disk that was in use, and a file that is nobody's."""
    with Disk.create(tmp_path / "disk", "films") as disk:
        disk.put(KEY, b"block")
        disk.put_head(FILM, 1, b"head")
        disk.put_state(b"state", 7)
    (tmp_path / "disk" / "notes.txt").write_text("mine")
    return tmp_path / "disk"


def test_a_directory_says_what_it_holds(used: Path, tmp_path: Path) -> None:
    found = former(used)
    assert isinstance(found, Former)
    assert (found.volume, found.blocks, found.documents) == ("films", 1, True)
    assert found.bytes > 0
    assert former(tmp_path) is None
    assert former(tmp_path / "none") is None


def test_a_disk_taken_back_has_its_blocks_and_knows_nothing(used: Path) -> None:
    before = former(used)
    take_back(used)
    assert former(used) is None
    with Disk.create(used, "films") as disk:
        assert before is not None
        assert disk.id != before.id  # the old one may count as lost
        assert (disk.usage().blocks, disk.usage().used < before.bytes) == (1, True)
        assert disk.get(KEY).payload == b"block"
        assert disk.state() is None
        assert list(disk.heads()) == []
        disk.put_state(b"anew", 1)  # an older number than it had is no fault now


def test_an_erased_disk_is_a_directory_with_what_else_was_in_it(used: Path) -> None:
    before = former(used)
    erase(used)
    assert former(used) is None
    assert [one.name for one in used.iterdir()] == ["notes.txt"]
    with Disk.create(used, "others") as disk:
        assert before is not None
        assert disk.id != before.id
        assert list(disk.keys()) == []


def test_what_is_in_use_is_left_alone(used: Path) -> None:
    with Disk.open(used) as disk:
        for change in (take_back, erase, former):
            with pytest.raises(ConflictError):
                change(used)
        assert disk.get(KEY).payload == b"block"
    with pytest.raises(DiskError):
        erase(used.parent / "none")
