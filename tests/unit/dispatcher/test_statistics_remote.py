"""Statistics of a node without the database, written down by one that has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.dispatcher.test_statistics_journal import PATIENCE, Book, total
from tests.unit.dispatcher.traffic import decisions, play

from heliograph.bus.memory import MemoryNetwork
from heliograph.dispatcher.statistics.delivery import Delivery
from heliograph.dispatcher.statistics.journal import Run
from heliograph.dispatcher.statistics.recorder import Recorder
from heliograph.dispatcher.statistics.remote import STORE, RemoteSink, serve
from heliograph.model.errors import HelioError, MalformedError, UnreachableError
from heliograph.model.nodes import NodeId

UNIT, PORTAL = NodeId("a" * 16), NodeId("b" * 16)


async def test_a_unit_has_its_plays_written_down_elsewhere(tmp_path: Path) -> None:
    network, book = MemoryNetwork(), Book()
    unit, portal = await network.bus(UNIT), await network.bus(PORTAL)
    run = Run.begin(tmp_path)
    recorder = Recorder(run)
    delivery = Delivery(tmp_path, run, recorder, RemoteSink(unit), period=0.5)
    for one in decisions(3000):
        recorder.record(one)
    recorder.played(play(1, 0, 9, stalls=3))
    with pytest.raises(UnreachableError):  # nobody is there yet
        await delivery.deliver()
    served = serve(portal, "portal", book)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await delivery.deliver()
                break
            except HelioError:
                await asyncio.sleep(0.01)
    await delivery.close()
    assert (total(book.whole), book.lost) == (3000, 0)
    assert book.whole.plays == {"play-1": play(1, 0, 9, stalls=3)}
    for value in ({}, {"recorder": "x", "first": "0", "to": 1, "batch": {}}):
        with pytest.raises(MalformedError):
            await unit.call(PORTAL, STORE, value)  # type: ignore[arg-type]
    for one in served:
        one.close()
    await unit.close()
    await portal.close()
