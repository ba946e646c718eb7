"""When a start of a node counts as ended, with all that it was writing."""

from __future__ import annotations

import asyncio
import time

import pytest

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.model.nodes import NodeId
from heliograph.node.storage.runs import GONE, RUN, Runs
from heliograph.storage.values import new_object
from heliograph.storage.volume.claims import new_run


async def seen(bus: Bus, count: int) -> None:
    """Wait until a node sees so many runs."""
    news = asyncio.Event()
    with bus.watch(RUN, lambda event: news.set()):
        async with asyncio.timeout(5):
            while len(bus.present(RUN)) != count:
                news.clear()
                await news.wait()


async def test_a_run_has_ended_when_its_node_shows_another_or_none_for_long() -> None:
    network = MemoryNetwork()
    now = 0.0
    here = Runs(await network.bus(NodeId("a" * 16)), lambda: now)
    there = Runs(await network.bus(NodeId("b" * 16)))
    bus = here._bus
    here.start()
    there.start()
    await seen(bus, 2)
    claim = there.claims().own
    assert not here.ended(claim)
    there.close()
    await seen(bus, 1)
    assert not here.ended(claim)  # a short cut looks like this, too
    now += GONE - 1
    assert not here.ended(claim)
    there.start()
    await seen(bus, 2)
    assert not here.ended(claim)
    there.close()
    await seen(bus, 1)
    assert not here.ended(claim)  # counted anew
    now += GONE
    assert here.ended(claim)
    again = Runs(there._bus)
    again.start()
    await seen(bus, 2)
    assert again.run != there.run
    assert Runs(bus, lambda: now).ended(claim)  # at once, whoever asks


async def test_two_short_cuts_are_no_long_one() -> None:
    network = MemoryNetwork()
    now = 0.0
    here = Runs(await network.bus(NodeId("a" * 16)), lambda: now)
    there = Runs(await network.bus(NodeId("b" * 16)))
    bus = here._bus
    here.start()
    claim = there.claims().own
    for _ in range(2):  # it is asked only while the other is away
        there.start()
        await seen(bus, 2)
        there.close()
        await seen(bus, 1)
        assert not here.ended(claim)
        now += GONE
    assert here.ended(claim)
    there.start()
    await seen(bus, 2)
    there.close()
    await seen(bus, 1)
    now += GONE
    assert here.ended(claim)  # it was gone before anybody asked


async def test_a_run_that_is_not_seen_yet_has_not_ended() -> None:
    network = MemoryNetwork()
    now = 0.0
    here = Runs(await network.bus(NodeId("a" * 16)), lambda: now)
    before = Runs(await network.bus(NodeId("b" * 16)))
    before.run = f"{0:020x}"
    here.start()
    before.start()
    await seen(here._bus, 2)
    after = Runs(before._bus)
    claim = after.claims().own
    now += GONE
    assert not here.ended(claim)  # what is seen of its node is old
    before.close()
    after.start()
    async with asyncio.timeout(5):
        while ("b" * 16, after.run) not in here._bus.present(RUN):  # noqa: ASYNC110 - of a bus
            await asyncio.sleep(0.01)
    assert not here.ended(claim)
    assert here.ended(before.claims().own)
    assert not here._gone


def test_runs_are_named_in_the_order_of_their_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for ms in (0, 1, 1_700_000_000_000, 1_700_000_000_001, 1 << 47):
        monkeypatch.setattr(time, "time_ns", lambda ms=ms: ms * 1_000_000)
        names.append(new_run())
    assert names == sorted(names)
    assert len({len(one) for one in names}) == 1


async def test_what_this_run_does_not_write_nobody_writes() -> None:
    runs = Runs(await MemoryNetwork().bus(NodeId("a" * 16)))
    claims, object = runs.claims(), new_object()
    assert claims.dead(object, claims.own)
    claims.writing.add(object)
    assert not claims.dead(object, claims.own)
    assert claims.dead(object, Runs(runs._bus).claims().own)  # of the start before this one
