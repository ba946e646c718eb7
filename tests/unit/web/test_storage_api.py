"""Volumes, disks and titles on them by the API, with storage that is made up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.web.events import listening
from tests.unit.web.site import ADMIN, PATIENCE, Site, running
from tests.unit.web.stored import EMPTY, Stored, check, import_, title, volume
from tests.unit.web.test_accounts import Browser, account

from heliograph.model.errors import ConflictError, HelioError, ResourceError, UnreachableError
from heliograph.web.middleware import MAX_BODY

API = "/api/v1/storage"
WISH = {"node": "node-b", "path": "/mnt/b", "capacity": None, "erase": False}
HERE = {"node": "", "path": "/mnt/a", "capacity": None, "erase": False}
VOLUME = {"name": "films", "disks": [{"path": "/mnt/a"}]}


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
async def site(stored: Stored) -> AsyncIterator[Site]:
    async with running(context={"storage": stored}) as found:
        yield found


ROUTES = [
    ("GET", "", None),
    ("GET", "/events", None),
    ("POST", "/volumes", VOLUME),
    ("PATCH", "/volumes/films", {"move": 1}),
    ("DELETE", "/volumes/films", None),
    ("POST", "/volumes/films/disks", {"path": "/mnt/b"}),
    ("DELETE", "/volumes/films/disks/d1", None),
    ("POST", "/volumes/films/disks/d1/replace", {"path": "/mnt/b"}),
    ("GET", "/titles", None),
    ("PUT", "/titles/tides/media", None),
    ("POST", "/titles/tides/verify", None),
    ("DELETE", "/titles/tides", None),
    ("GET", "/recordings", None),
    ("POST", "/recordings", {"channel": "demo", "name": "monday"}),
    ("DELETE", "/recordings/monday", None),
    ("GET", "/imports", None),
    ("DELETE", "/imports/i1", None),
]


async def test_only_administrators_see_and_order(site: Site, stored: Stored):
    async with Browser(site) as other:
        await account(site, "berta")
        await other.sign_in("berta")
        for method, path, body in ROUTES:
            for http, status in ((site.http, 401), (other.http, 403)):
                answer = await http.request(method, API + path, json=body)
                assert answer.status_code == status, (method, path)
    assert stored.orders == []
    assert stored.received == []


async def test_node_without_storage_says_so():
    async with running() as site:
        for method, path, body in ROUTES:
            answer = await site.http.request(method, API + path, json=body, headers=ADMIN)
            assert answer.status_code == 503, (method, path)
            assert "nothing to do with storage" in answer.json()["error"]["message"]


async def test_orders_come_with_who_gave_them(site: Site, stored: Stored):
    scheme = {"data": 1, "parity": 0, "code": "copies", "block": 1 << 20, "policy": ""}
    recording = {"title": "", "volume": "", "max_seconds": 0.0, "max_bytes": 0}
    for (method, path, body), status, what, values in [
        (ROUTES[2], 201, "create", {"name": "films", "disks": [HERE], **scheme}),
        (ROUTES[3], 200, "limits", {"volume": "films", "move": 1, "scrub": None}),
        (ROUTES[4], 204, "forget", {"volume": "films"}),
        (ROUTES[5], 201, "add", {"volume": "films", **WISH, "node": ""}),
        (ROUTES[6], 200, "remove", {"volume": "films", "disk": "d1", "force": False}),
        (
            ROUTES[7],
            201,
            "replace",
            {"volume": "films", "disk": "d1", **WISH, "node": "", "force": False},
        ),
        (ROUTES[11], 204, "erase", {"name": "tides"}),
        (ROUTES[13], 201, "record", {"channel": "demo", "name": "monday", **recording}),
        (ROUTES[14], 200, "stop", {"name": "monday", "drop": False}),
        (ROUTES[16], 204, "cancel", {"id": "i1"}),
    ]:
        answer = await site.http.request(method, API + path, json=body, headers=ADMIN)
        assert answer.status_code == status, (method, path, answer.text)
        assert stored.orders.pop() == (what, "api-key", values)
    assert stored.orders == []
    path = "/volumes/films/disks/d1?force=true"
    await site.http.delete(API + path, headers=ADMIN)
    assert stored.orders.pop()[2]["force"] is True
    await site.http.delete(f"{API}/recordings/monday?drop=true", headers=ADMIN)
    assert stored.orders.pop()[2]["drop"] is True


async def test_code_is_what_fits(site: Site, stored: Stored):
    for given, code in [
        ({}, "copies"),
        ({"parity": 2}, "copies"),
        ({"data": 2, "parity": 1}, "xor"),
        ({"data": 4, "parity": 2}, "rs"),
        ({"data": 4, "parity": 1, "code": "rs"}, "rs"),
    ]:
        answer = await site.http.post(f"{API}/volumes", json=VOLUME | given, headers=ADMIN)
        assert answer.status_code == 201
        assert stored.orders.pop()[2]["code"] == code


async def test_limits_and_policy_change_together(site: Site, stored: Stored):
    change = {"scrub": 0, "policy": "jump"}
    answer = await site.http.patch(f"{API}/volumes/films", json=change, headers=ADMIN)
    assert answer.json() == {"volume": "films", "move": None, "scrub": 0, "policy": "jump"}
    assert [one[0] for one in stored.orders] == ["limits", "policy"]


BAD: list[tuple[str, Any]] = [
    ("/volumes", {"name": "films", "disks": []}),
    ("/volumes", VOLUME | {"data": 0}),
    ("/volumes", VOLUME | {"parity": 5}),
    ("/volumes", VOLUME | {"block": 1 << 30}),
    ("/volumes", VOLUME | {"mirrors": 2}),
    ("/volumes", VOLUME | {"disks": [{"path": "/mnt/a", "capacity": 7}]}),
    ("/volumes/films/disks", {"node": "node-b"}),
    ("/volumes/films/disks/d1/replace", {"path": 7}),
    ("/recordings", {"channel": "demo"}),
    ("/recordings", {"channel": "demo", "name": "monday", "max_seconds": -1}),
]


async def test_bodies_that_cannot_be(site: Site, stored: Stored):
    for path, body in BAD:
        answer = await site.http.post(API + path, json=body, headers=ADMIN)
        assert answer.status_code == 400, (path, body)
        assert answer.json()["error"]["message"]
    assert stored.orders == []


async def test_refusals_are_told(site: Site, stored: Stored):
    refusals: list[tuple[HelioError, int]] = [
        (ConflictError("a change is under way", subject="films"), 409),
        (UnreachableError("there is no node n", subject="n"), 502),
        (ResourceError("/mnt/b: Permission denied", subject="disk"), 503),
    ]
    for error, status in refusals:
        stored.error = error
        answer = await site.http.post(f"{API}/volumes/films/disks", json=WISH, headers=ADMIN)
        assert answer.status_code == status
        assert answer.json()["error"]["message"] == error.message


async def test_what_there_is_is_listed(site: Site, stored: Stored):
    stored.found = EMPTY | {"volumes": [volume()], "imports": [import_("storm", "importing")]}
    stored.kept = [title()]
    stored.checks = [check("tides", 12)]
    stored.recordings = [{"name": "monday", "channel": "demo"}]
    site.http.headers.update(ADMIN)
    assert (await site.get(API)).json() == stored.found
    assert (await site.get(f"{API}/titles")).json() == {"titles": stored.kept}
    assert (await site.get(f"{API}/imports")).json() == {"imports": stored.found["imports"]}
    assert (await site.get(f"{API}/recordings")).json() == {"recordings": stored.recordings}
    assert (await site.http.post(f"{API}/titles/tides/verify")).json()["done"] == 12


# files


async def test_renditions_follow_the_file(site: Site, stored: Stored):
    path = f"{API}/titles/tides/media"
    await site.http.put(path, params={"renditions": 2}, content=b"best", headers=ADMIN)
    path = f"{API}/imports/i1/renditions"
    small = bytes(MAX_BODY + 5)
    answer = await site.http.put(path, params={"filename": "s.mp4"}, content=small, headers=ADMIN)
    assert answer.status_code == 202, answer.text
    first, second = stored.received
    assert first.values["renditions"] == 2
    assert second.values == {"id": "i1", "file": "s.mp4", "size": len(small)}
    assert second.received == len(small)
    assert (await site.http.put(path, content=b"small")).status_code == 401
    more = f"{API}/titles/tides/media?renditions=99"
    assert (await site.http.put(more, content=b"", headers=ADMIN)).status_code == 400


async def test_file_is_taken_as_a_stream(site: Site, stored: Stored):
    data = os.urandom(5 * MAX_BODY + 3)
    given = {"title": "High tides", "volume": "films", "filename": "a b.mp4"}
    path = f"{API}/titles/tides/media"
    answer = await site.http.put(path, params=given, content=data, headers=ADMIN)
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["bytes"]) == ("waiting", len(data))
    (one,) = stored.received
    assert one.values == {
        "name": "tides",
        "title": "High tides",
        "volume": "films",
        "file": "a b.mp4",
        "size": len(data),
        "renditions": 0,
    }
    assert one.received == len(data)
    assert len(one.pieces) > 1, "it was kept in memory as a whole"
    assert (one.finished, one.left) == (True, "")


async def test_file_of_unknown_length_is_taken(site: Site, stored: Stored):
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(MAX_BODY)

    path = f"{API}/titles/tides/media"
    answer = await site.http.put(path, content=pieces(), headers=ADMIN)
    assert answer.status_code == 202
    (one,) = stored.received
    assert (one.values["size"], one.received, one.finished) == (None, 3 * MAX_BODY, True)


async def test_only_files_may_be_large(site: Site):
    for method, path in (("POST", "/volumes"), ("PUT", "/titles/a/b/media")):
        answer = await site.http.request(
            method, API + path, content=bytes(MAX_BODY + 1), headers=ADMIN
        )
        assert answer.status_code == 413, path


async def test_file_that_is_too_large_is_refused(site: Site, stored: Stored):
    stored.most = 2 * MAX_BODY
    path = f"{API}/titles/tides/media"
    answer = await site.http.put(path, content=bytes(3 * MAX_BODY), headers=ADMIN)
    assert answer.status_code == 413
    (one,) = stored.received
    assert (one.finished, one.left) == (False, "TooLargeError")


async def test_file_that_breaks_off_is_left(
    site: Site, stored: Stored, capsys: pytest.CaptureFixture[str]
):
    host, port = "127.0.0.1", site.server.port
    _, writer = await asyncio.open_connection(host, port)
    head = (
        f"PUT {API}/titles/tides/media HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: {ADMIN['Authorization']}\r\nContent-Length: 1000000\r\n\r\n"
    )
    writer.write(head.encode() + bytes(MAX_BODY + 1))
    await site.until(lambda: stored.received and stored.received[0].received > MAX_BODY)
    assert stored.received[0].left is None
    writer.close()
    await site.until(lambda: stored.received[0].left is not None)
    assert stored.received[0].left == "MalformedError"
    assert not stored.received[0].finished
    assert "request failed unexpectedly" not in capsys.readouterr().out


# what is pushed


async def test_changes_are_pushed_and_each_once(
    site: Site, stored: Stored, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("heliograph.web.storage.PERIOD", 0.01)
    async with listening(site, f"{API}/events") as events:
        assert await events.next() == ("view", EMPTY)
        stored.found = first = EMPTY | {"volumes": [volume()]}
        assert await events.next() == ("view", first)
        stored.error = UnreachableError("the other nodes do not answer")
        assert await events.next() == ("trouble", {"message": "the other nodes do not answer"})
        stored.error = None
        # That it is over is told, though nothing is new.
        assert await events.until("view") == first
        stored.found = second = EMPTY | {"volumes": [volume(titles=2)]}
        assert await events.until("view") == second
        # Who comes later sees what there is at once.
        async with listening(site, f"{API}/events") as others:
            assert await others.until("view") == second


async def test_nobody_looks_when_nobody_listens(
    site: Site, stored: Stored, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("heliograph.web.storage.PERIOD", 0.01)
    async with listening(site, f"{API}/events") as events:
        await events.until("view")

    def looks() -> bool:
        return any(one.get_name() == "storage view" for one in asyncio.all_tasks())

    async with asyncio.timeout(PATIENCE):
        while looks():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
