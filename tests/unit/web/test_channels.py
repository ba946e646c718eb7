"""Channels in the REST API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.web.site import ADMIN, AUDIO, KEY, VIDEO, running

from heliograph.live.connections.compose import Connection
from heliograph.live.options import ChannelOptions, LiveOptions


async def test_channel_on_air_is_listed_with_what_it_carries():
    async with running(context={"rtsp_port": 8554, "rtmp_port": 1935}, silence_ms=10_000) as site:
        publishing = site.publish(VIDEO, AUDIO)
        publishing.push(0, site.camera.gop(3))
        await site.until(lambda: site.channel.state == "on_air")
        answer = (await site.get("/api/v1/channels")).json()
        (channel,) = answer["channels"]
        assert channel == (await site.get("/api/v1/channels/demo")).json()
        assert (channel["name"], channel["title"], channel["state"]) == ("demo", "Test", "on_air")
        assert channel["since"].endswith("+00:00")
        assert channel["tracks"] == [
            {"id": 0, "kind": "video", "codec": "h264", "clock_rate": 90000, "channels": 0},
            {"id": 1, "kind": "audio", "codec": "opus", "clock_rate": 48000, "channels": 2},
        ]
        (publisher,) = channel["inputs"]
        assert (publisher["kind"], publisher["active"]) == ("push", True)
        assert "peer" not in publisher
        place = f"127.0.0.1:{site.server.port}"
        assert channel["urls"] == {
            "page": f"http://{place}/watch/demo",
            "websocket": f"ws://{place}/ws/demo",
            "rtsp": "rtsp://127.0.0.1:8554/demo",
            "rtmp": "rtmp://127.0.0.1:1935/live",
            "hls": f"http://{place}/hls/demo/index.m3u8",
        }


async def test_channel_without_source_is_idle():
    async with running() as site:
        channel = (await site.get("/api/v1/channels/demo")).json()
        assert (channel["state"], channel["since"], channel["tracks"]) == ("idle", None, [])
        assert (channel["picture"], channel["urls"]["rtsp"]) == (None, "")


async def test_readers_are_counted_and_listed_for_administrators():
    async with running(ChannelOptions(key="secret", max_readers=5)) as site:
        await site.on_air()
        async with site.viewer(user_agent_header="Test/1") as viewer:
            await viewer.take(3)
            channel = (await site.get("/api/v1/channels/demo")).json()
            assert (channel["readers"], channel["max_readers"]) == (1, 5)
            answer = await site.get("/api/v1/channels/demo/readers", headers=ADMIN)
            (reader,) = answer.json()["readers"]
            assert (reader["kind"], reader["agent"]) == ("websocket", "Test/1")
            assert (reader["peer"], reader["state"]) == ("127.0.0.1", "playing")
            assert reader["packets"] >= 3


async def test_kicked_reader_is_gone_and_told_why():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.text("start")
            (id,) = site.channel.audience.readers
            path = f"/api/v1/channels/demo/readers/{id}"
            assert (await site.http.delete(path, headers=ADMIN)).status_code == 204
            assert (await viewer.text("end"))["reason"] == "kicked"
            assert (await site.http.delete(path, headers=ADMIN)).status_code == 404


async def test_inputs_have_counters_for_administrators():
    async with running() as site:
        publishing = await site.on_air(3)
        publishing.push(0, [b"nonsense"])
        answer = await site.get("/api/v1/channels/demo/inputs", headers=ADMIN)
        (publisher,) = answer.json()["inputs"]
        assert (publisher["packets"], publisher["peer"]) == (3, "127.0.0.1")


async def test_made_channel_has_a_key_and_outlives_a_restart(tmp_path: Path):
    async with running(state_dir=tmp_path) as site:
        new = {"name": "yard", "title": "The yard", "max_readers": 3, "view_from": ["10.0.0.0/8"]}
        answer = await site.http.post("/api/v1/channels", json=new, headers=ADMIN)
        assert answer.status_code == 201
        assert answer.headers["location"] == "/api/v1/channels/yard"
        made = answer.json()
        assert len(made["key"]) >= 22
        assert made["settings"]["view_from"] == ["10.0.0.0/8"]
    async with running(state_dir=tmp_path) as site:
        channel = (await site.get("/api/v1/channels/yard")).json()
        assert (channel["title"], channel["max_readers"]) == ("The yard", 3)
        assert "key" not in channel
        keys = site.channels.get("yard").standing
        assert keys is not None
        assert keys.key_id(made["key"]) is not None
        assert made["key"] not in (tmp_path / "heliograph.db").read_bytes().decode("latin-1")


async def test_change_leaves_what_it_does_not_name():
    async with running() as site:
        new = {"name": "yard", "title": "The yard", "view_key": "view"}
        await site.http.post("/api/v1/channels", json=new, headers=ADMIN)
        path = "/api/v1/channels/yard"
        changed = (await site.http.patch(path, json={"title": "Y"}, headers=ADMIN)).json()
        assert (changed["title"], changed["private"]) == ("Y", False)
        assert changed["settings"]["view_key"] == "view"
        changed = (await site.http.patch(path, json={"private": True}, headers=ADMIN)).json()
        assert (changed["title"], changed["private"]) == ("Y", True)
        assert changed["settings"]["view_key"] == "view"


async def test_how_a_channel_travels_is_composed_by_name():
    async with running() as site:
        await site.http.post("/api/v1/channels", json={"name": "yard"}, headers=ADMIN)
        path = "/api/v1/channels/yard"
        wish = {"connection": "crypto/multicast/tcp"}
        changed = (await site.http.patch(path, json=wish, headers=ADMIN)).json()
        assert changed["settings"]["connection"] == "crypto/multicast/tcp"
        options = site.channels.get("yard").options
        assert options.connection == Connection.parse("crypto/multicast/tcp")
        for wrong in ("plain/udp", "udp/crypto", ""):
            wish = {"connection": wrong}
            assert (await site.http.patch(path, json=wish, headers=ADMIN)).status_code == 400
        assert site.channels.get("yard").options == options


async def test_deleted_channel_ends_its_viewers():
    async with running() as site:
        await site.http.post("/api/v1/channels", json={"name": "yard"}, headers=ADMIN)
        deleted = await site.http.delete("/api/v1/channels/yard", headers=ADMIN)
        assert deleted.status_code == 204
        assert (await site.get("/api/v1/channels/yard")).status_code == 404


async def test_channels_of_the_settings_are_not_changed_here():
    async with running() as site:
        path = "/api/v1/channels/demo"
        assert (await site.http.patch(path, json={"title": "x"}, headers=ADMIN)).status_code == 403
        assert (await site.http.delete(path, headers=ADMIN)).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/channels"),
        ("PATCH", "/api/v1/channels/demo"),
        ("DELETE", "/api/v1/channels/demo"),
        ("GET", "/api/v1/channels/demo/inputs"),
        ("GET", "/api/v1/channels/demo/readers"),
        ("DELETE", "/api/v1/channels/demo/readers/1"),
    ],
)
@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", "Bearer ü"])
async def test_administration_needs_the_key(method: str, path: str, shown: str):
    async with running() as site:
        headers = {"Authorization": shown.encode()} if shown else {}
        answer = await site.http.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["status"] == 401


@pytest.mark.parametrize(
    ("body", "status", "subject"),
    [
        ({}, 400, "name"),
        ({"name": "a b"}, 400, "channel name"),
        ({"name": "../x"}, 400, "channel name"),
        ({"name": 5}, 400, "name"),
        ({"name": "x", "max_readers": -1}, 400, "max_readers"),
        ({"name": "x", "max_readers": 1e300}, 400, "max_readers"),
        ({"name": "x", "titel": "?"}, 400, "titel"),
        ({"name": "x", "title": "t" * 201}, 400, "title"),
        ({"name": "x", "view_from": ["everywhere"]}, 400, "network"),
        ({"name": "x", "conflict": "fight"}, 400, "conflict"),
        ({"name": "demo"}, 409, "demo"),
        ([], 400, "body"),
    ],
)
async def test_wrong_channel_is_refused_naming_the_field(body: Any, status: int, subject: str):
    async with running() as site:
        answer = await site.http.post("/api/v1/channels", json=body, headers=ADMIN)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert (error["status"], error["subject"]) == (status, subject)
        assert len(site.channels) == 1


async def test_no_more_channels_than_the_server_may_have():
    async with running(live=LiveOptions(max_channels=1)) as site:
        answer = await site.http.post("/api/v1/channels", json={"name": "x"}, headers=ADMIN)
        assert answer.status_code == 503


async def test_body_that_is_no_json_is_refused():
    async with running() as site:
        headers = ADMIN | {"content-type": "application/json"}
        answer = await site.http.post("/api/v1/channels", content=b"{", headers=headers)
        assert (answer.status_code, answer.json()["error"]["subject"]) == (400, "body")


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_that_is_too_large_is_refused(chunked: bool):
    async def chunks() -> Any:
        for _ in range(80):
            yield b" " * 1024

    async with running() as site:
        content = chunks() if chunked else b" " * 80 * 1024
        answer = await site.http.post("/api/v1/channels", content=content, headers=ADMIN)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "path", ["/api/v1/channels/none", "/api/v1/channels/%2e%2e", "/api/v1/none", "/api/"]
)
async def test_unknown_resources_are_told_in_json(path: str):
    async with running() as site:
        answer = await site.get(path)
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, 404)


async def test_wrong_method_is_told_in_json():
    async with running() as site:
        answer = await site.http.put("/api/v1/channels")
        assert (answer.status_code, answer.json()["error"]["status"]) == (405, 405)


async def test_hosts_are_those_the_client_asked_for_or_the_public_one():
    async with running() as site:
        urls = (await site.get("/api/v1/channels/demo", headers={"Host": "tv.lan:81"})).json()
        assert urls["urls"]["page"] == "http://tv.lan:81/watch/demo"
    async with running(context={"public_host": "tv.example.org", "rtsp_port": 554}) as site:
        urls = (await site.get("/api/v1/channels/demo")).json()["urls"]
        assert urls["rtsp"] == "rtsp://tv.example.org:554/demo"
        assert urls["page"] == f"http://tv.example.org:{site.server.port}/watch/demo"


async def test_page_of_another_site_is_not_let_in():
    async with running() as site:
        answer = await site.get("/api/v1/channels", headers={"Origin": "http://elsewhere.example"})
        assert "access-control-allow-origin" not in answer.headers
