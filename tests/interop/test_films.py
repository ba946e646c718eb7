"""Titles on demand: what browsers, ffmpeg and judges of HLS make of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from .peers.chromium import Chromium, Tab
from .peers.clip import Clip, make
from .peers.hls import NODE
from .peers.program import Program, wait_until
from .peers.shelf import BEGUN, ShelfServer

pytestmark = [pytest.mark.interop, pytest.mark.browser]

PATIENCE = 40.0
#: Seconds from a seek until its picture is seen.
SEEK_PATIENCE = 15.0

#: Finds the film's player, and reads the number in its picture.
_FILM = """
([blocks, codeRows, height]) => {
  const film = () => document.querySelector("helio-watch")?.shadowRoot
    ?.querySelector("title-view")?.shadowRoot?.querySelector("helio-film");
  const strip = new OffscreenCanvas(blocks, 1).getContext("2d", { willReadFrequently: true });
  strip.imageSmoothingEnabled = false;
  const number = () => {
    const video = film().video;
    if (!video.videoHeight) return -1;
    const rows = (video.videoHeight * codeRows) / height;
    strip.drawImage(video, 0, video.videoHeight - rows / 2, video.videoWidth, 1, 0, 0, blocks, 1);
    const data = strip.getImageData(0, 0, blocks, 1).data;
    let [number, check] = [0, 0];
    for (let i = 0; i < blocks / 2; i++) number = number * 2 + (data[i * 4] >= 128 ? 1 : 0);
    for (let i = blocks / 2; i < blocks; i++) check = check * 2 + (data[i * 4] >= 128 ? 1 : 0);
    return (number ^ check) === 0xffff ? number : -1;
  };
  window.films = {
    film,
    look: () => {
      const found = film();
      const video = found?.video;
      if (!video) return { state: "", time: 0, number: -1, height: 0, paused: true, end: 0 };
      const end = video.seekable.length ? video.seekable.end(0) : 0;
      return { state: found.dataset.state, time: video.currentTime, number: number(),
        height: video.videoHeight, paused: video.paused, end, speed: video.playbackRate };
    },
    bar: () => film().shadowRoot.querySelector("seek-bar").shadowRoot
      .querySelector(".rail").getBoundingClientRect().toJSON(),
  };
}
"""


class FilmTab:
    """The page of a title in a browser."""

    def __init__(self, chromium: Chromium, url: str, **context: Any) -> None:
        self.tab: Tab = chromium.open(url, **context)
        self._find()

    def _find(self) -> None:
        self.tab.evaluate(_FILM, [make.BLOCKS, make.CODE_ROWS, make.HEIGHT])

    def again(self, url: str) -> None:
        self.tab.go(url)
        self._find()

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tab.evaluate("() => films.look()")
        return found

    def until(self, what: str, good: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        try:
            wait_until(lambda: good(self.look()), seconds, what)
        except AssertionError:
            raise AssertionError(f"{what}: {self.look()}, {self.tab.text[-400:]!r}") from None

    def playing(self, seconds: float = PATIENCE) -> None:
        self.until("it plays", lambda s: s["state"] == "playing" and s["number"] >= 0, seconds)

    def right(self) -> None:
        """The picture seen is that of the time that is said."""
        self.until(
            "the picture is that of its time",
            lambda s: s["number"] >= 0 and abs(s["number"] / make.RATE - s["time"]) < 0.3,
            SEEK_PATIENCE,
        )

    def press(self, key: str) -> None:
        self.tab.on(lambda page: page.keyboard.press(key))

    def point(self, share: float) -> None:
        """Click on the bar."""
        box = self.tab.evaluate("() => films.bar()")
        x, y = box["x"] + box["width"] * share, box["y"] + box["height"] / 2
        self.tab.on(lambda page: page.mouse.click(x, y))


@pytest.fixture(scope="module")
def shelf(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShelfServer]:
    directory = tmp_path_factory.mktemp("shelf")
    low = directory / "low.mp4"
    scale = ["-vf", "scale=320:180", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-an"]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(clip.aac), *scale, str(low)]
    subprocess.run(command, check=True, timeout=120)
    server = ShelfServer(
        directory, f"film={clip.aac},{low}", *(f"+{name}={clip.aac}" for name in ("take", "shift"))
    )
    yield server
    server.stop()


def decoded(source: str, clip: Clip) -> list[int]:
    """Numbers of the pictures that ffmpeg makes of an address, each compared with the source's."""
    found = []
    with av.open(source) as container:
        for frame in container.decode(video=0):
            planes = frame.reformat(format="yuv420p").to_ndarray()
            picture = np.ascontiguousarray(planes).tobytes()
            number = clip.number(picture)
            assert number is not None
            assert clip.is_exact(picture, number), f"picture {number}"
            found.append(number)
    return found


def test_every_picture_is_the_sources_by_hls_and_in_the_file(
    shelf: ShelfServer, clip: Clip
) -> None:
    every = list(range(make.FRAMES))
    assert decoded(f"{shelf.url}/titles/film.mp4", clip) == every
    index = f"{shelf.url}/hls/film/index.m3u8"
    assert decoded(index, clip) == every


def test_playlists_are_right_by_the_rules_of_hls_parser(
    shelf: ShelfServer, run: Callable[[Program], Program], tmp_path: Path
) -> None:
    for name, renditions in (("film", 3), ("take", 1)):
        url = f"{shelf.url}/hls/{name}/index.m3u8"
        argv = ["node", str(NODE / "judge-titles.mjs"), url]
        judge = run(Program(f"judge-{name}", argv, tmp_path))
        assert judge.wait(PATIENCE) == 0, judge.log
        media = json.loads(judge.log)["media"]
        assert len(media) == renditions
        for one in media:
            assert one["longest"] <= one["target"]
            assert one["map"] == "init.mp4"
            if name == "film":
                assert one["ended"]
                assert abs(one["seconds"] - make.FRAMES / make.RATE) < 0.2


def test_a_browser_plays_and_seeks_and_goes_on_where_one_left(
    shelf: ShelfServer, chromium: Chromium
) -> None:
    page = FilmTab(chromium, f"{shelf.url}/watch/film")
    page.playing()
    page.right()
    page.point(0.7)
    page.until("it is there", lambda s: abs(s["time"] - 42) < 4, SEEK_PATIENCE)
    page.playing()
    page.right()
    page.press("j")
    page.until("it went back", lambda s: s["time"] < 38, SEEK_PATIENCE)
    page.press("k")
    page.until("it is paused", lambda s: s["state"] == "paused" and s["paused"], SEEK_PATIENCE)
    left = page.look()["time"]
    page.again(f"{shelf.url}/watch/film")
    page.playing()
    assert page.look()["time"] >= left - 1.5
    page.right()
    assert "Resumed at" in page.tab.text
    page.press(">")
    page.until("it is faster", lambda s: s["speed"] == 1.25, SEEK_PATIENCE)
    page.press("0")
    page.until("it is at its begin", lambda s: s["time"] < 5, SEEK_PATIENCE)
    page.playing()
    assert page.tab.complaints == []
    page.tab.close()


def test_a_browser_chooses_another_quality(shelf: ShelfServer, chromium: Chromium) -> None:
    page = FilmTab(chromium, f"{shelf.url}/watch/film")
    page.playing()
    page.tab.on(lambda one: one.get_by_role("button", name="speed and sound").click())
    page.tab.on(lambda one: one.get_by_role("menuitemradio", name="180p").click())
    page.until("it is smaller", lambda s: s["height"] == 180, PATIENCE)
    page.tab.close()


def test_who_watches_a_recording_is_behind_it_or_as_it_happens(
    shelf: ShelfServer, chromium: Chromium
) -> None:
    page = FilmTab(chromium, f"{shelf.url}/watch/shift")
    page.playing()
    early = page.look()
    assert early["time"] < 10
    assert early["end"] > BEGUN - 10
    page.until("it grows", lambda s: s["end"] >= early["end"] + 2, PATIENCE)
    page.tab.click("To live")
    page.until("it is there", lambda s: s["time"] > early["end"] - 10, SEEK_PATIENCE)
    page.right()
    assert "Being recorded" in page.tab.text
    page.tab.close()


def test_a_title_that_is_not_there_is_told(shelf: ShelfServer, chromium: Chromium) -> None:
    tab = chromium.open(f"{shelf.url}/watch/nothing")
    tab.until_text("There is no such channel", PATIENCE)
    tab.close()
    tab = chromium.open(shelf.url)
    tab.until_text("On demand", PATIENCE)
    tab.close()


def test_a_download_goes_on_where_it_was_cut(shelf: ShelfServer, tmp_path: Path) -> None:
    assert shutil.which("curl")
    url, file = f"{shelf.url}/titles/film.mp4", tmp_path / "film.mp4"
    curl = ["curl", "-sS", "-o", str(file)]
    whole = tmp_path / "whole.mp4"
    subprocess.run(["curl", "-sS", "-o", str(whole), url], check=True, timeout=60)
    subprocess.run([*curl, "-r", "0-3000000", url], check=True, timeout=60)
    subprocess.run([*curl, "-C", "-", url], check=True, timeout=60)
    assert file.read_bytes() == whole.read_bytes()
