"""Every publisher against every viewer, all viewers at once: no picture lost, none changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from .peers import ffmpeg, gstreamer, mpv
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program
from .peers.watching import Viewer

pytestmark = [pytest.mark.interop, pytest.mark.alone]

#: Pictures without a gap that each viewer must get.
PICTURES = 8 * make.RATE
#: Seconds in which it must have them: starting everything at once on two cores, and the 8 s.
PATIENCE = 30.0

Keep = Callable[[Program], Program]


def all_viewers(
    clip: Clip, server: Server, run: Keep, chromium: Chromium, directory: Path
) -> tuple[list[Viewer], Tab]:
    """Start every viewer that there is."""
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
    tab = chromium.open(f"{server.http}/watch/clip?way=websocket")
    tab.spy()
    return viewers, tab


def judge(clip: Clip, server: Server, viewers: list[Viewer], tab: Tab) -> None:
    """Wait until all have seen enough, then compare with the source."""
    try:
        for viewer in viewers:
            viewer.wait_pictures(PICTURES, PATIENCE)
        tab.wait_numbers(PICTURES, PATIENCE)
        wrong = tab.judge(clip, PICTURES)
        print(f"chromium {tab.stats[-1]}")
    except AssertionError:
        print(server.channel("clip"), server.log[-3000:])
        raise
    finally:
        tab.close()
    for viewer in viewers:
        viewer.stop()
        wrong += viewer.judge(PICTURES)
    for viewer in viewers:
        print(f"{viewer.name} {viewer.record.pictures} {viewer.record.heard()} {viewer.log[-600:]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.browser
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("publisher", [ffmpeg, gstreamer], ids=["ffmpeg", "gstreamer"])
def test_what_is_published_is_seen_by_all_as_it_was(
    publisher: ModuleType,
    transport: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Keep,
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    run(publisher.publish(clip.opus, server.rtsp("clip", key=KEY), transport, tmp_path))
    server.until_state("clip", "on_air")
    judge(clip, server, *all_viewers(clip, server, run, chromium, tmp_path))


@pytest.mark.browser
def test_what_is_pulled_from_a_gstreamer_server_is_seen_by_all_as_it_was(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    source, url = gstreamer.serve(clip.opus, tmp_path)
    run(source)
    server = serve({"name": "clip", "key": KEY, "sources": [{"url": url}]})
    server.until_state("clip", "on_air")
    judge(clip, server, *all_viewers(clip, server, run, chromium, tmp_path))
