"""Networks that fail while somebody watches or is on air: each peer in a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peers import ffmpeg, network
from .peers.chromium import Chromium
from .peers.clip import Clip
from .peers.eye import Eye
from .peers.heliograph import KEY, Server
from .peers.network import SERVER, Network
from .peers.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.browser, pytest.mark.timeout(90)]

Keep = Callable[[Program], Program]

#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0
#: Seconds in which pictures must go on when UDP is blocked.
CHANGE = 3.0


@pytest.fixture
def links() -> Iterator[Network]:
    """A network for the server, which peers join."""
    yield from network.network()


def test_pictures_go_on_over_tcp_when_udp_is_blocked(
    clip: Clip, serve: Callable[..., Server], run: Keep, links: Network, tmp_path: Path
) -> None:
    server = serve(host=SERVER, namespace=links.server)
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    viewer = links.join()
    # Cameras and WebCodecs want a secure page; here they take this one for it.
    secure = f"--unsafely-treat-insecure-origin-as-secure={server.http}"
    chromium = Chromium(secure, namespace=viewer.name, directory=tmp_path)
    try:
        tab = chromium.open(f"{server.http}/watch/clip")
        eye = Eye(tab)
        eye.wait(50, PATIENCE)
        assert eye.ways == ["webrtc"]
        blocked = eye.now
        viewer.block_udp()
        eye.wait(100, PATIENCE, since=blocked)
        stop = eye.longest_stop(blocked)
        print(f"no new picture for {stop:.2f} s; ways {eye.ways}")
        assert stop <= CHANGE
        # The page was not loaded anew: its clock goes on.
        assert eye.now > blocked
        assert tab.complaints == []
    finally:
        chromium.stop()
