"""How servers are, in the API and in the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.web.events import listening
from tests.unit.web.site import ADMIN, Site, running

from heliograph.bus import Registration
from heliograph.catalogue.contents.values import Condition, ProbeKind, Server, ServerState
from heliograph.dispatcher.monitor.agreement import View

AT = datetime(2026, 1, 1, tzinfo=UTC)
UP = ServerState(
    1,
    Condition.UP,
    12.3456,
    AT,
    AT,
    {ProbeKind.ICMP: 0.25, ProbeKind.HTTP: 12.3456},
    8e6,
)
DOWN = ServerState(2, Condition.DOWN, None, AT, AT, reason="TCP: refused")


class Monitoring:
    """Stands for the node's monitor."""

    def __init__(self) -> None:
        self.states: Mapping[int, ServerState] = {1: UP, 2: DOWN}
        self.servers = {
            1: Server(1, "zoo", "192.0.2.1", drained=True),
            2: Server(2, "ant", "192.0.2.2"),
            3: Server(3, "just-added", "192.0.2.3"),
        }
        self.doubt = False
        self.listeners: list[Callable[[Mapping[int, ServerState]], None]] = []

    def views(self) -> list[View]:
        return [View("a" * 16, False, self.states), View("b" * 16, True, {1: UP})]

    def counts(self) -> Mapping[str, int]:
        return {"probes": 7}

    def follow(self, listener: Callable[[Mapping[int, ServerState]], None]) -> Registration:
        self.listeners.append(listener)
        listener(self.states)
        return Registration(lambda: self.listeners.remove(listener))


@pytest.fixture
def monitoring() -> Monitoring:
    return Monitoring()


@pytest.fixture
async def site(monitoring: Monitoring) -> AsyncIterator[Site]:
    async with running(context={"monitoring": monitoring}) as found:
        yield found


async def test_titles_are_told_of_by_what_this_monitor_says(
    site: Site, monitoring: Monitoring
) -> None:
    contents = site.catalogue.contents
    await contents.add_server({"name": "zoo", "host": "192.0.2.1"})
    await contents.add_title({"name": "film"})
    file = {"title": "film", "server": "zoo", "format": "mp4", "uri": "http://192.0.2.1/film.mp4"}
    await contents.add_file(file)
    for state, standing in ((UP, "playable"), (DOWN, "unreachable")):
        monitoring.states = {1: state}
        answer = await site.http.get("/api/v1/titles/film", headers=ADMIN)
        assert answer.json()["standing"] == standing


async def test_servers_are_told_of_by_what_this_monitor_says_before_it_is_written_down(
    site: Site, monitoring: Monitoring
) -> None:
    contents = site.catalogue.contents
    for name in ("zoo", "ant"):
        await contents.add_server({"name": name, "host": "192.0.2.1"})
    await contents.save_states([replace(DOWN, server=1), DOWN])
    monitoring.states = {1: UP}  # the other one is not watched any more
    listed = (await site.http.get("/api/v1/servers", headers=ADMIN)).json()["servers"]
    found = {one["name"]: one["state"]["condition"] for one in listed}
    assert found == {"zoo": "up", "ant": "down"}
    one = (await site.http.get("/api/v1/servers/zoo", headers=ADMIN)).json()
    assert one["state"]["response_ms"] == 12.3456


async def test_states_are_told_by_name(site: Site) -> None:
    answer = (await site.http.get("/api/v1/monitor/states", headers=ADMIN)).json()
    assert [one["server"] for one in answer["states"]] == ["ant", "zoo"]
    assert answer["states"][1] == {
        "server": "zoo",
        "id": 1,
        "host": "192.0.2.1",
        "condition": "up",
        "reason": "",
        "since": "2026-01-01T00:00:00Z",
        "measured": "2026-01-01T00:00:00Z",
        "response_ms": 12.346,
        "responses": {"icmp": 0.25, "http": 12.346},
        "throughput_bps": 8e6,
        "drained": True,
        "monitors": {"a" * 16: "up", "b" * 16: "up"},
    }
    assert answer["states"][0]["reason"] == "TCP: refused"
    assert answer["monitors"] == [
        {"id": "a" * 16, "doubt": False},
        {"id": "b" * 16, "doubt": True},
    ]


async def test_changes_are_pushed(site: Site, monitoring: Monitoring) -> None:
    async with listening(site, "/api/v1/monitor/states/events") as events:
        found = await events.until("states")
        assert [one["condition"] for one in found["states"]] == ["down", "up"]
        monitoring.states = {1: UP}
        monitoring.listeners[0](monitoring.states)
        found = await events.until("states")
        assert [one["server"] for one in found["states"]] == ["zoo"]
    assert site.context.streams.counts()["servers"] in (0, 1)


async def test_states_are_for_administrators(site: Site) -> None:
    for path in ("/api/v1/monitor/states", "/api/v1/monitor/states/events"):
        assert (await site.http.get(path)).status_code == 401


async def test_node_without_a_monitor_says_so() -> None:
    async with running() as site:
        answer = await site.http.get("/api/v1/monitor/states", headers=ADMIN)
        assert answer.status_code == 503


async def test_metrics_name_servers_for_administrators_only(site: Site) -> None:
    public = (await site.http.get("/metrics")).text
    assert "helio_monitor_probes_total 7.0" in public
    assert 'helio_monitor_servers{condition="down"} 1.0' in public
    assert "zoo" not in public
    private = (await site.http.get("/metrics", headers=ADMIN)).text
    assert 'helio_monitor_server_up{server="zoo"} 1.0' in private
    assert 'helio_monitor_server_up{server="ant"} 0.0' in private
    assert 'helio_monitor_response_seconds{probe="icmp",server="zoo"} 0.00025' in private
