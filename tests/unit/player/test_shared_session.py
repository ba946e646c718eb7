"""A title that several nodes send, over loopback: they lose, die and fall silent."""

from __future__ import annotations

import asyncio
import socket

import pytest

from heliograph.model.errors import NotFoundError, RemoteError
from heliograph.player import beginning, network, session
from heliograph.player.control import Uncontrolled
from heliograph.player.network import Feed
from heliograph.player.options import PlayOptions
from heliograph.player.session import Player, State
from heliograph.player.steering import FlowKind, FlowOptions, Steering
from heliograph.player.terminal import Statistics
from heliograph.player.timeline import Origin
from heliograph.protocols.rtsp import client as machine
from heliograph.protocols.rtsp.events import NodesTold
from heliograph.protocols.rtsp.sharing import Line, Nodes, parse_nodes

from .made import film
from .nodes_peer import SESSION, Cluster
from .rtsp_peer import Peer
from .test_feed import PATIENCE, Heard, until
from .test_player import Outputs, playing
from .test_player import until as until_player


def feed_of(url: str, heard: Heard, *, share: bool = True) -> Feed:
    return Feed(url, heard, first_stream=0, origin=Origin(), share=share)


def whole(heard: Heard, cluster: Cluster) -> None:
    """All packets came; each once or more."""
    numbers = {arrival.number for arrival, _ in heard.arrivals}
    assert numbers == set(range(min(numbers), min(numbers) + len(cluster.peer.packets())))


async def test_a_title_comes_whole_from_all_nodes() -> None:
    cluster, heard = Cluster(Peer(pace=10.0)), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            assert feed.shared is not None
            await until(lambda: feed.incoming.finished)
            assert feed.ended(2.0)
            await until(lambda: all(member.reports for member in cluster.members))
        finally:
            await feed.close()
        whole(heard, cluster)
        assert {arrival.node for arrival, _ in heard.arrivals} == {0, 1, 2}
    assert cluster.torn_down == 1


async def test_lost_packets_are_asked_of_the_node_that_sent_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "BEGIN_AT", 1.0)  # time for an answer
    cluster = Cluster(Peer(film=film(count=150), pace=3.0), lose={36, 52, 53, 71})
    outputs = Outputs()
    async with cluster.serving() as url, playing([url], outputs) as (player, task):
        async with asyncio.timeout(PATIENCE):
            await task
        shown = Statistics(player).as_json(0.0)
    owners = [place // cluster.block % 3 for place in sorted(cluster.lose)]
    assert sorted(o for o, m in enumerate(cluster.members) for _ in m.again) == sorted(owners)
    nodes = shown["feeds"][0]["nodes"]
    assert [node["asked"] for node in nodes] == [owners.count(number) for number in range(3)]
    assert [node["recovered"] for node in nodes] == [node["asked"] for node in nodes]
    assert shown["streams"][0]["missing"] == 0
    assert outputs.window.pictures[0][-1] == cluster.peer.film.pictures[-1]
    Statistics(player).draw(0.0)


async def test_what_comes_ahead_of_time_is_kept_and_not_taken_for_a_full_buffer() -> None:
    cluster, outputs = Cluster(Peer(film=film(count=150), pace=3.0), timed=True), Outputs()
    async with cluster.serving() as url, playing([url], outputs) as (player, task):
        held = []

        def ahead() -> bool:
            if player.state is State.PLAYING:
                held.append((player.level(player.feeds[0]), player.pipelines[0].buffer.level))
            return task.done()

        await until_player(task, ahead)
        assert player.pipelines[0].buffer.counters.overflows == 0
    assert max(whole for _, whole in held) > 2.0
    before = [level for level, whole in held if whole > 2.0]
    assert max(before) < 1.0  # what was due by then, less what was played
    assert not any(speed < 1 for speed in cluster.speeds)


async def test_one_server_sends_where_that_is_wanted() -> None:
    cluster, heard = Cluster(), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard, share=False)
        await feed.open()
        await feed.close()
        asked = cluster.members[0].asked
        assert {request.headers.get("supported") for request in asked} == {None}
    player = Player([], PlayOptions(gathered=True), Outputs())
    assert player.feeds == []


async def test_what_others_send_to_our_port_is_refused() -> None:
    cluster, heard = Cluster(), Heard()
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            member = cluster.members[0]
            assert cluster.target is not None
            stranger.bind(("127.0.0.1", 0))
            forged = member.sent[0].serialize()
            for _ in range(5):
                stranger.sendto(forged, ("127.0.0.1", cluster.target[0]))
            await until(lambda: feed.incoming.strangers == 5)
            marks = [(a.node, a.node_sequence) for a, _ in heard.arrivals]
            assert len(marks) == len(set(marks))
        finally:
            stranger.close()
            await feed.close()


@pytest.mark.parametrize("mishap", ["dies", "is mute", "is mute and the next is ignorant"])
async def test_control_goes_on_at_another_node_and_media_do_not_notice(
    mishap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SHARED_TIMEOUT", 1.5)
    monkeypatch.setattr(machine, "SHARED_KEEPALIVE", 0.3)
    cluster, heard = Cluster(Peer(film=film(count=150), pace=1.0)), Heard()
    first, second, third = 0, 1, 2
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            await until(lambda: len(heard.arrivals) > 10)
            if mishap == "dies":
                cluster.kill(cluster.members[first])
            else:
                cluster.members[first].frozen = True
                cluster.members[second].ignorant = "ignorant" in mishap
            heir = cluster.members[third if "ignorant" in mishap else second]
            assert feed.control is not None
            await until(lambda: feed.control is not None and feed.control.moves > 0)
            assert feed.control.place.endswith(str(heir.port))
            assert f"control went on at {'127.0.0.1'}" in feed.remarks[0]
            assert heir.asked[0].method == "GET_PARAMETER"
            assert heir.asked[0].headers.get("session") == SESSION
            # All that can be asked goes there.
            assert await feed.change_speed(1.5)
            await feed.pause()
            await feed.resume(speed=2.0)
            assert cluster.speeds == [1.5, 2.0]
            await until(lambda: feed.incoming.finished)
            assert feed.ended(6.0)
        finally:
            await feed.close()
        assert not feed.failed.done()
        whole(heard, cluster)
        assert heard.starts == [0.0]
        assert heir.methods[-1] == "TEARDOWN"
        assert cluster.torn_down == 1


async def test_a_request_that_is_lost_with_its_node_is_made_at_the_next() -> None:
    cluster, heard = Cluster(Peer(film=film(count=150))), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            await until(lambda: len(heard.arrivals) > 3)
            cluster.members[0].frozen = True
            seeking = asyncio.create_task(feed.seek(3.0))
            await until(lambda: "PAUSE" in cluster.members[0].methods)
            cluster.kill(cluster.members[0])
            async with asyncio.timeout(PATIENCE):
                await seeking
            await until(lambda: len(heard.arrivals) > 3)
            assert min(media for _, media in heard.arrivals) >= 2.5
            assert cluster.members[1].methods[:3] == ["GET_PARAMETER", "PAUSE", "PLAY"]
        finally:
            await feed.close()


async def test_without_anybody_who_controls_what_comes_is_played_to_the_end() -> None:
    cluster = Cluster(Peer(film=film(count=100), pace=1.0))
    outputs = Outputs()
    async with cluster.serving() as url, playing([url], outputs) as (player, task):
        await until_player(task, lambda: player.state is State.PLAYING)
        for member in cluster.members:
            cluster.kill(member)
        async with asyncio.timeout(PATIENCE):
            await task
        control = player.feeds[0].control
    assert control is not None
    assert (control.moves, control.lost) == (0, True)
    assert any("no node controls it" in remark for remark in player.remarks)
    assert player.pipelines[0].buffer.counters.missing == 0
    assert outputs.window.pictures[0][-1] == cluster.peer.film.pictures[-1]


async def test_every_node_is_tried_twice_before_it_ends_for_want_of_media(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, heard = Cluster(Peer(film=film(count=150))), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            monkeypatch.setattr(network, "SILENCE", 1.0)
            for member in cluster.members:
                member.ignorant = member.silent = True
            cluster.members[0].frozen = True
            for writer in cluster.members[0].connections:
                writer.transport.abort()
            cluster.members[0].frozen = False
            async with asyncio.timeout(PATIENCE):
                error = await feed.failed
            assert "nothing came" in error.message
            with pytest.raises(RemoteError):
                await feed.pause()
            for member in cluster.members:
                assert member.methods.count("GET_PARAMETER") >= 2
        finally:
            await feed.close()


def reported(steering: Steering) -> bool:
    """Report a level until what was asked for is done; whether it is."""
    steering.report(0.9, [0.9], 100.1)
    return steering._task is None


async def test_control_comes_back_when_a_node_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "ASK_NODES_EVERY", 0.3)
    cluster, heard = Cluster(Peer(film=film(count=250))), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        await feed.start()
        steering = Steering(feed, 1.0, FlowOptions(FlowKind.RATE))
        try:
            for member in cluster.members:
                cluster.kill(member)
            with pytest.raises(Uncontrolled):
                await feed.change_speed(1.25)
            steering.report(0.9, [0.9], 100.0)
            await until(lambda: reported(steering))
            assert (steering.kind, steering.rate) == (FlowKind.RATE, 1.0)
            await cluster.start(cluster.members[1])
            await until(lambda: feed.control is not None and feed.control.moves == 1)
            assert await feed.change_speed(1.25)
        finally:
            await steering.close()
            await feed.close()


async def test_a_dead_node_s_blocks_come_from_its_heir() -> None:
    cluster, heard = Cluster(Peer(film=film(count=150), pace=2.0)), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            await until(lambda: len(heard.arrivals) > 20)
            dead = cluster.members[1]
            dead.silent = True
            cluster.kill(dead)
            before = len(heard.arrivals)
            await until(lambda: len(heard.arrivals) > before + 5)
            cluster.inherit(1, 2)
            # The dead one says no goodbye: the end is where the newest packet is at the end.
            await until(lambda: feed.ended(max(media for _, media in heard.arrivals)))
        finally:
            await feed.close()
        whole(heard, cluster)


async def test_a_title_is_not_over_while_a_node_may_owe_what_is_due_before_its_end() -> None:
    cluster, heard = Cluster(Peer(pace=10.0)), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            await until(lambda: feed.incoming.finished)
            assert feed.control is not None
            assert feed.duration is not None
            for due, over in ((0, False), (round(feed.duration * 1e6), True)):
                told = Nodes(7, parse_nodes(cluster.nodes()).nodes, 0, Line(due, 7, 0.001))
                feed.noticed(feed.control.client, NodesTold(told))
                assert feed.ended(feed.duration) is over
        finally:
            await feed.close()


async def test_a_title_that_is_not_there_is_not_looked_for_elsewhere() -> None:
    peer = Peer(missing=True)
    async with peer.serving() as url:
        with pytest.raises(NotFoundError):
            await feed_of(url, Heard()).open()


@pytest.mark.parametrize("dead", [0, 1])
async def test_what_a_dead_node_owes_at_the_beginning_is_waited_for(dead: int) -> None:
    cluster, outputs = Cluster(Peer(film=film(count=150), pace=3.0), block=20), Outputs()
    async with cluster.serving() as url:
        cluster.members[dead].silent = True  # nobody has noted that yet
        async with playing([url], outputs) as (player, task):
            await until_player(task, lambda: player.pipelines and player.pipelines[0].newest > 2.5)
            assert player.state is State.BUFFERING
            cluster.inherit(dead, 2)
            async with asyncio.timeout(PATIENCE):
                await task
            assert player.pipelines[0].units == 150
            assert player.pipelines[0].buffer.counters.missing == 0
            assert (player.rebuffered, player.remarks) == (0, [])
    assert outputs.window.pictures[0][0] == cluster.peer.film.pictures[0]


async def test_what_a_dead_node_owes_in_the_middle_is_waited_for() -> None:
    cluster, outputs = Cluster(Peer(film=film(count=150), pace=1.5), block=20), Outputs()
    async with cluster.serving() as url, playing([url], outputs) as (player, task):
        await until_player(task, lambda: player.position > 1.0)
        cluster.members[1].silent = True
        await until_player(task, lambda: player.rebuffered)
        assert player.state is State.BUFFERING
        assert len(player.pipelines[0].buffer)  # there is something behind the gap
        cluster.inherit(1, 2)
        async with asyncio.timeout(PATIENCE):
            await task
        assert player.pipelines[0].units == 150
        assert player.pipelines[0].buffer.counters.missing == 0
        assert player.remarks == []


async def test_what_never_comes_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0.0  # seconds waited for what is to begin: once for all, however fast this runs

    class Waiting(beginning.Beginning):
        def enough(self, now: float) -> bool:
            return super().enough(passed)

    monkeypatch.setattr(session, "Beginning", Waiting)
    cluster, outputs = Cluster(Peer(film=film(count=150), pace=1.5), block=10), Outputs()
    async with cluster.serving() as url:
        cluster.members[1].silent = True
        async with playing([url], outputs) as (player, task):
            await until_player(task, lambda: player.pipelines and player.pipelines[0].newest > 1.2)
            assert player.state is State.BUFFERING
            passed = beginning.PATIENCE
            buffer, held_up = player.pipelines[0].buffer, set()

            def over() -> bool:
                held_up.add(buffer.held_up)
                return task.done()

            await until_player(task, over)
            assert held_up == {False}
            left_out = "a part of stream 0 (h264) does not come in time: it is left out"
            assert player.remarks == [left_out]
    assert buffer.counters.missing >= 40
    assert outputs.window.pictures[0][-1] == cluster.peer.film.pictures[-1]


async def test_a_title_that_ended_while_control_was_lost_does_not_begin_anew() -> None:
    cluster, heard = Cluster(Peer(pace=10.0), timed=True), Heard()
    async with cluster.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            assert await feed.change_speed(1.5)
            await until(lambda: feed.incoming.finished)
            assert feed.duration is not None
            await until(lambda: (feed.due(asyncio.get_running_loop().time()) or 0) > feed.duration)
            first, second, _ = cluster.members
            asked = len(first.asked)
            cluster.kill(first)
            await until(lambda: feed.control is not None and feed.control.moves == 1)
            assert await feed.change_speed(0.75)
            assert "PLAY" not in second.methods
            assert cluster.speeds == [1.5]
            assert len(first.asked) == asked
        finally:
            await feed.close()
