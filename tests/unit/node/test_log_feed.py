"""Log events of all nodes are found and followed over the bus, bounded and without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import structlog
from tests.unit.web.events import listening
from tests.unit.web.site import ADMIN, running

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.model.errors import ResourceError
from heliograph.model.nodes import NodeId
from heliograph.node import log_feed, logs
from heliograph.node.log_feed import LogFeed

EAST, WEST = NodeId("e" * 16), NodeId("f" * 16)
PATIENCE = 30.0


class Node:
    """A node with a log of its own."""

    def __init__(self, bus: Bus, name: str, ring: logs.Ring | None = None) -> None:
        self.bus = bus
        self.ring = ring or logs.Ring()
        self.feed = LogFeed(bus, name, self.ring)
        self.heard: list[Mapping[str, Any]] = []
        self.feed.start()

    def log(self, event: str, level: str = "info", **fields: object) -> None:
        self.ring.put({"timestamp": "now", "level": level, "event": event, **fields})

    def follow(self) -> None:
        self.following = self.feed.follow(self.heard.append)

    @property
    def lines(self) -> list[str]:
        return [f"{b['name']}: {e['event']}" for b in self.heard for e in b["entries"]]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[Node, Node]]:
    network = MemoryNetwork()
    buses = [await network.bus(EAST), await network.bus(WEST)]
    east, west = Node(buses[0], "east"), Node(buses[1], "west")
    await until(lambda: all(bus.nodes() == 2 for bus in buses))
    yield east, west
    for node in (east, west):
        await node.feed.close()
        await node.bus.close()


async def test_newest_of_all_nodes_come_in_order(nodes: tuple[Node, Node]):
    east, west = nodes
    east.log("one", channel="yard")
    west.log("two", "warning")
    east.log("three", "error")
    found = await east.feed.newest()
    assert [(e["name"], e["event"]) for e in found] == [
        ("east", "one"),
        ("west", "two"),
        ("east", "three"),
    ]
    assert found[0]["fields"] == {"channel": "yard"}
    assert found[1]["node"] == WEST


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        ({"node": "west"}, ["two"]),
        ({"node": EAST}, ["one", "three"]),
        ({"level": "warning"}, ["two", "three"]),
        ({"text": "YARD"}, ["one"]),
        ({"text": "channel=yard"}, ["one"]),
        ({"text": "thre"}, ["three"]),
        ({"limit": 1}, ["three"]),
    ],
)
async def test_newest_are_chosen(
    nodes: tuple[Node, Node], wanted: dict[str, Any], events: list[str]
):
    east, west = nodes
    east.log("one", channel="yard")
    west.log("two", "warning")
    east.log("three", "error")
    assert [e["event"] for e in await west.feed.newest(**wanted)] == events


async def test_others_are_followed_and_publish_only_then(nodes: tuple[Node, Node]):
    east, west = nodes
    published: list[str] = []
    east.bus.subscribe("log", lambda node, topic, value: published.append(node))
    west.log("unheard at first")
    await asyncio.sleep(3 * log_feed.PERIOD)
    assert published == []
    east.follow()
    await until(lambda: east.lines == ["west: unheard at first"])  # of the last seconds
    east.log("here")
    west.log("there")
    await until(lambda: {"east: here", "west: there"} <= {*east.lines})
    east.following.close()
    await until(lambda: not west.bus.present(log_feed.FOLLOWER))
    count = len(published)
    west.log("unheard")
    await asyncio.sleep(3 * log_feed.PERIOD)
    assert len(published) == count
    assert [e["event"] for e in await east.feed.newest(node="west")][-1] == "unheard"


async def test_a_flood_is_bounded_and_what_is_left_out_is_said(nodes: tuple[Node, Node]):
    east, west = nodes
    east.follow()
    west.log("first")
    await until(lambda: east.lines)
    messages: list[int] = []
    east.bus.subscribe("log", lambda node, topic, value: messages.append(len(str(value))))
    for number in range(3 * logs.RING_EVENTS):
        west.log("flood", number=number, text="x" * 100)
    west.log("last")
    await until(lambda: "west: last" in east.lines)
    assert max(messages) <= 64 << 10
    missed = sum(batch["missed"] for batch in east.heard)
    assert len(east.lines) + missed == 3 * logs.RING_EVENTS + 2
    assert missed >= 2 * logs.RING_EVENTS


async def test_what_could_not_be_published_is_counted_and_said(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
):
    east, west = nodes
    east.follow()
    west.log("first")
    await until(lambda: east.lines)

    def refuse(*_: object) -> None:
        raise ResourceError("no room")

    with monkeypatch.context() as full:
        full.setattr(west.bus, "publish", refuse)
        for number in range(3):
            west.log("lost", number=number)
            await until(lambda number=number: west.feed.counters["unpublished"] == number + 1)
    west.log("heard again")
    await until(lambda: "west: heard again" in east.lines)
    assert east.lines == ["west: first", "west: heard again"]
    assert [batch["missed"] for batch in east.heard] == [0, 3]
    west.log("and again")
    await until(lambda: "west: and again" in east.lines)
    assert east.heard[-1]["missed"] == 0


async def test_what_another_version_publishes_does_no_harm(nodes: tuple[Node, Node]):
    east, west = nodes
    east.follow()
    for value in (None, [], {"entries": 7}, {"entries": [7, {}, {"number": "x"}], "missed": "?"}):
        west.bus.publish("log", value)
    west.log("still heard")
    await until(lambda: "west: still heard" in east.lines)


class TestEntries:
    def entry(self, **fields: object) -> logs.Entry:
        ring = logs.Ring()
        ring.put({"timestamp": "t", "level": "info", "event": "e", **fields})
        return ring.after(0)[0]

    def test_are_bounded(self):
        fields = self.entry(**{f"f{number}": "x" * 100_000 for number in range(50)}).fields
        assert sum(len(str(value)) for value in fields.values()) <= logs.MAX_ENTRY
        assert fields["truncated"] is True

    def test_can_be_said_in_json_whatever_was_logged(self):
        fields = self.entry(a=float("nan"), b={"c": [1]}, d="\x1b[2J\udc80", e=None).fields
        assert fields == {"a": "NaN", "b": '{"c": [1]}', "d": "\\x1b[2J\\udc80", "e": None}

    def test_are_numbered_upwards_over_restarts(self):
        first = logs.Ring(clock=lambda: 5.0)
        for _ in range(3):
            first.put({"event": "e"})
        assert [entry.number for entry in first.after(0)] == [5_000_000, 5_000_001, 5_000_002]
        assert [entry.index for entry in first.after(5_000_000)] == [1, 2]


async def test_secrets_do_not_reach_who_follows(nodes: tuple[Node, Node], tmp_path):
    with (tmp_path / "log").open("wb") as file:
        logs.configure(fd=file.fileno())
        structlog.get_logger().info("joined by rtsp://ben:pass1@host/x?key=pass2", token="pass3")
        logs.close()
    text = str(logs.recent.after(0))
    assert "joined by rtsp://" in text
    assert "pass" not in text


async def test_api_gives_and_pushes_them(nodes: tuple[Node, Node]):
    east, west = nodes
    east.log("before", "warning", channel="yard")
    async with running(context={"logs": east.feed}) as site:
        answer = await site.get("/api/v1/logs?node=east&level=warning&text=yard", headers=ADMIN)
        (entry,) = answer.json()["entries"]
        assert (entry["name"], entry["event"], entry["fields"]) == (
            "east",
            "before",
            {"channel": "yard"},
        )
        assert (await site.get("/api/v1/logs?level=loud", headers=ADMIN)).status_code == 400
        async with listening(site, "/api/v1/logs/events") as events:
            west.log("after")
            while (batch := await events.until("log"))["name"] != "west":
                pass
            assert batch["entries"][-1]["event"] == "after"
        await until(lambda: not west.bus.present(log_feed.FOLLOWER))
