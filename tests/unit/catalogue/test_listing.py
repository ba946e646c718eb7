"""Listings and playlists as real servers gave them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from heliograph.catalogue.contents import scanning
from heliograph.catalogue.contents.fields import Kind
from heliograph.catalogue.contents.listing import Entry, parse_listing
from heliograph.catalogue.contents.naming import format_of, name_of, slug
from heliograph.catalogue.contents.playlist import Item, Playlist, PlaylistKind, parse_playlist
from heliograph.catalogue.contents.scanning import Page, Scan, records_of, scan
from heliograph.catalogue.contents.values import Format
from heliograph.model.errors import MalformedError, RemoteError, TooLargeError
from heliograph.model.media import CHANNEL_NAME

DATA = Path(__file__).parents[2] / "data" / "listing"
BASE = "http://media.example:8080/films/"

#: What there is to play in the directory that all servers listed.
FILES = {
    "Big-Bold-Film-2020": Format.MP4,
    "Grosse_u": Format.MP4,
    "film": Format.HLS,
    "percent-20": Format.MP4,
    "sintel": Format.MP4,
}


def listed(name: str, base: str = BASE) -> list[Entry]:
    return parse_listing((DATA / name).read_text("utf-8"), base)


@pytest.mark.parametrize("path", sorted(DATA.glob("*"), key=str), ids=lambda path: path.name)
def test_every_server_is_understood(path: Path) -> None:
    entries = listed(path.name)
    if "hls" in path.name:
        names = {one.uri.rpartition("/")[2] for one in entries if not one.directory}
        assert names == {"init.mp4", "master.m3u8", "seg0.ts", "seg1.ts", "v0.m3u8", "v1.m3u8"}
        return
    assert [one.uri for one in entries if one.directory] == [f"{BASE}A%20Film/", f"{BASE}hls/"]
    found = {one.uri: name_of(one.uri) for one in entries if not one.directory}
    assert len(found) == 6
    assert {name.name: name.format for name in found.values() if name is not None} == FILES
    exact = path.suffix == ".json" or path.name == "nginx-1.22.html"
    sizes = {one.uri: one.size for one in entries if not one.directory}
    if exact:
        assert sizes[f"{BASE}sintel.mp4"] == 1234
    elif "nginx" not in path.name:
        assert set(sizes.values()) == {None}


def test_only_what_is_below_the_address_counts() -> None:
    page = """
      <a href="../">up</a> <a href="/">root</a> <a href="?C=N;O=D">sort</a>
      <a href="http://media.example:8080/films/a.mp4">a</a> <a href='b.mp4'>b</a>
      <A class="x" HREF=c.mp4 title="y">c</A> <a href="a.mp4">again</a>
      <a href="//other.example/films/d.mp4">d</a> <a href="javascript:x()">e</a>
      <a href="../films/f.mp4">f</a> <a href="../other/g.mp4">g</a> <a href="h.mp4#x">h</a>
      <a href="i.mp4?x=1">i</a> <a name="j.mp4">j</a> <a href="http://[/k.mp4">k</a>
    """
    found = [one.uri.removeprefix(BASE) for one in parse_listing(page, BASE + "?C=N#x")]
    assert found == ["a.mp4", "b.mp4", "c.mp4", "f.mp4"]


@pytest.mark.parametrize("bad", ["[", '{"a": 1}', "[1]", '[{"name": 5}]', "[" * 100_000])
def test_json_that_is_no_listing(bad: str) -> None:
    with pytest.raises(MalformedError):
        parse_listing(bad, BASE)


def test_listing_of_hostile_size_is_refused_in_no_time() -> None:
    with pytest.raises(TooLargeError):
        parse_listing("x" * (4 * 2**20 + 1), BASE)
    with pytest.raises(TooLargeError):
        parse_listing("".join(f"<a href={n}>" for n in range(30_000)), BASE)
    assert parse_listing("<a " * 300_000, BASE) == []
    # Without an end, each is looked at once: it took eight seconds.
    assert parse_listing(("<a href=" + "a" * 2500) * 1600, BASE) == []
    assert len(parse_listing('[{"name": "\\ud800.mp4"}]', BASE)) == 1


@pytest.mark.parametrize(
    ("uri", "name", "title", "format"),
    [
        ("http://h/a/Big%20Film_(1).mp4", "Big-Film_-1", "Big Film (1)", Format.MP4),
        ("http://h/big-film/index.m3u8", "big-film", "big-film", Format.HLS),
        ("http://h/index.m3u8", "index", "index", Format.HLS),
        ("rtsp://h:8554/Big.Film", "Big.Film", "Big.Film", Format.RTSP),
        ("rtsp://h/film.mp4", "film", "film", Format.RTSP),
        ("https://h/whep/film", "film", "film", Format.WHEP),
        ("https://h/film/whep", "film", "film", Format.WHEP),
    ],
)
def test_files_are_called_as_their_addresses_end(
    uri: str, name: str, title: str, format: Format
) -> None:
    found = name_of(uri)
    assert found is not None
    assert (found.name, found.title, found.format) == (name, title, format)


@pytest.mark.parametrize(
    "uri", ["http://h/", "http://h/a.txt", "http://h/x/init.mp4", "http://h/s.ts", "film.mp4", ""]
)
def test_what_is_nothing_to_play_has_no_name(uri: str) -> None:
    assert name_of(uri) is None


def test_format_is_not_told_by_the_host() -> None:
    assert format_of("http://host.mp4") is None
    assert slug("...") == ""
    assert slug("日本") == ""
    assert slug("x" * 64) == "x" * 64


def test_long_names_that_begin_alike_differ_and_are_the_same_each_time():
    season = "The Very Long and Never Ending Story of a Heliograph on a Peak, Season 1, Episode"
    names = [name_of(f"http://a/{season} {number}.mp4").name for number in range(1000)]
    assert len({*names}) == 1000
    assert all(CHANNEL_NAME.fullmatch(one) for one in names)
    assert names[7] == "The-Very-Long-and-Never-Ending-Story-of-a-Heliograph-ff0fc0a922"
    # Copies on other servers and in other formats, and other ways to write it.
    plain = season.replace(", ", "-").replace(" ", "-")
    for other in (f"rtsp://b/{plain}-7", f"http://c/{plain.lower()}-7/index.m3u8"):
        assert name_of(other).name.lower() == names[7].lower()


def test_hls_playlists_say_what_they_draw() -> None:
    master = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=2000000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720
v0.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS="avc1.640028,mp4a.40.2"
v1.m3u8
"""
    assert parse_playlist(master, BASE + "m.m3u8") == Playlist(
        PlaylistKind.MASTER, (), None, 5_000_000, "avc1.640028,mp4a.40.2", 1920, 1080
    )
    media = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\na.ts\n#EXTINF:2.5,\nb.ts\n"
    assert parse_playlist(media, BASE).duration is None
    whole = parse_playlist(media + "#EXT-X-ENDLIST", BASE)
    assert (whole.kind, whole.duration) == (PlaylistKind.MEDIA, 6.5)


def test_lists_of_media_name_each() -> None:
    text = (
        "\ufeff#EXTM3U\r\n#EXTINF:61.5,Big Film\r\nBig%20Film.mp4\r\n"
        '#EXTINF:-1 tvg-name="A, B" group-title="X",News, at 7\r\nhttp://other/news.m3u8\r\n'
        "#EXTGRP:x\r\nsub/a b.mp4\r\n"
    )
    assert parse_playlist(text, BASE).items == (
        Item(f"{BASE}Big%20Film.mp4", "Big Film", 61.5),
        Item("http://other/news.m3u8", "News, at 7", None),
        Item(f"{BASE}sub/a%20b.mp4", "", None),
    )
    with pytest.raises(MalformedError):
        parse_playlist("<html><body>404</body></html>", BASE)


class Web:
    """A server of pages by address; ``RemoteError`` for all others."""

    def __init__(self, pages: dict[str, str], kind: str = "text/html") -> None:
        self.pages, self.kind = pages, kind
        self.asked: list[str] = []

    async def fetch(self, url: str) -> Page:
        self.asked.append(url)
        await asyncio.sleep(0)
        if url not in self.pages:
            raise RemoteError(f"{url} answered 404")
        return Page(url, self.kind, self.pages[url])


def names(found: Scan) -> list[str]:
    return sorted(one.named.name for one in found.files)


async def test_scan_goes_down_and_takes_a_playlist_for_its_directory() -> None:
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=5,RESOLUTION=2x1\nv.m3u8\n"
    web = Web(
        {
            BASE: (DATA / "nginx-1.22.html").read_text("utf-8"),
            f"{BASE}A%20Film/": '<a href="../">x</a> <a href="A%20Film.mkv">y</a>',
            f"{BASE}hls/": (DATA / "nginx-1.22-hls.html").read_text("utf-8"),
            f"{BASE}hls/master.m3u8": master,
        }
    )
    found = await scan(BASE, web.fetch)
    assert {"A-Film", "hls", "film", "sintel"} <= set(names(found))
    assert len(found.files) == 7
    assert found.failed == [(f"{BASE}film.m3u8", f"{BASE}film.m3u8 answered 404")]
    assert f"{BASE}hls/sub/" not in web.asked
    (hls,) = (one for one in found.files if one.named.name == "hls")
    assert hls.uri == f"{BASE}hls/master.m3u8"
    assert hls.playlist is not None
    assert (hls.playlist.bits_per_second, hls.playlist.width) == (5, 2)
    assert found.cut == ""
    records = records_of(found.files, "one", {"sintel"})
    assert len([one for one in records if one.kind is Kind.FILE]) == 7
    said = {one.fields["name"]: one.fields for one in records if one.kind is Kind.TITLE}
    assert "sintel" not in said
    assert said["A-Film"] == {"name": "A-Film", "title": "A Film"}


async def test_scan_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Web):
        async def fetch(self, url: str) -> Page:
            self.asked.append(url)
            return Page(url, "text/html", "".join(f'<a href="{n}/">' for n in range(3)))

    web = Endless({})
    monkeypatch.setattr(scanning, "MAX_PAGES", 30)
    found = await scan(BASE, web.fetch)
    assert found.cut
    assert len(web.asked) < 40
    monkeypatch.setattr(scanning, "MAX_FILES", 2)
    many = Web({BASE: "".join(f'<a href="{n}.mp4">' for n in range(9))})
    found = await scan(BASE, many.fetch)
    assert (len(found.files), bool(found.cut)) == (2, True)

    class Silent(Web):
        async def fetch(self, url: str) -> Page:
            if url != BASE:
                await asyncio.Event().wait()
            return await super().fetch(url)

    silent = Silent({BASE: '<a href="a.m3u8"> <a href="b.mp4"> <a href="sub/">'})
    monkeypatch.undo()
    found = await scan(BASE, silent.fetch, max_time=0.05)
    assert names(found) == ["a", "b"]
    assert found.cut == "after 0.05 s"


async def test_scan_of_a_playlist_and_of_nothing() -> None:
    text = "#EXTM3U\n#EXTINF:5,The News\nnews.mp4\n#EXTINF:5,\nreadme.txt\n"
    found = await scan(f"{BASE}all.m3u", Web({f"{BASE}all.m3u": text}).fetch)
    assert [(one.named.title, one.duration) for one in found.files] == [("The News", 5.0)]
    assert found.passed == 1
    media = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\na.ts\n#EXT-X-ENDLIST\n"
    found = await scan(f"{BASE}x/index.m3u8", Web({f"{BASE}x/index.m3u8": media}).fetch)
    assert [(one.named.name, one.duration) for one in found.files] == [("x", 4.0)]
    with pytest.raises(RemoteError):
        await scan(BASE, Web({}).fetch)
    with pytest.raises(MalformedError):
        await scan("ftp://host/", Web({}).fetch)
