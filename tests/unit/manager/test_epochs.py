"""A unit keeps the epoch of its manager, and waits for no disk."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from tests.unit.live.mesh_site import NAME
from tests.unit.manager.test_unit import units

from heliograph.manager import epochs, wire
from heliograph.manager import transitions as t
from heliograph.manager.epochs import EPOCH_FILE, KnownEpoch
from heliograph.model.errors import ConflictError
from heliograph.model.files import write_private


class Disk:
    """One that takes as long as a test wants."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.writing = threading.Event()

    def write(self, path, text):
        self.writing.set()
        assert self.ready.wait(30)
        write_private(path, text)


@pytest.fixture
def stuck(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(epochs, "write_private", disk.write)
    yield disk
    disk.ready.set()


def kept(directory) -> int:
    return json.loads((directory / EPOCH_FILE).read_text())["epoch"]


async def test_a_stuck_disk_makes_no_unit_deaf_to_the_new_manager_nor_obedient_to_the_old(
    tmp_path, stuck
):
    async with units(1, tmp_path) as (boss, [(_, unit)]):
        for epoch in (1, 2):
            await boss.order(unit, t.Grant(NAME, unit.node, epoch, 10, 0.0), epoch=epoch)
        assert [group.index for group in unit.seats.groups()] == [1, 2]
        with pytest.raises(ConflictError):
            await boss.order(unit, t.Revoke(NAME, unit.node, 1), epoch=1)
        assert len(unit.seats.groups()) == 2
        assert not (tmp_path / "0" / EPOCH_FILE).exists()
        stuck.ready.set()
    assert kept(tmp_path / "0") == 2


async def test_an_epoch_is_written_even_if_whoever_told_it_has_gone(tmp_path, stuck):
    async with units(1, tmp_path) as (boss, [(_, unit)]):
        told = asyncio.ensure_future(
            boss.bus.call(unit.node, wire.ORDERS, wire.orders_json(wire.Orders(5, 0, ()), 0.0))
        )
        await asyncio.to_thread(stuck.writing.wait)
        told.cancel()
        stuck.ready.set()
    assert kept(tmp_path / "0") == 5


async def test_one_write_at_a_time_and_the_newest_last(tmp_path, stuck):
    known = KnownEpoch(tmp_path)
    known.learn(1)
    await asyncio.to_thread(stuck.writing.wait)
    stuck.writing.clear()
    for epoch in range(2, 100):
        known.learn(epoch)
    await asyncio.sleep(0)
    assert not stuck.writing.is_set()
    assert known.value == 99
    stuck.ready.set()
    await known.close()
    assert kept(tmp_path) == 99
    again = KnownEpoch(tmp_path)
    await again.load()
    assert again.value == 99


async def test_a_disk_that_never_answers_holds_up_no_end(tmp_path, stuck, monkeypatch):
    monkeypatch.setattr(epochs, "LAST_SAVE", 0.01)
    known = KnownEpoch(tmp_path)
    known.learn(1)
    try:
        await known.close()
        assert not (tmp_path / EPOCH_FILE).exists()
    finally:
        stuck.ready.set()  # its thread ends with the loop


async def test_a_disk_that_is_full_keeps_no_manager_from_being_heard(tmp_path):
    known = KnownEpoch(tmp_path / "is not there")
    known.learn(3)
    await known.close()
    assert (known.value, known.counters["epochs_unsaved"]) == (3, 1)
