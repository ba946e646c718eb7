"""What encoders make, on a volume of three nodes: each node plays it by RTSP and by HLS with the
frames of the file, and what is exported is a file with those frames at their times."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from tests.system.conftest import until
from tests.system.test_bipartite import ask
from tests.system.test_cluster import Node

from .peers.clip import Clip
from .test_titles_every_node import BLOCK, NAMES, House
from .test_titles_ondemand import decode, hashes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

PATIENCE = 120.0
#: Seconds of each clip.
SECONDS = 3

_H264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "25"]
_OPUS = ["-c:a", "libopus", "-b:a", "96k"]
#: By the name of a file what ffmpeg is told to make of its test pictures and tones.
CLIPS = {
    # Pictures that are sent in another order than they are shown, some of them as references.
    "b-frames.mp4": [*_H264, "-bf", "3", "-x264-params", "b-pyramid=normal", "-c:a", "aac"],
    # A second of pictures at the full rate, then every fifth, and so on.
    "uneven.mp4": ["-vf", "select='lt(mod(n,50),25)+not(mod(n,5))'", "-fps_mode", "vfr"]
    + [*_H264, "-bf", "2", *_OPUS],
    "opus.mkv": [*_H264, "-bf", "0", *_OPUS],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"]
    + ["-b:v", "800k", *_OPUS],
    "h265.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-c:a", "aac"]
    + ["-x265-params", "keyint=25:bframes=2:log-level=none:pools=none"],
    "silent.mp4": [*_H264, "-bf", "2", "-an"],
}


def made(name: str, directory: Path) -> Path:
    """A clip."""
    file = directory / name
    line = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i"]
    line += [f"testsrc2=size=320x180:rate=25:duration={SECONDS}", "-f", "lavfi", "-i"]
    line += [f"sine=frequency=330:sample_rate=48000:duration={SECONDS}"]
    line += ["-map", "0:v", "-map", "1:a", "-pix_fmt", "yuv420p", *CLIPS[name], str(file)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    return file


def times(path: Path) -> list[Fraction]:
    """Of a framemd5 file: when each picture is shown, s from the first one on."""
    lines = path.read_text().splitlines()
    base = next(Fraction(one.split()[2]) for one in lines if one.startswith("#tb"))
    shown = [int(one.split(",")[2]) * base for one in lines if not one.startswith("#")]
    return [one - shown[0] for one in shown]


class Cinema(House):
    """The three nodes with all clips."""

    def __init__(self, clip: Clip, directory: Path) -> None:
        super().__init__(clip, directory)
        self.files = {name: made(name, directory) for name in CLIPS}
        self.frames = {
            name: decode(str(file), [], "v", directory / f"source-{name}")
            for name, file in self.files.items()
        }

    def start(self) -> None:
        super().start()
        first = self.nodes[NAMES[0]]
        for file in self.files.values():
            assert file.stat().st_size > BLOCK  # no node has all of it
            first.helio("title", "import", str(file), "--name", file.stem)
        for node in self.nodes.values():
            until(f"{node.name} knows the clips", lambda at=node: self._known(at), PATIENCE)

    def _known(self, node: Node) -> bool:
        titles = {one["name"] for one in ask(node, "GET", "/storage/titles")["titles"]}
        return titles >= {file.stem for file in self.files.values()}


@pytest.fixture(scope="module")
def cinema(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cinema]:
    built = Cinema(clip, tmp_path_factory.mktemp("cinema"))
    try:
        built.start()
        yield built
    finally:
        built.close()


@pytest.mark.parametrize("at", NAMES)
@pytest.mark.parametrize("name", CLIPS)
def test_every_node_plays_the_frames_of_the_file(
    cinema: Cinema, name: str, at: str, tmp_path: Path
) -> None:
    node, wanted = cinema.nodes[at], hashes(cinema.frames[name])
    stem = cinema.files[name].stem
    options = ["-rtsp_transport", "tcp"]
    assert hashes(decode(f"{node.rtsp}/{stem}", options, "v", tmp_path / "rtsp")) == wanted
    index = f"{node.http}/hls/{stem}/index.m3u8"
    assert hashes(decode(index, [], "v", tmp_path / "hls")) == wanted


@pytest.mark.parametrize("name", CLIPS)
def test_what_is_exported_is_a_file_with_the_same_frames_and_times(
    cinema: Cinema, name: str, tmp_path: Path
) -> None:
    """An MP4 file that ffprobe and GStreamer find no fault with."""
    source, out = cinema.files[name], tmp_path / "out.mp4"
    cinema.nodes[NAMES[1]].helio("title", "export", source.stem, "-o", str(out))
    pictures = decode(str(out), [], "v", tmp_path / "out")
    assert hashes(pictures) == hashes(cinema.frames[name])
    # Matroska keeps times in ms.
    assert times(pictures) == pytest.approx(times(cinema.frames[name]), abs=0.001)
    if name != "silent.mp4":
        sounds = [decode(str(one), [], "a", tmp_path / one.name) for one in (out, source)]
        assert hashes(sounds[0]) == hashes(sounds[1])
    line = ["ffprobe", "-v", "warning", "-show_packets", "-of", "csv", str(out)]
    probed = subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert probed.stderr == ""
    pipe = ["gst-launch-1.0", "-q", "filesrc", f"location={out}", "!", "qtdemux", "name=d"]
    for kind in ("video", "audio")[: 1 + (name != "silent.mp4")]:
        pipe += [f"d.{kind}_0", "!", "queue", "!", "fakesink", "sync=false"]
    subprocess.run(pipe, check=True, timeout=PATIENCE)
