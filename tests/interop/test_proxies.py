"""Our server behind other people's proxies, set up as the documentation says."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from .peers import ffmpeg
from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .peers.proxies import Proxy
from .test_hls import Listing

pytestmark = pytest.mark.interop

#: Parts by blocking reload, each asked for before it is there.
RELOADS = 8
#: Frames by WebSocket.
FRAMES = 60


@pytest.fixture(params=["nginx", pytest.param("caddy", marks=pytest.mark.long)])
def proxy(
    request: pytest.FixtureRequest,
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    clip: Clip,
    tmp_path: Path,
) -> Iterator[Proxy]:
    """A proxy with a channel on air behind it."""
    server = serve(
        {"name": "clip", "key": KEY},
        {"name": "inside", "key": KEY, "view_from": ["198.51.100.0/24"]},
        settings={"http": {"trusted_proxies": ["127.0.0.1"]}, "https": {"enabled": False}},
    )
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    made = Proxy(request.param, server, tmp_path)
    run(made)
    yield made.until_ready()
    print(made.log[-2000:])


class Answer:
    """What curl got by HTTP/2."""

    def __init__(self, proxy: Proxy, path: str, *arguments: str) -> None:
        mark = "\n%{http_version} %{http_code} %{time_total}"
        command = ["curl", "--silent", "--show-error", "--http2", "--max-time", "20"]
        command += ["--cacert", str(proxy.certificate), "--write-out", mark, *arguments]
        done = subprocess.run([*command, proxy.url + path], capture_output=True, check=True)
        self.body, _, last = done.stdout.rpartition(b"\n")
        version, status, seconds = last.split()
        assert version == b"2", last
        self.status, self.seconds = int(status), float(seconds)

    @property
    def text(self) -> str:
        assert self.status == 200, (self.status, self.body)
        return self.body.decode()


def test_low_latency_hls_plays_by_http_2(proxy: Proxy) -> None:
    index = Answer(proxy, "/hls/clip/index.m3u8").text
    media = f"/hls/clip/{index.splitlines()[-1]}"
    listing = Listing(Answer(proxy, media).text)
    waited = []
    for _ in range(RELOADS):
        segment, part = listing.next
        answer = Answer(proxy, f"{media}&_HLS_msn={segment}&_HLS_part={part}")
        after = Listing(answer.text)
        # The answer came with the part that was waited for, not before it and not with the next.
        assert listing.hint in after.parts, after.text
        assert (segment, part) < after.next
        waited.append(answer.seconds)
        piece = Answer(proxy, media.replace("media.m3u8", listing.hint))
        assert (piece.status, piece.body[4:8]) == (200, b"moof")
        listing = after
    assert max(waited) < 5 * listing.target + 1, waited
    assert max(waited) > listing.target / 4, f"nothing was waited for: {waited}"


def test_links_addresses_offers_and_websockets_pass(proxy: Proxy) -> None:
    urls = json.loads(Answer(proxy, "/api/v1/channels/clip").text)["urls"]
    assert urls["page"] == f"{proxy.url}/watch/clip"
    assert urls["websocket"] == f"wss://localhost:{proxy.port}/ws/clip"
    # A client cannot choose where it comes from: the proxy says that it is 127.0.0.1.
    lies = ["X-Forwarded-For: 198.51.100.7", "Forwarded: for=198.51.100.7"]
    lies.append("X-Real-IP: 198.51.100.7")
    said = [word for lie in lies for word in ("--header", lie)]
    assert Answer(proxy, "/hls/inside/index.m3u8", *said).status == 403
    # An offer is read, and refused for what it says.
    offer = ["--request", "POST", "--header", "Content-Type: application/sdp"]
    offer += ["--header", f"Authorization: Bearer {KEY}", "--data", "v=0"]
    assert Answer(proxy, "/whip/inside", *offer).status == 400
    assert asyncio.run(watch(proxy)) == FRAMES
    channel = "/api/v1/channels/clip"
    wait_until(
        lambda: json.loads(Answer(proxy, channel).text)["readers"] == 0, 10, "the viewer is gone"
    )


async def watch(proxy: Proxy) -> int:
    """Take frames by a WebSocket; how many."""
    trust = ssl.create_default_context(cafile=str(proxy.certificate))
    frames = 0
    async with (
        asyncio.timeout(20),
        connect(
            f"wss://localhost:{proxy.port}/ws/clip",
            subprotocols=["helio.v1"],
            ssl=trust,
            origin=proxy.url,
            compression=None,
        ) as socket,
    ):
        async for message in socket:
            frames += isinstance(message, bytes)
            if frames >= FRAMES:
                break
    return frames
