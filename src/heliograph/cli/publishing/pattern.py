"""The test pattern: a sun, a signal mirror that flashes each second, a clock, test colours.

What stands still is painted once; a frame costs a copy and a few small patches. The frame's number
is also there for programs, see ``barcode``. The tone beeps while the mirror flashes: what is seen
and heard apart is the error of whoever plays it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from heliograph.cli.publishing import glyphs
from heliograph.cli.publishing.barcode import BLOCKS, bits_of, code_height, read_frame_number

__all__ = ["FLASH_SECONDS", "Painter", "read_frame_number", "second_of_tone"]

Plane = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.float32]

#: Flash and beep begin with each full second of media time and last so long.
FLASH_SECONDS = 0.1
TONE_HZ, BEEP_HZ = 440, 1000
RAYS = 12
#: Pictures of the turning rays that are kept; they repeat each second (1/12 of a turn).
MAX_PHASES = 30
#: The moving dot crosses the picture in so many seconds.
SWEEP_SECONDS = 4

_GROUND = (0.055, 0.05, 0.115)
_TEXT = (1.0, 0.93, 0.78)
_BARS = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0))


def second_of_tone(rate: int = 48_000) -> npt.NDArray[np.int16]:
    """One second of the tone, left and right in turn; both pitches close their circle in it."""
    at = np.arange(rate) / rate
    quiet = 0.05 * np.sin(2 * np.pi * TONE_HZ * at)
    loud = 0.4 * np.sin(2 * np.pi * BEEP_HZ * at)
    edge = np.clip(np.minimum(at, FLASH_SECONDS - at) / 0.003, 0, 1)  # 3 ms: no clicks
    mono = quiet * (1 - edge) + loud * edge
    samples = np.repeat((mono * 32767).astype(np.int16), 2)
    return samples.reshape(1, -1)


class Painter:
    """Paints frames in YUV 4:2:0, BT.709, studio range."""

    def __init__(self, width: int, height: int, fps: int, title: str = "") -> None:
        """``width`` and ``height``: even; at least 160 × 120."""
        if width % 2 or height % 2 or width < 160 or height < 120:
            raise ValueError("a pattern is even-sized and at least 160 × 120")
        self.width, self.height, self.fps = width, height, fps
        self._sun = (0.2 * width, 0.27 * height)
        self._mirror = (0.8 * width, 0.33 * height)
        self._radius = 0.115 * height
        scene = self._scene(title)
        self._plain, self._flash = _planes(scene), _planes(self._lit(scene))
        self._rays = self._paint_rays(scene)
        self._flash_frames = max(1, round(FLASH_SECONDS * fps))
        self._clock_height = min(round(height * 0.13), round(width * 0.75 / 12 / 5.6 * 7.4)) & ~1
        self._small_height = max(8, round(height * 0.042)) & ~1
        self._digits = {
            (char, size): _luma_patch(glyphs.glyph(char, size))
            for char in "0123456789:.- "
            for size in (self._clock_height, self._small_height)
        }

    def paint(self, number: int, unix_us: int) -> Plane:
        """Frame ``number`` (its media time is ``number / fps``), with the clock at ``unix_us``.

        Returns ``height * 3 // 2`` rows: luma and below it both chroma planes, as libav has them.
        """
        flash = number % self.fps < self._flash_frames
        frame = (self._flash if flash else self._plain).copy()
        rays, top, left = self._rays
        phase = rays[number % self.fps * len(rays) // self.fps]
        size = phase.shape[1]
        frame[top : top + size, left : left + size] = phase[:size]
        self._draw_dot(frame, number)
        clock = datetime.fromtimestamp(unix_us / 1e6, UTC)
        line = f"{clock:%H:%M:%S}.{clock.microsecond // 1000:03}"
        self._write(frame, line, self._clock_height, 0.61)
        self._write(frame, f"{number:08}", self._small_height, 0.765)
        self._draw_code(frame, number)
        return frame

    def _write(self, frame: Plane, line: str, size: int, at: float) -> None:
        """Digits in the middle of the ground, whose colour is flat: luma is enough."""
        patches = [self._digits[char, size] for char in line]
        left = (self.width - sum(p.shape[1] for p in patches)) // 2
        top = round(at * self.height)
        for patch in patches:
            frame[top : top + size, left : left + patch.shape[1]] = patch
            left += patch.shape[1]

    def _draw_dot(self, frame: Plane, number: int) -> None:
        period = self.fps * SWEEP_SECONDS
        size = max(4, self.height // 60) & ~1
        left = round((self.width - size) * (number % period) / period)
        top = round(0.8275 * self.height) - size // 2
        frame[top : top + size, left : left + size] = 235

    def _draw_code(self, frame: Plane, number: int) -> None:
        rows = code_height(self.height)
        levels = np.array([235 if bit else 16 for bit in bits_of(number)], dtype=np.uint8)
        column = np.arange(self.width) * BLOCKS // self.width
        frame[self.height - rows : self.height] = levels[column]

    # --- what stands still ----------------------------------------------------------------------

    def _grid(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        return x + 0.5, y + 0.5

    def _scene(self, title: str) -> Rgb:
        x, y = self._grid()
        w, h, radius = self.width, self.height, self._radius
        up = np.clip(y / (0.6 * h), 0, 1)[..., None] ** 1.3
        scene = (1 - up) * _colour(0.07, 0.09, 0.24) + up * _colour(0.93, 0.47, 0.26)
        glow = np.exp(-np.hypot(x - self._sun[0], y - self._sun[1]) / (2.2 * radius))[..., None]
        scene = scene + 0.85 * glow * _colour(1.0, 0.72, 0.3)
        t = x / w
        for height, depth, shade in ((0.5, 0.045, 0.5), (0.555, 0.03, 0.0)):
            line = height + depth * (
                np.sin(9 * t + 20 * height) * 0.6 + np.sin(23 * t + 3) * 0.3 + np.sin(51 * t) * 0.1
            )
            hill = np.clip((y - line * h) + 0.5, 0, 1)[..., None]
            colour = _colour(*_GROUND) * (1 - shade) + shade * _colour(0.42, 0.22, 0.3)
            scene = scene * (1 - hill) + hill * colour
        distance = np.hypot(x - self._sun[0], y - self._sun[1])
        disc = np.clip(radius - distance + 0.5, 0, 1)[..., None]
        scene = scene * (1 - disc) + disc * _colour(1.0, 0.9, 0.62)
        scene = self._stand(scene, x, y)
        scene = self._colours(scene)
        name = glyphs.text("HELIOGRAPH", max(10, round(0.05 * h)))
        scene = _blend(scene, name, (w - name.shape[1]) // 2, round(0.06 * h))
        facts = f"{title[:24]} " if title else ""
        mask = glyphs.text(f"{facts}{w}X{h} {self.fps}", max(8, round(0.034 * h)))
        if mask.shape[1] < w:
            scene = _blend(scene, mask, (w - mask.shape[1]) // 2, round(0.13 * h))
        return np.clip(scene, 0, 1).astype(np.float32)

    def _stand(self, scene: Rgb, x: Rgb, y: Rgb) -> Rgb:
        """The signal mirror on its three legs."""
        mx, my = self._mirror
        radius = self._radius
        dark = _colour(0.1, 0.08, 0.12)
        for lean in (-0.55, 0.0, 0.55):
            along = np.clip((y - my) / (2.3 * radius), 0, 1)
            off = np.abs(x - (mx + lean * radius * 2 * along))
            leg = np.clip(radius * 0.05 - off + 0.5, 0, 1) * (y > my) * (y < my + 2.3 * radius)
            scene = scene * (1 - leg[..., None]) + leg[..., None] * dark
        distance = np.hypot((x - mx) * 1.12, y - my)
        rim = np.clip(radius * 1.08 - distance + 0.5, 0, 1)[..., None]
        scene = scene * (1 - rim) + rim * _colour(0.62, 0.45, 0.22)
        glass = np.clip(radius * 0.96 - distance + 0.5, 0, 1)[..., None]
        shine = np.clip(0.45 + ((x - mx) - (y - my)) / (4 * radius), 0, 1)[..., None]
        sky = (1 - shine) * _colour(0.2, 0.26, 0.42) + shine * _colour(0.6, 0.68, 0.8)
        lit: Rgb = scene * (1 - glass) + glass * sky
        return lit

    def _colours(self, scene: Rgb) -> Rgb:
        """Colour bars at 75 % and a ramp of greys."""
        top, middle, end = (round(f * self.height) for f in (0.845, 0.9, 0.93))
        bar = np.arange(self.width) * len(_BARS) // self.width
        scene[top:middle] = 0.75 * np.array(_BARS, dtype=np.float32)[bar]
        scene[middle:end] = (np.arange(self.width) * 16 // self.width / 15)[None, :, None]
        return scene

    def _lit(self, scene: Rgb) -> Rgb:
        """The mirror throws the sun at whoever watches: a star, and the beam that lights it."""
        x, y = self._grid()
        (sx, sy), (mx, my), radius = self._sun, self._mirror, self._radius
        off = np.abs((x - sx) * (my - sy) - (y - sy) * (mx - sx)) / np.hypot(mx - sx, my - sy)
        begins = np.clip(
            (x - sx) / radius - 1.9, 0, 1
        )  # beyond the rays, which are painted over it
        beam = 0.5 * np.exp(-((off / (0.1 * radius)) ** 2)) * begins * (x < mx)
        dx, dy = np.abs(x - mx) / radius, np.abs(y - my) / radius
        star = np.exp(-2.2 * np.sqrt(dx) - 9 * dy) + np.exp(-9 * dx - 2.2 * np.sqrt(dy))
        light = beam + 1.6 * star + 1.5 * np.exp(-((np.hypot(dx, dy) / 0.9) ** 4))
        light[round(0.6 * self.height) :] = 0
        lit: Rgb = np.clip(scene + light[..., None] * _colour(1.0, 0.96, 0.86), 0, 1)
        return lit

    def _paint_rays(self, scene: Rgb) -> tuple[list[Plane], int, int]:
        """The sun with its rays in each position, and where it goes."""
        radius = self._radius
        half = int(1.7 * radius) & ~1
        left, top = (int(c - half) & ~1 for c in self._sun)
        left, top = max(0, left), max(0, top)
        size = 2 * half
        cut = scene[top : top + size, left : left + size]
        y, x = np.mgrid[0:size, 0:size].astype(np.float32)
        dx, dy = x + 0.5 + left - self._sun[0], y + 0.5 + top - self._sun[1]
        distance, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        reach = np.clip(distance - 1.2 * radius, 0, 1) * np.clip(1.62 * radius - distance, 0, 1)
        phases = []
        for index in range(count := min(self.fps, MAX_PHASES)):
            turned = (angle * RAYS / (2 * np.pi) + index / count + 0.5) % 1 - 0.5
            width = np.abs(turned) * 2 * np.pi / RAYS * distance  # pixels off the ray's middle
            ray = np.clip(0.1 * radius - width + 0.5, 0, 1) * reach
            lit = cut * (1 - ray[..., None]) + ray[..., None] * _colour(1.0, 0.86, 0.5)
            phases.append(_to_yuv(lit)[..., 0])
        return phases, top, left


def _colour(red: float, green: float, blue: float) -> Rgb:
    return np.array((red, green, blue), dtype=np.float32)


def _blend(scene: Rgb, mask: glyphs.Mask, left: int, top: int) -> Rgb:
    part = scene[top : top + mask.shape[0], left : left + mask.shape[1]]
    part[:] = part * (1 - mask[..., None]) + mask[..., None] * _colour(*_TEXT)
    return scene


def _luma_patch(mask: glyphs.Mask) -> Plane:
    ground, text = (float(_to_yuv(_colour(*c)[None, None])[0, 0, 0]) for c in (_GROUND, _TEXT))
    patch: Plane = np.round(ground + mask * (text - ground)).astype(np.uint8)
    return patch


def _to_yuv(rgb: Rgb) -> Plane:
    """BT.709 (ITU-R BT.709-6 §3), studio range."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = (
        16 + 219 * luma,
        128 + 224 * (blue - luma) / 1.8556,
        128 + 224 * (red - luma) / 1.5748,
    )
    return np.clip(np.round(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


def _planes(rgb: Rgb) -> Plane:
    """A picture as libav has yuv420p in one array: luma rows, then both chroma planes."""
    yuv = _to_yuv(rgb)
    height, width = yuv.shape[:2]
    chroma = yuv.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    parts = (yuv[..., 0].ravel(), *(chroma[..., n].astype(np.uint8).ravel() for n in (1, 2)))
    return np.concatenate(parts).reshape(height * 3 // 2, width)
