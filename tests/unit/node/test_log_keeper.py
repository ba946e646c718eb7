"""Managers keep what all nodes logged, bounded, so that it is there when a node is not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.node.test_log_feed import Node, until

from heliograph.bus.memory import MemoryNetwork
from heliograph.model.nodes import NodeId
from heliograph.node import log_feed, log_keeper, logs
from heliograph.node.log_keeper import ROOM, LogKeeper

EAST, WEST, NORTH = NodeId("a" * 16), NodeId("b" * 16), NodeId("c" * 16)


@dataclass
class Cluster:
    """Nodes that come and die."""

    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    nodes: list[Node] = field(default_factory=list)
    keepers: list[LogKeeper] = field(default_factory=list)

    async def add(self, id: NodeId, name: str, ring: logs.Ring | None = None) -> Node:
        node = Node(await self.network.bus(id), name, ring)
        self.nodes.append(node)
        await until(lambda: all(one.bus.nodes() == len(self.nodes) for one in self.nodes))
        return node

    async def add_manager(self, id: NodeId, name: str, room: int = ROOM) -> tuple[Node, LogKeeper]:
        node = await self.add(id, name)
        keeper = LogKeeper(node.bus, node.feed, room=room)
        keeper.start()
        self.keepers.append(keeper)
        return node, keeper

    async def kill(self, node: Node) -> None:
        self.nodes.remove(node)
        await node.feed.close()
        await node.bus.close()
        await until(lambda: all(one.bus.nodes() == len(self.nodes) for one in self.nodes))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    yield cluster
    for keeper in cluster.keepers:
        keeper.close()
    for node in [*cluster.nodes]:
        await cluster.kill(node)


async def said(asker: Node, **wanted: Any) -> list[str]:
    return [f"{one['name']}: {one['event']}" for one in await asker.feed.newest(**wanted)]


def heard(keeper: LogKeeper, node: NodeId, number: int) -> Callable[[], bool]:
    """Whether so many lines of a node were kept, or kept and dropped."""
    kept = keeper._kept
    return lambda: node in kept and len(kept[node].lines) + keeper.counters["dropped"] >= number


async def test_last_words_of_a_node_outlive_it_and_the_manager_that_heard_them(cluster: Cluster):
    first, one = await cluster.add_manager(EAST, "first")
    _, two = await cluster.add_manager(NORTH, "second")
    unit = await cluster.add(WEST, "unit")
    unit.log("came", channel="yard")
    unit.log("went", "error")
    await until(heard(one, WEST, 2))
    await until(heard(two, WEST, 2))
    assert await said(first) == ["unit: came", "unit: went"]  # each once
    await cluster.kill(unit)
    assert await said(first) == ["unit: came", "unit: went"]
    one.close()
    await cluster.kill(first)
    other = cluster.nodes[0]
    assert await said(other) == ["unit: came", "unit: went"]
    assert [e["fields"] for e in await other.feed.newest(limit=2)] == [{"channel": "yard"}, {}]


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        ({"node": "unit"}, ["came", "went"]),
        ({"node": WEST}, ["came", "went"]),
        ({"node": "first"}, []),
        ({"level": "warning"}, ["went"]),
        ({"text": "CHANNEL=yard"}, ["came"]),
        ({"limit": 1}, ["went"]),
    ],
)
async def test_what_is_kept_is_chosen(cluster: Cluster, wanted: dict[str, Any], events: list[str]):
    first, keeper = await cluster.add_manager(EAST, "first")
    unit = await cluster.add(WEST, "unit")
    unit.log("came", channel="yard")
    unit.log("went", "error")
    await until(heard(keeper, WEST, 2))
    await cluster.kill(unit)
    assert [e["event"] for e in await first.feed.newest(**wanted)] == events


async def test_what_a_node_said_before_it_saw_a_manager_is_kept(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_feed, "GO_BACK", 0)
    unit = await cluster.add(WEST, "unit")
    unit.log("alone")
    first, keeper = await cluster.add_manager(EAST, "first")
    await until(heard(keeper, WEST, 1))
    await cluster.kill(unit)
    assert await said(first) == ["unit: alone"]


async def test_a_node_that_came_back_is_heard_on_and_what_it_says_again_is_kept_once(
    cluster: Cluster,
):
    first, keeper = await cluster.add_manager(EAST, "first")
    before = await cluster.add(WEST, "unit")
    before.log("came")
    await until(heard(keeper, WEST, 1))
    await cluster.kill(before)
    after = await cluster.add(WEST, "unit renamed")
    after.log("came back")
    await until(heard(keeper, WEST, 2))
    batch = {
        "name": "unit renamed",
        "run": after.ring.run,
        "entries": [log_feed._value(after.ring.after(0)[0])],
    }
    after.bus.publish(log_feed.TOPIC, batch)
    after.log("last")
    await until(heard(keeper, WEST, 3))
    await cluster.kill(after)
    assert await said(first) == [
        f"unit renamed: {event}" for event in ("came", "came back", "last")
    ]


async def test_a_node_whose_clock_went_back_over_a_restart_is_heard_at_once(cluster: Cluster):
    first, keeper = await cluster.add_manager(EAST, "first")
    before = await cluster.add(WEST, "unit")
    for event in ("came", "worked", "went"):
        before.log(event)
    await until(heard(keeper, WEST, 3))
    await cluster.kill(before)
    an_hour_ago = logs.Ring(clock=lambda: time.time() - 3600)
    after = await cluster.add(WEST, "unit", an_hour_ago)
    after.log("came back")
    await until(heard(keeper, WEST, 4))
    after.log("works")
    await until(heard(keeper, WEST, 5))
    batch = {"name": "unit", "run": an_hour_ago.run}
    entries = [*map(log_feed._value, an_hour_ago.after(0))]
    after.bus.publish(log_feed.TOPIC, {**batch, "entries": entries})  # again, which is not new
    after.log("last")
    await until(heard(keeper, WEST, 6))
    await cluster.kill(after)
    told = ["came", "worked", "went", "came back", "works", "last"]
    assert await said(first) == [f"unit: {event}" for event in told]
    # What is newest is what was said last, not what has the greatest time.
    assert await said(first, limit=2) == ["unit: works", "unit: last"]


async def test_what_comes_late_of_an_earlier_process_of_a_node_is_no_restart(cluster: Cluster):
    first, keeper = await cluster.add_manager(EAST, "first")
    before = await cluster.add(WEST, "unit")
    before.log("came")
    await until(heard(keeper, WEST, 1))
    late = {
        "name": "unit",
        "run": before.ring.run,
        "entries": [*map(log_feed._value, before.ring.after(0))],
    }
    await cluster.kill(before)
    after = await cluster.add(WEST, "unit")
    after.log("came back")
    await until(heard(keeper, WEST, 2))
    after.bus.publish(log_feed.TOPIC, late)
    after.log("last")
    await until(lambda: [*_lines(keeper)[-1]][-1].entry().event == "last")
    await cluster.kill(after)
    assert await said(first) == [f"unit: {event}" for event in ("came", "came back", "last")]


async def test_a_noisy_node_pushes_out_its_own_lines_only(cluster: Cluster):
    first, keeper = await cluster.add_manager(EAST, "first", room=20_000)
    quiet, noisy = await cluster.add(WEST, "quiet"), await cluster.add(NORTH, "noisy")
    quiet.log("last words")
    await until(heard(keeper, WEST, 1))
    for number in range(1000):
        noisy.log("noise", number=number)
    noisy.log("last noise")
    await until(lambda: keeper.counters["dropped"] + sum(map(len, _lines(keeper))) == 1002)
    assert keeper.counters["dropped"] > 500
    assert sum(len(line.text) for lines in _lines(keeper) for line in lines) <= 20_000
    await cluster.kill(quiet)
    await cluster.kill(noisy)
    assert await said(first, limit=1000) == [
        "quiet: last words",
        *["noisy: noise"] * (1000 - keeper.counters["dropped"]),
        "noisy: last noise",
    ]


def _lines(keeper: LogKeeper) -> list[Any]:
    return [kept.lines for kept in keeper._kept.values()]


async def test_lines_and_nodes_are_bounded_and_what_is_left_out_counted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_keeper, "MAX_NODES", 2)
    monkeypatch.setattr(logs, "RING_EVENTS", 10)
    first, keeper = await cluster.add_manager(EAST, "first")
    unit = await cluster.add(WEST, "unit")
    for number in range(15):
        unit.log("line", number=number)
    await until(lambda: keeper.counters["dropped"] == 5)
    assert len(await said(first, node="unit")) == 15  # it has them itself
    last = await cluster.add(NORTH, "last")
    await cluster.kill(unit)
    assert len(await said(first, node="unit")) == 10
    first.log("one")
    last.log("two")
    await until(lambda: keeper.counters["dropped"] == 15)
    assert await said(first) == ["first: one", "last: two"]


async def test_what_would_take_too_long_to_hear_is_left_out_and_counted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    manager, keeper = await cluster.add_manager(EAST, "manager")
    node = await cluster.add(WEST, "node")
    monkeypatch.setattr(log_feed, "BURST", -1.0)  # spent already
    node.log("one")
    await until(lambda: manager.feed._left_out > 0)
    left_out = manager.feed._left_out
    monkeypatch.setattr(log_feed, "BURST", 0.25)
    node.log("two")
    await until(lambda: keeper.counters["missed"] == left_out)
    assert "node: two" in await said(manager)


async def test_what_nodes_leave_out_is_counted(cluster: Cluster):
    _, keeper = await cluster.add_manager(EAST, "first")
    unit = await cluster.add(WEST, "unit")
    unit.log("one")
    await until(heard(keeper, WEST, 1))
    unit.bus.publish(log_feed.TOPIC, {"name": "unit", "entries": [], "missed": 7})
    unit.bus.publish(log_feed.TOPIC, {"name": "unit", "entries": [], "missed": -7})
    await until(lambda: keeper.counters["missed"] == 7)
    unit.log("two")
    await until(heard(keeper, WEST, 2))
    assert keeper.counters["missed"] == 7


@pytest.mark.parametrize("answer", [None, 7, {}, {"nodes": []}, {"nodes": {"x": [7]}}])
async def test_what_another_version_answers_does_no_harm(cluster: Cluster, answer: Any):
    node = await cluster.add(EAST, "east")

    async def odd(request: object) -> Any:
        return answer

    node.bus.serve(log_feed.KEPT, odd)
    node.log("here")
    assert await said(node) == ["east: here"]
