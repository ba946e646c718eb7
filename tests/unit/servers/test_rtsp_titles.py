"""RTSP players are redirected to servers that hold a title."""

from __future__ import annotations

import pytest
from tests.unit.dispatcher.contents import NOW, Made, Told, server

from heliograph.catalogue.contents.values import Format, Network
from heliograph.dispatcher.choose import Options
from heliograph.dispatcher.doors import Door
from heliograph.dispatcher.snapshot import building
from heliograph.live.gate import Gate
from heliograph.servers.rtsp_titles import RtspTitles

from .rtsp_site import running

LANES = "RTP/AVP/TCP;unicast;interleaved=0-1"


def made():
    contents = Made([server(1, make="heliograph"), server(2)])
    contents.title("film", {Format.RTSP: (2,), Format.MP4: (1, 2)})
    contents.title("own", {Format.RTSP: (1,)}).title("clip").title("demo", {Format.RTSP: (2,)})
    contents.title("ours", {Format.RTSP: (2,)}, regions=("eu",))
    return contents


async def test_a_title_is_redirected_to_its_server():
    dispatcher = made().dispatcher()
    async with running() as site:
        site.server.titles = RtspTitles(dispatcher, lambda: NOW)
        client = await site.client()
        place = client.base.rpartition("/")[0]
        status, fields, _ = await client.ask("DESCRIBE", f"{place}/film?token=secret")
        assert (status, fields["location"]) == (302, "rtsp://host2.example/film.rtsp")
        status, fields, _ = await client.ask("SETUP", f"{place}/film/trackID=0", Transport=LANES)
        assert (status, fields["location"]) == (302, "rtsp://host2.example/film.rtsp")
        status, fields, _ = await client.ask("DESCRIBE", f"{place}/own?token=secret")
        assert (status, fields["location"]) == (302, "rtsp://host1.example/own.rtsp?token=secret")
        first = dispatcher.decisions[0]
        assert (first.name, first.server, first.format) == ("film", 2, Format.RTSP)
        assert (first.client, first.status) == ("127.0.0.1", 302)


@pytest.mark.parametrize(
    ("name", "status"), [("nothing", 404), ("clip", 406), ("ours", 403), ("own", 503)]
)
async def test_refusals_are_told_in_the_words_of_rtsp(name, status):
    contents = made()
    contents.networks = [Network("10.0.0.0/8", "eu")]
    del contents.states[1]
    dispatcher = contents.dispatcher()
    async with running() as site:
        site.server.titles = RtspTitles(dispatcher, lambda: NOW)
        client = await site.client()
        place = client.base.rpartition("/")[0]
        assert (await client.ask("DESCRIBE", f"{place}/{name}"))[0] == status


async def test_a_channel_goes_before_a_title_of_its_name():
    async with running() as site:
        site.server.titles = RtspTitles(made().dispatcher(), lambda: NOW)
        publisher = await site.client()
        assert await publisher.publish() == 200
        client = await site.client()
        assert (await client.ask("DESCRIBE"))[0] == 200


async def test_clients_of_a_refused_network_watch_no_channel_and_may_publish():
    contents = made()
    contents.networks = [Network("127.0.0.0/8", "", refused=True)]
    dispatcher = contents.dispatcher()
    async with running() as site:
        site.server.gate = Gate("boss", refuses=dispatcher.barring.why)
        publisher = await site.client()
        assert await publisher.publish() == 200
        client = await site.client()
        nothing = f"{client.base.rpartition('/')[0]}/nothing"
        for shown in ("", "?key=secret", "?key=boss", "?ticket=unit.of.another"):
            assert (await client.ask("DESCRIBE", client.base + shown))[0] == 403
        url = f"{client.base}/trackID=0"
        assert (await client.ask("SETUP", url, Transport=LANES))[0] == 403
        assert (await client.ask("DESCRIBE", nothing))[0] == 403
        contents.networks = []
        dispatcher.replace(contents.snapshot(), NOW)
        assert (await client.ask("DESCRIBE"))[0] == 200
        assert (await client.ask("DESCRIBE", nothing))[0] == 404


async def test_whatever_a_player_begins_with_it_is_redirected():
    dispatcher = made().dispatcher()
    async with running() as site:
        site.server.titles = RtspTitles(dispatcher, lambda: NOW)
        client = await site.client()
        film = f"{client.base.rpartition('/')[0]}/film"
        # Some players cannot be sent on by OPTIONS, so that it says what can be done here.
        status, fields, _ = await client.ask("OPTIONS", film)
        assert status == 200
        assert "DESCRIBE" in fields["public"]
        for method, url, more in (
            ("DESCRIBE", film, {}),
            ("SETUP", film, {"Transport": LANES}),
            ("SETUP", f"{film}/trackID=1", {"Transport": LANES}),
            ("PLAY", film, {}),
            ("PLAY", f"{film}/", {"Session": "of-the-server-that-died"}),
            ("PLAY", f"{film}/trackID=0?token=x", {}),
        ):
            status, fields, _ = await client.ask(method, url, **more)
            assert (status, fields.get("location")) == (302, "rtsp://host2.example/film.rtsp")
            assert "session" not in fields
        assert (await client.ask("PLAY"))[0] == 454  # of a channel: there is no session
        assert (await client.ask("PLAY", f"{film}-none"))[0] == 454
        assert [one.status for one in dispatcher.decisions] == [302] * 6


def test_who_asks_a_drained_server_that_holds_a_title_is_sent_to_another():
    contents = Made([server(1, drained=True), server(2), server(3)])
    contents.title("film", {Format.RTSP: (1, 2)}).title("own", {Format.RTSP: (1,)})
    contents.title("other", {Format.RTSP: (3,)})
    titles = RtspTitles(contents.dispatcher(), lambda: NOW)

    def instead(name, place):
        return titles.instead(name, place, "", "192.0.2.1")

    assert instead("film", "HOST1.example") == "rtsp://host2.example/film.rtsp"
    assert instead("film", "host1.example:554") == "rtsp://host2.example/film.rtsp"
    assert instead("film", "host1.example:8554") is None
    assert instead("film", "host2.example") is None  # it is in use
    assert instead("own", "host1.example") is None  # there is no other
    assert instead("other", "host1.example") is None
    assert instead("none", "host1.example") is None
    assert instead("film", "[::1") is None


def nodes(**states: bool) -> tuple[Told, RtspTitles]:
    """Two nodes of ours with a title of volumes, and the first of them; which are drained."""
    servers = [server(id, make="heliograph", drained=states.get(f"s{id}", False)) for id in (1, 2)]
    contents = Made(servers).title("film", {Format.MP4: ()}).title("own", {Format.RTSP: (2,)})
    (*_, snapshot) = building(contents.contents(), None, {"film": 1000})
    assert snapshot is not None
    doors = [Door(f"s{id}", "", f"rtsp://node{id}:8554") for id in (1, 2)]
    told = Told(Options(policy="round-robin"))
    told.replace(snapshot.with_states(contents.states).with_doors(doors), NOW)
    return told, RtspTitles(told, lambda: NOW, "s1")


def test_players_of_what_all_nodes_have_are_spread_and_sent_on_once():
    told, titles = nodes()
    found = [titles.best("film", "token=a", "192.0.2.1") for _ in range(4)]
    there = "rtsp://node2:8554/film?sent=1&token=a"
    assert sorted(found, key=str) == [None, None, there, there]
    assert [one.server for one in told.decisions].count(1) == 2
    assert titles.best("film", "sent=1&token=a", "192.0.2.1") is None
    assert titles.best("own", "", "192.0.2.1") is None  # that is another thing
    assert titles.best("nothing", "", "192.0.2.1") is None
    assert len(told.decisions) == 4


def test_a_node_that_is_drained_sends_players_to_another():
    _, titles = nodes(s1=True)
    there = "rtsp://node2:8554/film?sent=1"
    assert titles.instead("film", "any.name.of.it", "", "192.0.2.1") == there
    assert titles.best("film", "", "192.0.2.1") == there
    _, titles = nodes(s2=True)
    assert {titles.best("film", "", "192.0.2.1") for _ in range(9)} == {None}
    _, titles = nodes(s1=True, s2=True)
    assert titles.instead("film", "node1:8554", "", "192.0.2.1") is None
    assert titles.best("film", "", "192.0.2.1") is None
