"""A viewer who reaches the server's media by a relay (TURN) only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peers import aio, ffmpeg, network
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.network import SERVER, Network
from .peers.program import Program
from .peers.turn import PASSWORD, USER, Turn

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(240)]

#: Pictures without a gap that the viewer must get.
PICTURES = 2 * make.RATE
#: Seconds for them on a busy machine.
PATIENCE = 45.0


@pytest.fixture
def links() -> Iterator[Network]:
    """A network for the server, which peers join."""
    yield from network.network()


def test_who_has_no_other_way_watches_by_the_relay_that_the_server_tells_of(
    clip: Clip,
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    links: Network,
    tmp_path: Path,
) -> None:
    between, apart = links.join(), links.join()
    relay = Turn(tmp_path, between.address, namespace=between.name)
    run(relay)
    relay.until_ready()
    told = {"url": relay.url, "username": USER, "credential": PASSWORD}
    server = serve(
        host=SERVER, namespace=links.server, settings={"webrtc": {"ice_servers": [told]}}
    )
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")

    apart.part_from(SERVER)
    url = f"{server.http}/whep/clip"
    named = {"address": apart.address, "namespace": apart.name}
    viewer = aio.watch(clip, url, tmp_path, relay=True, **named)
    run(viewer)
    viewer.wait_pictures(PICTURES, PATIENCE)
    viewer.stop()
    assert f"peer {SERVER}:" in relay.log, relay.log
    wrong = viewer.judge(PICTURES)
    assert not wrong, "\n".join(wrong)
