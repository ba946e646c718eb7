"""How a node learns of volumes' states: whatever is told while it asks, it ends with the newest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord
from heliograph.model.errors import NotFoundError, UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.node.storage import states
from heliograph.node.storage.states import States
from heliograph.storage.values import Code, DiskId, Scheme
from heliograph.storage.volume import changes, encoding
from heliograph.storage.volume.state import DiskEntry, Limits, VolumeState

BY = Actor("tests", "")


def volume(version: int) -> VolumeState:
    """The volume after so many changes."""
    disk = DiskEntry(DiskId("0" * 16), NodeId("a" * 16), "/disk", 1 << 30, 1)
    scheme = Scheme(1, 0, Code.COPIES, 4096)
    found = changes.create("films", scheme, [disk], policy="rendezvous", seed=1)
    for number in range(1, version):
        found = changes.set_limits(found, Limits(number, number))
    return found


class Database:
    """What keepers share; answers wait while ``open`` is not set."""

    def __init__(self) -> None:
        self.rows: dict[str, VolumeRecord] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0
        self.fails = 0
        """Answers that are none, from now on."""

    def put(self, state: VolumeState) -> None:
        document = encoding.encode(state).decode()
        self.rows[state.name] = VolumeRecord(state.name, state.version, document)

    async def get(self, name: str) -> VolumeRecord:
        self.asked += 1
        if name not in self.rows:
            raise NotFoundError(f"no volume {name}", subject=name)
        found = self.rows[name]
        await self.open.wait()
        if self.fails:
            self.fails -= 1
            raise UnreachableError("the database is away")
        return found

    async def load(self) -> list[VolumeRecord]:
        return [*self.rows.values()]

    async def remove(self, name: str, by: Actor) -> None:
        del self.rows[name]


class Nodes:
    """A keeper, and a node that asks it."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.database = Database()
        self.told: list[tuple[str, int]] = []
        self.all: list[States] = []

    async def node(self, letter: str, *, keeps: bool = False) -> States:
        bus = await self.network.bus(NodeId(letter * 16))
        database: Any = self.database if keeps else None

        def told(name: str, state: VolumeState | None) -> None:
            if not keeps:
                self.told.append((name, 0 if state is None else state.version))

        made = States(bus, database, told)
        await made.start()
        self.all.append(made)
        return made


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of another node
            await asyncio.sleep(0.01)


@pytest.fixture
async def nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(states, "AGAIN", (0.01,) * 20)
    made = Nodes()
    made.database.put(volume(1))
    yield made
    for one in reversed(made.all):
        await one.close()


async def test_what_is_told_while_a_state_is_fetched_is_not_lost(nodes: Nodes) -> None:
    keeper = await nodes.node("a", keeps=True)
    nodes.database.open.clear()
    asking = await nodes.node("b")
    await until(lambda: nodes.database.asked)
    nodes.database.put(volume(2))
    keeper.take(volume(2))  # the answer under way has the first version
    nodes.database.open.set()
    await until(lambda: nodes.told and nodes.told[-1] == ("films", 2))
    assert asking.known["films"].version == 2


async def test_a_keeper_that_fails_to_answer_is_asked_again(nodes: Nodes) -> None:
    await nodes.node("a", keeps=True)
    nodes.database.fails = 3
    asking = await nodes.node("b")
    await until(lambda: "films" in asking.known)
    assert nodes.database.asked == 4


async def test_a_volume_is_forgotten_when_a_keeper_says_so_and_not_before(nodes: Nodes) -> None:
    first, second = await nodes.node("a", keeps=True), await nodes.node("c", keeps=True)
    asking = await nodes.node("b")
    await until(lambda: "films" in asking.known)
    # A keeper leaves; then the other one tells of it no more, but the database has it still.
    nodes.all.remove(first)
    await first.close()
    second._told.pop("films").close()
    await until(lambda: not asking._bus.present(states.STATE))
    await until(lambda: not asking._fetches)  # it asked
    assert nodes.told == [("films", 1)]
    second._tell(volume(1))
    await until(lambda: second._told)
    await second.remove("films", BY)
    await until(lambda: "films" not in asking.known)
    assert nodes.told[-1] == ("films", 0)


async def test_an_older_state_is_no_news(nodes: Nodes) -> None:
    keeper = await nodes.node("a", keeps=True)
    assert keeper.take(volume(3))
    assert not keeper.take(volume(2))
    assert keeper.known["films"].version == 3
