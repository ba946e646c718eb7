"""The server itself: identity, totals, health, metrics, the description of the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from prometheus_client.parser import text_string_to_metric_families
from tests.unit.web.site import ADMIN, Site, running


async def metrics(site: Site) -> dict[tuple[str, ...], float]:
    answer = await site.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_server_tells_who_it_is():
    started = datetime.now(UTC) - timedelta(minutes=5)
    async with running(context={"started_at": started, "name": "tower"}) as site:
        answer = (await site.get("/api/v1/server")).json()
        assert (answer["name"], answer["version"]) == ("tower", "1.2.3")
        assert 300 <= answer["uptime"] < 320


async def test_totals_count_packets_and_channels():
    async with running() as site:
        await site.on_air(3)
        answer = (await site.get("/api/v1/stats")).json()
        assert (answer["packets_in"], answer["channels"], answer["channels_on_air"]) == (3, 1, 1)


async def test_health_and_readiness_differ():
    states = [False, True]
    async with running(context={"ready": lambda: states.pop(0)}) as site:
        assert (await site.get("/readyz")).status_code == 503
        assert (await site.get("/healthz")).status_code == 200
        assert (await site.get("/readyz")).json() == {"ready": True}


async def test_metrics_follow_the_counters_of_the_plane():
    async with running(context={"lost_log_lines": lambda: 7}, silence_ms=30_000) as site:
        publishing = await site.on_air(3)
        async with site.viewer() as viewer:
            await viewer.take(3)
            found = await metrics(site)
            assert found["helio_received_packets_total",] == 3
            assert found["helio_channel_packets_total", "demo"] == 3
            assert found["helio_input_received_packets_total", "demo", "push", "0"] == 3
            assert found["helio_channel_state", "demo", "on_air"] == 1
            assert found["helio_channel_state", "demo", "idle"] == 0
            assert found["helio_channel_readers", "demo", "websocket"] == 1
            assert found["helio_channel_sent_bytes_total", "demo"] > 0
            assert found["helio_events_lost_total",] == 0
            assert found["helio_log_lines_lost_total",] == 7
            assert found["helio_websockets_opened_total",] == 1
            assert found["helio_http_requests_total",] >= 0
            assert found["process_open_fds",] > 3
            publishing.push(0, site.camera.gop(4))
            assert (await metrics(site))["helio_channel_packets_total", "demo"] == 7


async def test_series_do_not_grow_with_readers_or_with_publishers_that_come_again():
    async with running() as site:
        (await site.on_air()).close()
        before = set(await metrics(site))
        for _ in range(3):
            publishing = await site.on_air()
            publishing.close()
        await site.on_air()
        async with site.viewer() as one, site.viewer() as two:
            await one.text("start")
            await two.text("start")
            grown = set(await metrics(site)) - before
        assert {key[1:] for key in grown} == {("demo", "push", "0")}


async def test_description_of_the_api_names_every_endpoint():
    async with running() as site:
        document = (await site.get("/api/v1/openapi.json")).json()
        paths = document["paths"]
        assert {
            "/api/v1/accounts",
            "/api/v1/accounts/{name}",
            "/api/v1/audit",
            "/api/v1/channels",
            "/api/v1/channels/{name}",
            "/api/v1/channels/{name}/extend",
            "/api/v1/channels/{name}/inputs",
            "/api/v1/channels/{name}/keys",
            "/api/v1/channels/{name}/keys/{id}",
            "/api/v1/channels/{name}/move",
            "/api/v1/channels/{name}/picture",
            "/api/v1/channels/{name}/readers",
            "/api/v1/channels/{name}/readers/{id}",
            "/api/v1/channels/{name}/shrink",
            "/api/v1/channels/{name}/tokens",
            "/api/v1/channels/{name}/tree",
            "/api/v1/cluster",
            "/api/v1/cluster/channels/{name}/close",
            "/api/v1/cluster/channels/{name}/open",
            "/api/v1/cluster/events",
            "/api/v1/logs",
            "/api/v1/logs/events",
            "/api/v1/mesh",
            "/api/v1/names",
            "/api/v1/nodes/join",
            "/api/v1/nodes/tokens",
            "/api/v1/ondemand",
            "/api/v1/ondemand/{name}",
            "/api/v1/ondemand/{name}/picture",
            "/api/v1/reports/clients",
            "/api/v1/reports/files",
            "/api/v1/reports/periods",
            "/api/v1/reports/popularity",
            "/api/v1/reports/servers",
            "/api/v1/reports/titles",
            "/api/v1/server",
            "/api/v1/session",
            "/api/v1/session/password",
            "/api/v1/setup",
            "/api/v1/stats",
            "/api/v1/storage",
            "/api/v1/storage/events",
            "/api/v1/storage/imports",
            "/api/v1/storage/imports/{id}",
            "/api/v1/storage/imports/{id}/renditions",
            "/api/v1/storage/recordings",
            "/api/v1/storage/recordings/{name}",
            "/api/v1/storage/sessions",
            "/api/v1/storage/titles",
            "/api/v1/storage/titles/{name}",
            "/api/v1/storage/titles/{name}/media",
            "/api/v1/storage/titles/{name}/verify",
            "/api/v1/storage/volumes",
            "/api/v1/storage/volumes/{volume}",
            "/api/v1/storage/volumes/{volume}/disks",
            "/api/v1/storage/volumes/{volume}/disks/{disk}",
            "/api/v1/storage/volumes/{volume}/disks/{disk}/replace",
            "/api/v1/units/{unit}",
            "/api/v1/units/{unit}/drain",
            "/api/v1/units/{unit}/return",
            "/api/v1/classes",
            "/api/v1/classes/{code}",
            "/api/v1/contents/export",
            "/api/v1/contents/import",
            "/api/v1/files",
            "/api/v1/files/{id}",
            "/api/v1/levels",
            "/api/v1/levels/{code}",
            "/api/v1/networks",
            "/api/v1/networks/{cidr}",
            "/api/v1/servers",
            "/api/v1/monitor/states",
            "/api/v1/monitor/states/events",
            "/api/v1/servers/{name}",
            "/api/v1/servers/{name}/drain",
            "/api/v1/servers/{name}/responses",
            "/api/v1/servers/{name}/return",
            "/api/v1/servers/{name}/scan",
            "/api/v1/titles",
            "/api/v1/titles/{name}",
            "/go/{name}",
            "/go/{name}/index.m3u8",
            "/steering/{name}",
            "/titles/{file}",
            "/healthz",
            "/hls/{name}/index.m3u8",
            "/hls/{name}/{rendition}/{file}",
            "/readyz",
            "/whep/{name}",
            "/whep/{name}/{session}",
            "/whip/{name}",
            "/whip/{name}/{session}",
        } == set(paths)
        assert all(one["description"] for path in paths.values() for one in path.values())


async def test_page_about_the_api_loads_nothing_from_elsewhere():
    loaded: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loaded.extend(value or "" for name, value in attrs if name in ("src", "href"))
            assert tag != "script"

    async with running() as site:
        answer = await site.get("/api/v1/docs")
        Links().feed(answer.text)
        assert loaded == ["/api/v1/openapi.json"]
        assert "DELETE /api/v1/channels/{name}/readers/{id}" in answer.text


async def test_unexpected_fault_is_told_without_details():
    def fail() -> bool:
        raise RuntimeError("the secret reason")

    async with running(context={"ready": fail}) as site:
        answer = await site.get("/readyz")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["error"]["status"] == 500
        assert (await site.get("/healthz")).status_code == 200


async def test_metrics_of_mesh_links_name_the_neighbour():
    class View:
        def describe(self):
            udp, tcp = {"connection": "crypto/udp"}, {"connection": "crypto/tcp"}
            links = [
                {"node": "a" * 16, "ours": True, "up": True, "repaired": 3, **udp},
                {"node": "a" * 16, "ours": True, "up": True, "repaired": 4, **tcp},
                {"node": "b" * 16, "ours": False, "up": False, **udp},
            ]
            casts = [{"channel": "demo", "node": "a" * 16, "lost": n} for n in (1, 2)]
            casts = {"sent": [], "received": casts}
            return {"links": links, "casts": casts, "counters": {"greetings_sent": 1}}

        async def tree(self, channel):
            return ()

    async with running(context={"mesh": View()}) as site:
        text = (await site.get("/metrics", headers=ADMIN)).text
        assert 'helio_mesh_links{state="up"} 2.0' in text
        assert 'helio_mesh_links{state="silent"} 1.0' in text
        for by, count in (("crypto/udp", 3.0), ("crypto/tcp", 4.0)):
            labels = f'by="{by}",node="{"a" * 16}",way="from"'
            assert f"helio_mesh_link_repaired_total{{{labels}}} {count}" in text
        assert 'helio_mesh_cast_lost_total{channel="demo"} 3.0' in text
        assert "helio_mesh_greetings_sent_total 1.0" in text
        answer = await site.get("/api/v1/channels/demo/tree", headers=ADMIN)
        assert answer.json() == {"channel": "demo", "viewers": 0, "trees": []}
        assert (await site.get("/api/v1/channels/demo/tree")).status_code == 401
        assert (await site.get("/api/v1/mesh", headers=ADMIN)).json()["links"][0]["up"]
    async with running() as site:
        assert (await site.get("/api/v1/mesh", headers=ADMIN)).status_code == 404
