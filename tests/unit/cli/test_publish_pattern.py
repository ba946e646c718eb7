"""What the test pattern shows, to people and to programs."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.cli.publishing import glyphs
from heliograph.cli.publishing.barcode import MODULUS, bits_of, read_frame_number
from heliograph.cli.publishing.pattern import FLASH_SECONDS, Painter, second_of_tone

NOON = 1_767_614_400_000_000  # 2026-01-05 12:00 UTC


@pytest.fixture(scope="module")
def painter():
    return Painter(320, 180, 25, "demo")


def luma(frame):
    return frame[: frame.shape[0] * 2 // 3]


def drawn(number, width=640, height=360):
    image = np.full((height, width), 90, np.uint8)
    bits = np.array(bits_of(number)) * 219 + 16
    image[-18:] = bits[np.arange(width) * 32 // width]
    return image


@given(st.integers(0, MODULUS - 1))
def test_every_number_is_read_as_it_was_drawn(number):
    assert read_frame_number(drawn(number)) == number


def test_numbers_wrap():
    assert read_frame_number(drawn(MODULUS + 7)) == 7


@pytest.mark.parametrize("block", range(2, 30))
def test_one_wrong_block_is_noticed(block):
    image = drawn(123_456)
    image[-18:, block * 20 : block * 20 + 20] = 251 - image[-1, block * 20]
    assert read_frame_number(image) is None


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_a_flat_picture_has_no_number(level):
    assert read_frame_number(np.full((180, 320), level, np.uint8)) is None


def test_what_is_no_picture_has_no_number():
    assert read_frame_number(np.zeros((4,), np.uint8)) is None
    assert read_frame_number(np.zeros((20, 20), np.uint8)) is None


def test_the_painted_number_is_read(painter):
    for number in (0, 1, 24, 25, 99_999):
        assert read_frame_number(luma(painter.paint(number, NOON))) == number


def test_the_number_survives_scaling_and_colour(painter):
    frame = av.VideoFrame.from_ndarray(painter.paint(4711, NOON), format="yuv420p")
    small = frame.reformat(width=214, height=120, format="rgb24").to_ndarray()
    assert read_frame_number(small) == 4711


def test_the_mirror_flashes_as_long_as_the_beep(painter):
    y, x = round(0.33 * 180), round(0.8 * 320)
    bright = [bool(luma(painter.paint(n, NOON))[y, x] > 220) for n in range(50)]
    expected = round(FLASH_SECONDS * 25)
    assert bright == [n % 25 < expected for n in range(50)]


def test_the_clock_moves(painter):
    one, other = painter.paint(30, NOON), painter.paint(30, NOON + 1_000_000)
    assert (one != other).any()
    assert (painter.paint(30, NOON) == one).all()


def test_the_tone_is_loud_while_the_mirror_flashes():
    left = second_of_tone().reshape(-1, 2)[:, 0].astype(float)
    beep, rest = left[480:4320], left[4800:]
    assert np.abs(beep).max() > 5 * np.abs(rest).max()
    assert np.abs(rest).max() > 500
    # 440 Hz crosses zero upwards 440 times a second.
    assert abs(int(((rest[:-1] < 0) & (rest[1:] >= 0)).sum()) - 396) <= 1


@pytest.mark.parametrize("size", [(321, 180), (320, 181), (100, 100)])
def test_sizes_that_cannot_be_encoded_are_refused(size):
    with pytest.raises(ValueError, match="even-sized"):
        Painter(*size, 25)


@pytest.mark.parametrize("char", sorted(glyphs.STROKES))
def test_each_character_has_ink_within_its_cell(char):
    mask = glyphs.glyph(char, 40)
    assert mask.shape[0] == 40
    assert (mask.max() > 0.9) == (char != " ")
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0


def test_characters_differ():
    images = {glyphs.glyph(c, 40).tobytes() for c in "0123456789ABCDEFGHIJKLMNPQRSTUVWXYZ"}
    assert len(images) == 35
