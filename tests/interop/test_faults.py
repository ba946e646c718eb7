"""Networks that fail while somebody watches or is on air: each peer in a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peers import ffmpeg, network
from .peers.blocked import CHANGE, Watching
from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.network import SERVER, Network
from .peers.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.browser, pytest.mark.timeout(90)]

Keep = Callable[[Program], Program]


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
    viewer = Watching(server, links.join(), tmp_path)
    try:
        seen = viewer.block("clip")
    finally:
        viewer.stop()
    print(seen)
    assert seen.stop <= CHANGE
    assert seen.stayed
    assert seen.complaints == ()
