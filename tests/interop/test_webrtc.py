"""Going on air from a browser, and watching by WebRTC what came by any way."""

from __future__ import annotations

import itertools
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest

from .peers import ffmpeg, gstreamer, webrtc
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0

Keep = Callable[[Program], Program]


def ask(
    server: Server, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, Message]:
    """One HTTP request; status and headers of its answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        server.http + path, body.encode() or None, named, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


@pytest.mark.parametrize("transport", ["udp", pytest.param("tcp", marks=pytest.mark.long)])
def test_what_ffmpeg_publishes_is_seen_by_webrtc(
    transport: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Keep,
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), transport, tmp_path))
    server.until_state("clip", "on_air")
    viewers = [webrtc.watch(chromium, server, "clip") for _ in range(2)]
    assert [viewer.status for viewer in viewers] == [201, 201]
    for viewer in viewers:
        wait_until(lambda v=viewer: len(v.numbers) >= 5 * make.RATE, PATIENCE, "150 pictures")  # type: ignore[misc]
    for viewer in viewers:
        numbers = viewer.numbers
        steps = [(b - a) % make.FRAMES for a, b in itertools.pairwise(numbers)]
        # A screen may skip a picture; it never goes back, and never stands for long.
        assert max(steps) <= make.RATE, sorted(set(steps))
        media = viewer.stats("inbound-rtp")
        assert media["video"]["packetsLost"] == 0
        assert media["video"]["framesDecoded"] >= 5 * make.RATE
        sound = media["audio"]
        assert sound["totalSamplesReceived"] > 4 * 48_000
        assert sound["concealedSamples"] < 0.05 * sound["totalSamplesReceived"]
        viewer.close()


@pytest.mark.parametrize(
    "codec",
    [
        "video/H264",
        pytest.param("video/VP8", marks=pytest.mark.long),
        pytest.param("video/VP9", marks=pytest.mark.long),
    ],
)
def test_a_browser_on_air_is_seen_by_browser_and_player(
    codec: str,
    serve: Callable[..., Server],
    run: Keep,
    chromium: Chromium,
    clip: Clip,
    tmp_path: Path,
) -> None:
    server = serve()
    publisher = webrtc.publish(chromium, server, "clip", KEY, codec)
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    (row,) = server.channel("clip")["inputs"]
    assert row["kind"] == "whip"
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(60, PATIENCE)
    # The fake camera's counter moves: pictures differ from each other.
    media = viewer.stats("inbound-rtp")
    assert media["video"]["framesDecoded"] >= 60
    assert media["video"]["keyFramesDecoded"] >= 1
    assert media["audio"]["packetsReceived"] > 50
    if codec == "video/VP9":
        # ffmpeg drops the packets that tell of layers, which all keyframes of browsers begin with.
        player = gstreamer.decode_vp9(server.rtsp("clip"), 30, tmp_path)
    else:
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


def test_the_best_of_several_layers_is_shown_whatever_their_order(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve()
    # The largest first, as OBS lists them and RFC 8853 section 5.2 suggests.
    publisher = webrtc.publish(chromium, server, "clip", KEY, "video/VP8", {"f": 1, "h": 2})
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    viewer = webrtc.watch(chromium, server, "clip")

    def width() -> int:
        seen: int = viewer.stats("inbound-rtp").get("video", {}).get("frameWidth", 0)
        return seen

    wait_until(lambda: width() == 1280, PATIENCE, f"the picture is 1280 wide, not {width()}")
    viewer.close()
    publisher.close()


def test_viewers_stay_while_a_browser_goes_off_and_on_air(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve()
    first = webrtc.publish(chromium, server, "clip", KEY)
    server.until_state("clip", "on_air")
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(30, PATIENCE)
    assert ask(server, "DELETE", first.session)[0] == 200
    server.until_state("clip", "waiting")
    first.close()
    second = webrtc.publish(chromium, server, "clip", KEY)
    assert second.status == 201
    viewer.wait_frames(60, PATIENCE)
    assert viewer.state == "connected"
    viewer.close()
    second.close()


def test_refusals_have_the_right_status(serve: Callable[..., Server], chromium: Chromium) -> None:
    server = serve({"name": "clip", "key": KEY}, {"name": "idle", "key": KEY})
    refused = webrtc.publish(chromium, server, "clip", "a-wrong-key")
    assert refused.status == 401
    assert webrtc.publish(chromium, server, "nowhere", KEY).status == 404
    publisher = webrtc.publish(chromium, server, "clip", KEY)
    server.until_state("clip", "on_air")
    assert webrtc.publish(chromium, server, "clip", KEY).status == 409
    assert webrtc.watch(chromium, server, "idle").status == 404
    sdp, fragment = "application/sdp", "application/trickle-ice-sdpfrag"
    key = f"Bearer {KEY}"
    # Who shows no key is told so before what was sent is looked at.
    plain = {"Content_Type": "text/plain"}
    assert ask(server, "POST", "/whip/idle", "v=0", **plain)[0] == 401
    assert ask(server, "POST", "/whip/idle", "v=0", **plain, Authorization=key)[0] == 415
    whip = {"Content_Type": sdp, "Authorization": key}
    assert ask(server, "POST", "/whip/idle", "nonsense", **whip)[0] == 400
    assert ask(server, "POST", "/whip/idle", "v" * 70_000, **whip)[0] == 413
    path = publisher.session
    assert ask(server, "PATCH", path, "x", Content_Type=fragment)[0] == 428
    assert ask(server, "PATCH", path, "x", Content_Type=fragment, If_Match='"old"')[0] == 412
    assert ask(server, "PATCH", "/whip/clip/nobody", "x", Content_Type=fragment)[0] == 404
    status, headers = ask(server, "OPTIONS", "/whep/clip")
    assert status == 204
    assert headers["Accept-Post"] == sdp
    assert ask(server, "GET", "/whip/clip")[0] == 405
    metrics = server.get("/metrics")[1]
    assert "helio_webrtc_sessions 1.0" in metrics
    # Nobody on air noticed.
    assert publisher.state == "connected"
    assert server.channel("clip")["state"] == "on_air"
    publisher.close()
