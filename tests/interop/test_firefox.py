"""Firefox goes on air, and watches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg, webrtc
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.firefox import Firefox
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0

Keep = Callable[[Program], Program]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_firefox_is_on_air_and_watches(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    server = serve({"name": "clip", "key": KEY}, {"name": "other", "key": KEY})
    run(ffmpeg.publish_vp8(clip.opus, server.rtsp("other", key=KEY), tmp_path))
    firefox = Firefox(tmp_path)
    run(firefox)
    firefox.until_ready()

    firefox.open(f"{server.http}/")
    publisher = webrtc.publish_from(firefox, server, "clip", KEY, "video/VP8")
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(60, PATIENCE)
    media = viewer.stats("inbound-rtp")
    assert media["video"]["framesDecoded"] >= 60
    assert media["audio"]["packetsReceived"] > 50
    assert media["audio"]["concealedSamples"] < 0.1 * media["audio"]["totalSamplesReceived"]
    viewer.close()
    publisher.close()

    server.until_state("other", "on_air")
    firefox.open(f"{server.http}/")
    watching = webrtc.watch_in(firefox, server, "other")
    assert watching.status == 201
    wait_until(lambda: len(watching.numbers) >= 4 * make.RATE, PATIENCE, "100 pictures in Firefox")
    steps = [(b - a) % make.FRAMES for a, b in itertools.pairwise(watching.numbers)]
    # A screen may skip a picture; it never goes back, and never stands for long.
    assert max(steps) <= make.RATE, sorted(set(steps))
    media = watching.stats("inbound-rtp")
    # What its process was too late to take is sent again.
    assert media["video"]["packetsLost"] < 0.1 * media["video"]["packetsReceived"]
    assert media["audio"]["packetsReceived"] > 50
    watching.close()
