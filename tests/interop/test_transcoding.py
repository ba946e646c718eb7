"""Sound that does not fit is made anew: AAC for browsers by WebRTC, Opus for players by HLS."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg, webrtc
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Seconds for sound to come on a busy machine.
PATIENCE = 30.0
#: Samples a second that a browser takes sound at.
RATE = 48_000

Keep = Callable[[Program], Program]


def workers(server: Server) -> list[int]:
    """Processes of the server that make sound."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().split(b"\0")
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if b"heliograph.live.transcode_worker" in command and parent == server.process.pid:
            found.append(int(place.name))
    return found


@pytest.mark.parametrize("way", ["rtmp", pytest.param("rtsp", marks=pytest.mark.long)])
def test_aac_is_heard_by_webrtc_and_comes_back_when_its_process_is_killed(
    way: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Keep,
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    if way == "rtmp":
        run(ffmpeg.publish_rtmp(clip.aac, server.rtmp("clip", key=KEY), tmp_path))
    else:
        run(ffmpeg.publish(clip.aac, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    assert not workers(server), "nobody asked yet"
    viewers = [webrtc.watch(chromium, server, "clip") for _ in range(2)]

    def heard(viewer: webrtc.Peer) -> float:
        sound = viewer.stats("inbound-rtp").get("audio", {})
        fresh: float = sound.get("totalSamplesReceived", 0) - sound.get("concealedSamples", 0)
        return fresh

    for viewer in viewers:
        assert viewer.status == 201
        wait_until(lambda v=viewer: heard(v) > 4 * RATE, PATIENCE, "four seconds of sound")  # type: ignore[misc]
        frequency, level = viewer.tone()
        assert abs(frequency - make.TONE_HZ) < 5
        assert level > -40
    (worker,) = workers(server)  # one for both
    os.kill(worker, signal.SIGKILL)
    before = heard(viewers[0])
    wait_until(lambda: heard(viewers[0]) > before + 3 * RATE, PATIENCE, "sound again")
    assert workers(server) != [worker]
    for viewer in viewers:
        viewer.close()
