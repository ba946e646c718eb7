"""A browser's simulcast layers by HLS: what judges and players make of several renditions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import hls, webrtc
from .peers.chromium import Chromium
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .test_hls import fetch

pytestmark = [pytest.mark.interop, pytest.mark.long, pytest.mark.browser]

Keep = Callable[[Program], Program]

#: Seconds for a browser to send all its layers, and for players to begin.
PATIENCE = 60.0
#: Reloads of each rendition that are judged.
RELOADS = 24
#: Lines of the fake camera's picture, and of half of it.
FULL, HALF = 720, 360

#: Lets a publisher send one of its layers, or not.
_ACTIVATE = """
([rid, active]) => {
  const sender = pc.getSenders().find((one) => one.track.kind === "video");
  const parameters = sender.getParameters();
  parameters.encodings.find((one) => one.rid === rid).active = active;
  return sender.setParameters(parameters);
}
"""


def two_sizes(serve: Callable[..., Server], chromium: Chromium) -> tuple[Server, webrtc.Peer, str]:
    """A channel that a browser sends in two sizes, both of which are there; its address."""
    server = serve()
    publisher = webrtc.publish(chromium, server, "clip", KEY, "video/H264", {"half": 2, "full": 1})
    assert publisher.status == 201
    server.until_state("clip", "on_air")
    # Who chooses among sizes is the first to see that both come.
    viewer = webrtc.watch(chromium, server, "clip")
    height = "() => document.querySelector('video').videoHeight"
    wait_until(lambda: viewer.tab.evaluate(height) == FULL, PATIENCE, "the larger layer")
    viewer.close()
    url: str = server.channel("clip")["urls"]["hls"]

    def both() -> bool:
        return all(f"x{lines}" in fetch(url).decode() for lines in (FULL, HALF))

    wait_until(both, PATIENCE, "two variants")
    return server, publisher, url


def test_layers_are_variants_that_judges_and_players_accept(
    serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    _server, publisher, url = two_sizes(serve, chromium)
    print(fetch(url).decode())
    judge = hls.judge(url, RELOADS, tmp_path, uneven=True)
    run(judge)
    assert judge.wait(PATIENCE) == 0, judge.log[-4000:]
    judged = json.loads(judge.log.splitlines()[-1])  # what it says of short parts stands before
    print(judged)
    assert judged["renditions"] == 3, judged
    assert judged["parts"] > 3, judged
    for variant, lines in enumerate((FULL, HALF)):
        probe = ["ffprobe", "-v", "error", "-i", url, "-of", "json"]
        probe += ["-show_entries", "program=program_num:program_stream=codec_name,height"]
        probed = Program(f"ffprobe-{variant}", probe, tmp_path)
        run(probed)
        assert probed.wait(PATIENCE) == 0, probed.log
        assert f'"height": {lines}' in probed.log, probed.log
        decode = ["ffmpeg", "-nostdin", "-v", "error", "-i", url, "-map", f"0:p:{variant}:v"]
        decode += ["-map", "0:a", "-frames:v", "90", "-f", "null", "-"]
        player = Program(f"ffmpeg-{variant}", decode, tmp_path)
        run(player)
        assert player.wait(PATIENCE) == 0, player.log
        assert "rror" not in player.log, player.log
    argv = ["mpv", "--no-config", "--vo=null", "--ao=null", "--length=3", "--msg-level=all=warn"]
    mpv = Program("mpv", [*argv, url], tmp_path)
    run(mpv)
    assert mpv.wait(PATIENCE) == 0, mpv.log
    publisher.close()


def test_hls_js_changes_between_layers_without_a_gap(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    _server, publisher, url = two_sizes(serve, chromium)
    player = hls.HlsJs(chromium, url)
    wait_until(lambda: player.frames > 30, PATIENCE, "pictures by hls.js")
    assert sorted(player.heights) == [HALF, FULL]
    for lines in (HALF, FULL, HALF):
        player.choose(lines)
        wait_until(lambda lines=lines: player.height == lines, PATIENCE, f"{lines} lines")
        shown, stalls = player.frames, player.stalls
        wait_until(lambda shown=shown: player.frames > shown + 60, PATIENCE, "it goes on")
        print(f"{lines}: {player.delay:.2f} s behind, {player.errors}")
        assert player.stalls == stalls
    assert [why for fatal, why in player.errors if fatal] == []
    player.tab.close()
    publisher.close()


def test_players_go_on_when_the_browser_stops_a_layer(
    serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    _server, publisher, url = two_sizes(serve, chromium)
    player = hls.HlsJs(chromium, url)
    wait_until(lambda: player.frames > 30, PATIENCE, "pictures by hls.js")
    player.choose(FULL)
    wait_until(lambda: player.height == FULL, PATIENCE, "the larger picture")
    judge = hls.judge(url, 3 * RELOADS, tmp_path, uneven=True)
    run(judge)
    for active, lines in ((False, HALF), (True, FULL)):
        publisher.tab.evaluate(_ACTIVATE, ["full", active])
        wait_until(lambda lines=lines: player.height == lines, PATIENCE, f"{lines} lines")
        shown = player.frames
        wait_until(lambda shown=shown: player.frames > shown + 60, PATIENCE, "it goes on")
    print(player.errors)
    assert [why for fatal, why in player.errors if fatal] == []
    assert judge.wait(PATIENCE) == 0, judge.log[-4000:]
    player.tab.close()
    publisher.close()
