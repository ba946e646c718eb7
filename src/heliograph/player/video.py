"""The window: pictures of several streams side by side, and the keys pressed in it. SDL."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from heliograph.model.errors import ResourceError
from heliograph.player.sdl import load_sdl, reason

#: Pictures side by side.
MAX_VIDEOS = 8
#: A window begins no wider and no higher.
WIDEST, HIGHEST = 1600, 900
#: Aspect for a stream whose picture has not come yet.
USUAL = (16, 9)


class Command(Enum):
    """What was asked for in the window."""

    QUIT = "quit"
    PAUSE = "pause"
    BACK = "back"
    FORWARD = "forward"
    FULL = "full"


def layout(
    sizes: Sequence[tuple[int, int]], width: int, height: int
) -> list[tuple[int, int, int, int]]:
    """Places (x, y, width, height) of pictures side by side, as large as fits, in the middle.

    All have one height, as the parts of a panorama; they touch without gaps.
    """
    aspects = [w / h for w, h in sizes]
    total = sum(aspects)
    high = min(height, width / total)
    left = (width - total * high) / 2
    top = round((height - high) / 2)
    places = []
    for aspect in aspects:
        right = left + aspect * high
        places.append((round(left), top, round(right) - round(left), round(high)))
        left = right
    return places


class Window:
    """Shows pictures. For the main thread only."""

    def __init__(self, title: str, videos: Sequence[int]) -> None:
        """``videos``: streams from left to right. ``ResourceError`` where there is no display."""
        if not 1 <= len(videos) <= MAX_VIDEOS:
            raise ValueError(f"{len(videos)} videos")
        self._sdl = sdl2 = load_sdl()
        if sdl2.SDL_InitSubSystem(sdl2.SDL_INIT_VIDEO):
            raise ResourceError(f"no display ({reason(sdl2)}); use --stats or --write")
        self._videos = list(videos)
        self._textures: dict[int, tuple[object, tuple[int, int]]] = {}
        self._full = False
        self.shown = 0
        """Times the window was drawn anew."""
        flags = sdl2.SDL_WINDOW_RESIZABLE | sdl2.SDL_WINDOW_ALLOW_HIGHDPI
        middle = sdl2.SDL_WINDOWPOS_CENTERED
        width = min(WIDEST, 640 * len(videos))
        self._window = sdl2.SDL_CreateWindow(
            title.encode(), middle, middle, width, 360, flags | sdl2.SDL_WINDOW_SHOWN
        )
        soft = os.environ.get("SDL_VIDEODRIVER") == "dummy"
        kind = sdl2.SDL_RENDERER_SOFTWARE if soft else 0
        self._renderer = self._window and sdl2.SDL_CreateRenderer(self._window, -1, kind)
        if not self._renderer:
            why = reason(sdl2)
            self.close()
            raise ResourceError(f"no window ({why}); use --stats or --write")
        sdl2.SDL_SetHint(sdl2.SDL_HINT_RENDER_SCALE_QUALITY, b"linear")

    def show(self, frames: Mapping[int, VideoFrame]) -> None:
        """Show new pictures of some streams (YUV 4:2:0); the others keep theirs."""
        sdl2 = self._sdl
        for stream, frame in frames.items():
            self._update(stream, frame)
        sdl2.SDL_SetRenderDrawColor(self._renderer, 0, 0, 0, 255)
        sdl2.SDL_RenderClear(self._renderer)
        width, height = self.size
        sizes = [self._textures[s][1] if s in self._textures else USUAL for s in self._videos]
        places = layout(sizes, width, height)
        for stream, (x, y, w, h) in zip(self._videos, places, strict=True):
            if stream in self._textures:
                where = sdl2.SDL_Rect(x, y, w, h)
                sdl2.SDL_RenderCopy(self._renderer, self._textures[stream][0], None, where)
        sdl2.SDL_RenderPresent(self._renderer)
        self.shown += 1

    def _update(self, stream: int, frame: VideoFrame) -> None:
        sdl2 = self._sdl
        size = (frame.width, frame.height)
        known = self._textures.get(stream)
        if known is None or known[1] != size:
            if known is not None:
                sdl2.SDL_DestroyTexture(known[0])
            texture = sdl2.SDL_CreateTexture(
                self._renderer, sdl2.SDL_PIXELFORMAT_IYUV, sdl2.SDL_TEXTUREACCESS_STREAMING, *size
            )
            first = not self._textures
            self._textures[stream] = known = (texture, size)
            if first:
                self._fit(size)
        planes = []
        for plane in frame.planes:
            data = (ctypes.c_ubyte * plane.buffer_size).from_address(plane.buffer_ptr)
            planes += [data, plane.line_size]
        sdl2.SDL_UpdateYUVTexture(known[0], None, *planes)

    def _fit(self, size: tuple[int, int]) -> None:
        """Give the window the pictures' size, or what of it the screen surely has."""
        width, height = size[0] * len(self._videos), size[1]
        shrink = min(1.0, WIDEST / width, HIGHEST / height)
        self._sdl.SDL_SetWindowSize(self._window, round(width * shrink), round(height * shrink))

    @property
    def size(self) -> tuple[int, int]:
        """Pixels of the window."""
        width, height = ctypes.c_int(), ctypes.c_int()
        self._sdl.SDL_GetRendererOutputSize(
            self._renderer, ctypes.byref(width), ctypes.byref(height)
        )
        return width.value, height.value

    def pixels(self) -> NDArray[np.uint8]:
        """What the window shows, as rows of red, green, blue."""
        width, height = self.size
        data = np.zeros((height, width, 3), np.uint8)
        self._sdl.SDL_RenderReadPixels(
            self._renderer,
            None,
            self._sdl.SDL_PIXELFORMAT_RGB24,
            data.ctypes.data_as(ctypes.c_void_p),
            width * 3,
        )
        return data

    def commands(self) -> list[Command]:
        """What was asked for since the last call."""
        sdl2 = self._sdl
        keys = {
            sdl2.SDLK_SPACE: Command.PAUSE,
            sdl2.SDLK_LEFT: Command.BACK,
            sdl2.SDLK_RIGHT: Command.FORWARD,
            sdl2.SDLK_q: Command.QUIT,
            sdl2.SDLK_ESCAPE: Command.QUIT,
            sdl2.SDLK_f: Command.FULL,
        }
        found = []
        event = sdl2.SDL_Event()
        while sdl2.SDL_PollEvent(ctypes.byref(event)):
            if event.type == sdl2.SDL_QUIT:
                found.append(Command.QUIT)
            elif event.type == sdl2.SDL_KEYDOWN and event.key.keysym.sym in keys:
                found.append(keys[event.key.keysym.sym])
        if Command.FULL in found:
            self._full = not self._full
            mode = sdl2.SDL_WINDOW_FULLSCREEN_DESKTOP if self._full else 0
            sdl2.SDL_SetWindowFullscreen(self._window, mode)
        return [command for command in found if command is not Command.FULL]

    def close(self) -> None:
        """Close it; harmless twice."""
        sdl2 = self._sdl
        for texture, _ in self._textures.values():
            sdl2.SDL_DestroyTexture(texture)
        self._textures.clear()
        if getattr(self, "_renderer", None):
            sdl2.SDL_DestroyRenderer(self._renderer)
            self._renderer = None
        if self._window:
            sdl2.SDL_DestroyWindow(self._window)
            self._window = None
            sdl2.SDL_QuitSubSystem(sdl2.SDL_INIT_VIDEO)
