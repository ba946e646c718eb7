"""Channels that go to several nodes at once, by multicast on loopback, and what becomes of them
where it does not come through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network

import pytest
from tests.unit.live.mesh_site import NAME, Node, OnAir, Viewer, nodes, until

from heliograph.live.connections.compose import Connection, LinkKind
from heliograph.live.connections.groups import Groups
from heliograph.live.links import LinkOptions
from heliograph.live.options import ChannelOptions
from heliograph.protocols.mesh import Cast


def groups() -> Groups:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("0.0.0.0", 0))
        return Groups(IPv4Network("239.255.74.0/28"), found.getsockname()[1])


@asynccontextmanager
async def watched(
    count: int = 3, **options: object
) -> AsyncIterator[tuple[list[Node], OnAir, list[Viewer]]]:
    """Nodes with multicast, a channel on air at the first, a viewer at each of the others."""
    async with nodes(count, options=LinkOptions(multicast=groups())) as made:
        first, *others = made
        first.keep(**options)
        air = OnAir(first.publish())
        for node in others:
            await until(node.has)
        viewers = [node.watch() for node in others]
        for viewer in viewers:
            await until(lambda viewer=viewer: len(viewer.packets) > 10)
        yield made, air, viewers
        await air.stop()


def sent(node: Node) -> list[dict]:
    return node.reflector.casts.describe()["sent"]


def whole(viewer: Viewer) -> bool:
    numbers = viewer.numbers
    return viewer.lost == 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def more(viewers: list[Viewer], count: int = 30) -> None:
    for viewer in viewers:
        reached = len(viewer.packets) + count
        await until(lambda v=viewer, n=reached: len(v.packets) >= n)


async def heard(node: Node, by: int) -> None:
    await until(lambda: [cast["hearing"] for cast in sent(node)] == [by])


async def test_one_stream_goes_to_all_and_links_rest():
    async with watched() as ((first, one, other), _, viewers):
        await heard(first, 2)
        assert first.reflector.copies() == {NAME: 1}
        await more(viewers)
        links = list(first.links)
        items = [link.describe()["sent_items"] for link in links]
        await more(viewers, 60)
        assert [link.describe()["sent_items"] for link in links] == items
        for node in (one, other):
            (received,) = node.reflector.casts.describe()["received"]
            assert received["node"] == first.node
            assert received["channel"] == NAME
            assert received["received_items"] > 50
        assert all(map(whole, viewers))


async def test_one_receiver_alone_is_served_by_its_link():
    async with watched(2) as ((first, _), _, viewers):
        await more(viewers)
        assert sent(first) == []
        assert first.reflector.copies() == {NAME: 1}


async def test_a_channel_may_go_by_multicast_from_the_first_receiver_on():
    async with watched(2, connection=Connection.parse("multicast")) as ((first, _), _, viewers):
        await heard(first, 1)
        await more(viewers)
        assert all(map(whole, viewers))


@pytest.mark.parametrize("connection", ["udp", "crypto/tcp"])
async def test_a_channel_that_is_to_go_by_links_does(connection: str):
    async with watched(connection=Connection.parse(connection)) as ((first, *_), _, viewers):
        await more(viewers)
        assert sent(first) == []


async def test_who_hears_no_more_goes_on_by_its_link(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heliograph.live.casts.SETTLE", 0.3)
    async with watched() as ((first, one, _), _, viewers):
        await heard(first, 2)
        link = one.links.to(first.node)
        (name,) = [cast.name for cast in _casts(first)]
        # The network drops what is sent to one of them from now on.
        heard_by_one = one.reflector.casts._heard[link, 0]
        group = heard_by_one.casts[name]
        key = _casts(first)[0].key
        link.ignore(name)
        one.reflector.casts._news(link, name, False)
        await heard(first, 1)
        await more(viewers)
        assert one.reflector.casts.counters["casts_lost"] == 1
        # It comes through again.
        link.listen(0, name, key, group)
        await heard(first, 2)
        await more(viewers)
        assert all(map(whole, viewers))


async def test_a_cast_that_nobody_hears_is_ended_and_tried_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heliograph.live.casts.TRIAL", 0.5)
    monkeypatch.setattr("heliograph.live.casts.PAUSE", 0.5)
    monkeypatch.setattr(
        "heliograph.live.links.MeshLink.listen", lambda self, wire, name, key, group: None
    )
    async with watched() as ((first, *_), _, viewers):
        await until(lambda: first.reflector.casts.counters["casts_unheard"] >= 2)
        assert first.reflector.casts.counters["casts_begun"] >= 2
        await more(viewers)
        assert all(map(whole, viewers))


async def test_who_has_left_does_not_have_the_key_any_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heliograph.live.casts.LEAST_LIFE", 0.5)
    monkeypatch.setattr("heliograph.live.incoming.LINGER", 0.1)
    async with watched(4) as ((first, *_), _, viewers):
        await heard(first, 3)
        (before,) = _casts(first)
        gone, *stay = viewers
        gone.leave()
        await until(lambda: [cast.name for cast in _casts(first)] != [before.name])
        (now,) = _casts(first)
        assert now.key != before.key
        await heard(first, 2)
        await more(stay)
        assert all(map(whole, stay))


async def test_a_cast_ends_with_its_last_receiver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heliograph.live.incoming.LINGER", 0.1)
    async with watched() as ((first, one, other), _, viewers):
        await heard(first, 2)
        for viewer in viewers:
            viewer.leave()
        await until(lambda: first.port.counters()["casts_sent"] == 0)
        for node in (one, other):
            await until(lambda node=node: node.port.counters()["casts_received"] == 0)


async def test_groups_that_are_not_among_the_settings_are_not_joined():
    async with watched() as ((first, one, _), _, viewers):
        link = one.links.to(first.node)
        one.reflector.casts.offered(link, Cast(0, 99, "239.255.99.1", bytes(16)))
        assert one.reflector.casts.counters["casts_refused"] == 1
        one.reflector.casts.offered(link, Cast(999, 99, "239.255.74.1", bytes(16)))
        assert one.reflector.casts.counters["casts_refused"] == 1
        await more(viewers)


def _casts(node: Node) -> list:
    channels = node.reflector.casts._channels.values()
    return [channel.cast for channel in channels if channel.cast is not None]


@pytest.mark.parametrize(
    "text",
    ["", "239.255.74.0", "239.255.74.0:0", "239.255.74.0:x", "10.0.0.1:7451", "239.255.74.1/24:1"],
)
def test_what_is_no_group_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        Groups.parse(text)


def test_casts_are_spread_over_the_addresses():
    found = Groups.parse("239.255.74.0/30:7451")
    assert {found.group(name) for name in range(8)} == {f"239.255.74.{n}" for n in range(4)}
    assert Groups.parse("239.1.2.3:7451").group(99) == "239.1.2.3"


async def test_a_channel_that_is_to_go_by_tcp_does_and_by_the_main_link_without():
    async with nodes(2) as (first, one):
        first.keep(connection=Connection.parse("tcp"))
        air = OnAir(first.publish())
        await until(one.has)
        viewer = one.watch()

        def carried(tcp: bool) -> bool:
            inflow = one.reflector._incoming._feeds[NAME].inflows.get(first.node)
            return inflow is not None and inflow.link.kind.carrier.tcp is tcp and inflow.delivering

        await until(lambda: carried(True))
        assert {(str(link.kind), link.main) for link in one.links} == {
            ("crypto/tcp", False),
            ("crypto/udp", True),
        }
        await more([viewer])
        beside = one.links.to(first.node, LinkKind.parse("crypto/tcp"))
        assert beside is not None
        one.links.end(beside, "cut")
        await until(lambda: carried(False))
        await more([viewer])
        assert whole(viewer)
        await air.stop()


@asynccontextmanager
async def chain(connection: str) -> AsyncIterator[tuple[Node, Node, Viewer]]:
    """A node that gets a channel from where it enters, one that gets it from that one, and a
    viewer there. Changes of the channel are known at neither unless a test says so."""
    async with nodes(3, options=LinkOptions(multicast=groups())) as (first, relay, last):
        first.keep(connection=Connection.parse(connection))
        air = OnAir(first.publish())
        for node, source in ((relay, first), (last, relay)):
            await until(lambda node=node: node.channels.find(NAME))
            node.shared._follow = lambda name: None  # type: ignore[method-assign]
            node.reflector.want(NAME, [source.node])
        way = (first.node, relay.node, last.node)
        await until(lambda: last.reflector.configurator.path(NAME) == way)
        viewer = last.watch()
        await until(lambda: len(viewer.packets) > 10)
        yield relay, last, viewer
        await air.stop()


def learn(node: Node, connection: str) -> None:
    options = ChannelOptions(silence_ms=300, connection=Connection.parse(connection))
    node.channels.change(node.channel, options, node.channel.standing)


@pytest.mark.parametrize("relay_first", [True, False])
@pytest.mark.parametrize("before", ["udp", "auto"])
async def test_a_channel_is_cast_as_soon_as_it_is_to_be(before: str, relay_first: bool):
    async with chain(before) as (relay, last, viewer):
        order = (relay, last) if relay_first else (last, relay)
        assert sent(relay) == []
        for node in order:
            learn(node, "multicast")
            await more([viewer], 10)
        await heard(relay, 1)
        await more([viewer])
        assert whole(viewer)


async def test_a_channel_that_is_to_be_cast_no_more_goes_by_links_at_once():
    async with chain("multicast") as (relay, last, viewer):
        await heard(relay, 1)
        learn(last, "udp")
        await until(lambda: sent(relay) == [])
        learn(relay, "udp")
        await more([viewer])
        assert last.reflector.casts.describe()["received"] == []
        assert whole(viewer)


async def test_who_does_not_know_that_a_channel_is_cast_no_more_goes_on_by_its_link(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("heliograph.live.casts.OVERLAP", 0.3)
    async with chain("multicast") as (relay, last, viewer):
        await heard(relay, 1)
        learn(relay, "udp")
        await until(lambda: sent(relay) == [])
        assert relay.reflector.copies() == {NAME: 1}
        await more([viewer])
        assert last.reflector.casts.counters["casts_lost"] == 1
        learn(last, "udp")
        await more([viewer])
        assert sent(relay) == []
        assert whole(viewer)


async def test_a_cast_goes_on_where_a_change_leaves_its_seal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heliograph.live.casts.LEAST_LIFE", 0.1)
    async with watched() as ((first, *_), _, viewers):
        await heard(first, 2)
        (before,) = _casts(first)
        learn(first, "multicast")
        await more(viewers)
        (channel,) = first.reflector.casts._channels.values()
        assert channel.cast is before


async def test_what_fell_silent_again_is_not_said_to_be_heard(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heliograph.live.casts.SETTLE", 0.05)
    async with watched() as ((first, one, _), _, viewers):
        await heard(first, 2)
        casts, link = one.reflector.casts, one.links.to(first.node)
        (name,) = casts._heard[link, 0].heard
        for hears in (False, True, False):
            casts._news(link, name, hears)
        await asyncio.sleep(0.2)
        assert casts._heard[link, 0].told == 0
        await more(viewers)
