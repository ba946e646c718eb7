"""A title that a node holds, played by other people's players: whole, from elsewhere, with pauses,
by UDP and TCP; every picture is the one of the file."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heliograph.vod.folder import FolderSink
from heliograph.vod.importing import ImportOptions, import_file

from .peers.clip import Clip
from .peers.gstreamer import PYTHON
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

#: Seconds for a player to start and play the title, on a busy machine.
PATIENCE = 60.0
SECONDS = 8
#: Pictures in the title, and from one key unit to the next.
PICTURES, GROUP = SECONDS * 25, 25
_FFMPEG = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning", "-y"]


class House:
    """A file, the title made of it, and its server."""

    def __init__(self, clip: Clip, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "film.mp4"
        # B pictures: they are sent in another order than they are shown.
        coding = ["-c:a", "copy", "-c:v", "libx264", "-preset", "veryfast", "-bf", "2"]
        coding += ["-g", str(GROUP), "-x264-params", "scenecut=0"]
        line = [*_FFMPEG, "-t", str(SECONDS), "-i", str(clip.opus), *coding, str(self.file)]
        subprocess.run(line, check=True, timeout=PATIENCE)
        self.titles = directory / "titles"
        self.titles.mkdir()
        sink = FolderSink(self.titles, "film")
        asyncio.run(import_file(self.file, sink, None, ImportOptions("film")))
        self.pictures = hashes(decode(str(self.file), [], "v", directory / "source"))
        self.sounds = hashes(decode(str(self.file), [], "a", directory / "source"))
        assert len(self.pictures) == PICTURES
        assert len(set(self.pictures)) > 0.9 * PICTURES
        self.server, self.url = serve(self.titles, directory)

    def numbers(self, found: list[str]) -> list[int]:
        """Which pictures of the file those are; -1: none of them."""
        places = {digest: number for number, digest in enumerate(self.pictures)}
        return [places.get(digest, -1) for digest in found]


def serve(titles: Path, directory: Path, *lost: str) -> tuple[Program, str]:
    """A server of the titles; its title's address."""
    argv = [sys.executable, "-m", "tests.interop.peers.title_house", str(titles), *lost]
    server = Program(f"house{len(lost)}", argv, directory)
    found = wait_until(lambda: re.search(r"^port (\d+)$", server.log, re.M), 30, "titles served")
    return server, f"rtsp://127.0.0.1:{found[1]}/film"


def decode(url: str, options: list[str], kind: str, to: Path) -> Path:
    """What ffmpeg makes of one kind of tracks, until they end: hashes of what it decoded of
    pictures, and of packets of sound."""
    out = to.with_suffix(f".{kind}.md5")
    coding = ["-fps_mode", "passthrough"] if kind == "v" else ["-c", "copy"]
    line = [*_FFMPEG, *options, "-i", url, "-map", f"0:{kind}", *coding]
    subprocess.run([*line, "-f", "framemd5", str(out)], check=True, timeout=PATIENCE)
    return out


def hashes(path: Path) -> list[str]:
    """Of a framemd5 file: what each picture or packet is."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return [line.split(",")[5].strip() for line in lines]


@pytest.fixture(scope="module")
def house(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(clip, tmp_path_factory.mktemp("house"))
    yield made
    made.server.stop()
    print(made.server.log[-4000:])


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffmpeg_plays_a_title_whole(house: House, transport: str, tmp_path: Path) -> None:
    out, sound = tmp_path / "pictures.md5", tmp_path / "sound.md5"
    line = [*_FFMPEG, "-rtsp_transport", transport, "-i", house.url]
    line += ["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", str(out)]
    line += ["-map", "0:a", "-c", "copy", "-f", "framemd5", str(sound)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    assert house.numbers(hashes(out)) == list(range(PICTURES))
    assert hashes(sound) == house.sounds


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffmpeg_begins_where_it_is_told_to(house: House, transport: str, tmp_path: Path) -> None:
    options = ["-rtsp_transport", transport, "-ss", "5.5", "-copyts"]
    found = house.numbers(hashes(decode(house.url, options, "v", tmp_path / "out")))
    # Its time begins when the first picture is sent, which is some pictures before it is shown.
    first = found[0]
    assert 134 <= first <= 138
    assert found == list(range(first, PICTURES))


@pytest.mark.parametrize(("options", "first"), [((), (0,)), (("--start=5.5",), range(134, 139))])
def test_mpv_plays_a_title_from_the_start_and_from_elsewhere(
    house: House, options: tuple[str, ...], first: tuple[int, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out.md5"
    line = ["mpv", "--no-config", "--msg-level=all=warn", "--rtsp-transport=tcp", "--no-audio"]
    line += ["--vf=format=yuv420p", "--of=framemd5", "--ovc=rawvideo", f"-o={out}", *options]
    subprocess.run([*line, house.url], check=True, timeout=PATIENCE)
    found = house.numbers(hashes(out))
    assert found[0] in first
    assert found == list(range(found[0], PICTURES))


class Watched:
    """What GStreamer showed: the pictures between what it was told to do."""

    def __init__(self, house: House, program: Program) -> None:
        assert program.wait(PATIENCE) == 0, program.log[-2000:]
        said = [line.split() for line in program.log.splitlines() if line]
        self.parts: list[list[int]] = [[]]
        self.times: list[float] = []
        self.sounds = sum(line[0] == "sound" for line in said)
        self.ended = said[-1] == ["end"]
        self.durations = {line[1] for line in said if line[0] == "duration"}
        for line in said:
            if line[0] == "picture":
                self.parts[-1] += house.numbers([line[2]])
                self.times.append(float(line[1]))
            elif line[0] == "did" and line[1] != "pictures":
                self.parts.append([])


@pytest.fixture
def gstreamer(
    house: House, run: Callable[[Program], Program], tmp_path: Path
) -> Callable[..., Watched]:
    def watch(transport: str, *actions: str) -> Watched:
        script = str(Path(__file__).parent / "peers" / "gst_title_player.py")
        argv = [PYTHON, script, house.url, transport, *actions]
        return Watched(house, run(Program("gstreamer", argv, tmp_path)))

    return watch


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamer_plays_a_title_whole_and_hears_of_its_end(
    gstreamer: Callable[..., Watched], transport: str
) -> None:
    seen = gstreamer(transport, "pictures", "20")
    assert seen.parts == [list(range(PICTURES))]
    assert seen.ended
    assert seen.sounds > 20 * SECONDS
    (duration,) = seen.durations
    assert float(duration) == pytest.approx(SECONDS, abs=0.2)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamer_seeks_and_every_picture_is_right(
    gstreamer: Callable[..., Watched], transport: str
) -> None:
    """After a seek its jitter buffer guesses the end by what it knew before, and may end too soon,
    with its own server as well; up to there every picture is right."""
    actions = ["pictures", "20", "seek", "4.5", "pictures", "20", "stop", "0"]
    begun, sought, *_ = gstreamer(transport, *actions).parts
    assert begun[:20] == list(range(20))
    assert sought
    assert sought == list(range(100, 100 + len(sought)))


def test_gstreamer_pauses_and_misses_nothing(gstreamer: Callable[..., Watched]) -> None:
    actions = ["pictures", "20", "pause", "1", "pictures", "20", "stop", "0"]
    begun, resumed, *_ = gstreamer("tcp", *actions).parts
    assert (begun + resumed)[:40] == list(range(40))


def test_gstreamer_shows_key_pictures_fast_forward(gstreamer: Callable[..., Watched]) -> None:
    _, fast, *_ = gstreamer(
        "tcp", "pictures", "20", "rate", "4", "pictures", "4", "stop", "0"
    ).parts
    assert fast
    assert all(number % GROUP == 0 for number in fast)
    assert fast == sorted(fast)


def test_what_is_lost_is_missed_and_nothing_else(
    house: House, run: Callable[[Program], Program], tmp_path: Path
) -> None:
    """The control of all above: pictures that are not sent are noticed."""
    server, url = serve(house.titles, tmp_path, "lose", "1")
    run(server)
    found = house.numbers(hashes(decode(url, ["-rtsp_transport", "tcp"], "v", tmp_path / "out")))
    missed = sorted(set(range(PICTURES)) - set(found))
    assert 20 <= len(missed) <= 80
    assert missed == list(range(missed[0], missed[-1] + 1))
    assert missed[-1] % GROUP == GROUP - 1  # pictures go on with a key unit
    assert server.log.count("title block left out") == 1
