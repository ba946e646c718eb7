"""Accounts and private channels, with real encoders and players and the server as a process."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .peers import ffmpeg, webrtc
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .peers.rtsp import Talk

pytestmark = pytest.mark.interop

#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0
PASSWORD = "a rather long sentence"
API = "/api/v1"

Keep = Callable[[Program], Program]


class Browser:
    """A browser on a page of the server: it keeps cookies and says where it is."""

    def __init__(self, server: Server) -> None:
        # A connection is not kept, so that none is left when the test is over.
        headers = {"Origin": server.http, "Connection": "close"}
        self.http = httpx.Client(base_url=server.http, headers=headers, timeout=20)

    def ask(self, method: str, path: str, status: int, body: Any = None) -> Any:
        answer = self.http.request(method, API + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def state(self, channel: str) -> str:
        found: str = self.ask("GET", f"/channels/{channel}", 200)["state"]
        return found

    def token(self, channel: str, seconds: int = 300, *, single: bool = False) -> str:
        body = {"subject": "guest", "lifetime_s": seconds, "single": single}
        found: str = self.ask("POST", f"/channels/{channel}/tokens", 201, body)["token"]
        return found


def owner_of(server: Server, directory: Path) -> Browser:
    """Anna, a broadcaster, signed in; made by the first administrator."""
    key = (directory / "server-state" / "administrator.key").read_text().strip()
    boss = Browser(server)
    boss.ask("POST", "/setup", 200, {"key": key, "name": "boss", "password": PASSWORD})
    new = {"name": "anna", "password": PASSWORD, "role": "broadcaster"}
    boss.ask("POST", "/accounts", 201, new)
    return signed_in(server)


def signed_in(server: Server) -> Browser:
    anna = Browser(server)
    anna.ask("POST", "/session", 200, {"name": "anna", "password": PASSWORD})
    return anna


def websocket(server: Server, query: str = "") -> ClientConnection:
    url = f"ws://127.0.0.1:{server.http_port}/ws/yard{query}"
    return connect(url, subprotocols=["helio.v1"], compression=None, max_size=None)


class Ending:
    """Reads a WebSocket until it is told why it ends."""

    def __init__(self, socket: ClientConnection) -> None:
        self.reason = ""
        self._socket = socket
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._socket, contextlib.suppress(ConnectionClosed):
            for message in self._socket:
                if isinstance(message, str) and '"end"' in message:
                    self.reason = json.loads(message)["reason"]
                    return


def refused(server: Server, query: str = "") -> dict[str, int]:
    """How every way to watch answers."""
    found = {}
    for name, method, path in [
        ("details", "GET", f"{API}/channels/yard"),
        ("picture", "GET", f"{API}/channels/yard/picture"),
        ("whep", "POST", "/whep/yard"),
        ("hls", "GET", "/hls/yard/index.m3u8"),
    ]:
        found[name] = httpx.request(method, server.http + path + query).status_code
    with Talk(server.rtsp_port) as talk:
        found["rtsp"] = talk.ask("DESCRIBE", server.rtsp("yard") + query)[0]
    try:
        websocket(server, query).close()
        found["websocket"] = 101
    except InvalidStatus as error:
        found["websocket"] = error.response.status_code
    return found


@pytest.mark.browser
@pytest.mark.timeout(180)
def test_private_channel_is_for_its_owner_and_for_who_has_a_token(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    anna = owner_of(server, tmp_path)
    key = anna.ask("POST", "/channels", 201, {"name": "yard", "private": True})["key"]

    # The key of a stream that is stored as a hash publishes by RTMP, and by RTSP with a password.
    rtmp = run(ffmpeg.publish_rtmp(clip.aac, server.rtmp("yard", key=key), tmp_path))
    wait_until(lambda: anna.state("yard") == "on_air", PATIENCE, "on air by RTMP")
    rtmp.stop()
    wait_until(lambda: anna.state("yard") == "waiting", PATIENCE, "off air")
    encoder = ffmpeg.publish(clip.opus, server.rtsp("yard", key=key), "tcp", tmp_path)
    run(encoder)
    wait_until(lambda: anna.state("yard") == "on_air", PATIENCE, "on air by RTSP")

    hidden = dict.fromkeys(("details", "picture", "whep", "hls", "rtsp", "websocket"), 404)
    assert refused(server) == hidden
    names = [one["name"] for one in httpx.get(f"{server.http}{API}/channels").json()["channels"]]
    assert names == ["clip"]
    assert webrtc.watch(chromium, server, "yard").status == 404

    token = anna.token("yard")
    query = f"?token={token}"
    players = [
        ffmpeg.watch(clip, server.rtsp("yard") + query, "tcp", tmp_path),
        ffmpeg.watch(clip, server.rtsp("yard") + query, "udp", tmp_path),
        ffmpeg.watch(clip, f"{server.http}/hls/yard/index.m3u8{query}", "hls", tmp_path),
    ]
    for player in players:
        run(player)
    peer = webrtc.watch(chromium, server, f"yard{query}")
    assert peer.status == 201
    short = Ending(websocket(server, f"?token={anna.token('yard', 3)}"))
    soon = time.time() + 3
    with websocket(server, query) as socket:
        assert '"type":"start"' in socket.recv(timeout=PATIENCE)
        while not isinstance(socket.recv(timeout=PATIENCE), bytes):
            pass
    assert httpx.get(f"{server.http}{API}/channels/yard{query}").json()["state"] == "on_air"
    for player in players:
        player.wait_pictures(2 * make.RATE, PATIENCE)
    peer.wait_frames(make.RATE, PATIENCE)
    peer.close()

    # A token for one session opens all of HLS to one player, and to no second one.
    once = f"?token={anna.token('yard', single=True)}"
    single = ffmpeg.watch(
        clip, f"{server.http}/hls/yard/index.m3u8{once}", "hls", tmp_path, name="single"
    )
    run(single)
    single.wait_pictures(2 * make.RATE, PATIENCE)
    assert refused(server, once) == hidden
    # What is expired, another channel's or somebody's own invention opens nothing.
    wait_until(lambda: time.time() > soon, 5, "the short token's end")
    other = anna.ask("POST", "/channels", 201, {"name": "other"})
    assert other["mine"]
    for bad in (anna.token("other"), token[:-2] + "AA", "v1.x.y"):
        assert refused(server, f"?token={bad}") == hidden

    # A token that has expired ends what it opened, within a minute.
    wait_until(lambda: short.reason, soon + 60 - time.time(), "the end of the short token's")
    assert short.reason == "no right any more"

    # So does one that is withdrawn, at once, and a key that is revoked.
    anna.ask("DELETE", "/channels/yard/tokens", 204)
    for player in players[:2]:
        player.wait(10)
    (first,) = anna.ask("GET", "/channels/yard/keys", 200)["keys"]
    assert first["last_used"] is not None
    anna.ask("DELETE", f"/channels/yard/keys/{first['id']}", 204)
    assert encoder.wait(15) != 0
    again = ffmpeg.publish(clip.opus, server.rtsp("yard", key=key), "tcp", tmp_path, name="again")
    run(again)
    assert again.wait(10) != 0
    assert "404" in again.log


def test_accounts_and_channels_outlive_a_killed_server(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    anna = owner_of(server, tmp_path)
    key = anna.ask("POST", "/channels", 201, {"name": "yard", "private": True})["key"]
    token = anna.token("yard")
    cookies = anna.http.cookies
    server.kill()
    server = serve()
    anna = Browser(server)
    anna.http.cookies = cookies
    channel = anna.ask("GET", "/channels/yard", 200)
    assert (channel["owner"], channel["private"], channel["mine"]) == ("anna", True, True)
    assert httpx.get(f"{server.http}{API}/channels/yard?token={token}").status_code == 200
    assert refused(server)["details"] == 404
    # A door that opens says what is wrong with what comes after.
    for query, status in ((f"?key={key}", 415), ("?key=wrong", 404)):
        assert httpx.post(f"{server.http}/whip/yard{query}").status_code == status
    database = (tmp_path / "server-state" / "heliograph.db").stat()
    assert database.st_mode & 0o077 == 0


def test_guessing_is_slowed_whatever_the_protocol(serve: Callable[..., Server]) -> None:
    server = serve()
    url = server.rtsp("clip")

    def shown(key: str) -> str:
        return "Authorization: Basic " + base64.b64encode(f"me:{key}".encode()).decode()

    with Talk(server.rtsp_port) as talk:
        codes = [
            talk.ask("ANNOUNCE", url, shown(f"guess-{number}"), body=SDP)[0] for number in range(12)
        ]
        assert codes[0] == 401
        assert codes[-1] == 503
        code, answer = talk.ask("ANNOUNCE", url, shown(KEY), body=SDP)
        assert code == 503
        assert "Retry-After:" in answer
    slowed = httpx.post(f"{server.http}/whip/clip?key={KEY}")
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) >= 1
    body = {"name": "anna", "password": "guess"}
    assert httpx.post(f"{server.http}{API}/session", json=body).status_code == 429
    metrics = httpx.get(f"{server.http}/metrics").text
    assert "helio_access_guesses_slowed_total" in metrics


SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n"
)
