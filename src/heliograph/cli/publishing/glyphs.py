"""Letters and digits drawn as strokes with round ends, at any size, without a font."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.float32]

#: Points on a grid 4 wide and 6 high, as "xy"; "|" lifts the pen, a lone point is a dot.
STROKES = {
    "0": "10 30 41 45 36 16 05 01 10",
    "1": "11 20 26|16 36",
    "2": "01 10 30 41 42 06 46",
    "3": "01 10 30 41 42 33 13|33 44 45 36 16 05",
    "4": "36 30 04 44",
    "5": "40 00 02 32 43 45 36 16 05",
    "6": "41 30 10 01 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33",
    "9": "05 16 36 45 41 30 10 01 02 13 43",
    "A": "06 02 20 42 46|04 44",
    "B": "00 06 36 45 44 33 03|33 42 41 30 00",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 44 42 20 00",
    "E": "40 00 06 46|03 33",
    "F": "40 00 06|03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06|40 46|03 43",
    "I": "20 26",
    "J": "40 45 36 16 05",
    "K": "00 06|40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10|24 46",
    "R": "06 00 30 41 42 33 03|23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40|20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 23 36 40",
    "X": "00 46|40 06",
    "Y": "00 23 40|23 26",
    "Z": "00 40 06 46",
    ":": "22|25",
    ".": "26",
    "-": "13 33",
    "_": "06 46",
    "/": "06 40",
    " ": "",
}
#: Cell of a glyph in grid units: the grid and room for half a stroke and the gap around it.
CELL_WIDTH, CELL_HEIGHT = 5.6, 7.4
STROKE = 0.9


@lru_cache(maxsize=256)
def glyph(char: str, height: int) -> Mask:
    """One character as coverage 0–1; ``height`` is that of the cell in pixels."""
    scale = height / CELL_HEIGHT
    width = round(CELL_WIDTH * scale)
    x = (np.arange(width, dtype=np.float32) + 0.5) / scale - (CELL_WIDTH - 4) / 2
    y = (np.arange(height, dtype=np.float32) + 0.5) / scale - (CELL_HEIGHT - 6) / 2
    nearest = np.full((height, width), np.inf, dtype=np.float32)
    for stroke in STROKES.get(char.upper(), STROKES["_"]).split("|"):
        points = [(float(p[0]), float(p[1])) for p in stroke.split()]
        for a, b in zip(points, points[1:] or points, strict=False):
            np.minimum(nearest, _distance(x[None, :], y[:, None], a, b), out=nearest)
    coverage = (STROKE / 2 - nearest) * scale + 0.5
    mask: Mask = np.clip(coverage, 0, 1).astype(np.float32)
    return mask


def text(line: str, height: int) -> Mask:
    """A line of characters side by side."""
    return np.concatenate([glyph(char, height) for char in line or " "], axis=1)


def _distance(x: Mask, y: Mask, a: tuple[float, float], b: tuple[float, float]) -> Mask:
    """Distance of each point of the plane from a line segment."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    along = ((x - a[0]) * dx + (y - a[1]) * dy) / length if length else np.zeros_like(x * y)
    along = np.clip(along, 0, 1)
    found: Mask = np.hypot(x - a[0] - along * dx, y - a[1] - along * dy).astype(np.float32)
    return found
