"""Titles that several nodes send, by RTSP: what a player is told, and how it goes on elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.unit.vod.staged_film import Source, make_film

from heliograph.bus.memory import MemoryNetwork
from heliograph.model.nodes import NodeId
from heliograph.protocols.rtsp.sharing import parse_nodes
from heliograph.servers.rtsp_ondemand import RtspOnDemand
from heliograph.vod.admission import Budgets
from heliograph.vod.bipartite.conductor import LEAD_US
from heliograph.vod.bipartite.ensemble import Ensemble, Layout, Place
from heliograph.vod.bipartite.order import MAX_AHEAD_US
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.promises import Admission, Promise

from .rtsp_site import Client, Site, running

MANIFEST, BLOCKS = make_film(20, name="film")
NODES = [NodeId("a" * 16), NodeId("b" * 16)]
CAN = {"Supported": "heliograph.bipartite"}
UDP = "RTP/AVP;unicast;client_port=6000-6001"


class Shelf:
    """One title, whose blocks lie at two nodes in turn."""

    def find(self, name: str) -> Manifest | None:
        return MANIFEST if name == "film" else None

    def source(self, manifest: Manifest) -> BlockSource:
        return Source(list(BLOCKS))

    def titles(self) -> Sequence[Manifest]:
        return [MANIFEST]

    def channel(self, manifest: Manifest) -> str:
        return ""

    async def layout(self, manifest: Manifest, version: int | None = None) -> Layout:
        return Layout(1, tuple(NODES), lambda block: NODES[block % 2])

    def promise(
        self, manifest: Manifest, tracks: Sequence[int], nodes: Any, ahead_us: int
    ) -> Promise | None:
        return None


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[list[Site]]:
    """Two servers that send together."""
    network = MemoryNetwork()
    async with contextlib.AsyncExitStack() as stack:
        sites = []
        for node in NODES:
            site = await stack.enter_async_context(running())
            bus = await network.bus(node)
            stack.push_async_callback(bus.close)
            ensemble = Ensemble(bus, Shelf(), site.loop, lambda site=site: site.server.endpoint)
            ensemble.open(Place(("127.0.0.1",), site.server.port, *site.server.rtp_ports))
            stack.push_async_callback(ensemble.close)
            site.server.ondemand = RtspOnDemand(
                Shelf(), site.loop, ensemble=ensemble, channels=site.channels
            )
            sites.append(site)
        first = sites[0].server.ondemand
        assert first is not None
        assert first.ensemble is not None
        await sites[0].until(lambda: len(first.ensemble.places()) == 2)
        yield sites


def url(site: Site) -> str:
    return f"rtsp://127.0.0.1:{site.server.port}/film"


async def set_up(site: Site, **headers: str) -> tuple[Client, list[dict[str, str]]]:
    client = await site.client()
    client.base = url(site)
    found = []
    for track in range(2):
        name = f"{client.base}/trackID={track}"
        status, answer, _ = await client.ask("SETUP", name, Transport=UDP, **headers)
        assert status == 200
        found.append(answer)
    return client, found


def ensemble(site: Site) -> Any:
    assert site.server.ondemand is not None
    return site.server.ondemand.ensemble


async def test_who_can_is_told_the_nodes_and_who_cannot_gets_an_ordinary_session() -> None:
    async with two() as (one, other):
        client = await one.client()
        _, _, sdp = await client.ask("DESCRIBE", url(one), Accept="application/sdp")
        assert sdp.count(b"a=extmap:1 urn:heliograph:bipartite\r\n") == 2
        client, (first, second) = await set_up(one, **CAN)
        assert first["supported"] == second["supported"] == "heliograph.bipartite"
        clock, nodes, ahead = first["bipartite"].split(", ")
        assert abs(int(clock.removeprefix("clock=")) - ensemble(one).clocks.now_us()) < 10_000_000
        places = [
            f"{number}=127.0.0.1:{site.server.port}/{rtp}-{rtcp}"
            for number, site in enumerate((one, other))
            for rtp, rtcp in [site.server.rtp_ports]
        ]
        assert nodes == f'nodes="{";".join(places)}"'
        assert ahead == "ahead=0"
        assert "ssrc=" in first["transport"]
        for without in ({}, {"Supported": "play.basic"}):
            _, (plain, _) = await set_up(one, **without)
            assert "bipartite" not in plain
            assert "supported" not in plain
        # By TCP it is an ordinary one, too.
        tcp = await one.client()
        lanes = "RTP/AVP/TCP;unicast;interleaved=0-1"
        status, answer, _ = await tcp.ask("SETUP", f"{url(one)}/trackID=0", Transport=lanes, **CAN)
        assert status == 200
        assert "bipartite" not in answer


async def test_a_player_is_told_when_media_are_due_and_how_early_they_come() -> None:
    async with two() as (one, other):
        client, (first, _) = await set_up(one, **CAN, Bipartite="ahead=3000000")
        told = parse_nodes(first["bipartite"])
        assert (told.ahead, told.line) == (3_000_000, None)
        _, answer, _ = await client.ask("PLAY", url(one), Range="npt=5-", Speed="1.5")
        told = parse_nodes(answer["bipartite"])
        assert told.line is not None
        assert (told.line.media, told.line.speed) == (4_000_000, 1.5)
        assert 0 < told.line.at - told.clock <= LEAD_US
        orders = [ensemble(site).order(client.session) for site in (one, other)]
        assert [order.ahead_us for order in orders] == [3_000_000] * 2
        status, answer, _ = await client.ask("PAUSE", url(one))
        assert status == 200
        paused = parse_nodes(answer["bipartite"]).line
        assert paused is not None
        assert paused.speed == 0
        _, (greedy, _) = await set_up(one, **CAN, Bipartite="ahead=60000000")
        assert parse_nodes(greedy["bipartite"]).ahead == MAX_AHEAD_US
        late = await one.client()
        late.base = url(one)
        bad = {"Transport": UDP, **CAN, "Bipartite": "ahead=soon"}
        status, _, _ = await late.ask("SETUP", f"{late.base}/trackID=0", **bad)
        assert status == 400


async def test_another_server_goes_on_with_the_session_it_is_shown() -> None:
    async with two() as (one, other):
        client, _ = await set_up(one, **CAN)
        status, answer, _ = await client.ask("PLAY", url(one), Range="npt=5-")
        assert status == 200
        assert "bipartite" in answer
        assert answer["range"].startswith("npt=4.000000-20")
        session = client.session
        assert ensemble(other).order(session).controller == NODES[0]
        moved = await other.client()
        moved.base, moved.session = url(other), session
        status, answer, _ = await moved.ask("GET_PARAMETER")
        assert (status, moved.session) == (200, session)
        assert "bipartite" in answer
        assert ensemble(one).order(session).controller == NODES[1]
        assert await client.ended() == b""  # without a word
        status, answer, _ = await moved.ask("PAUSE")
        assert status == 200
        told = parse_nodes(answer["bipartite"])
        assert [one.number for one in told.nodes] == [0, 1]
        assert told.line is not None
        assert told.line.speed == 0
        status, answer, _ = await moved.ask("PLAY", Speed="2.0", Scale="4.0")
        assert status == 200
        assert (answer["speed"], answer["scale"]) == ("2.000", "1.000")
        assert f"url={url(other)}/trackID=0" in answer["rtp-info"]
        status, _, _ = await moved.ask("TEARDOWN")
        assert status == 200
        await other.until(lambda: not ensemble(one).parts and not ensemble(other).parts)
        for site in (one, other):
            late = await site.client()
            late.session = session
            assert (await late.ask("GET_PARAMETER", url(site)))[0] == 454


async def test_a_request_of_any_kind_takes_control_and_is_answered() -> None:
    async with two() as (one, other):
        for method, headers in (("PAUSE", {}), ("PLAY", {"Range": "npt=1-"}), ("TEARDOWN", {})):
            client, _ = await set_up(one, **CAN)
            assert (await client.ask("PLAY", url(one)))[0] == 200
            moved = await other.client()
            moved.base, moved.session = url(other), client.session
            assert (await moved.ask(method, **headers))[0] == 200
        # Of a session that nobody knows nothing is told.
        stranger = await other.client()
        stranger.session = "f" * 32
        assert (await stranger.ask("GET_PARAMETER", url(other)))[0] == 454


async def test_a_lost_connection_ends_nothing_and_nodes_that_go_are_told_with_the_next_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two() as (one, other):
        client, _ = await set_up(one, **CAN)
        assert (await client.ask("PLAY", url(one)))[0] == 200
        await ensemble(other).close()
        await one.until(lambda: len(ensemble(one).order(client.session).present) == 1)
        now = ensemble(one).clocks.now_us() + 5_000_000
        monkeypatch.setattr(ensemble(one).clocks, "now_us", lambda: now)
        _, answer, _ = await client.ask("OPTIONS")
        assert answer["bipartite"].count("=127.0.0.1:") == 1
        assert parse_nodes(answer["bipartite"]).clock == now  # as it is when that is said
        assert "bipartite" not in (await client.ask("OPTIONS"))[1]
        session = client.session
        client.writer.close()
        await asyncio.sleep(0.1)
        assert ensemble(one).order(session).state == "playing"
        assert len(one.server.connections) == 1
        again = await one.client()
        again.base, again.session = url(one), session
        status, answer, _ = await again.ask("GET_PARAMETER")
        assert status == 200
        assert "bipartite" in answer
        assert len(one.server.connections) == 1


async def test_one_node_need_not_have_room_for_what_several_send() -> None:
    def full() -> Budgets:
        return Budgets(packets=1)

    async with two() as (one, _):
        service = one.server.ondemand
        assert service is not None
        service._admission = Admission(full, lambda manifest: {})
        client = await one.client()
        assert (await client.ask("DESCRIBE", url(one)))[0] == 453
        assert (await client.ask("DESCRIBE", url(one), Supported="play.basic"))[0] == 453
        assert (await client.ask("DESCRIBE", url(one), **CAN))[0] == 200
        client, _ = await set_up(one, **CAN)
        assert (await client.ask("PLAY", url(one)))[0] == 200  # what the nodes promise decides


async def recorded(site: Site) -> Client:
    """A client that plays what was recorded of a channel, by a key."""
    client = await site.client()
    client.base = url(site)
    for track in range(2):
        shown = f"{client.base}/trackID={track}?key=right"
        assert (await client.ask("SETUP", shown, Transport=UDP, **CAN))[0] == 200
    assert (await client.ask("PLAY", url(site)))[0] == 200
    return client


@pytest.mark.parametrize("judge", [0, 1])
async def test_a_recording_ends_at_all_nodes_when_one_sees_that_the_right_to_it_is_gone(
    judge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``judge``: the node with control, or another, as where that has died."""
    monkeypatch.setattr(Shelf, "channel", lambda self, manifest: "demo")
    async with two() as sites:
        one, _ = sites
        rosters = [site.guard("right") for site in sites]
        client = await recorded(one)
        for roster in rosters:
            await roster.recheck()
        assert all(ensemble(site).parts for site in sites)
        sites[judge].guard("another")
        await rosters[judge].recheck()
        await one.until(lambda: not any(ensemble(site).parts for site in sites))
        assert rosters[judge].ended
        await client.ended()
        assert not any(site.channel.guests for site in sites)


async def test_who_comes_to_another_node_with_a_recording_is_judged_there_then_and_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Shelf, "channel", lambda self, manifest: "demo")
    async with two() as (one, other):
        one.guard("right")
        other.guard("another")
        client = await recorded(one)
        moved = await other.client()
        moved.base, moved.session = url(other), client.session
        assert (await moved.ask("GET_PARAMETER"))[0] == 454
        assert ensemble(one).order(client.session).controller == NODES[0]
        other.guard("right")
        moved = await other.client()
        moved.base, moved.session = url(other), client.session
        assert (await moved.ask("GET_PARAMETER"))[0] == 200
        assert ensemble(other).order(client.session).controller == NODES[1]
        await other.guard().recheck()
        await other.until(lambda: not ensemble(one).parts and not ensemble(other).parts)
        await moved.ended()
        assert not other.channel.guests
