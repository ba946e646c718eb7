"""A viewer by TCP whose connection becomes too slow for the picture, and is mended."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .peers.slow import SlowWay

pytestmark = [pytest.mark.interop, pytest.mark.browser]

PATIENCE = 30.0
#: Bytes a second: twice what the sound takes, a fifth of what sound and picture take together.
SLOW = 30_000
#: Seconds within which the picture is back.
BACK = 6.0
SIGN = "Slow connection: sound first."


def dropped(server: Server, state: Path, kind: str) -> int:
    """Packets of that kind that the server left out for its only reader."""
    key = (state / "administrator.key").read_text().strip()
    request = urllib.request.Request(
        f"{server.http}/api/v1/channels/clip/readers", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        (reader,) = json.load(answer)["readers"]
    count: int = reader[f"dropped_{kind}"]
    return count


def behind(tab: Tab) -> bool:
    found: bool = tab.evaluate("() => spy.player().hasAttribute('data-behind')")
    return found


@pytest.mark.long
def test_a_slow_viewer_hears_on_and_sees_why_the_picture_stands(
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    clip: Clip,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    with SlowWay(server.http_port) as way:
        tab = chromium.open(f"http://127.0.0.1:{way.port}/watch/clip?way=websocket")
        tab.spy()
        tab.wait_numbers(2 * make.RATE, PATIENCE)
        assert not behind(tab)
        way.rate = SLOW
        wait_until(lambda: behind(tab), PATIENCE, "the sign of a slow connection")
        tab.until_text(SIGN, 5)
        assert tab.state == "playing"
        # The server leaves pictures out; sound comes all the while.
        state = tmp_path / "server-state"
        wait_until(lambda: dropped(server, state, "video") > 0, PATIENCE, "pictures left out")
        assert dropped(server, state, "audio") == 0
        way.rate = None
        wait_until(lambda: not behind(tab), BACK, "the picture")
        tab.wait_numbers(make.RATE, BACK, since=len(tab.numbers))
        assert SIGN not in tab.text
        assert tab.complaints == []
        tab.close()
