"""Playlists of servers, read when they are wanted and kept."""

from __future__ import annotations

import asyncio

from heliograph.catalogue.contents.scanning import Page
from heliograph.dispatcher import renditions
from heliograph.dispatcher.multivariant import parse_cuts
from heliograph.dispatcher.renditions import FRESH_S, RETRY_S, Renditions
from heliograph.model.errors import RemoteError

LADDER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH={}\nx.m3u8\n"
SEGMENTS = "#EXTM3U\n#EXTINF:2,\ns\n"
URI = "http://s1.example/film.m3u8"


class Servers:
    """Servers that answer, or do not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.text: str | None = LADDER.format(1)
        self.answers = asyncio.Event()
        self.answers.set()
        self.now = 1000.0

    async def fetch(self, uri: str) -> Page:
        if uri.endswith("/x.m3u8"):
            return Page(uri, "", SEGMENTS)
        self.asked.append(uri)
        await self.answers.wait()
        if self.text is None:
            raise RemoteError(f"{uri} answered 500")
        return Page(uri, "", self.text)

    def renditions(self) -> Renditions:
        return Renditions(self.fetch, lambda: self.now)


async def test_a_playlist_is_read_once_until_it_is_old_and_meanwhile_the_old_one_is_good() -> None:
    servers = Servers()
    kept = servers.renditions()
    assert kept.find(URI) is None
    for _ in range(3):
        await kept.learn([URI, URI])
    assert servers.asked == [URI]
    assert kept.find(URI).cuts == parse_cuts(SEGMENTS)
    assert [one.bandwidth for one in kept.find(URI).variants] == [1]
    servers.now += FRESH_S + 1
    servers.text = LADDER.format(2)
    servers.answers.clear()
    await kept.learn([URI])  # nobody waits for it
    assert [one.bandwidth for one in kept.find(URI).variants] == [1]
    servers.answers.set()
    while kept.find(URI).variants[0].bandwidth == 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert len(servers.asked) == 2
    assert kept.counters["playlists_read"] == 2


async def test_what_could_not_be_read_is_tried_again_later_and_the_last_one_stays() -> None:
    servers = Servers()
    kept = servers.renditions()
    servers.text = None
    for _ in range(3):
        await kept.learn([URI])
    assert (len(servers.asked), kept.find(URI)) == (1, None)
    servers.now += RETRY_S + 1
    servers.text = SEGMENTS
    await kept.learn([URI])
    found = kept.find(URI)
    assert found is not None
    assert (found.variants, found.cuts) == ((), parse_cuts(SEGMENTS))
    servers.now += FRESH_S + 1
    servers.text = None
    await kept.learn([URI])
    while kept.counters["playlist_failures"] < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert kept.find(URI) is found


async def test_a_server_that_is_silent_holds_nobody_up_for_long() -> None:
    servers = Servers()
    kept = servers.renditions()
    servers.answers.clear()
    await asyncio.wait_for(kept.learn([URI], 0.01), 5)
    assert kept.find(URI) is None
    servers.answers.set()
    await kept.learn([URI])
    assert len(servers.asked) == 1
    assert kept.find(URI) is not None


async def test_no_more_is_kept_than_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(renditions, "MAX_KEPT", 3)
    servers = Servers()
    kept = servers.renditions()
    for number in range(5):
        await kept.learn([f"{URI}?{number}"])
    assert [kept.find(f"{URI}?{number}") is None for number in range(5)] == [True] * 2 + [False] * 3


async def test_reading_ends_when_the_portal_does() -> None:
    servers = Servers()
    kept = servers.renditions()
    servers.answers.clear()
    await kept.learn([URI], 0.01)
    await asyncio.wait_for(kept.close(), 5)
