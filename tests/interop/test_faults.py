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

#: Share of the datagrams lost that repairs do not make up for.
LOSS = 0.4


@pytest.fixture
def links() -> Iterator[Network]:
    """A network for the server, which peers join."""
    yield from network.network()


@pytest.fixture
def viewer(
    clip: Clip, serve: Callable[..., Server], run: Keep, links: Network, tmp_path: Path
) -> Iterator[Watching]:
    """Somebody who can watch what is on air."""
    server = serve(host=SERVER, namespace=links.server)
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    watching = Watching(server, links.join(), tmp_path)
    yield watching
    watching.stop()


def test_pictures_go_on_over_tcp_when_udp_is_blocked(viewer: Watching) -> None:
    seen = viewer.block("clip")
    print(seen)
    assert seen.stop <= CHANGE
    assert (seen.ways, seen.reason) == (("webrtc", "websocket"), "silence")
    assert seen.stayed
    assert seen.complaints == ()


def test_pictures_come_over_tcp_when_too_much_is_lost(viewer: Watching) -> None:
    seen = viewer.block("clip", LOSS)
    print(seen)
    assert (seen.ways, seen.reason) == (("webrtc", "websocket"), "loss")
    assert seen.stayed
    assert seen.complaints == ()
