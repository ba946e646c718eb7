"""AV1 of a browser on air: seen by WebRTC, by WebSocket and by HLS."""

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


def test_av1_is_seen_by_each_way(serve: Callable[..., Server], chromium: Chromium) -> None:
    server = serve()
    publisher = webrtc.publish(chromium, server, "clip", KEY, "video/AV1")
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    viewer = webrtc.watch(chromium, server, "clip")
    viewer.wait_frames(PICTURES, PATIENCE)
    assert "video/AV1" in viewer.tab.evaluate(_RECEIVED)
    viewer.close()
    index = f"{server.http}/hls/clip/index.m3u8"
    with urllib.request.urlopen(index, timeout=PATIENCE) as answer:
        assert re.search(r'CODECS="av01\.0\.\d\d[MH]\.08,mp4a\.40\.2"', answer.read().decode())
    for way in ("websocket", "hls"):
        tab = chromium.open(f"{server.http}/watch/clip?way={way}")
        plays(tab, way, PATIENCE)
        tab.close()
    publisher.close()
