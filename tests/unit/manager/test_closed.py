"""Closed channels at one node: nobody is let in and all are sent away, until it is opened."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.unit.live.conftest import Studio
from tests.unit.manager.waiting import until

from heliograph.bus import Bus, Request, learning
from heliograph.bus.memory import MemoryNetwork
from heliograph.live.gate import Asker, Gate, settled
from heliograph.live.options import ChannelOptions
from heliograph.live.readers import ReaderHooks
from heliograph.manager import closed, wire
from heliograph.manager.closed import ClosedChannels
from heliograph.model.errors import ConflictError, HelioError, UnauthorizedError
from heliograph.model.nodes import NodeId

HERE, THERE = NodeId("a" * 16), NodeId("b" * 16)
#: Somebody with the key of the channel.
OWNER = Asker("192.0.2.1", "rtsp", secret="secret")


@pytest.fixture
def studio() -> Iterator[Studio]:
    made = Studio()
    yield made
    made.channels.close()
    made.plane.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "RETRY", 0.01)


class Boss:
    """A manager that says what is closed."""

    def __init__(self, bus: Bus, epoch: int = 1) -> None:
        self.closed: set[str] = set()
        self.epoch, self.asked, self.fails = epoch, 0, 0
        self._here = bus.announce(wire.MANAGER, f"boss-{epoch}", {"active": False, "epoch": 0})
        self._serving = bus.serve(wire.CLOSED, self._answer)

    def say(self, *names: str) -> None:
        self.closed = {*names}
        version = wire.version_of(self.closed)
        self._here.update({"active": True, "epoch": self.epoch, "closed": version})

    def stop(self) -> None:
        self._here.close()
        self._serving.close()

    async def _answer(self, _request: Request) -> wire.Json:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise HelioError("not now")
        return wire.closed_json(self.epoch, self.closed)


class Node:
    """One that hears the boss."""

    def __init__(self, studio: Studio, here: Bus, there: Bus, directory: Path) -> None:
        self.studio, self.gate = studio, Gate()
        self.there, self.directory = there, directory
        self.rules = ClosedChannels(here, studio.channels, self.gate, directory)

    async def until(self, *names: str) -> None:
        await until(lambda: self.gate.closed == {*names})


@contextlib.asynccontextmanager
async def node(studio: Studio, directory: Path) -> AsyncIterator[Node]:
    network = MemoryNetwork()
    here, there = await network.bus(HERE), await network.bus(THERE)
    made = Node(studio, here, there, directory)
    await made.rules.start()
    try:
        yield made
    finally:
        await made.rules.close()
        await here.close()
        await there.close()


class Told(ReaderHooks):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


async def test_nobody_is_let_in_and_who_is_there_goes_until_it_is_opened(
    studio: Studio, tmp_path: Path
) -> None:
    async with node(studio, tmp_path) as made:
        boss, channel, ended = Boss(made.there), studio.channel, []
        publishing = studio.publish(on_closed=ended.append)
        studio.key(publishing)
        told = Told()
        channel.audience.add_hls(peer="192.0.2.9", hooks=told)
        boss.say("other")
        await made.until("other")
        assert channel.publishings
        boss.say("demo", "other")
        await made.until("demo", "other")
        assert ended == ["channel closed"] == told.reasons
        assert not channel.publishings
        assert not channel.audience.readers
        for ask in (made.gate.publish, made.gate.view):
            with pytest.raises(ConflictError, match="is closed"):
                await settled(ask(channel, OWNER))
        boss.say("other")
        await made.until("other")
        assert await settled(made.gate.publish(channel, OWNER))
        assert await settled(made.gate.view(channel, OWNER))


async def test_strangers_are_told_no_more_than_before(studio: Studio, tmp_path: Path) -> None:
    async with node(studio, tmp_path) as made:
        private = studio.channels.create("club", ChannelOptions(view_key="hush"))
        Boss(made.there).say("demo", "club")
        await made.until("demo", "club")
        for ask, channel in ((made.gate.publish, studio.channel), (made.gate.view, private)):
            with pytest.raises(UnauthorizedError):
                await settled(ask(channel, Asker("192.0.2.1", "rtsp", secret="a guess")))


async def test_it_stays_closed_without_a_manager_and_over_a_restart(
    studio: Studio, tmp_path: Path
) -> None:
    async with node(studio, tmp_path) as made:
        boss = Boss(made.there)
        boss.say("demo")
        await made.until("demo")
        boss.stop()
        await until(lambda: (tmp_path / closed.FILE).exists())
        assert made.gate.closed == {"demo"}
    async with node(studio, tmp_path) as again:
        assert again.gate.closed == {"demo"}
        boss = Boss(again.there, epoch=2)
        boss.fails = 2
        boss.say()
        await again.until()
        assert boss.asked == 3
        assert again.rules.counters["lists_failed"] == 2


async def test_a_manager_that_was_replaced_opens_nothing(studio: Studio, tmp_path: Path) -> None:
    async with node(studio, tmp_path) as made:
        new = Boss(made.there, epoch=5)
        new.say("demo")
        await made.until("demo")
        new.stop()
        old = Boss(made.there, epoch=4)
        old.say()
        seen = made.rules._bus.present
        await until(lambda: [one for one in seen(wire.MANAGER).values() if one["active"]])
        assert not old.asked
        assert made.gate.closed == {"demo"}


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"channels": ["a b"]}', '{"channels": 3}'])
async def test_a_broken_file_keeps_no_node_from_starting(
    studio: Studio, tmp_path: Path, text: str
) -> None:
    (tmp_path / closed.FILE).write_text(text)
    async with node(studio, tmp_path) as made:
        assert made.gate.closed == frozenset()
