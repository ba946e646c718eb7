"""WebRTC where the way is narrow, blocked or cut off, with a real browser at the other end."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

from .peers import ffmpeg, webrtc
from .peers.chromium import Chromium
from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0

Keep = Callable[[Program], Program]


@contextlib.contextmanager
def udp_blocked(port: int) -> Iterator[None]:
    """Nothing gets to a UDP port of this machine."""
    rule = ["INPUT", "-p", "udp", "--dport", str(port), "-j", "DROP"]
    subprocess.run(["iptables", "-w", "-I", *rule], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True, capture_output=True)


@pytest.fixture
def on_air(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> Callable[..., Server]:
    """A server with a channel that ffmpeg feeds."""

    def start(**settings: dict[str, Any]) -> Server:
        server = serve(settings=settings)
        run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
        server.until_state("clip", "on_air")
        return server

    return start


def whep_readers(server: Server) -> list[dict[str, Any]]:
    rows = server.manage("GET", "/channels/clip/readers")[1]["readers"]
    return [row for row in rows if row["kind"] == "whep"]


def test_where_udp_is_blocked_pictures_come_by_tcp(
    on_air: Callable[..., Server], chromium: Chromium
) -> None:
    port = free_port()
    server = on_air(webrtc={"port": port})
    free = webrtc.watch(chromium, server, "clip")
    free.wait_frames(30, PATIENCE)
    assert free.protocol == "udp", "which is preferred where both work"
    with udp_blocked(port):
        blocked = webrtc.watch(chromium, server, "clip")
        blocked.wait_frames(60, PATIENCE)
        assert blocked.protocol == "tcp"
        assert "helio_webrtc_tcp " in server.get("/metrics")[1]
    blocked.close()
    free.close()


def test_a_page_whose_viewer_is_kicked_says_so_and_stays_away(
    on_air: Callable[..., Server], chromium: Chromium
) -> None:
    server = on_air()
    tab = chromium.open(f"{server.http}/watch/clip")
    find = 'document.querySelector("helio-watch")?.shadowRoot?.querySelector("helio-player")'

    def state() -> str:
        found: str = tab.evaluate(f"() => {find}?.dataset.state ?? ''")
        return found

    wait_until(lambda: state() == "playing", PATIENCE, "the page plays")
    wait_until(lambda: whep_readers(server), PATIENCE, "by WebRTC")
    (row,) = whep_readers(server)
    assert server.manage("DELETE", f"/channels/clip/readers/{row['id']}")[0] == 204
    wait_until(lambda: state() == "kicked", PATIENCE, "the page knows")
    assert whep_readers(server) == []
    tab.close()


def test_a_server_that_stops_says_goodbye(
    on_air: Callable[..., Server], chromium: Chromium
) -> None:
    server = on_air()
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(10, PATIENCE)
    assert viewer.dtls == "connected"
    server.stop()
    # ICE would miss the server after 5 s at the soonest.
    wait_until(lambda: viewer.dtls == "closed", 4.0, "the goodbye")
    viewer.close()


def test_a_channel_with_b_frames_is_left_to_other_ways(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    reordered = tmp_path / "reordered.mkv"
    encode = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(clip.opus), "-c:a", "copy"]
    encode += ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-pix_fmt"]
    subprocess.run([*encode, "yuv420p", str(reordered)], check=True, timeout=60)
    server = serve()
    run(ffmpeg.publish(reordered, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")

    def refused() -> bool:
        viewer = webrtc.watch(chromium, server, "clip")
        viewer.close()
        return viewer.status == 406

    # The first pictures of all may not show it yet.
    wait_until(refused, PATIENCE, "WebRTC is refused")


@pytest.mark.long
def test_simulcast_layers_reach_viewers_and_players(
    serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    publisher = webrtc.publish(chromium, server, "clip", KEY, "video/VP8", {"q": 4, "h": 2, "f": 1})
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(30, PATIENCE)
    wait_until(lambda: whep_readers(server)[0]["layer"] == "f", PATIENCE, "the best layer")
    wait_until(lambda: whep_readers(server)[0]["estimate_bps"] > 0, PATIENCE, "an estimate")
    height = "() => document.querySelector('video').videoHeight"
    wait_until(lambda: viewer.tab.evaluate(height) == 720, PATIENCE, "its pictures")
    media = viewer.stats("inbound-rtp")["video"]
    assert media["packetsLost"] == 0
    player = Program(
        "ffmpeg-decode",
        ["ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", "tcp"]
        + ["-i", server.rtsp("clip"), "-map", "0:v", "-frames:v", "30", "-f", "null", "-"],
        tmp_path,
    )
    run(player)
    assert player.wait(PATIENCE) == 0, player.log
    viewer.close()
    publisher.close()
