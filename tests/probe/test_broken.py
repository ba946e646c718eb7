"""A publisher whose network breaks and comes back: it goes on by itself, and its viewers stay."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.peers import webrtc
from tests.interop.peers.chromium import Chromium
from tests.interop.peers.heliograph import KEY, Server
from tests.interop.peers.network import SERVER, Network
from tests.interop.peers.program import wait_until
from tests.interop.test_on_air import go_on_air

pytestmark = [pytest.mark.probe, pytest.mark.browser, pytest.mark.timeout(180)]

PATIENCE = 60.0


@pytest.mark.parametrize("seconds", [4.0, 20.0], ids=["short", "long"])
def test_a_publisher_that_lost_its_network_is_on_air_again_and_viewers_stay(
    seconds: float, serve: Callable[..., Server], links: Network, tmp_path: Path
) -> None:
    server = serve({"name": "clip", "key": KEY}, host=SERVER, namespace=links.server)
    secure = f"--unsafely-treat-insecure-origin-as-secure={server.http}"
    there, here = links.join(), links.join()
    publishing = Chromium(secure, namespace=there.name, directory=tmp_path)
    watching = Chromium(secure, namespace=here.name, directory=tmp_path)
    try:
        go_on_air(publishing, server)
        viewer = webrtc.watch(watching, server, "clip")
        viewer.wait_frames(60, PATIENCE)
        there.cut()
        time.sleep(seconds)
        before = viewer.frames
        there.mend()
        begun = time.monotonic()
        wait_until(lambda: viewer.frames - before >= 30, PATIENCE, "pictures again")
        print(f"pictures {time.monotonic() - begun:.1f} s after the network was back")
        assert viewer.state == "connected"
        assert server.channel("clip")["state"] == "on_air"
        viewer.close()
    finally:
        publishing.stop()
        watching.stop()
