"""Channels over several nodes, when one of them leaves, falls out or comes back."""

from __future__ import annotations

import pytest
from tests.unit.live.mesh_site import NAME, Node, OnAir, Viewer, nodes, until

from heliograph.live.flows import Neighbours
from heliograph.live.neighbours import Rules
from heliograph.model.errors import MalformedError
from heliograph.protocols.mesh import Subscribe


def whole(viewer: Viewer) -> bool:
    """Whether every packet since its first came, once and in order."""
    numbers = viewer.numbers
    return viewer.lost == 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def diamond(ingest: Node, left: Node, right: Node, last: Node) -> OnAir:
    """The channel enters at the first, and reaches the last by one of two between."""
    channel = ingest.keep()
    air = OnAir(ingest.publish())
    for node in (left, right, last):
        await until(lambda node=node: node.channels.find(NAME))
        node.shared._follow = lambda name: None  # type: ignore[method-assign]
    left.reflector.want(NAME, [ingest.node])
    right.reflector.want(NAME, [ingest.node])
    last.reflector.want(NAME, [left.node, right.node])
    await until(lambda: last.reflector.configurator.path(NAME)[1:] == (left.node, last.node))
    assert channel.state == "on_air"
    return air


async def test_a_relay_that_leaves_in_order_is_not_missed():
    async with nodes(4) as (ingest, left, right, last):
        air = await diamond(ingest, left, right, last)
        control, viewer = ingest.watch(), last.watch()
        await until(lambda: len(viewer.packets) > 60)
        before = await left.reflector.leave()
        assert before == {NAME: Neighbours((ingest.node,), (last.node,))}
        assert last.reflector.configurator.path(NAME) == (ingest.node, right.node, last.node)
        await left.stop()
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 60)
        await air.stop()
        await until(lambda: viewer.numbers[-1] == control.numbers[-1])
        assert whole(viewer)


async def test_a_relay_that_comes_back_has_its_place_again():
    async with nodes(4, Rules(well=1e6)) as (ingest, left, right, last):
        air = await diamond(ingest, left, right, last)
        viewer = last.watch()
        await until(lambda: len(viewer.packets) > 30)
        link = last.links.to(left.node)
        assert link is not None
        last.links.end(link, "cut")
        await until(lambda: last.reflector.configurator.sources(NAME) == (right.node,))
        await until(lambda: left.links.any(last.node) is None)
        left.reflector.come_back(NAME, Neighbours((ingest.node,), (last.node,)))
        await until(lambda: last.reflector.configurator.sources(NAME) == (left.node,))
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 30)
        assert whole(viewer)
        await air.stop()


async def test_a_link_that_breaks_costs_nothing_that_a_ring_still_holds():
    async with nodes(4) as (ingest, left, right, last):
        air = await diamond(ingest, left, right, last)
        control, viewer = ingest.watch(), last.watch()
        await until(lambda: len(viewer.packets) > 60)
        link = last.links.to(left.node)
        assert link is not None
        last.links.end(link, "cut")
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 60)
        await air.stop()
        await until(lambda: viewer.numbers[-1] == control.numbers[-1])
        assert whole(viewer)


async def test_what_was_said_before_a_link_ended_does_no_harm_when_it_is_heard_afterwards():
    async with nodes(4) as (ingest, left, right, last):
        air = await diamond(ingest, left, right, last)
        viewer = last.watch()
        await until(lambda: len(viewer.packets) > 10)
        client, server = last.links.to(left.node), left.links.any(last.node)
        assert client is not None
        assert server is not None
        left.port.close_link(server.plane_link)
        left.links.on_message(server, Subscribe(7, NAME, ingest.node, True))
        last.port.close_link(client.plane_link)
        last.links.on_silent(client)
        last.links.on_up(client)
        for links, link in ((left.links, server), (last.links, client)):
            links.end(link, "peer")
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 30)
        await air.stop()


async def test_with_two_sources_each_packet_is_relayed_once():
    async with nodes(4, Rules(redundancy=2)) as (ingest, left, right, last):
        air = await diamond(ingest, left, right, last)
        viewer = last.watch()
        await until(lambda: len(viewer.packets) > 60)
        assert set(last.reflector.configurator.sources(NAME)) == {left.node, right.node}
        links = {link.node: link for link in last.links}
        await until(lambda: links[left.node].describe()["received_items"] > 60)
        await until(lambda: links[right.node].describe()["received_items"] > 60)
        await air.stop()
        assert whole(viewer)


async def test_the_last_viewer_lets_all_relays_rest(monkeypatch):
    monkeypatch.setattr("heliograph.live.incoming.LINGER", 0.1)
    async with nodes(4) as (ingest, left, right, last):
        air = await diamond(ingest, left, right, last)
        viewer = last.watch()
        await until(lambda: len(viewer.packets) > 10)
        assert left.channel.active is not None
        viewer.leave()
        await until(lambda: left.channel.active is None)
        assert left.channel.state == "on_air"
        link = left.links.to(ingest.node)
        assert link is not None
        items, sent = link.describe()["received_items"], air.sent
        await until(lambda: air.sent > sent + 20)
        assert link.describe()["received_items"] <= items + 2
        await air.stop()


async def test_nobody_is_a_client_without_a_greeting_that_is_meant_for_this_node():
    async with nodes(2) as (one, other):
        one.keep()
        air = OnAir(one.publish())
        await until(other.has)
        before = one.links.counters["greetings_answered"]
        with pytest.raises(MalformedError):
            await other.bus.call(one.node, "mesh.greet", {"version": 1, "key": "AAAA"})
        assert one.links.counters["greetings_refused"] == 1
        assert one.links.counters["greetings_answered"] == before
        await air.stop()
