"""Titles in browsers: their playlists, segments and files, who may have them, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import av
import pytest
from tests.unit.told_plays import Told
from tests.unit.vod import film
from tests.unit.vod.film import Film
from tests.unit.web.site import Site, running

from heliograph.catalogue.contents.following import Following
from heliograph.live import hls_output
from heliograph.live.options import ChannelOptions
from heliograph.model.errors import GoneError
from heliograph.storage.values import ObjectId
from heliograph.vod.admission import Budgets
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.ondemand import OnDemand
from heliograph.vod.plays import TitlePlays
from heliograph.vod.promises import Admission
from heliograph.vod.shelf import Published, distinct
from heliograph.web.pictures import Pictures

#: Of a title that is older than the one that is played.
OLDER = ObjectId("f" * 32)
INDEX, FILE = "/hls/film/index.m3u8", "/titles/film.mp4"


@dataclass
class Shelf:
    """Titles of a test."""

    films: dict[str, Film] = field(default_factory=dict)
    now: dict[str, Manifest] = field(default_factory=dict)
    """Titles that are being recorded, as they are now."""
    ruled: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Manifest | None:
        if name in self.now:
            return self.now[name]
        return self.films[name].manifest if name in self.films else None

    def current(self, manifest: Manifest) -> Manifest | None:
        return self.find(manifest.name)

    def source(self, manifest: Manifest) -> BlockSource:
        return self.films[manifest.name]

    def titles(self) -> Sequence[Manifest]:
        return [self.now.get(name, one.manifest) for name, one in self.films.items()]

    def channel(self, manifest: Manifest) -> str:
        return self.ruled.get(manifest.name, "")


@dataclass
class Stage:
    site: Site
    shelf: Shelf
    ondemand: OnDemand
    told: Told
    following: Following
    budgets: Budgets
    """What the node may promise; to be replaced."""
    admission: Admission

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self.site.get(path, **options)
        assert answer.status_code == status, answer.text
        return answer

    async def media(self, index: str = INDEX) -> str:
        """The address of the first media playlist."""
        lines = (await self.get(index)).text.splitlines()
        return "/hls/film/" + next(line for line in lines if line and line[0] != "#")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    told = Told()
    shelf = Shelf({"film": film.title(film.mp4())})
    budgets = Budgets()
    admission = Admission(lambda: stage.budgets, lambda manifest: {})
    following = Following("unit-a", told)
    ondemand = OnDemand(shelf, plays=TitlePlays(following), admission=admission)
    options = ChannelOptions(key="secret", view_key="peek")
    try:
        async with running(options, context={"ondemand": ondemand}) as site:
            stage = Stage(site, shelf, ondemand, told, following, budgets, admission)
            yield stage
    finally:
        await ondemand.close()


async def test_a_title_is_played_by_what_its_playlists_name(stage: Stage) -> None:
    media = await stage.media()
    listing = await stage.get(media)
    assert listing.headers["content-type"] == "application/vnd.apple.mpegurl"
    base = media.rpartition("/")[0]
    names = [line for line in listing.text.splitlines() if line.endswith(".m4s")]
    parts = [await stage.get(f"{base}/{name}") for name in ("init.mp4", *names)]
    for part in parts:
        assert "immutable" in part.headers["cache-control"]
        assert "public" in part.headers["cache-control"]
        assert part.headers["access-control-allow-origin"] == "*"
    with av.open(io.BytesIO(b"".join(part.content for part in parts))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 300
    await stage.get(f"{base}/s{len(names)}.m4s", 404)
    await stage.get(f"{base}/s01.m4s", 404)
    await stage.get(f"{base[:-1]}9/s0.m4s", 404)
    assert "no-store" in (await stage.get("/hls/none/index.m3u8", 404)).headers["cache-control"]


async def test_a_title_that_is_withheld_is_unknown_by_all_ways(stage: Stage) -> None:
    media = await stage.media()
    base = media.rpartition("/")[0]
    addresses = [INDEX, media, f"{base}/init.mp4", f"{base}/s0.m4s", FILE]
    addresses += ["/api/v1/ondemand/film"]
    hidden: set[str] = set()
    stage.ondemand.shelf = Published(stage.shelf, lambda found: found.name in hidden)
    for address in addresses:
        await stage.get(address)
    async with stage.site.http.stream("GET", FILE) as begun:
        chunks = begun.aiter_bytes(1000)
        first = await anext(chunks)
        hidden.add("film")
        unknown = await stage.get("/hls/other/index.m3u8", 404)
        found = await stage.get(INDEX, 404)
        assert found.text == unknown.text.replace("other", "film")
        for address in [*addresses, "/api/v1/ondemand/film/picture"]:
            await stage.get(address, 404)
        assert (await stage.get("/api/v1/ondemand")).json() == {"titles": [], "more": None}
        rest = [chunk async for chunk in chunks]  # who has begun gets all of it
    assert len(first) + sum(map(len, rest)) == int(begun.headers["content-length"])
    hidden.clear()
    assert len((await stage.get("/api/v1/ondemand")).json()["titles"]) == 1


async def test_what_is_played_goes_on_though_the_title_has_another_name(stage: Stage) -> None:
    """It has made way for an older one of its name, and gets that again when this is gone."""
    mine = stage.shelf.films["film"]
    stage.shelf.now["film"] = mine.grown(6_000_000)
    media = await stage.media()
    base = media.rpartition("/")[0]
    assert "#EXT-X-ENDLIST" not in (await stage.get(media)).text
    given, other = distinct("film", mine.manifest.object), replace(mine.manifest, object=OLDER)
    stage.shelf.now = {"film": other, given: replace(mine.manifest, name=given)}
    stage.shelf.films |= {given: mine}
    listing = await stage.get(media)
    assert "#EXT-X-ENDLIST" in listing.text
    last = [line for line in listing.text.splitlines() if line.endswith(".m4s")][-1]
    segment = (await stage.get(f"{base}/{last}")).content
    assert base.rpartition("/")[2] not in (await stage.get(INDEX)).text  # who begins gets the other
    assert len(stage.ondemand.watching) == 2
    # Who began by the given name goes on by the old one.
    stage.shelf.now, stage.shelf.films = {}, {"film": mine}
    renamed = base.replace("/film/", f"/{given}/")
    assert (await stage.get(f"{renamed}/{last}")).content == segment
    # What begins alike, or is no more, is nobody's.
    stage.shelf.now = {"film": other}
    await stage.get(media, 404)


async def test_the_file_is_the_same_whole_and_in_ranges(stage: Stage) -> None:
    whole = await stage.get(FILE)
    size = len(whole.content)
    assert whole.headers["content-length"] == str(size)
    assert whole.headers["accept-ranges"] == "bytes"
    head = await stage.site.http.head(FILE)
    assert head.headers["content-length"] == str(size)
    assert head.headers["etag"] == whole.headers["etag"]
    for asked, begin, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-70099", 100, 70_100),
        (f"bytes={size - 10}-", size - 10, size),
        ("bytes=-5000", size - 5000, size),
        (f"bytes=30000-{size * 2}", 30_000, size),
    ]:
        part = await stage.get(FILE, 206, headers={"Range": asked})
        assert part.content == whole.content[begin:end]
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
    refused = await stage.get(FILE, 416, headers={"Range": f"bytes={size}-"})
    assert refused.headers["content-range"] == f"bytes */{size}"
    with av.open(io.BytesIO(whole.content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 300


async def test_a_download_goes_on_only_with_the_same_file(stage: Stage) -> None:
    whole = await stage.get(FILE)
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]
    for condition, status in [(etag, 206), (modified, 206), ('"other"', 200), ("Mon, x", 200)]:
        headers = {"Range": "bytes=5-9", "If-Range": condition}
        await stage.get(FILE, status, headers=headers)
    await stage.get(FILE, 304, headers={"If-None-Match": f'"x", {etag}'})
    # several ranges, and what is none, are answered with all
    for asked in ("bytes=0-1,5-6", "pages=1-2", "bytes=9-5", "bytes=-"):
        assert (await stage.get(FILE, headers={"Range": asked})).content == whole.content


async def test_a_range_reads_no_more_blocks_than_it_needs(stage: Stage) -> None:
    title = stage.shelf.films["film"]
    await stage.site.http.head(FILE)
    title.reads.clear()
    await stage.get(FILE, 206, headers={"Range": "bytes=100000-100001"})
    assert sum(title.reads.values()) == 1


async def test_a_download_that_loses_a_block_ends_early_and_is_counted(stage: Stage) -> None:
    title = stage.shelf.films["film"]
    size = int((await stage.site.http.head(FILE)).headers["content-length"])
    title.broken[len(title.data) - 1] = GoneError("lost")
    from httpx import RemoteProtocolError

    with pytest.raises(RemoteProtocolError):
        await stage.site.get(FILE)
    assert stage.ondemand.counters["downloads_broken"] == 1
    assert stage.ondemand.downloads == 0
    await stage.get(FILE, 206, headers={"Range": "bytes=0-9999"})
    await stage.get(FILE, 416, headers={"Range": f"bytes={size}-"})


async def test_who_leaves_ends_the_download(stage: Stage) -> None:
    stage.shelf.films["film"] = film.title(film.mp4(), limit=1 << 20, ballast=100_000)
    async with stage.site.http.stream("GET", FILE) as answer:
        await anext(answer.aiter_raw(1000))
        assert stage.ondemand.downloads == 1
    await stage.site.until(lambda: stage.ondemand.downloads == 0)


@contextlib.asynccontextmanager
async def downloading(answer_timeout: float) -> AsyncIterator[tuple[Site, int, OnDemand, Any]]:
    """A client with little room that asked for a large file, of so many bytes."""
    title = film.title(film.mp4(), limit=1 << 20, ballast=100_000)
    ondemand = OnDemand(Shelf({"film": title}))
    size = (await ondemand.maker.layout(title.manifest, title)).size
    async with running(context={"ondemand": ondemand}, answer_timeout=answer_timeout) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port, limit=1 << 14)
        writer.write(b"GET /titles/film.mp4 HTTP/1.1\r\nhost: x\r\n\r\n")
        yield site, size, ondemand, reader
        writer.close()
    await ondemand.close()


async def test_a_slow_client_that_takes_something_is_not_cut_off() -> None:
    async with downloading(2.0) as (_, size, _, reader):
        await reader.readuntil(b"\r\n\r\n")
        taken, began = 0, time.monotonic()
        while taken < size and (data := await reader.read(1 << 14)):
            taken += len(data)
            if time.monotonic() - began < 2.5:
                await asyncio.sleep(0.003)
        assert taken == size


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async with downloading(0.5) as (site, _, ondemand, _):
        await site.until(lambda: site.server.counters["http_timeouts"] == 1)
        await site.until(lambda: ondemand.downloads == 0)


async def test_what_is_being_recorded_grows_and_is_no_file_yet(stage: Stage) -> None:
    title = stage.shelf.films["film"]
    stage.shelf.now["film"] = title.grown(7_000_000)
    media = await stage.media()
    first = await stage.get(media)
    assert first.headers["cache-control"] == "no-cache"
    assert "EVENT" in first.text
    assert "s0.m4s" in first.text
    assert "s1.m4s" not in first.text
    base = media.rpartition("/")[0]
    early = await stage.get(f"{base}/s0.m4s")
    await stage.get(f"{base}/s1.m4s", 404)
    await stage.get(FILE, 409)
    stage.shelf.now["film"] = title.grown(12_000_000)
    assert "s1.m4s" in (await stage.get(media)).text
    await stage.get(f"{base}/s1.m4s")
    del stage.shelf.now["film"]
    last = await stage.get(media)
    assert last.text.rstrip().endswith("#EXT-X-ENDLIST")
    assert last.text.count("#EXTINF") == 3
    assert (await stage.get(f"{base}/s0.m4s")).content == early.content
    await stage.get(FILE)


async def test_a_recording_is_for_those_who_may_watch_its_channel(stage: Stage) -> None:
    stage.shelf.ruled["film"] = "demo"
    for path in (INDEX, FILE, "/api/v1/ondemand/film"):
        await stage.get(path, 401)
        await stage.get(path + "?key=wrong", 401)
    media = await stage.media(INDEX + "?key=peek")
    assert media.endswith("media.m3u8?key=peek")
    listing = (await stage.get(media)).text
    assert "s0.m4s?key=peek" in listing
    assert 'URI="init.mp4?key=peek"' in listing
    segment = media.replace("media.m3u8", "s0.m4s")
    assert "private" in (await stage.get(segment)).headers["cache-control"]
    await stage.get(segment.partition("?")[0], 401)
    await stage.get(FILE, headers={"Authorization": "Bearer peek"})
    # the channel has gone, and with it who could say who may
    stage.shelf.ruled["film"] = "gone"
    await stage.get(INDEX, 404)
    assert (await stage.get("/api/v1/ondemand")).json()["titles"] == []


async def test_a_link_for_one_use_opens_the_page_and_what_plays_on_it(stage: Stage) -> None:
    stage.shelf.ruled["film"] = "demo"
    text, _ = await stage.site.catalogue.permits.issue("demo", "you", 600, single=True)
    await stage.get(f"/api/v1/ondemand/film?token={text}")
    media = await stage.media(f"{INDEX}?token={text}")  # by the cookie
    assert text not in media
    stage.site.http.cookies.clear()
    await stage.get(media)
    await stage.get(INDEX + f"?token={text}", 401)


async def test_a_channel_on_air_is_played_before_a_title_of_its_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls_output, "FIRST_PATIENCE", 0.2)  # its pictures are none
    stage.shelf.films["demo"] = replace_name(stage.shelf.films["film"], "demo")
    text = (await stage.get("/hls/demo/index.m3u8?key=peek")).text
    assert "t0123456789ab-0/media.m3u8?key=peek" in text
    publishing = await stage.site.on_air()
    live = await stage.site.get("/hls/demo/index.m3u8?key=peek")
    assert "t0123456789ab" not in live.text
    # who plays the title goes on
    await stage.get("/hls/demo/t0123456789ab-0/s0.m4s?key=peek")
    publishing.close()


def replace_name(title: Film, name: str) -> Film:
    return replace(title, manifest=replace(title.manifest, name=name))


async def test_titles_are_listed_for_everybody_with_what_they_are(stage: Stage) -> None:
    for number in range(5):
        name = f"film-{number}"
        stage.shelf.films[name] = replace_name(stage.shelf.films["film"], name)
    found = (await stage.get("/api/v1/ondemand?limit=4")).json()
    assert [one["name"] for one in found["titles"]] == ["film", "film-0", "film-1", "film-2"]
    rest = (await stage.get(f"/api/v1/ondemand?after={found['more']}")).json()
    assert [one["name"] for one in rest["titles"]] == ["film-3", "film-4"]
    assert rest["more"] is None
    one = (await stage.get("/api/v1/ondemand/film")).json()
    assert one["duration"] == pytest.approx(12.09, abs=0.01)
    assert one["urls"] == {"page": "/watch/film", "hls": INDEX, "mp4": FILE}
    assert [track["codec"] for track in one["tracks"]] == ["h264", "aac"]
    assert len((await stage.get("/api/v1/ondemand?search=film-3")).json()["titles"]) == 1
    await stage.get("/api/v1/ondemand/none", 404)


async def test_a_title_has_a_picture_that_is_made_once(stage: Stage) -> None:
    assert (await stage.get("/api/v1/ondemand/film")).json()["picture"] is None
    await stage.get("/api/v1/ondemand/film/picture", 404)
    pictures = Pictures()
    seen = stage.site.context
    stage.site.app.state.context = replace(seen, pictures=pictures)
    address = (await stage.get("/api/v1/ondemand/film")).json()["picture"]
    first = await stage.get(address)
    assert first.content.startswith(b"\xff\xd8")
    assert "public" in first.headers["cache-control"]
    assert (await stage.get(address)).content == first.content
    assert pictures.made == 1
    stage.shelf.ruled["film"] = "demo"
    await stage.get(address, 401)
    await pictures.close()


async def test_without_titles_nothing_else_changes() -> None:
    async with running() as site:
        assert (await site.get("/api/v1/ondemand")).json() == {"titles": [], "more": None}
        for path in (INDEX, FILE, "/hls/film/t0123456789ab-0/s0.m4s", "/api/v1/ondemand/film"):
            assert (await site.get(path)).status_code == 404


async def test_what_is_sent_is_counted_and_told(stage: Stage) -> None:
    media = await stage.media()
    base = media.rpartition("/")[0]
    sizes = []
    for number in (0, 1):
        sizes.append(len((await stage.get(f"{base}/s{number}.m4s")).content))
        stage.following.look()
    (first,) = stage.told
    assert (first.name, first.unit, first.way, first.client) == (
        "film",
        "unit-a",
        "hls",
        "127.0.0.0/24",
    )
    text = (await stage.get("/metrics")).text
    assert f"helio_titles_bytes_sent_total {sum(sizes)}.0" in text
    assert "helio_titles_plays 1.0" in text
    assert (await stage.get("/api/v1/ondemand/film")).json()["readers"] == 1
    stage.ondemand.watching.close()
    assert [play.sent_bytes for play in stage.told] == [sizes[0], sum(sizes)]
    assert len({play.id for play in stage.told}) == 1


# --- what is promised ----------------------------------------------------------------------------


async def test_who_plays_by_hls_is_promised_a_stream_and_the_next_is_turned_away(
    stage: Stage,
) -> None:
    stage.budgets = Budgets(streams=1)
    media = await stage.media()
    assert stage.admission.promised.streams == 1
    await stage.get(media)
    await stage.get(f"{media.rpartition('/')[0]}/s0.m4s")
    assert stage.admission.promised.streams == 1  # the same viewer all the time
    refused = await stage.get(FILE, 503)
    assert refused.headers["retry-after"] == "10"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.json()["error"]["subject"] == "bandwidth"
    page = await stage.get(FILE, 503, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["retry-after"] == "10"
    assert "as many as are allowed" in page.text
    assert (await stage.site.http.head(FILE)).status_code == 200  # it takes nothing
    assert "helio_titles_refused_total 2.0" in (await stage.get("/metrics")).text
    # What was promised is kept, even if there is less by now.
    stage.budgets = Budgets(streams=0)
    await stage.get(f"{media.rpartition('/')[0]}/s1.m4s")


async def test_players_at_one_address_are_promised_a_stream_each(stage: Stage) -> None:
    stage.budgets = Budgets(streams=2)
    media = await stage.media()  # the first, which names no session
    named = {"X-Playback-Session-Id": "0B5C6C8A"}
    await stage.get(INDEX, headers=named)
    await stage.get(media, headers=named)
    await stage.get(f"{media.rpartition('/')[0]}/s0.m4s", headers=named)
    await stage.get(f"{media.rpartition('/')[0]}/s0.m4s")
    assert stage.admission.promised.streams == 2
    await stage.get(INDEX, 503, headers={"CMCD-Session": 'sid="another"'})


async def test_what_was_promised_for_a_file_is_free_when_it_is_sent(stage: Stage) -> None:
    stage.shelf.films["film"] = film.title(film.mp4(), limit=1 << 20, ballast=100_000)
    stage.budgets = Budgets(streams=1)
    async with stage.site.http.stream("GET", FILE) as answer:
        await anext(answer.aiter_raw(1000))
        await stage.get(INDEX, 503)
        (promised,) = [one.promise for one in stage.ondemand.watching._viewers.values()]
        wanted = stage.shelf.films["film"].manifest.tracks
        assert promised is not None
        packets = sum(one.packets for one in wanted)
        seconds = stage.shelf.films["film"].manifest.duration_us / 1e6
        assert promised.demand.packets == pytest.approx(packets / seconds)
    await stage.site.until(lambda: stage.ondemand.downloads == 0)
    stage.ondemand.watching.close()
    assert stage.admission.promised.streams == 0
    await stage.get(INDEX)
