"""Every publisher against every viewer, all viewers at once: no picture lost, none changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg, gstreamer, mpv
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program
from .peers.watching import Viewer

pytestmark = pytest.mark.interop

#: Pictures without a gap that each viewer must get.
PICTURES = 8 * make.RATE
#: Seconds in which it must have them: starting everything at once on two cores, and the 8 s.
PATIENCE = 30.0

Keep = Callable[[Program], Program]


def all_viewers(clip: Clip, server: Server, run: Keep, directory: Path) -> list[Viewer]:
    url = server.rtsp("clip")
    viewers = [
        ffmpeg.watch(clip, url, "udp", directory),
        ffmpeg.watch(clip, url, "tcp", directory),
        gstreamer.watch(clip, url, "udp", directory),
        gstreamer.watch(clip, url, "tcp", directory),
        mpv.watch(clip, url, "tcp", directory),
    ]
    for viewer in viewers:
        run(viewer)
    return viewers


def judge(viewers: list[Viewer]) -> None:
    for viewer in viewers:
        viewer.wait_pictures(PICTURES, PATIENCE)
    for viewer in viewers:
        viewer.stop()
    wrong = [fault for viewer in viewers for fault in viewer.judge(PICTURES)]
    logs = "\n".join(f"{viewer.name}: {viewer.log[-600:]}" for viewer in viewers)
    assert not wrong, "\n".join(wrong) + "\n" + logs


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("publisher", ["ffmpeg", "gstreamer"])
def test_what_is_published_is_seen_by_all_as_it_was(
    publisher: str,
    transport: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Keep,
    tmp_path: Path,
) -> None:
    server = serve()
    url = server.rtsp("clip", key=KEY)
    if publisher == "ffmpeg":
        run(ffmpeg.publish(clip.opus, url, transport, tmp_path))
    else:
        run(gstreamer.publish(clip.opus, url, transport, tmp_path))
    server.until_state("clip", "on_air")
    judge(all_viewers(clip, server, run, tmp_path))


def test_what_is_pulled_from_a_gstreamer_server_is_seen_by_all_as_it_was(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    source, url = gstreamer.serve(clip.opus, tmp_path)
    run(source)
    server = serve({"name": "clip", "key": KEY, "sources": [{"url": url}]})
    server.until_state("clip", "on_air")
    judge(all_viewers(clip, server, run, tmp_path))
