"""The window, on SDL's driver without a screen: what is drawn where, and which keys do what."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest
from av.video.frame import VideoFrame

from heliograph.model.errors import ResourceError
from heliograph.player.sdl import load_sdl
from heliograph.player.video import MAX_VIDEOS, Command, Window, layout


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Window]]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    opened: list[Window] = []
    yield opened
    for window in opened:
        window.close()
        window.close()


def plain(red: int, green: int, blue: int, size: tuple[int, int] = (320, 180)) -> VideoFrame:
    picture = np.empty((size[1], size[0], 3), np.uint8)
    picture[:] = (red, green, blue)
    return VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")


def test_five_videos_are_one_panorama(windows: list[Window]) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (180, 180, 40), (200, 200, 200)]
    window = Window("panorama", range(5))
    windows.append(window)
    window.show({place: plain(*colour) for place, colour in enumerate(colours)})
    window.show({})
    shown = window.pixels()
    height, width, _ = shown.shape
    row = shown[height // 2].astype(int)
    for place, colour in enumerate(colours):
        left, right = width * place // 5, width * (place + 1) // 5
        part = row[left + 2 : right - 2]
        assert np.abs(part - colour).max() <= 12, place


def test_a_stream_without_a_picture_leaves_its_place_black(windows: list[Window]) -> None:
    window = Window("two", [0, 1])
    windows.append(window)
    window.show({1: plain(250, 250, 250)})
    window.show({})
    row = window.pixels()[window.size[1] // 2]
    assert row[: len(row) // 2 - 4].max() == 0
    assert row[len(row) // 2 + 4 :].min() > 230


def test_pictures_keep_their_shape_and_touch() -> None:
    for sizes in ([(1920, 1080)], [(720, 480)] * 5, [(640, 360), (480, 480), (360, 640)]):
        for width, height in ((1600, 900), (300, 900), (1920, 200)):
            places = layout(sizes, width, height)
            for (x, y, w, h), (from_w, from_h) in zip(places, sizes, strict=True):
                assert w / h == pytest.approx(from_w / from_h, rel=0.1)
                assert x >= 0
                assert x + w <= width + 1
                assert y >= 0
                assert y + h <= height + 1
            for before, after in zip(places, places[1:], strict=False):  # noqa: RUF007
                assert before[0] + before[2] == after[0]


def press(key: int) -> None:
    sdl2 = load_sdl()
    event = sdl2.SDL_Event()
    event.type = sdl2.SDL_KEYDOWN
    event.key.keysym.sym = key
    sdl2.SDL_PushEvent(ctypes.byref(event))


def test_keys_ask_for_what_they_say(windows: list[Window]) -> None:
    window = Window("keys", [0])
    windows.append(window)
    window.commands()
    sdl2 = load_sdl()
    for key in (sdl2.SDLK_SPACE, sdl2.SDLK_LEFT, sdl2.SDLK_RIGHT, sdl2.SDLK_x, sdl2.SDLK_q):
        press(key)
    expected = [Command.PAUSE, Command.BACK, Command.FORWARD, Command.QUIT]
    assert window.commands() == expected
    press(sdl2.SDLK_f)
    assert window.commands() == []  # done by the window itself


def test_no_display_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "there-is-no-such-driver")
    with pytest.raises(ResourceError, match="--stats or --write"):
        Window("none", [0])


def test_more_videos_than_can_be_are_refused() -> None:
    with pytest.raises(ValueError, match="9 videos"):
        Window("nine", range(MAX_VIDEOS + 1))
