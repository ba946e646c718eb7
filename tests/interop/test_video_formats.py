"""Formats that a browser can send beside H.264 and VP8: seen by WebRTC, by WebSocket and by HLS."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable

import pytest

from .peers import webrtc
from .peers.chromium import Chromium
from .peers.heliograph import KEY, Server
from .test_on_air import plays

pytestmark = [pytest.mark.interop, pytest.mark.browser, pytest.mark.timeout(240)]

#: Seconds for pictures to come on a busy machine.
PATIENCE = 60.0
#: Pictures that the viewer by WebRTC must get.
PICTURES = 20

#: Names of the formats that come.
_RECEIVED = """
async () => {
  const all = [...(await pc.getStats()).values()];
  const used = all.filter((one) => one.type === "inbound-rtp").map((one) => one.codecId);
  return all.filter((one) => used.includes(one.id)).map((one) => one.mimeType);
}
"""


@pytest.mark.parametrize(
    ("codec", "named"),
    [
        ("video/AV1", r"av01\.0\.\d\d[MH]\.08"),
        ("video/VP9", r"vp09\.00\.\d\d\.08[.\d]*"),
    ],
)
def test_what_a_browser_sends_is_seen_by_each_way(
    codec: str, named: str, serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve()
    publisher = webrtc.publish(chromium, server, "clip", KEY, codec)
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(PICTURES, PATIENCE)
    assert codec in viewer.tab.evaluate(_RECEIVED)
    viewer.close()
    index = f"{server.http}/hls/clip/index.m3u8"
    with urllib.request.urlopen(index, timeout=PATIENCE) as answer:
        assert re.search(rf'CODECS="{named},mp4a\.40\.2"', answer.read().decode())
    for way in ("websocket", "hls"):
        tab = chromium.open(f"{server.http}/watch/clip?way={way}")
        plays(tab, way, PATIENCE)
        tab.close()
    publisher.close()
