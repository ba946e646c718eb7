"""``/go/NAME`` for live channels, playlists and manifests."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from tests.unit.dispatcher.contents import NOW, Made, Told, server
from tests.unit.web.site import ADMIN, running
from tests.unit.web.test_signalling import offer
from websockets.exceptions import InvalidStatus

from heliograph.catalogue.contents.values import Format, Network
from heliograph.dispatcher.doors import Door
from heliograph.dispatcher.snapshot import building
from heliograph.live.offers import OfferLimits
from heliograph.servers.forwarded import Trust
from heliograph.vod.shelf import Published

BROWSER = {"accept": "text/html,*/*;q=0.8"}
WHY = "clients of your network are not served"
HLS = {"accept": "application/vnd.apple.mpegurl"}


def made():
    return Made().title("film", {Format.HLS: (1, 2)}).dispatcher()


@pytest.mark.parametrize(
    ("headers", "query", "where"),
    [
        (BROWSER, "", "/watch/demo"),
        (BROWSER, "?format=hls", "/hls/demo/index.m3u8?format"),
        (HLS, "", "/hls/demo/index.m3u8"),
        ({}, "", "/hls/demo/index.m3u8"),
        ({}, "?token=abc", "/hls/demo/index.m3u8?token=abc"),
        ({}, "?format=rtsp&key=k", "rtsp://127.0.0.1:8554/demo?key=k"),
    ],
)
async def test_a_channel_is_found_at_the_same_address(headers, query, where):
    dispatcher = made()
    async with running(context={"dispatcher": dispatcher, "rtsp_port": 8554}) as site:
        answer = await site.get(f"/go/demo{query}", headers=headers)
        assert answer.status_code == 302
        assert answer.headers["location"] == where.removesuffix("?format")
        assert answer.headers["cache-control"] == "no-store"
        (decision,) = dispatcher.decisions
        assert (decision.name, decision.server, decision.status) == ("demo", 0, 302)


async def test_a_channel_without_the_format_wanted_is_not_acceptable():
    async with running(context={"dispatcher": made()}) as site:
        for query in ("mp4", "rtsp", "whep", "avi"):  # neither RTSP nor WebRTC is there
            answer = await site.get(f"/go/demo?format={query}")
            assert answer.status_code == 406


async def test_channels_are_found_where_there_are_no_titles():
    async with running() as site:
        assert (await site.get("/go/demo")).status_code == 302
        assert (await site.get("/go/nothing")).status_code == 404
        assert (await site.get("/go/film/index.m3u8")).status_code == 404
        assert (await site.get("/steering/film")).status_code == 404


async def test_a_head_alone_is_answered_alike_and_counted_nowhere():
    titles = Made().title("film", {Format.HLS: (1,), Format.MP4: (1,)})
    titles.title("mine", {Format.MP4: ()})
    dispatcher = titles.dispatcher()
    there = {"ondemand": SimpleNamespace(shelf=Shelf(), close=None)}
    async with running(context={"dispatcher": dispatcher, **there}) as site:
        for address in ("film", "film?format=mp4", "film/index.m3u8", "mine", "demo"):
            head = await site.http.head(f"/go/{address}", headers=HLS)
            assert dispatcher.decisions == []
            assert not any(one.load for one in dispatcher.fleet.members.values())
            body = await site.get(f"/go/{address}", headers=HLS)
            assert (head.status_code, head.headers.get("location")) == (
                body.status_code,
                body.headers.get("location"),
            )
            assert len(dispatcher.decisions) == 1
            dispatcher.decisions.clear()
            for member in dispatcher.fleet.members.values():
                member.load = 0.0
        for text in ("bytes=0-", "bytes=1000-", "bytes=9000-"):
            await site.get("/go/mine?format=mp4", headers={"range": text})
        assert len(dispatcher.decisions) == 1


async def test_clients_of_a_refused_network_are_sent_to_no_channel():
    titles = Made()
    titles.networks = [Network("127.0.0.0/8", "", refused=True)]
    dispatcher = titles.dispatcher()
    async with running(context={"dispatcher": dispatcher, "rtsp_port": 8554}) as site:
        for address in ("/go/demo", "/go/demo?format=rtsp", "/go/demo/index.m3u8"):
            answer = await site.get(address)
            assert (answer.status_code, "location" in answer.headers) == (403, False)
            assert "clients of your network are not served" in answer.text
        assert "<h1>Not for your network</h1>" in (await site.get("/go/demo", headers=BROWSER)).text
        assert [one.status for one in dispatcher.decisions] == [403] * 4
        new = {"name": "secret", "private": True}
        await site.http.post("/api/v1/channels", json=new, headers=ADMIN)
        assert (await site.get("/go/secret")).status_code == 404  # it is as unknown as ever
        titles.networks = [Network("127.0.0.0/8", "here"), Network("10.0.0.0/8", "", refused=True)]
        dispatcher.replace(titles.snapshot(), NOW)
        assert (await site.get("/go/demo")).status_code == 302


async def test_clients_of_a_refused_network_watch_a_channel_by_no_way():
    titles = Made()
    titles.networks = [Network("192.0.2.0/24", "", refused=True)]
    dispatcher = titles.dispatcher()
    trust = Trust((ip_network("127.0.0.0/8"),))
    there = {"dispatcher": dispatcher}
    async with running(context=there, trust=trust, offers=OfferLimits()) as site:
        await site.on_air()

        async def statuses(client: str) -> list[tuple[int, bool]]:
            """By HLS, WHEP and WebSocket, and whether the reason is told."""
            via = {"x-forwarded-for": client}
            sdp = {"content-type": "application/sdp"} | via
            found = [
                await site.get("/hls/demo/none/s1.m4s", headers=via),
                await site.http.post("/whep/demo", content=offer("recvonly"), headers=sdp),
                await site.get("/api/v1/channels/demo/picture", headers=via),
            ]
            told = [(one.status_code, WHY in one.text) for one in found]
            try:
                async with site.viewer(additional_headers=via):
                    return [*told, (101, False)]
            except InvalidStatus as error:
                response = error.response
                return [*told, (response.status_code, WHY.encode() in response.body)]

        assert await statuses("192.0.2.7") == [(403, True)] * 4
        playlist = await site.get("/hls/demo/index.m3u8", headers={"x-forwarded-for": "192.0.2.7"})
        assert (playlist.status_code, WHY in playlist.text) == (403, True)
        let_in = [(404, False), (201, False), (404, False), (101, False)]
        assert await statuses("198.51.100.7") == let_in
        titles.networks = [Network("198.51.100.0/24", "", refused=True)]
        dispatcher.replace(titles.snapshot(), NOW)
        assert await statuses("198.51.100.7") == [(403, True)] * 4
        assert await statuses("192.0.2.7") == let_in


class Shelf:
    """One title of our own volumes."""

    def find(self, name: str) -> object | None:
        return object() if name == "mine" else None


async def test_a_title_of_our_own_is_played_here_by_the_catalogue_s_rules():
    titles = Made().title("mine", {Format.MP4: ()}).title("other", {Format.MP4: ()})
    there = {"ondemand": SimpleNamespace(shelf=Shelf(), close=None)}
    async with running(context={"dispatcher": titles.dispatcher(), **there}) as site:
        answer = await site.get("/go/mine", headers=HLS)
        assert (answer.status_code, answer.headers["location"]) == (302, "/hls/mine/index.m3u8")
        assert (await site.get("/go/mine", headers=BROWSER)).headers["location"] == "/watch/mine"
        assert (await site.get("/go/mine/index.m3u8")).status_code == 302
        assert (await site.get("/go/other", headers=HLS)).status_code == 404
    titles = Made().title("mine", {Format.MP4: ()}, regions=("at",))
    dispatcher = titles.dispatcher()
    async with running(context={"dispatcher": dispatcher, **there}) as site:
        assert (await site.get("/go/mine", headers=HLS)).status_code == 451
        assert (await site.get("/go/mine/index.m3u8")).status_code == 451
        assert [one.status for one in dispatcher.decisions] == [451, 451]
    # Servers that hold it as well are chosen among as for any title.
    titles = Made().title("mine", {Format.HLS: (1,)})
    async with running(context={"dispatcher": titles.dispatcher(), **there}) as site:
        answer = await site.get("/go/mine", headers=HLS)
        assert answer.headers["location"] == "http://host1.example/mine.m3u8"


async def test_a_title_of_our_own_that_is_withheld_is_as_unknown_as_any():
    titles = Made().title("mine", {Format.MP4: ()}, regions=("at",), published=False)
    dispatcher = titles.dispatcher()
    shelf = Published(Shelf(), lambda found: dispatcher.snapshot.withheld("aa", "mine"))
    there = {"ondemand": SimpleNamespace(shelf=shelf, close=None)}
    async with running(context={"dispatcher": dispatcher, **there}) as site:
        for address in ("/go/mine", "/go/mine?format=mp4", "/go/mine/index.m3u8"):
            answer = await site.get(address, headers=HLS)
            assert answer.status_code == 404
            assert "there is nothing called “mine” here" in answer.text
        assert [one.status for one in dispatcher.decisions] == [404] * 3
        # The control: published once more, its licence counts.
        titles.titles[0] = replace(titles.titles[0], published=True)
        dispatcher.replace(titles.snapshot(), NOW)
        assert (await site.get("/go/mine", headers=HLS)).status_code == 451
        # Another has the name, the volume's is called otherwise: the servers of that one count.
        titles = Made().title("mine", {Format.HLS: (1,)}).title("renamed", {})
        dispatcher.replace(titles.snapshot().with_stored({"aa": "renamed"}), NOW)
        where = (await site.get("/go/mine", headers=HLS)).headers["location"]
        assert where == "http://host1.example/mine.m3u8"
        dispatcher.replace(Made().title("renamed").snapshot().with_stored({"aa": "renamed"}), NOW)
        assert (await site.get("/go/mine", headers=HLS)).status_code == 404


async def test_a_title_of_our_own_is_to_be_had_from_all_nodes_that_are_known_to_answer():
    made = Made([server(1, make="heliograph"), server(2, make="heliograph")])
    made.title("mine", {Format.MP4: ()})
    (*_, snapshot) = building(made.contents(), None, {"mine": 1000})
    assert snapshot is not None
    doors = [Door(f"s{id}", f"http://node{id}:8080", "") for id in (1, 2)]
    snapshot = snapshot.with_doors(doors)
    dispatcher = Told()
    dispatcher.replace(snapshot.with_states(made.states), NOW)
    there = {"ondemand": SimpleNamespace(shelf=Shelf(), close=None)}
    async with running(context={"dispatcher": dispatcher, **there}) as site:
        found = {
            (await site.get("/go/mine?token=t", headers=HLS)).headers["location"] for _ in range(30)
        }
        assert found == {f"http://node{id}:8080/hls/mine/index.m3u8?token=t" for id in (1, 2)}
        playlist = await site.get("/go/mine/index.m3u8")
        assert playlist.status_code == 200
        assert "http://node2:8080/hls/mine/index.m3u8" in playlist.text
        # Pages are those of the portal that was asked.
        assert (await site.get("/go/mine", headers=BROWSER)).headers["location"] == "/watch/mine"
        named = await site.get("/go/mine?format=mp4", headers=BROWSER)
        assert named.headers["location"] in {
            f"http://node{id}:8080/titles/mine.mp4" for id in (1, 2)
        }
        dispatcher.replace(snapshot.with_states({}), NOW)  # nobody has measured them yet
        for _ in range(2):
            answer = await site.get("/go/mine", headers=HLS)
            assert answer.headers["location"] == "/hls/mine/index.m3u8"
        assert (await site.get("/go/mine/index.m3u8")).status_code == 302


async def test_a_private_channel_is_told_from_none_only_by_who_may_watch_it():
    async with running(context={"dispatcher": made()}) as site:
        new = {"name": "secret", "private": True}
        made_one = await site.http.post("/api/v1/channels", json=new, headers=ADMIN)
        assert made_one.status_code == 201
        key = made_one.json()["key"]
        wanted = {"subject": "me", "lifetime_s": 600, "single": True}
        token = (
            await site.http.post("/api/v1/channels/secret/tokens", json=wanted, headers=ADMIN)
        ).json()["token"]

        async def go(query=""):
            answer = await site.get(f"/go/secret{query}")
            return answer.status_code, answer.text.replace("secret", "nothing")

        unknown = await site.get("/go/nothing")
        assert await go() == (404, unknown.text)
        assert await go("?token=rubbish") == (404, unknown.text)
        assert await go("?key=wrong") == (404, unknown.text)
        for _ in range(2):  # a token for one use is not used up
            assert (await go(f"?token={token}"))[0] == 302
        assert (await go(f"?key={key}"))[0] == 302
        answer = await site.get("/go/secret", headers=ADMIN)
        assert answer.status_code == 302


async def test_playlists_and_manifests_are_there_for_pages_of_any_site():
    async with running(context={"dispatcher": made()}) as site:
        answer = await site.get("/go/film/index.m3u8")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert answer.text.startswith("#EXTM3U\n")
        answer = await site.get("/go/demo/index.m3u8?token=a", headers=BROWSER)
        assert answer.headers["location"] == "/hls/demo/index.m3u8?token=a"
        answer = await site.get('/steering/film?_HLS_pathway="s2"&_HLS_throughput=1000')
        assert answer.headers["content-type"] == "application/vnd.apple.steering-list"
        assert answer.json()["PATHWAY-PRIORITY"] == ["s2", "s1"]
