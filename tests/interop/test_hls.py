"""The clip by low-latency HLS: what ffmpeg plays of it, and what its playlists promise."""

from __future__ import annotations

import itertools
import json
import re
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from .peers import ffmpeg, hls
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program

pytestmark = pytest.mark.interop

Keep = Callable[[Program], Program]

#: Pictures without a gap that the player must get, and the seconds in which it must have them.
PICTURES = 8 * make.RATE
PATIENCE = 40.0
#: Playlists of each rendition that are got by blocking reload.
RELOADS = 30
#: Seconds that the newest part's end may be away from now.
SKEW = 2.0


class Listing:
    """A media playlist as text, taken apart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.first = int(self._one(r"#EXT-X-MEDIA-SEQUENCE:(\d+)"))
        self.target = float(self._one(r"PART-TARGET=([\d.]+)"))
        self.duration = float(self._one(r"#EXT-X-TARGETDURATION:(\d+)"))
        self.hint = self._one(r'PRELOAD-HINT:TYPE=PART,URI="([^"]+)"')
        self.parts = {
            uri: float(seconds)
            for seconds, uri in re.findall(r'PART:DURATION=([\d.]+),URI="([^"]+)"', text)
        }
        self.segments = re.findall(r"#EXTINF:([\d.]+),\n(\S+)", text)
        self.dates = [
            datetime.fromisoformat(date).timestamp()
            for date in re.findall(r"PROGRAM-DATE-TIME:(\S+)", text)
        ]

    def _one(self, pattern: str) -> str:
        found = re.search(pattern, self.text)
        assert found, f"{pattern} in\n{self.text}"
        return found[1]

    @property
    def next(self) -> tuple[int, int]:
        """Segment and part hinted at."""
        found = re.match(r"p(\d+)\.(\d+)\.m4s", self.hint)
        assert found, self.hint
        return int(found[1]), int(found[2])


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        data: bytes = answer.read()
        return data


def start(
    serve: Callable[..., Server], run: Keep, file: Path, directory: Path
) -> tuple[Server, str]:
    server = serve()
    run(ffmpeg.publish(file, server.rtsp("clip", key=KEY), "tcp", directory))
    server.until_state("clip", "on_air")
    url: str = server.channel("clip")["urls"]["hls"]
    assert url == f"{server.http}/hls/clip/index.m3u8"
    return server, url


@pytest.mark.parametrize("sound", ["opus", pytest.param("aac", marks=pytest.mark.long)])
def test_what_is_published_is_played_by_hls_as_it_was(
    sound: str, clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server, url = start(serve, run, getattr(clip, sound), tmp_path)
    viewer = ffmpeg.watch(clip, url, "hls", tmp_path)
    run(viewer)
    try:
        viewer.wait_pictures(PICTURES, PATIENCE)
    except AssertionError:
        print(server.log[-3000:])
        raise
    viewer.stop()
    wrong = viewer.judge(PICTURES)
    print(f"{viewer.name} {viewer.record.pictures} {viewer.record.heard()} {viewer.log[-600:]}")
    assert not wrong, "\n".join(wrong)


def test_playlists_keep_their_promises_while_they_are_blocked_for(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    _, url = start(serve, run, clip.opus, tmp_path)
    index = fetch(url).decode()
    assert re.search(r'CODECS="avc1\.[0-9a-f]{6},mp4a\.40\.2",RESOLUTION=640x360', index)
    media = url.rpartition("/")[0] + "/" + index.splitlines()[-1]
    listing = Listing(fetch(media).decode())
    sequences, late = [listing.first], []
    segments: dict[str, str] = {}
    for _ in range(RELOADS):
        msn, part = listing.next
        asked = time.monotonic()
        after = Listing(fetch(f"{media}&_HLS_msn={msn}&_HLS_part={part}").decode())
        late.append(time.monotonic() - asked)
        assert after.next > (msn, part)
        assert listing.hint in after.parts, after.text
        assert all(seconds <= after.target for seconds in after.parts.values()), after.text
        assert all(float(seconds) <= after.duration for seconds, _ in after.segments)
        # a whole segment keeps its duration and its place
        for place, (seconds, uri) in enumerate(after.segments):
            assert uri == f"s{after.first + place}.m4s"
            assert segments.setdefault(uri, seconds) == seconds
        grown = sum(s for u, s in after.parts.items() if u.startswith(f"p{after.next[0]}."))
        whole = after.next[1] == 0  # its date is that of a whole segment
        edge = after.dates[-1] + (float(after.segments[-1][0]) if whole else grown)
        assert abs(time.time() - edge) < SKEW, after.text
        sequences.append(after.first)
        listing = after
    assert sequences == sorted(sequences)
    # none came with the patience of the server instead of its part
    assert max(late) < 2 * listing.duration, late
    assert fetch(media.replace("media.m3u8", listing.hint))[4:8] == b"moof"


def test_playlists_are_right_by_the_rules_of_hls_parser(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    _, url = start(serve, run, clip.opus, tmp_path)
    judge = hls.judge(url, RELOADS, tmp_path)
    run(judge)
    assert judge.wait(PATIENCE) == 0, judge.log[-4000:]
    judged = json.loads(judge.log.splitlines()[-1])
    assert judged["delta"] == RELOADS // 3, judged
    assert judged["segments"] > 1, judged
    assert judged["parts"] > 3, judged


@pytest.mark.long
@pytest.mark.browser
def test_hls_js_plays_near_the_live_edge(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    _, url = start(serve, run, clip.aac, tmp_path)
    player = hls.HlsJs(chromium, url)
    player.wait_numbers(4 * make.RATE, PATIENCE)
    steps = [(b - a) % make.FRAMES for a, b in itertools.pairwise(player.numbers)]
    # A screen may skip a picture, and the player jump to the live edge; it never goes back.
    assert max(steps) <= 4 * make.RATE, sorted(set(steps))
    assert [why for fatal, why in player.errors if fatal] == []
    print(f"hls.js is {player.delay:.2f} s behind, {player.errors}")
    # Where its process waits for a core it falls behind and stays there; without parts it would be
    # three segments, 6 s, behind from the start.
    assert player.delay < 6
    player.tab.close()
