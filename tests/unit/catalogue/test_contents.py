"""Servers, titles and files, over each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest
from tests.unit.catalogue.conftest import Clock, quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents import files, references, servers, titles
from heliograph.catalogue.contents.store import ContentStore
from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.catalogue.contents.values import (
    Classification,
    Copies,
    Format,
    Level,
    Network,
    Probe,
    ProbeKind,
    Standing,
)
from heliograph.catalogue.values import Actor
from heliograph.model.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
)

ANNA = Actor("anna", "192.0.2.1")
FILM = {"title": "film", "server": "one", "format": "mp4", "uri": "http://one.example/film.mp4"}


@pytest.fixture
def store_of(catalogue: Catalogue) -> ContentStore:
    return catalogue.contents


@pytest.fixture
async def filled(store_of: ContentStore) -> ContentStore:
    """Two servers and a title with one file."""
    for name in ("one", "two"):
        await store_of.add_server({"name": name, "host": f"{name}.example"})
    await store_of.add_title({"name": "film", "title": "A Film"})
    await store_of.add_file(FILM)
    return store_of


async def test_server_comes_back_as_it_was_stored(store_of: ContentStore, clock: Clock) -> None:
    probes = (Probe(ProbeKind.ICMP), Probe(ProbeKind.HTTP, 0.3, 8080, "/film.mp4"))
    made = await store_of.add_server(
        {
            "name": "Edge-1",
            "host": "[2001:DB8::1]",
            "make": " nginx\t1.22 ",
            "region": "Süd",
            "capacity_bps": 10**10,
            "max_sessions": 500,
            "weight": 2.5,
            "probes": probes,
        }
    )
    assert made == await store_of.get_server("edge-1")
    assert (made.host, made.make, made.region) == ("2001:db8::1", "nginx 1.22", "Süd")
    assert (made.capacity_bps, made.max_sessions, made.weight) == (10**10, 500, 2.5)
    assert (made.enabled, made.drained, made.probes) == (True, False, probes)
    assert made.created == clock.at


async def test_title_comes_back_as_it_was_stored(store_of: ContentStore) -> None:
    await store_of.put_level({"code": "12", "name": "Twelve", "min_age": 12})
    await store_of.put_classification({"code": "docu"})
    await store_of.put_classification({"code": "art", "name": "Art"})
    made = await store_of.add_title(
        {
            "name": "Big.Film",
            "title": "Großer Film",
            "description": "One\n\nTwo ",
            "duration": 61.5,
            "level": "12",
            "classes": ["docu", "art", "docu"],
            "regions": ["south", "north"],
            "policy": "weighted",
            "published": False,
        }
    )
    assert made == await store_of.get_title("BIG.FILM")
    assert (made.title, made.description) == ("Großer Film", "One\n\nTwo")
    assert (made.classes, made.regions) == (("art", "docu"), ("north", "south"))
    assert (made.level, made.duration, made.policy) == ("12", 61.5, "weighted")
    assert not made.published
    plain = await store_of.add_title({"name": "plain"})
    assert (plain.title, plain.level, plain.classes, plain.duration) == ("plain", "", (), None)


async def test_file_comes_back_as_it_was_stored(filled: ContentStore) -> None:
    made = await filled.add_file(
        {
            **FILM,
            "server": "TWO",
            "format": "hls",
            "uri": "https://two.example/film/index.m3u8",
            "bits_per_second": 4_000_000,
            "size": 2**40,
            "codecs": "avc1.64001f,mp4a.40.2",
            "width": 1920,
            "height": 1080,
        }
    )
    assert await filled.get_file(made.id) == (made, "film", "two")
    assert (made.format, made.size, made.codecs) == (Format.HLS, 2**40, "avc1.64001f,mp4a.40.2")
    assert (made.width, made.height) == (1920, 1080)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("server", {"name": "a b", "host": "x"}),
        ("server", {"name": "", "host": "x"}),
        ("server", {"name": "a"}),
        ("server", {"name": "a", "host": "not a host"}),
        ("server", {"name": "a", "host": "300.1.1.1"}),
        ("server", {"name": "a", "host": "x", "weight": 0}),
        ("server", {"name": "a", "host": "x", "weight": float("nan")}),
        ("server", {"name": "a", "host": "x", "capacity_bps": -1}),
        ("server", {"name": "a", "host": "x", "probes": [Probe(ProbeKind.TCP, 0.01)]}),
        ("server", {"name": "a", "host": "x", "probes": [Probe(ProbeKind.ICMP, path="/x")]}),
        ("server", {"name": "a", "host": "x", "colour": "red"}),
        ("title", {"name": "../x"}),
        ("title", {"name": "x", "duration": -1.0}),
        ("title", {"name": "x", "policy": "Bad Policy"}),
        ("file", {**FILM, "uri": "film.mp4"}),
        ("file", {**FILM, "uri": "javascript://host/%0aalert(1)"}),
        ("file", {**FILM, "uri": "http://user:word@host/film.mp4"}),
        ("file", {**FILM, "uri": "http://host/a film.mp4"}),
        ("file", {**FILM, "uri": "http://host:99999/film.mp4"}),
        ("file", {**FILM, "format": "avi"}),
        ("network", {"cidr": "192.0.2.1/24"}),
        ("network", {"cidr": "everywhere"}),
        ("level", {"code": "a", "min_age": 1000}),
    ],
)
async def test_what_cannot_be_stored_is_refused(
    filled: ContentStore, kind: str, given: dict[str, object]
) -> None:
    before = await filled.version()
    put = {"network": filled.put_network, "level": filled.put_level}
    with pytest.raises(MalformedError):
        await (put.get(kind) or getattr(filled, f"add_{kind}"))(given)
    assert await filled.version() == before


async def test_names_are_given_once_whatever_their_case(filled: ContentStore) -> None:
    with pytest.raises(ConflictError):
        await filled.add_server({"name": "ONE", "host": "x"})
    with pytest.raises(ConflictError):
        await filled.add_title({"name": "Film"})
    with pytest.raises(ConflictError):
        await filled.add_file({**FILM, "server": "two"})
    await filled.add_title({"name": "other"})
    with pytest.raises(ConflictError):
        await filled.change_title("other", {"name": "FILM"})
    with pytest.raises(ConflictError):
        await filled.change_server("two", {"name": "One"})


async def test_titles_and_channels_share_their_names(catalogue: Catalogue) -> None:
    await catalogue.channels.create("Studio")
    with pytest.raises(ConflictError, match="channel"):
        await catalogue.contents.add_title({"name": "studio"})
    await catalogue.contents.add_title({"name": "film"})
    with pytest.raises(ConflictError, match="title"):
        await catalogue.channels.create("FILM")
    with pytest.raises(ConflictError, match="channel"):
        await catalogue.contents.change_title("film", {"name": "studio"})


async def test_name_is_given_once_to_those_who_want_it_at_once(
    catalogue: Catalogue, store: str
) -> None:
    other = await Catalogue.open(store, passwords=quick_passwords())
    for number in range(12):
        name = f"n{number}"
        outcomes = await asyncio.gather(
            catalogue.channels.create(name),
            other.contents.add_title({"name": name}),
            return_exceptions=True,
        )
        assert sorted(isinstance(one, ConflictError) for one in outcomes) == [False, True]
    await other.close()


async def test_what_is_not_there_is_said(filled: ContentStore) -> None:
    for call in (
        filled.get_server("none"),
        filled.change_server("none", {"weight": 2.0}),
        filled.remove_server("none"),
        filled.get_title("no\0ne"),
        filled.remove_title("none"),
        filled.add_file({**FILM, "title": "none"}),
        filled.add_file({**FILM, "server": "none", "uri": "http://x/y"}),
        filled.get_file(10**12),
        filled.remove_file(999),
        filled.add_title({"name": "x", "level": "none"}),
        filled.change_title("film", {"classes": ["none"]}),
        filled.remove_level("none"),
        filled.remove_network("192.0.2.0/24"),
        filled.list_files(title="none"),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_only_what_is_given_changes(filled: ContentStore) -> None:
    before = await filled.get_server("one")
    after = await filled.change_server("one", {"weight": 3.0, "region": "north"})
    assert (after.weight, after.region, after.host) == (3.0, "north", before.host)
    assert after.revision > before.revision
    same = await filled.change_server("one", {"weight": 3.0})
    assert same.revision == after.revision
    await filled.change_title("film", {"regions": ["north"]})
    title = await filled.change_title("film", {"title": "Another"})
    assert (title.title, title.regions) == ("Another", ("north",))
    assert (await filled.change_title("film", {"regions": []})).regions == ()
    file = await filled.change_file(1, {"server": "two", "size": 5})
    assert (file.server, file.size, file.uri) == (2, 5, FILM["uri"])


async def test_change_made_for_an_older_state_is_refused(filled: ContentStore) -> None:
    server, title = await filled.get_server("one"), await filled.get_title("film")
    await filled.change_server("one", {"weight": 2.0}, revision=server.revision)
    await filled.change_title("film", {"title": "New"}, revision=title.revision)
    for call in (
        filled.change_server("one", {"weight": 4.0}, revision=server.revision),
        filled.remove_server("one", with_files=True, revision=server.revision),
        filled.change_title("film", {"title": "Newer"}, revision=title.revision),
        filled.remove_title("film", revision=title.revision),
    ):
        with pytest.raises(PreconditionError):
            await call
    assert (await filled.get_server("one")).weight == 2.0


async def test_server_with_files_goes_only_with_them(
    filled: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "REMOVED_AT_ONCE", 2)
    for number in range(4):
        await filled.add_file({**FILM, "uri": f"http://one.example/{number}.mp4"})
    with pytest.raises(ConflictError):
        await filled.remove_server("one")
    assert len(await filled.list_files()) == 5
    assert await filled.remove_server("one", with_files=True) == 5
    assert [one.name for one in await filled.list_servers()] == ["two"]
    assert await filled.list_files() == []


async def test_title_takes_its_files_along(filled: ContentStore) -> None:
    assert await filled.remove_title("film") == 1
    assert await filled.list_files() == []
    with pytest.raises(NotFoundError):
        await filled.get_title("film")


async def test_a_title_is_to_be_had_where_a_server_that_holds_it_answers(
    filled: ContentStore,
) -> None:
    await filled.add_file({**FILM, "server": "two", "uri": "http://two.example/film.mp4"})
    await filled.add_title({"name": "empty"})
    await filled.keep_stored([StoredTitle("a" * 32, "kept", "", 6.0)])
    ids = {name: (await filled.get_title(name)).id for name in ("film", "empty", "kept")}
    servers = {name: (await filled.get_server(name)).id for name in ("one", "two")}

    readable = {"a" * 32: 0}

    async def read(objects: Collection[str]) -> Mapping[str, int]:
        assert [*objects] == ["a" * 32]
        return readable

    async def told(*answering: str) -> tuple[int, int, int, Standing]:
        found = await filled.count_copies(ids.values(), [servers[name] for name in answering], read)
        assert found[ids["empty"]].standing(True) is Standing.EMPTY
        assert found[ids["kept"]] == Copies(stored=True, readable=bool(readable))
        wanted = Standing.PLAYABLE if readable else Standing.UNREACHABLE
        assert found[ids["kept"]].standing(True) is wanted
        film = found[ids["film"]]
        assert film.standing(False) is Standing.WITHHELD
        return film.files, film.usable, film.withdrawn, film.standing(True)

    assert await told("one", "two") == (2, 2, 0, Standing.PLAYABLE)
    readable["a" * 32] = 7
    found = await filled.count_copies([ids["kept"]], [], read)
    assert found[ids["kept"]] == Copies(stored=True, readable=True, lost=7)
    assert found[ids["kept"]].standing(True) is Standing.DAMAGED
    assert found[ids["kept"]].standing(False) is Standing.WITHHELD
    readable.clear()
    assert await told("two") == (2, 1, 0, Standing.PLAYABLE)
    assert await told() == (2, 0, 0, Standing.UNREACHABLE)
    await filled.change_server("one", {"drained": True})
    assert await told("one", "two") == (2, 1, 1, Standing.PLAYABLE)
    assert await told("one") == (2, 0, 1, Standing.UNREACHABLE)
    await filled.change_server("two", {"enabled": False})
    assert await told("one", "two") == (2, 0, 2, Standing.WITHDRAWN)


async def test_lists_go_on_where_a_page_ended(filled: ContentStore) -> None:
    names = ["a-1", "a.1", "a_1", "A1", "b", "Z"]
    for name in names:
        await filled.add_title({"name": name, "title": f"Title {name}"})
    found: list[str] = []
    after = ""
    while page := await filled.list_titles(after=after, limit=2):
        found += [one.name for one in page]
        after = page[-1].name
    assert found == ["a-1", "a.1", "A1", "a_1", "b", "film", "Z"]
    assert [one.name for one in await filled.list_servers(after="one")] == ["two"]


async def test_search_finds_every_word_whatever_its_case(filled: ContentStore) -> None:
    await filled.add_title({"name": "b", "title": "Ein GROSSER Straßenfilm 100%_"})
    await filled.add_server({"name": "edge", "host": "h.example", "make": "Apache"})

    async def titles_of(search: str) -> list[str]:
        return [one.name for one in await filled.list_titles(search=search)]

    assert await titles_of("FILM") == ["b", "film"]
    assert await titles_of("strassen groß") == ["b"]
    assert await titles_of("100%_") == ["b"]
    assert await titles_of("%") == ["b"]
    assert await titles_of("film none") == []
    assert [one.name for one in await filled.list_servers(search="apache h.ex")] == ["edge"]
    assert [title for _, title, _ in await filled.list_files(search="ONE.example mp4")] == ["film"]
    assert [title for _, title, _ in await filled.list_files(search="a film")] == ["film"]
    assert await filled.list_files(server="two") == []


async def test_reference_tables(filled: ContentStore) -> None:
    assert await filled.put_level({"code": "6"}) == Level("6", "6", 0)
    await filled.put_level({"code": "6", "name": "Six"})
    assert await filled.put_level({"code": "6", "name": "", "min_age": 6}) == Level("6", "6", 6)
    await filled.put_classification({"code": "art", "name": "Art"})
    assert await filled.put_network({"cidr": "192.0.2.0/24"}) == Network("192.0.2.0/24", "")
    await filled.put_network({"cidr": "2001:DB8::/32", "region": "North", "refused": True})
    assert await filled.list_levels() == [Level("6", "6", 6)]
    assert await filled.list_classifications(search="ART") == [Classification("art", "Art")]
    north = Network("2001:db8::/32", "North", True)
    assert await filled.list_networks(search="north") == [north]
    assert len(await filled.list_networks()) == 2
    await filled.change_title("film", {"level": "6", "classes": ["art"]})
    for call in (filled.remove_level("6"), filled.remove_classification("art")):
        with pytest.raises(ConflictError):
            await call
    await filled.change_title("film", {"level": "", "classes": []})
    await filled.remove_level("6")
    await filled.remove_classification("art")
    await filled.remove_network("2001:db8::/32")
    assert [one.cidr for one in await filled.list_networks()] == ["192.0.2.0/24"]


async def test_rows_are_bounded(filled: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MAX_SERVERS", 2)
    monkeypatch.setattr(titles, "MAX_TITLES", 1)
    monkeypatch.setattr(files, "MAX_FILES", 1)
    monkeypatch.setitem(references.MOST, references.Kind.NETWORK, 0)
    for call in (
        filled.add_server({"name": "three", "host": "x"}),
        filled.add_title({"name": "other"}),
        filled.add_file({**FILM, "uri": "http://one.example/2"}),
        filled.put_network({"cidr": "192.0.2.0/24"}),
    ):
        with pytest.raises(TooLargeError):
            await call
    monkeypatch.setattr(files, "MAX_FILES", 9)
    monkeypatch.setattr(files, "MAX_OF_TITLE", 1)
    with pytest.raises(TooLargeError):
        await filled.add_file({**FILM, "uri": "http://one.example/2"})


async def test_each_change_has_its_line_in_the_audit_log(
    filled: ContentStore, catalogue: Catalogue
) -> None:
    await filled.change_server("one", {"drained": True}, by=ANNA)
    await filled.change_server("one", {"drained": True}, by=ANNA)
    await filled.change_server("one", {"drained": False, "weight": 2.0}, by=ANNA)
    await filled.change_title("film", {"title": "New"}, by=ANNA)
    with pytest.raises(PreconditionError):
        await filled.remove_file(1, revision=99_999, by=ANNA)
    await filled.remove_file(1, by=ANNA)
    await filled.remove_title("film", by=ANNA)
    await filled.put_level({"code": "6"}, by=ANNA)
    lines = [line for line in await catalogue.audit.read() if line.actor == "anna"]
    assert [(line.action, line.subject) for line in reversed(lines)] == [
        ("server.drain", "one"),
        ("server.change", "one"),
        ("title.change", "film"),
        ("file.remove", "film"),
        ("title.remove", "film"),
        ("level.add", "6"),
    ]
    assert dict(lines[-2].detail)["drained"] is False


async def test_every_change_raises_the_version(filled: ContentStore, store: str) -> None:
    other = await Catalogue.open(store, passwords=quick_passwords())
    versions = [await filled.version()]
    for change in (
        filled.change_server("one", {"weight": 2.0}),
        filled.add_title({"name": "other"}),
        filled.change_title("other", {"regions": ["x"]}),
        filled.change_file(1, {"size": 1}),
        filled.put_network({"cidr": "192.0.2.0/24"}),
        filled.put_level({"code": "6"}),
        filled.remove_level("6"),
        filled.remove_file(1),
        filled.remove_title("other"),
        filled.remove_server("two"),
    ):
        await change
        versions.append(await other.contents.version())
    assert versions == sorted(set(versions))
    await other.close()
