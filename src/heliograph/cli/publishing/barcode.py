"""A frame's number as blocks of black and white, for programs that count decoded frames.

The code lies along the bottom edge over the whole width, ``height // 20`` rows high, in 32 blocks
of like width: white, black; the number's 24 bits, highest first; four bits of check; black, white.
A white block is a 1. The check is the exclusive or of the number's six nibbles and of 10, so that
neither an all-black nor an all-white picture is a number. It survives scaling and coarse coding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCKS = 32
NUMBER_BITS = 24
#: Numbers wrap there: 7.7 days at 25 frames a second.
MODULUS = 1 << NUMBER_BITS
#: Least difference of white and black in levels of 255; studio range gives 219.
MIN_CONTRAST = 64


def bits_of(number: int) -> tuple[int, ...]:
    """The 32 blocks of a number, 1 for white."""
    number %= MODULUS
    payload = number << 4 | _check(number)
    bits = tuple(payload >> at & 1 for at in range(NUMBER_BITS + 3, -1, -1))
    return (1, 0, *bits, 0, 1)


def _check(number: int) -> int:
    check = 0b1010
    while number:
        check ^= number & 15
        number >>= 4
    return check


def code_height(height: int) -> int:
    """Rows of the code in a picture of that height; even."""
    return max(2, height // 20 & ~1)


def read_frame_number(image: npt.NDArray[np.uint8]) -> int | None:
    """The number drawn into a decoded picture, or ``None`` where there is none to be read.

    ``image``: rows of grey or luma levels (height, width), or of RGB (height, width, 3), of any
    size. Only the middle of each block is looked at.
    """
    if image.ndim not in (2, 3) or image.shape[0] < 40 or image.shape[1] < 4 * BLOCKS:
        return None
    height, width = image.shape[:2]
    rows = code_height(height)
    strip = image[height - rows + rows // 4 : height - rows // 4]
    levels = []
    for block in range(BLOCKS):
        left, right = block * width / BLOCKS, (block + 1) * width / BLOCKS
        quarter = (right - left) / 4
        levels.append(float(strip[:, int(left + quarter) : int(right - quarter)].mean()))
    white, black = (levels[0] + levels[-1]) / 2, (levels[1] + levels[-2]) / 2
    if white - black < MIN_CONTRAST:
        return None
    bits = [level > (white + black) / 2 for level in levels[2:-2]]
    payload = int("".join("1" if bit else "0" for bit in bits), 2)
    number = payload >> 4
    return number if _check(number) == payload & 15 else None
