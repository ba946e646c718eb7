"""Directories that become disks of a node: which are taken, taken back, refused, erased."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heliograph.model.errors import ConflictError
from heliograph.model.nodes import NodeId
from heliograph.node.storage.disks import LocalDisks
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.marker import MARKER
from heliograph.storage.errors import CorruptError
from heliograph.storage.values import BlockKey, new_object

KEY = BlockKey(new_object(), 0, 0)


@pytest.fixture
async def disks(tmp_path: Path) -> AsyncIterator[LocalDisks]:
    made = LocalDisks(tmp_path, NodeId("a" * 16))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def used(tmp_path: Path) -> str:
    with Disk.create(tmp_path / "disk", "films") as disk:
        disk.put(KEY, b"block")
        disk.put_state(b"state", 7)
    return str(tmp_path / "disk")


async def test_its_own_volume_takes_a_disk_back_with_its_blocks(
    disks: LocalDisks, used: str
) -> None:
    entry = await disks.prepare("films", used, None)
    reader = disks.open[entry.id]
    assert reader.disk.get(KEY).payload == b"block"
    assert reader.disk.state() is None


async def test_another_volume_is_told_what_is_there_and_may_erase_it(
    disks: LocalDisks, used: str
) -> None:
    with pytest.raises(ConflictError, match=r"of volume films, with 1 blocks \(\d+ bytes\)"):
        await disks.prepare("others", used, None)
    entry = await disks.prepare("others", used, None, erase=True)
    assert list(disks.open[entry.id].disk.keys()) == []
    with pytest.raises(ConflictError):  # it is a disk of this node by now
        await disks.prepare("films", used, None, erase=True)


async def test_a_directory_that_cannot_be_read_as_a_disk_can_be_erased(
    disks: LocalDisks, used: str
) -> None:
    (Path(used) / MARKER).write_text("{")
    with pytest.raises(CorruptError):
        await disks.prepare("films", used, None)
    entry = await disks.prepare("films", used, None, erase=True)
    assert list(disks.open[entry.id].disk.keys()) == []
