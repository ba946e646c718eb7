"""Presence over a network in memory that loses things and is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from heliograph.bus import Bus, Event
from heliograph.bus import directory as directory_module
from heliograph.bus import unseen as unseen_module
from heliograph.bus.memory import MemoryLink, MemoryNetwork
from heliograph.model.nodes import NodeId


async def turns(count: int = 50) -> None:
    """Let everything be done that is due."""
    for _ in range(count):
        await asyncio.sleep(0)


class Nodes:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directory_module, "BEACON", 0.02)
        monkeypatch.setattr(directory_module, "RETRY", 0.01)
        monkeypatch.setattr(directory_module, "PATIENCE", 0.02)
        self.network = MemoryNetwork()
        self.buses: list[Bus] = []
        self.links: list[MemoryLink] = []

    async def add(self, node: str) -> Bus:
        self.links.append(self.network.link())
        self.buses.append(Bus(NodeId(node * 16), self.links[-1]))
        await self.buses[-1].start()
        return self.buses[-1]


@pytest.fixture
async def net(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    made = Nodes(monkeypatch)
    yield made
    for bus in made.buses:
        await bus.close()


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_news_that_are_lost_are_made_up_for(net: Nodes) -> None:
    one, other = await net.add("a"), await net.add("b")
    await turns()
    net.network.lose = lambda key: key.startswith("helio/news/")
    other.announce("unit", "u", 1)
    other.announce("unit", "v", 1)
    await turns()
    assert one.present("unit") == {}
    net.network.lose = lambda key: False
    await asyncio.wait_for(one.until_present("unit", 2), 5)
    assert one.counters()["books_asked"] == 2


async def test_a_cut_takes_names_at_both_ends_and_healing_brings_them_once(net: Nodes) -> None:
    one, other, third = [await net.add(node) for node in "abc"]
    for bus in (one, other, third):
        bus.announce("unit", f"u{bus.node[0]}")
    await turns()
    seen: list[Event] = []
    one.watch("unit", seen.append)
    assert kinds(seen) == ["Arrived"] * 3
    net.network.cut(net.links[0], net.links[1])
    await turns()
    assert len(one.present("unit")) == len(other.present("unit")) == 2
    assert len(third.present("unit")) == 3
    assert kinds(seen[3:]) == ["Gone"]
    net.network.heal(net.links[0], net.links[1])
    await turns()
    assert kinds(seen[4:]) == ["Arrived"]
    assert one.present("unit") == other.present("unit") == third.present("unit")


async def test_a_book_that_is_not_told_is_asked_for_again(
    net: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await net.add("a")
    asked: list[str] = []
    original = MemoryLink.ask

    def lose_first(self: MemoryLink, pattern: str, *rest: object) -> None:
        asked.append(pattern)
        original(self, pattern if len(asked) > 2 else "nobody", *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryLink, "ask", lose_first)
    other = await net.add("b")
    other.announce("unit", "u", 1)
    await asyncio.wait_for(one.until_present("unit", 1), 5)
    assert one.counters()["books_missed"] >= 1


async def test_a_killed_node_is_gone_and_the_same_node_started_anew_is_there(net: Nodes) -> None:
    one, other = await net.add("a"), await net.add("b")
    other.announce("unit", "u", 1)
    await turns()
    seen: list[Event] = []
    one.watch("unit", seen.append)
    net.links[1].fail()
    await turns()
    again = await net.add("b")
    again.announce("unit", "u", 1)
    await turns()
    assert kinds(seen) == ["Arrived", "Gone", "Arrived"]


async def test_what_cannot_be_read_is_counted_and_does_no_harm(net: Nodes) -> None:
    one, other = await net.add("a"), await net.add("b")
    await turns()
    session = net.links[1].session
    for payload in (b"", b"{}", b"\xff", b'{"version":1,"put":[[1]],"withdrawn":[]}'):
        net.links[1].put(f"helio/news/{other.node}/{session}", payload)
    net.links[1].put("helio/news/stranger/0", b"")
    net.links[1].put(f"helio/talk/{other.node}/a", b"not json")
    one.subscribe("a", lambda *values: pytest.fail("it was heard"))
    await turns()
    net.links[1].put(f"helio/talk/{other.node}/a", b"not json")
    other.announce("unit", "u", 1)
    await turns()
    assert one.present("unit")
    assert one.counters()["news_unread"] == 5
    assert one.counters()["unread"] == 1


async def test_half_a_connection_is_made_anew_and_nobody_is_taken_for_gone(
    net: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "HALF", 0.1)
    monkeypatch.setattr(directory_module, "RETURN", 0.1)
    one, other, third = [await net.add(node) for node in "abc"]
    for bus in (one, other, third):
        bus.announce("unit", f"u{bus.node[0]}")
    await turns()
    net.network.forget(net.links[0], net.links[1])  # one sees no token of other, and hears it
    await turns()
    assert len(one.present("unit")) == 2
    assert len(other.present("unit")) == 3
    seen: list[Event] = []
    one.watch("unit", seen.append)
    await asyncio.wait_for(one.until_present("unit", 3), 5)
    await asyncio.sleep(0.2)  # those who had to return by now
    assert kinds(seen[2:]) == ["Arrived"]
    assert [link.renewals for link in net.links] == [1, 0, 0]
    assert one.counters()["halves"] == 1


async def test_who_shows_a_token_and_says_nothing_is_met_anew(
    net: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "SILENCE", 0.2)
    monkeypatch.setattr(directory_module, "RETURN", 0.1)
    one, other = await net.add("a"), await net.add("b")
    await turns()
    net.network.mute(net.links[0], net.links[1])
    other.announce("unit", "u")
    await turns()
    assert one.present("unit") == {}
    await asyncio.wait_for(one.until_present("unit"), 5)
    assert [link.renewals for link in net.links] == [1, 0]
    await asyncio.sleep(0.5)  # all is well, and stays so
    assert [link.renewals for link in net.links] == [1, 0]


async def test_who_went_while_the_link_was_made_anew_is_gone(
    net: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "HALF", 0.1)
    monkeypatch.setattr(directory_module, "RETURN", 0.1)
    one, other, third = [await net.add(node) for node in "abc"]
    third.announce("unit", "u")
    await turns()
    renew = net.links[0].renew

    async def slowly() -> None:
        net.links[0]._watches.clear()  # nothing is told while the link is away
        net.links[2].fail()
        await renew()

    monkeypatch.setattr(net.links[0], "renew", slowly)
    net.network.forget(net.links[0], net.links[1])
    seen: list[Event] = []
    one.watch("unit", seen.append)
    async with asyncio.timeout(5):
        while kinds(seen) != ["Arrived", "Gone"]:  # noqa: ASYNC110 - of what is seen
            await asyncio.sleep(0.01)
    assert other.counters()["halves"] == 0


async def test_two_who_see_all_others_and_not_each_other_meet_anew(
    net: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "LOOK", 0.02)
    monkeypatch.setattr(directory_module, "RETURN", 0.1)
    monkeypatch.setattr(unseen_module, "PARTED", 0.2)
    one, other, third = [await net.add(node) for node in "abc"]
    for bus in (one, other, third):
        bus.announce("unit", f"u{bus.node[0]}")
    await turns()
    for here, there in ((0, 1), (1, 0)):  # as after a freeze: neither connects to the other again
        net.network.forget(net.links[here], net.links[there])
        net.network.mute(net.links[here], net.links[there])
    await turns()
    assert [len(bus.present("unit")) for bus in (one, other, third)] == [2, 2, 3]
    await asyncio.wait_for(one.until_present("unit", 3), 30)
    await asyncio.wait_for(other.until_present("unit", 3), 30)
    assert one.counters()["parted"] + other.counters()["parted"] > 0
    assert third.counters()["parted"] == 0


async def test_all_others_are_asked_whom_they_see_by_turns(
    net: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "LOOK", 0.02)
    # Names in another order than sessions.
    buses = [await net.add(node) for node in "adbc"]
    await turns()
    asked: list[str] = []
    ask = net.links[0].ask

    def note(key: str, *how: object) -> None:
        asked.append(key)
        ask(key, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(net.links[0], "ask", note)
    async with asyncio.timeout(30):
        while len(asked) < 6:  # noqa: ASYNC110 - of what is asked
            await asyncio.sleep(0.01)
    nodes = [key.split("/")[2] for key in asked if "/seen/" in key][:3]
    assert {*nodes} == {bus.node for bus in buses[1:]}


async def test_a_token_on_its_way_is_no_half_connection(net: Nodes) -> None:
    one, _ = await net.add("a"), await net.add("b")
    net.network.forget(net.links[0], net.links[1])
    await asyncio.sleep(0.2)  # ten words of the other
    net.network.remember(net.links[0])
    net.links[0].look()
    await turns()
    assert one.nodes() == 2
    assert net.links[0].renewals == 0
