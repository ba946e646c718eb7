"""Cameras and screens on the page that goes on air: changed while on air, refused, missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .peers import camera
from .peers.chromium import Chromium
from .peers.heliograph import KEY, Server
from .test_on_air import PATIENCE, SHOTS, go_on_air, press, select, watch

pytestmark = [pytest.mark.interop, pytest.mark.browser]


def test_a_screen_and_other_sizes_reach_viewers_who_stay_in_their_session(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve({"name": "clip", "key": KEY})
    owner = go_on_air(chromium, server, "360p")
    tabs = {way: watch(chromium, server, way) for way in ("webrtc", "websocket")}

    def until_size(what: str, right: Callable[[int, int], bool]) -> None:
        for way, tab in tabs.items():
            camera.until_moving(tab, PATIENCE, f"{what} by {way}", right)

    def sessions() -> tuple[Any, list[Any]]:
        readers = server.manage("GET", "/channels/clip/readers")[1]["readers"]
        return server.channel("clip")["inputs"][0]["id"], sorted(row["id"] for row in readers)

    until_size("the camera", lambda width, height: 9 * width == 16 * height)
    before = sessions()
    # The screen is no wider than high times 4/3 here, and as large as asked for.
    press(owner, "Share screen")
    owner.until_text("Your screen", PATIENCE)
    until_size("the screen", lambda width, height: (width, height) == (480, 360))
    owner.screenshot(SHOTS / "screen-shared.png")
    press(owner, "Back to camera")
    until_size("the camera again", lambda width, height: 9 * width == 16 * height)
    select(owner, "720p")
    until_size("larger", lambda width, height: width > 640 and 9 * width == 16 * height)
    assert sessions() == before
    assert tabs["webrtc"].evaluate("() => window.peers.length") == 1
    for tab in (owner, *tabs.values()):
        assert tab.complaints == []
        tab.close()


def test_refused_and_missing_devices_and_a_busy_channel_are_told_in_plain_words(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve({"name": "clip", "key": KEY})
    page = f"{server.http}/live/clip#key={KEY}"
    strict = Chromium("--use-fake-ui-for-media-stream=deny")
    try:
        refused = strict.open(page)
        press(refused, "Turn on camera and microphone")
        refused.until_text("The browser may not use the camera", PATIENCE)
        refused.until_text("allow camera and microphone for this page", PATIENCE)
        refused.screenshot(SHOTS / "camera-refused.png")
        press(refused, "Start")
        refused.until_text("Try again", PATIENCE)
        assert server.channel("clip")["state"] == "idle"
        assert refused.complaints == []
    finally:
        strict.stop()
    without = Chromium("--use-fake-device-for-media-stream=device-count=0")
    try:
        owner = without.open(page, permissions=["camera", "microphone"])
        owner.until_text("No camera was found", PATIENCE)
        owner.until_text("your screen or with sound only", PATIENCE)
        owner.screenshot(SHOTS / "camera-missing.png")
        press(owner, "Start")
        server.until_state("clip", "on_air", PATIENCE)
        assert [track["kind"] for track in server.channel("clip")["tracks"]] == ["audio"]
        owner.until_text("Sound only", PATIENCE)

        second = chromium.open(page, permissions=["camera", "microphone"])
        second.until_text("This channel is taken, or closed", PATIENCE)
        (row,) = server.channel("clip")["inputs"]
        press(second, "Start")
        second.until_text("Wait until that ends, or use another channel", PATIENCE)
        second.screenshot(SHOTS / "channel-taken.png")
        assert [one["id"] for one in server.channel("clip")["inputs"]] == [row["id"]]
        for tab in (owner, second):
            assert tab.complaints == []
            tab.close()
    finally:
        without.stop()
