"""Servers, titles and files by the API, as an administrator and as others."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.web.site import ADMIN, Site, running
from tests.unit.web.test_accounts import Browser, account

from heliograph.catalogue.contents.scanning import Page
from heliograph.catalogue.contents.values import Condition, ServerState
from heliograph.model.errors import RemoteError

SERVER = {"name": "one", "host": "one.example"}
FILE = {"title": "film", "server": "one", "format": "mp4", "uri": "http://one.example/film.mp4"}
API = "/api/v1"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as found:
        found.http.headers.update(ADMIN)
        yield found


async def made(site: Site, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await site.http.post(f"{API}{path}", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    assert (await site.get(answer.headers["location"])).json() == answer.json()
    return answer.json()


@pytest.fixture
async def filled(site: Site) -> Site:
    await made(site, "/servers", SERVER)
    await made(site, "/titles", {"name": "film", "title": "A Film"})
    await made(site, "/files", FILE)
    return site


async def test_only_administrators_see_and_change_them(site: Site) -> None:
    site.http.headers.pop("authorization")
    for path in ("servers", "titles", "files", "networks", "levels", "classes", "contents/export"):
        assert (await site.get(f"{API}/{path}")).status_code == 401
    assert (await site.http.post(f"{API}/servers", json=SERVER)).status_code == 401
    assert (await site.http.post(f"{API}/contents/import", json={})).status_code == 401


async def test_rows_are_added_and_listed(filled: Site) -> None:
    servers = (await filled.get(f"{API}/servers")).json()
    assert servers["more"] is None
    (one,) = servers["servers"]
    assert (one["name"], one["files"], one["state"], one["enabled"]) == ("one", 1, None, True)
    assert one["probes"] == [{"kind": "icmp", "interval": 10.0, "port": 0, "path": ""}]
    (title,) = (await filled.get(f"{API}/titles?search=FILM")).json()["titles"]
    assert (title["title"], title["files"], title["go"]) == ("A Film", 1, "/go/film")
    (file,) = (await filled.get(f"{API}/files?title=film&server=one")).json()["files"]
    assert {name: file[name] for name in FILE} == FILE


async def test_titles_tell_how_they_are_to_be_had(filled: Site) -> None:
    async def told() -> tuple[int, int, str]:
        (listed,) = (await filled.get(f"{API}/titles")).json()["titles"]
        assert (await filled.get(f"{API}/titles/film")).json() == listed
        return listed["files"], listed["usable"], listed["standing"]

    store = filled.catalogue.contents
    server, now = (await store.get_server("one")).id, datetime.now(UTC)
    assert await told() == (1, 0, "unreachable")  # not measured yet
    for condition, usable, standing in (
        (Condition.UP, 1, "playable"),
        (Condition.DOWN, 0, "unreachable"),
        (Condition.STARTING, 1, "playable"),
    ):
        now += timedelta(seconds=1)
        await store.save_states([ServerState(server, condition, 1.0, now, now)])
        assert await told() == (1, usable, standing)
    await filled.http.post(f"{API}/servers/one/drain")
    assert await told() == (1, 0, "withdrawn")
    await filled.http.patch(f"{API}/titles/film", json={"published": False})
    assert await told() == (1, 0, "withheld")
    await filled.http.delete(f"{API}/files/1")
    changed = await filled.http.patch(f"{API}/titles/film", json={"published": True})
    assert (changed.json()["standing"], changed.json()["stored"]) == ("empty", False)


async def test_pages_are_followed_by_more(filled: Site) -> None:
    for number in range(4):
        await made(filled, "/titles", {"name": f"t{number}"})
        await made(filled, "/files", {**FILE, "title": f"t{number}"})
    names: list[str] = []
    query: str | None = "limit=2"
    while query is not None:
        page = (await filled.get(f"{API}/titles?{query}")).json()
        names += [one["name"] for one in page["titles"]]
        query = None if page["more"] is None else f"limit=2&after={page['more']}"
    assert names == ["film", "t0", "t1", "t2", "t3"]
    first = (await filled.get(f"{API}/files?limit=3")).json()
    rest = (await filled.get(f"{API}/files?limit=3&after={first['more']}")).json()
    assert [one["id"] for one in first["files"] + rest["files"]] == [1, 2, 3, 4, 5]
    assert rest["more"] is None


async def test_change_names_the_state_it_was_made_for(filled: Site) -> None:
    for path, body in (
        ("servers/one", {"weight": 2.0}),
        ("titles/film", {"title": "B"}),
        ("files/1", {"size": 7}),
    ):
        url = f"{API}/{path}"
        tag = (await filled.get(url)).headers["etag"]
        first = await filled.http.patch(url, json=body, headers={"if-match": tag})
        assert first.status_code == 200
        assert first.json().items() >= body.items()
        other = {key: type(value)(9) for key, value in body.items()}
        again = await filled.http.patch(url, json=other, headers={"if-match": tag})
        assert again.status_code == 412
        assert (await filled.http.patch(url, json=other)).status_code == 200
    url = f"{API}/titles/film"
    assert (await filled.http.delete(url, headers={"if-match": tag})).status_code == 412
    assert (await filled.http.delete(url, headers={"if-match": "old"})).status_code == 400
    assert (await filled.http.delete(url)).status_code == 204
    assert (await filled.get(url)).status_code == 404


async def test_server_is_drained_returned_and_removed(filled: Site) -> None:
    for path, drained in (("drain", True), ("return", False)):
        answer = await filled.http.post(f"{API}/servers/one/{path}")
        assert answer.json()["drained"] is drained
    refused = await filled.http.delete(f"{API}/servers/one")
    assert refused.status_code == 409
    assert "files" in refused.json()["error"]["message"]
    assert (await filled.http.delete(f"{API}/servers/one?files=true")).status_code == 204
    assert (await filled.get(f"{API}/files")).json()["files"] == []


async def test_wrong_requests_say_what_is_wrong(filled: Site) -> None:
    for path, body, status, word in (
        ("titles", {"name": "a b"}, 400, "title name"),
        ("titles", {"name": "demo"}, 409, "channel"),
        ("titles", {"name": "x", "level": "none"}, 404, "level"),
        ("titles", {"name": "x", "colour": 1}, 400, "colour"),
        ("files", {**FILE, "uri": "film.mp4"}, 400, "absolute"),
        ("files", {**FILE, "server": "none", "uri": "http://x/y"}, 404, "none"),
        ("servers", {"name": "x", "host": "x", "probes": [{"kind": "smell"}]}, 400, "kind"),
    ):
        answer = await filled.http.post(f"{API}/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert word in answer.json()["error"]["message"]


async def test_reference_tables_are_put_and_removed(site: Site) -> None:
    put = site.http.put
    answer = await put(f"{API}/networks/192.0.2.0%2F24", json={"region": "north"})
    assert answer.json() == {"cidr": "192.0.2.0/24", "region": "north", "refused": False}
    assert (await put(f"{API}/networks/2001:db8::/32", json={"refused": True})).status_code == 200
    assert (await put(f"{API}/networks/192.0.2.1/24", json={})).status_code == 400
    assert (await put(f"{API}/levels/12", json={"min_age": 12})).json()["name"] == "12"
    assert (await put(f"{API}/classes/art", json={"name": "Art"})).status_code == 200
    assert len((await site.get(f"{API}/networks")).json()["networks"]) == 2
    assert (await site.get(f"{API}/levels")).json()["levels"][0]["min_age"] == 12
    assert (await site.get(f"{API}/classes")).json()["classes"][0]["name"] == "Art"
    for path in ("networks/192.0.2.0/24", "levels/12", "classes/art"):
        assert (await site.http.delete(f"{API}/{path}")).status_code == 204
        assert (await site.http.delete(f"{API}/{path}")).status_code == 404


async def test_what_was_exported_is_imported(filled: Site) -> None:
    await filled.http.put(f"{API}/levels/12", json={"min_age": 12})
    await filled.http.patch(f"{API}/titles/film", json={"regions": ["a b", "c"], "level": "12"})
    for format in ("csv", "json"):
        exported = (await filled.get(f"{API}/contents/export?format={format}")).text
        same = await filled.http.post(f"{API}/contents/import", json={"text": exported})
        assert same.json() == {"added": 0, "changed": 0, "unchanged": 4, "rejected": []}
        async with running() as other:
            other.http.headers.update(ADMIN)
            answer = await other.http.post(f"{API}/contents/import", json={"text": exported})
            assert answer.json() == {"added": 4, "changed": 0, "unchanged": 0, "rejected": []}
            again = (await other.get(f"{API}/contents/export?format={format}")).text
            assert again == exported
    rows = list(csv.DictReader(io.StringIO((await filled.get(f"{API}/contents/export")).text)))
    assert [row["kind"] for row in rows] == ["level", "server", "title", "file"]


async def test_import_reports_what_it_does_not_take(site: Site) -> None:
    records = [
        {"kind": "file", **FILE, "place": "line 9"},
        {"kind": "title", "name": "a b", "place": "line 2"},
        {"kind": "server", **SERVER},
        {"kind": "title", "name": "film", "classes": 5},
    ]
    answer = await site.http.post(f"{API}/contents/import", json={"records": records})
    assert answer.json()["added"] == 1
    rejected = {one["place"]: one["reason"] for one in answer.json()["rejected"]}
    assert sorted(rejected) == ["item 4", "line 2", "line 9"]
    assert rejected["line 9"] == "no title 'film'"
    assert (await site.get(f"{API}/servers")).json()["servers"][0]["name"] == "one"


async def test_scan_registers_what_a_listing_has(
    filled: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(url: str) -> Page:
        if url != "http://one.example/":
            raise RemoteError(f"no answer from {url}")
        return Page(url, "text/html", '<a href="film.mp4">x</a> <a href="Other%20One.mp4">y</a>')

    monkeypatch.setattr("heliograph.catalogue.contents.scanning.fetch_page", fetch)
    asked = {"url": "http://one.example/"}
    dry = await filled.http.post(f"{API}/servers/one/scan", json={**asked, "dry_run": True})
    assert [one["name"] for one in dry.json()["found"]] == ["film", "Other-One"]
    assert len((await filled.get(f"{API}/files")).json()["files"]) == 1
    done = await filled.http.post(f"{API}/servers/one/scan", json=asked)
    assert (done.json()["added"], done.json()["rejected"]) == (2, [])
    again = await filled.http.post(f"{API}/servers/one/scan", json=asked)
    assert (again.json()["added"], again.json()["unchanged"]) == (0, 2)
    assert (await filled.get(f"{API}/titles/film")).json()["title"] == "A Film"
    assert (await filled.get(f"{API}/titles/other-one")).json()["title"] == "Other One"
    wrong = await filled.http.post(f"{API}/servers/one/scan", json={"url": "http://one.example/x"})
    assert wrong.status_code == 502


async def test_a_scan_asks_the_servers_host_alone_unless_told(
    filled: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    async def fetch(url: str) -> Page:
        fetched.append(url)
        text = "#EXTM3U\nhttp://one.example/a.mp4\nhttp://cdn.example/b.mp4\n"
        return Page(url, "audio/x-mpegurl", text)

    async def found(url: str, **how: bool) -> tuple[int, list[str]]:
        asked = {"url": url, "dry_run": True, **how}
        answer = await filled.http.post(f"{API}/servers/one/scan", json=asked)
        return answer.status_code, [one["uri"] for one in answer.json().get("found", ())]

    monkeypatch.setattr("heliograph.catalogue.contents.scanning.fetch_page", fetch)
    others = ("http://cdn.example/l.m3u", "http://169.254.169.254/", "http://one.example@[::1]/")
    for url in (*others, "http:///", "http://one.example.cdn.example/", "http://[::1/"):
        assert (await found(url))[0] == 400
    assert fetched == []
    here = "http://ONE.example:8080/l.m3u"
    assert await found(here) == (200, ["http://one.example/a.mp4"])
    both = ["http://one.example/a.mp4", "http://cdn.example/b.mp4"]
    assert await found(here, any_host=True) == (200, both)
    assert await found(others[0], any_host=True) == (200, both)
    # Nobody but an administrator has this node ask anything.
    fetched.clear()
    for key, status in (("", 401), ("wrong", 401)):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with Browser(filled) as other:
            answer = await other.http.post(
                f"{API}/servers/one/scan", json={"url": here}, headers=headers
            )
            assert answer.status_code == status
    async with Browser(filled) as other:
        await account(filled, "berta")
        await other.sign_in("berta")
        answer = await other.http.post(f"{API}/servers/one/scan", json={"url": here})
        assert answer.status_code == 403
    assert fetched == []


async def test_the_api_is_described(site: Site) -> None:
    described = (await site.get(f"{API}/openapi.json")).json()
    for path in ("servers/{name}/drain", "titles/{name}", "files", "contents/import"):
        assert f"{API}/{path}" in described["paths"]
    assert (await site.get(f"{API}/docs")).status_code == 200
