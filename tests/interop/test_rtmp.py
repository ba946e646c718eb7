"""What ffmpeg publishes by RTMP is seen and heard by players and browsers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg, webrtc
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = pytest.mark.interop

#: Pictures without a gap that each viewer must get.
PICTURES = 8 * make.RATE
#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0

Keep = Callable[[Program], Program]


@pytest.mark.browser
def test_what_is_published_is_seen_as_it_was(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    run(ffmpeg.publish_rtmp(clip.aac, server.rtmp("clip", key=KEY), tmp_path))
    server.until_state("clip", "on_air")
    (row,) = server.channel("clip")["inputs"]
    assert row["kind"] == "rtmp"
    players = [ffmpeg.watch(clip, server.rtsp("clip"), way, tmp_path) for way in ("udp", "tcp")]
    for player in players:
        run(player)
    browser = webrtc.watch(chromium, server, "clip")
    assert browser.status == 201
    tab = chromium.open(f"{server.http}/watch/clip?way=websocket")
    tab.spy()
    for player in players:
        player.wait_pictures(PICTURES, PATIENCE)
    tab.wait_numbers(PICTURES, PATIENCE)
    wrong = tab.judge(clip, PICTURES)
    for player in players:
        player.stop()
        wrong += player.judge(PICTURES)
    assert not wrong, "\n".join(wrong)
    wait_until(lambda: len(browser.numbers) >= 5 * make.RATE, PATIENCE, "150 pictures by WebRTC")
    steps = [(b - a) % make.FRAMES for a, b in itertools.pairwise(browser.numbers)]
    # A screen may skip a picture; it never goes back, and never stands for long.
    assert max(steps) <= make.RATE, sorted(set(steps))
    browser.close()
    tab.close()


@pytest.mark.long
@pytest.mark.browser
def test_viewers_go_on_when_the_publisher_is_killed_and_comes_back(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    url = server.rtmp("clip", key=KEY)
    first = run(ffmpeg.publish_rtmp(clip.aac, url, tmp_path, name="first"))
    server.until_state("clip", "on_air")
    player = ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path)
    run(player)
    tab = chromium.open(f"{server.http}/watch/clip?way=websocket")
    tab.spy()
    player.wait_pictures(60, PATIENCE)
    tab.wait_numbers(60, PATIENCE)
    first.process.kill()
    server.until_state("clip", "waiting")
    mark, seen = player.record.mark(), len(tab.numbers)
    run(ffmpeg.publish_rtmp(clip.aac, url, tmp_path, name="second"))
    player.wait_pictures(90, PATIENCE, mark)
    tab.wait_numbers(seen + 90, PATIENCE)
    assert player.running
    # The clip begins anew: once, and from then on nothing is missing or changed.
    assert len(player.record.gaps(mark)) <= 1
    assert not player.record.damaged()
    tab.close()


def test_wrong_key_is_told_to_ffmpeg(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve()
    refused = run(ffmpeg.publish_rtmp(clip.aac, server.rtmp("clip", key="wrong-key"), tmp_path))
    assert refused.wait(PATIENCE) != 0
    assert "the key is wrong" in refused.log
    assert server.channel("clip")["state"] == "idle"
