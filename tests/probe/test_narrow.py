"""A viewer whose path becomes narrow: sound stays, pictures come back, others notice nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.peers import ffmpeg
from tests.interop.peers.clip import Clip
from tests.interop.peers.heliograph import KEY, Server
from tests.interop.peers.narrow import BACK, GAP, NARROW, WIDE, Viewers, share
from tests.interop.peers.network import SERVER, Network
from tests.interop.peers.program import Program

pytestmark = [pytest.mark.probe, pytest.mark.browser, pytest.mark.timeout(150)]

Keep = Callable[[Program], Program]


def test_a_narrow_path_costs_one_viewer_the_picture_and_nobody_the_sound(
    clip: Clip, serve: Callable[..., Server], run: Keep, links: Network, tmp_path: Path
) -> None:
    server = serve(host=SERVER, namespace=links.server)
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    viewers = Viewers(server, links, "clip", tmp_path)
    try:
        seen = viewers.narrow()
    finally:
        viewers.stop()
    print(seen)
    assert seen.silence <= GAP
    assert seen.back <= BACK
    # Two browsers on two cores: what is above 20 ms and a fifth is not the scheduler's doing.
    assert share(seen.during, 0.5) <= share(seen.before, 0.5) * 1.2
    assert share(seen.during, 0.95) <= share(seen.before, 0.95) * 1.2 + 20
    assert seen.others_pictures > 20 * (NARROW + WIDE)
