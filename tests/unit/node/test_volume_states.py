"""How a node learns of volumes' states: whatever is told while it asks, it ends with the newest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord
from heliograph.model.errors import (
    BusyError,
    NotFoundError,
    PreconditionError,
    UnreachableError,
)
from heliograph.model.nodes import NodeId
from heliograph.node.storage import states
from heliograph.node.storage.states import States
from heliograph.storage.values import Code, DiskId, Scheme
from heliograph.storage.volume import changes, encoding
from heliograph.storage.volume.state import DiskEntry, Limits, VolumeState

BY = Actor("tests", "")


def volume(version: int, seed: int = 1) -> VolumeState:
    """The volume after so many changes; with another seed another of its name."""
    disk = DiskEntry(DiskId("0" * 16), NodeId("a" * 16), "/disk", 1 << 30, 1)
    scheme = Scheme(1, 0, Code.COPIES, 4096)
    found = changes.create("films", scheme, [disk], policy="rendezvous", seed=seed)
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
        self.marks: set[str] = set()
        """Ids of volumes that were removed."""

    def has(self, state: VolumeState) -> None:
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

    async def put(self, new: VolumeRecord, before: int, action: str, by: Actor) -> None:
        row = self.rows.get(new.name)
        if (0 if row is None else row.version) != before:
            raise PreconditionError("somebody else was first")
        self.rows[new.name] = new

    async def remove(self, name: str, id: str, by: Actor) -> None:
        del self.rows[name]
        self.marks.add(id)

    async def erased(self, id: str) -> bool:
        return id in self.marks

    def version(self, name: str = "films") -> int:
        return self.rows[name].version if name in self.rows else 0


class Nodes:
    """A keeper, and a node that asks it."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.database = Database()
        self.told: list[tuple[str, int]] = []
        self.all: list[States] = []

    async def node(self, letter: str, *disks: VolumeState, keeps: bool = False) -> States:
        """``disks``: what those of the node know."""
        bus = await self.network.bus(NodeId(letter * 16))
        database: Any = self.database if keeps else None

        def told(name: str, state: VolumeState | None) -> None:
            if not keeps:
                self.told.append((name, 0 if state is None else state.version))

        made = States(bus, database, told)
        for one in disks:
            made.take(one)
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
    made.database.has(volume(1))
    yield made
    for one in reversed(made.all):
        await one.close()


async def test_what_is_told_while_a_state_is_fetched_is_not_lost(nodes: Nodes) -> None:
    keeper = await nodes.node("a", keeps=True)
    nodes.database.open.clear()
    asking = await nodes.node("b")
    await until(lambda: nodes.database.asked)
    nodes.database.has(volume(2))
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
    assert nodes.database.rows == {}
    await until(lambda: "films" not in asking.known)
    assert nodes.told[-1] == ("films", 0)


async def test_an_older_state_is_no_news(nodes: Nodes) -> None:
    keeper = await nodes.node("a", keeps=True)
    assert keeper.take(volume(3))
    assert not keeper.take(volume(2))
    assert keeper.known["films"].version == 3


LIMITS = {"do": "limits", "move": 7, "scrub": 7}


@pytest.mark.parametrize("kept", [0, 2])
async def test_what_disks_have_is_given_to_a_database_that_has_less(
    nodes: Nodes, kept: int
) -> None:
    """It was lost, or an older copy of it was put in its place."""
    nodes.database.rows.clear()
    if kept:
        nodes.database.has(volume(kept))
    keeper = await nodes.node("a", volume(5), keeps=True)
    assert nodes.database.version() == 5
    assert (await keeper.change("films", LIMITS, BY)).version == 6
    assert nodes.database.version() == 6


@pytest.mark.parametrize("kept", [0, 2])
@pytest.mark.parametrize("first", ["keeper", "other"])
async def test_so_is_what_disks_of_other_nodes_have(nodes: Nodes, kept: int, first: str) -> None:
    nodes.database.rows.clear()
    if kept:
        nodes.database.has(volume(kept))
    if first == "keeper":
        await nodes.node("a", keeps=True)
        other = await nodes.node("b", volume(5))
    else:
        other = await nodes.node("b", volume(5))
        await nodes.node("a", keeps=True)
    await until(lambda: nodes.database.version() == 5)
    assert (await other.change("films", LIMITS, BY)).version == 6
    assert nodes.database.version() == 6
    assert ("films", 0) not in nodes.told


async def test_an_order_is_carried_out_on_what_is_known_not_on_an_older_copy(nodes: Nodes) -> None:
    keeper, other = await nodes.node("a", volume(5), keeps=True), await nodes.node("b")
    await until(lambda: "films" in other.known)
    nodes.database.has(volume(2))  # restored while all run
    assert (await other.change("films", LIMITS, BY)).version == 6
    assert keeper.known["films"].limits == Limits(7, 7)
    nodes.database.rows.clear()
    assert (await keeper.change("films", {**LIMITS, "move": 8}, BY)).version == 7
    assert nodes.database.version() == 7


async def test_a_removed_volume_does_not_come_back_with_a_disk_that_was_away(nodes: Nodes) -> None:
    keeper = await nodes.node("a", keeps=True)
    await keeper.remove("films", BY)
    back = await nodes.node("b", volume(9))
    await until(lambda: "films" not in back.known)
    second = await nodes.node("c", volume(9), keeps=True)
    assert "films" not in second.known
    assert nodes.database.rows == {}


@pytest.mark.parametrize("version", [1, 9])
async def test_another_volume_has_the_name_of_a_removed_one(nodes: Nodes, version: int) -> None:
    keeper = await nodes.node("a", keeps=True)
    await keeper.remove("films", BY)
    nodes.database.has(volume(1, seed=2))
    back = await nodes.node("b", volume(version))
    await keeper.newest("films")
    await until(lambda: back.known["films"].seed == 2)
    second = await nodes.node("c", volume(version), keeps=True)
    assert second.known["films"].seed == 2
    assert nodes.database.version() == 1


async def test_an_order_waits_while_a_node_has_a_newer_state_than_the_database(
    nodes: Nodes,
) -> None:
    keeper = await nodes.node("a", keeps=True)
    bus = await nodes.network.bus(NodeId("b" * 16))
    with bus.announce(states.HERE, "films", states.held(volume(2), 2)):
        await until(lambda: keeper._bus.present(states.HERE))
        with pytest.raises(BusyError, match="has version 2 of volume films, the database 1"):
            await keeper.change("films", LIMITS, BY)
    assert nodes.database.version() == 1
    await until(lambda: not keeper._bus.present(states.HERE))
    assert (await keeper.change("films", LIMITS, BY)).version == 2


async def test_what_a_node_has_still_of_a_removed_volume_holds_up_no_order_on_the_next(
    nodes: Nodes,
) -> None:
    """It has the name, and later versions."""
    keeper = await nodes.node("a", keeps=True)
    bus = await nodes.network.bus(NodeId("b" * 16))
    with bus.announce(states.HERE, "films", states.held(volume(9, seed=2), 9)):
        await until(lambda: keeper._bus.present(states.HERE))
        assert states.holders(keeper._bus, volume(1)) == {}
        assert (await keeper.change("films", LIMITS, BY)).version == 2


@pytest.mark.parametrize("value", [[2, 2], None, {"id": f"{1:016x}"}, {"version": 2, "done": 2}])
async def test_what_is_no_announcement_of_a_volume_is_passed_over(nodes: Nodes, value: Any) -> None:
    keeper = await nodes.node("a", keeps=True)
    bus = await nodes.network.bus(NodeId("b" * 16))
    with bus.announce(states.HERE, "films", value):
        await until(lambda: keeper._bus.present(states.HERE))
        assert states.holders(keeper._bus, volume(1)) == {}


async def test_what_a_keeper_does_not_take_at_once_is_offered_again(nodes: Nodes) -> None:
    await nodes.node("a", keeps=True)
    nodes.database.fails = 30  # more often than the pauses grow
    await nodes.node("b", volume(5))
    await until(lambda: nodes.database.version() == 5)
