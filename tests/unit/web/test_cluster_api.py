"""The cluster in the API: what the manager sees, orders to it, news that are pushed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.web.events import listening
from tests.unit.web.site import ADMIN, Site, running

from heliograph.bus import Bus, Registration
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.values import Actor
from heliograph.model.errors import NotFoundError, UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.web import streams

LIKE = {"epoch": 3, "manager": "a" * 16, "at": 7.0, "units": []}
VIEW = LIKE | {"channels": []}


class Managers:
    """Stands for the way to the manager."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = VIEW
        self.orders: list[tuple[str, str, dict[str, object]]] = []
        self.addresses: list[str] = []
        self.domains: list[tuple[str, ...] | None] = []
        self.answer: dict[str, Any] = {"done": True, "progress": None}
        self.error: Exception | None = None
        self.listeners: list[Callable[[str, Any], None]] = []
        self.asked = 0

    async def command(
        self, command: str, by: Actor, domains: tuple[str, ...] | None = None, /, **what: object
    ) -> dict[str, Any]:
        self.orders.append((command, by.name, what))
        self.addresses.append(by.address)
        self.domains.append(domains)
        if self.error is not None:
            raise self.error
        return self.answer

    async def view(self) -> dict[str, Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.found

    def watch(self, listener: Callable[[str, Any], None]) -> Registration:
        self.listeners.append(listener)
        return Registration(lambda: self.listeners.remove(listener))

    def tell(self, kind: str, value: Any) -> None:
        for listener in self.listeners:
            listener(kind, value)


@pytest.fixture
def managers() -> Managers:
    return Managers()


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    found = await MemoryNetwork().bus(NodeId("b" * 16))
    yield found
    await found.close()


@pytest.fixture
async def site(managers: Managers, bus: Bus) -> AsyncIterator[Site]:
    cluster = SimpleNamespace(bus=bus, node=bus.node)
    async with running(context={"managers": managers, "cluster": cluster}) as found:
        yield found


async def test_orders_reach_the_manager_with_who_gave_them(site: Site, managers: Managers):
    for method, path, body, command, what in (
        ("POST", "/units/u1/drain", None, "drain", {"unit": "u1"}),
        ("POST", "/units/u1/return", None, "return", {"unit": "u1"}),
        ("DELETE", "/units/u1", None, "remove", {"unit": "u1"}),
        (
            "POST",
            "/channels/yard/extend",
            {"groups": 3, "unit": "u2"},
            "extend",
            {"channel": "yard", "groups": 3, "unit": "u2"},
        ),
        (
            "POST",
            "/channels/yard/extend",
            {},
            "extend",
            {"channel": "yard", "groups": 1, "unit": ""},
        ),
        ("POST", "/cluster/channels/yard/open", None, "open", {"channel": "yard"}),
        ("POST", "/cluster/channels/yard/close", None, "close", {"channel": "yard"}),
        ("POST", "/channels/yard/shrink", {}, "reduce", {"channel": "yard", "groups": 1}),
        (
            "POST",
            "/channels/yard/move",
            {"unit": "u2"},
            "move",
            {"channel": "yard", "unit": "u2"},
        ),
    ):
        answer = await site.http.request(method, f"/api/v1{path}", json=body, headers=ADMIN)
        assert answer.json() == {"done": True, "progress": None}
        assert managers.orders.pop() == (command, "api-key", what)
    assert {*managers.addresses} == {"127.0.0.1"}


async def test_all_of_it_is_for_administrators(site: Site, managers: Managers):
    for method, path, body in (
        ("GET", "/cluster", None),
        ("GET", "/cluster/events", None),
        ("POST", "/units/u1/drain", None),
        ("POST", "/units/u1/return", None),
        ("DELETE", "/units/u1", None),
        ("POST", "/channels/demo/extend", {}),
        ("POST", "/channels/demo/shrink", {}),
        ("POST", "/cluster/channels/demo/open", None),
        ("POST", "/cluster/channels/demo/close", None),
        ("POST", "/channels/demo/move", {"unit": "u1"}),
        ("GET", "/logs", None),
        ("GET", "/logs/events", None),
    ):
        answer = await site.http.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 401, path
    assert managers.orders == []


async def test_what_makes_no_sense_does_not_reach_the_manager(site: Site, managers: Managers):
    for path, body in (
        ("extend", {"groups": 0}),
        ("extend", {"groups": 1000}),
        ("shrink", {"unit": "u1"}),
        ("move", {"unit": ""}),
        ("move", {}),
    ):
        answer = await site.http.post(f"/api/v1/channels/demo/{path}", json=body, headers=ADMIN)
        assert answer.status_code == 400, path
    assert managers.orders == []


async def test_the_manager_refuses_in_its_own_words(site: Site, managers: Managers):
    managers.error = NotFoundError("no unit 'u9'", subject="u9")
    answer = await site.http.post("/api/v1/units/u9/drain", headers=ADMIN)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "no unit 'u9'")


async def test_without_a_manager_it_says_so(site: Site, managers: Managers):
    managers.error = UnreachableError("nobody leads")
    for method, path in (("GET", "/cluster"), ("POST", "/units/u1/drain")):
        answer = await site.http.request(method, f"/api/v1{path}", headers=ADMIN)
        assert (answer.status_code, answer.json()["error"]["subject"]) == (503, "manager")
        assert "no manager is active" in answer.json()["error"]["message"]


async def test_a_node_alone_says_so():
    async with running() as site:
        for path in ("/cluster", "/cluster/events"):
            answer = await site.get(f"/api/v1{path}", headers=ADMIN)
            assert (answer.status_code, answer.json()["error"]["subject"]) == (503, "cluster")


async def test_view_names_the_managers_that_are_there(site: Site, bus: Bus):
    bus.announce("manager", "west", {"active": False, "epoch": 2})
    bus.announce("manager", "east", {"active": True, "epoch": 3})
    answer = (await site.get("/api/v1/cluster", headers=ADMIN)).json()
    assert answer["epoch"] == 3
    assert [(one["name"], one["active"], one["epoch"]) for one in answer["managers"]] == [
        ("east", True, 3),
        ("west", False, 2),
    ]


async def test_view_has_what_the_node_knows_besides(managers: Managers, bus: Bus):
    bus.announce("node", "east", {"address": "10.0.0.7:7447"})
    units = [{"id": bus.node, "name": "east"}, {"id": "c" * 16, "name": "west"}]
    managers.found = VIEW | {"units": units, "channels": [{"name": "demo"}, {"name": "far"}]}
    link = {"node": "c" * 16, "ours": True, "up": True, "received_items": 90, "given_up": 2}
    mesh = SimpleNamespace(describe=lambda: {"links": [link, link | {"up": False}], "counters": {}})
    cluster = SimpleNamespace(bus=bus, node=bus.node)
    context = {"managers": managers, "cluster": cluster, "mesh": mesh}
    async with running(context=context) as site:
        answer = (await site.get("/api/v1/cluster", headers=ADMIN)).json()
    east, west = answer["units"]
    assert (east["address"], east["link"]) == ("10.0.0.7:7447", None)
    assert (west["address"], west["link"]) == ("", {"up": True, "received": 180, "lost": 4})
    assert [one["title"] for one in answer["channels"]] == ["Test", ""]
    assert answer["node"] == bus.node


async def test_channels_that_no_unit_carries_are_shown_too(site: Site, managers: Managers):
    busy = {"name": "busy", "groups": 2, "ingest": "c" * 16}
    managers.found = VIEW | {"channels": [busy], "closed": ["attic"]}
    channels = (await site.get("/api/v1/cluster", headers=ADMIN)).json()["channels"]
    assert [(one["name"], one["state"], one["groups"]) for one in channels] == [
        ("attic", "closed", 0),
        ("busy", "open", 2),
        ("demo", "idle", 0),
    ]


async def test_who_listens_hears_the_view_at_once_and_each_change(
    site: Site, managers: Managers, bus: Bus
):
    async with listening(site, "/api/v1/cluster/events") as events:
        assert LIKE.items() <= (await events.until("view")).items()
        managers.tell("view", VIEW | {"epoch": 4})
        assert (await events.until("view"))["epoch"] == 4
        managers.tell("progress", {"command": "drain", "subject": "u1", "done": False})
        assert (await events.until("progress"))["subject"] == "u1"
        bus.announce("manager", "west", {"active": True, "epoch": 5})
        while not (found := await events.until("managers"))["managers"]:
            pass
        assert found["managers"][0]["name"] == "west"
        async with listening(site, "/api/v1/cluster/events") as late:
            assert (await late.until("view"))["epoch"] in (3, 4)
            text = (await site.get("/metrics")).text
            assert 'helio_event_streams{of="cluster"} 2.0' in text
    await site.until(lambda: not managers.listeners)  # nobody listens: nothing is asked for


async def test_views_are_pushed_twice_a_second_at_most(site: Site, managers: Managers):
    async with listening(site, "/api/v1/cluster/events") as events:
        await events.until("view")
        began = asyncio.get_running_loop().time()
        for number in range(50):
            managers.tell("view", VIEW | {"epoch": number})
        seen = [(await events.until("view"))["epoch"]]
        took = asyncio.get_running_loop().time() - began
        assert seen == [49]
        assert took > 0.3


async def test_who_comes_late_gets_the_whole_and_the_newest_numbers(site: Site, managers: Managers):
    managers.found = VIEW | {"whole": True}
    async with listening(site, "/api/v1/cluster/events") as events:
        await events.until("view")
        managers.tell("view", VIEW | {"whole": False, "epoch": 4})
        assert (await events.until("view"))["epoch"] == 4
        async with listening(site, "/api/v1/cluster/events") as late:
            assert (await late.until("view"))["whole"] is True
            assert (await late.until("view"))["epoch"] == 4


async def test_trouble_is_told_while_no_manager_answers(site: Site, managers: Managers):
    managers.error = UnreachableError("nobody leads")
    async with listening(site, "/api/v1/cluster/events") as events:
        assert (await events.until("trouble"))["message"] == "nobody leads"
        managers.tell("view", VIEW)
        assert LIKE.items() <= (await events.until("view")).items()


async def test_listeners_are_bounded(site: Site):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(streams.MAX_STREAMS):
            await stack.enter_async_context(listening(site, "/api/v1/cluster/events"))
        answer = await site.get("/api/v1/cluster/events", headers=ADMIN)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
    await site.until(lambda: site.context.streams.counts()["cluster"] == 0)
    async with listening(site, "/api/v1/cluster/events") as events:
        await events.until("view")


async def test_streams_end_when_the_server_stops(site: Site):
    async with listening(site, "/api/v1/cluster/events") as events:
        await events.until("view")
        site.context.streams.close()
        assert await events.ended()
    assert (await site.get("/api/v1/cluster/events", headers=ADMIN)).status_code == 503


async def test_who_signs_out_hears_no_more(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams.EventStream.__init__, "__defaults__", (0.05,))
    account = {"name": "ada", "password": "three plain words", "role": "administrator"}
    await site.http.post("/api/v1/accounts", json=account, headers=ADMIN)
    await site.http.post("/api/v1/session", json={k: account[k] for k in ("name", "password")})
    async with listening(site, "/api/v1/cluster/events", {}) as events:
        await events.until("view")
        origin = {"origin": str(site.http.base_url).rstrip("/")}
        assert (await site.http.delete("/api/v1/session", headers=origin)).status_code == 204
        assert await events.ended()


async def test_streams_outlive_the_time_that_answers_have(managers: Managers):
    async with (
        running(context={"managers": managers}, answer_timeout=2.0) as site,
        listening(site, "/api/v1/cluster/events") as events,
    ):
        await events.until("view")
        await asyncio.sleep(4.5)  # twice as long, and more
        managers.tell("view", VIEW | {"epoch": 9})
        assert (await events.until("view"))["epoch"] == 9
        assert site.context.counters["http_timeouts"] == 0


async def test_a_client_that_takes_nothing_is_dropped(managers: Managers):
    async with running(context={"managers": managers}, answer_timeout=2.0) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        head = f"Host: h\r\nAuthorization: {ADMIN['Authorization']}\r\n\r\n"
        writer.write(f"GET /api/v1/cluster/events HTTP/1.1\r\n{head}".encode())
        await reader.readuntil(b"event: view")
        # It reads nothing more, while more comes than the sockets' buffers hold.
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        large = {"text": "x" * 4_000_000}

        def pushed() -> bool:
            managers.tell("progress", large | {"subject": "s"})
            return site.context.streams.counts()["cluster"] == 0

        await site.until(pushed)
        assert site.context.counters["http_timeouts"] == 1
        writer.close()


class TestQueue:
    """What waits for one listener."""

    def stream(self) -> streams.Stream:
        return streams.Stream(lambda stream: None)

    async def test_newer_news_replace_what_they_are_about(self):
        stream = self.stream()
        stream.put(b"a1 ", "a")
        stream.put(b"b1 ", "b")
        stream.put(b"a2 ", "a")
        assert await stream.next(1) == b"b1 a2 "

    async def test_the_oldest_are_dropped_and_the_listener_is_told(self):
        stream = self.stream()
        for number in range(streams.MAX_PENDING + 5):
            stream.put(b"%d." % number)
        found = await stream.next(1)
        assert found is not None
        assert found.startswith(b"5.6.")
        assert found.endswith(b'event: missed\ndata: {"count":5}\n\n')

    async def test_nothing_comes_for_a_while_or_ever(self):
        stream = self.stream()
        assert await stream.next(0.01) == b""
        stream.put(b"late")
        stream.close()
        assert await stream.next(1) is None


def test_events_are_one_line_each():
    text = streams.encode("log", {"event": "two\nlines\r\n"}).decode()
    assert text.count("\n") == 3


@pytest.mark.parametrize("error", [None, UnreachableError("no manager is active")])
async def test_the_manager_hears_of_a_channel_that_is_deleted(
    site: Site, managers: Managers, bus: Bus, error: Exception | None
):
    managers.error = error  # it is deleted all the same
    await site.http.post("/api/v1/channels", json={"name": "quay"}, headers=ADMIN)
    deleted = await site.http.delete("/api/v1/channels/quay", headers=ADMIN)
    assert deleted.status_code == 204
    ((command, _, what),) = managers.orders
    assert (command, what) == ("forget", {"channel": "quay", "home": bus.node, "lifted": 1})
    assert (await site.get("/api/v1/channels/quay")).status_code == 404
