"""What a picture's dimensions and samples are, out of the codecs' own headers."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload import h264
from heliograph.protocols.payload.bits import BitReader

#: Pixels a side; the codecs' highest levels end at 16 384.
MAX_SIDE = 16_384


@dataclass(frozen=True, slots=True)
class Picture:
    """What every frame of a stream has in common."""

    width: int
    """Pixels shown, 1–16 384."""
    height: int
    """Likewise."""
    chroma: int = 1
    """chroma_format_idc: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
    depth: int = 8
    """Bits of a luma sample, 8–16."""


def _checked(protocol: str, picture: Picture) -> Picture:
    if not (0 < picture.width <= MAX_SIDE and 0 < picture.height <= MAX_SIDE):
        raise MalformedError(protocol, f"a picture of {picture.width}×{picture.height}")
    if picture.chroma > 3 or not 8 <= picture.depth <= 16:
        raise MalformedError(protocol, f"chroma {picture.chroma}, {picture.depth} bits")
    return picture


def _se(reader: BitReader) -> int:
    """A signed Exp-Golomb number (H.264 §9.1.1)."""
    value = reader.ue()
    return (value + 1) // 2 if value & 1 else -(value // 2)


#: H.264 §7.3.2.1.1: profiles whose parameter sets say chroma and depth.
_HIGH = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


def h264_picture(sps: bytes) -> Picture:
    """Of a sequence parameter set (H.264 §7.3.2.1.1). Raises ``MalformedError``."""
    reader = BitReader(h264.unescape(sps), "h264")
    reader.u(8)
    profile = reader.u(8)
    reader.u(16)
    reader.ue()
    chroma, depth = 1, 8
    if profile in _HIGH:
        chroma, depth = _h264_samples(reader)
    reader.ue()  # log2_max_frame_num
    order = reader.ue()
    if order == 0:
        reader.ue()
    elif order == 1:
        reader.u(1)
        _se(reader)
        _se(reader)
        cycle = reader.ue()
        if cycle > 255:
            raise MalformedError("h264", f"{cycle} reference frames in a cycle")
        for _ in range(cycle):
            _se(reader)
    reader.ue()
    reader.u(1)
    width, height = 16 * (reader.ue() + 1), 16 * (reader.ue() + 1)
    frames_only = reader.u(1)
    height *= 2 - frames_only
    if not frames_only:
        reader.u(1)
    reader.u(1)
    if reader.flag():
        left, right, top, bottom = (reader.ue() for _ in range(4))
        across = 2 if chroma in (1, 2) else 1
        down = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= across * (left + right)
        height -= down * (top + bottom)
    return _checked("h264", Picture(width, height, chroma, depth))


def _h264_samples(reader: BitReader) -> tuple[int, int]:
    chroma = reader.ue()
    if chroma == 3:
        reader.u(1)
    depth = 8 + reader.ue()
    reader.ue()
    reader.u(1)
    if reader.flag():  # scaling matrices
        for index in range(12 if chroma == 3 else 8):
            if reader.flag():
                _skip_scaling(reader, 16 if index < 6 else 64)
    return chroma, depth


def _skip_scaling(reader: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + _se(reader)) % 256
        last = following or last


def h265_picture(sps: bytes) -> Picture:
    """Of a sequence parameter set (H.265 §7.3.2.2.1). Raises ``MalformedError``."""
    reader = BitReader(h264.unescape(sps)[2:], "h265")
    reader.u(4)
    sub_layers = reader.u(3)
    reader.u(1)
    reader.u(96)  # general profile, tier and level
    present = [(reader.flag(), reader.flag()) for _ in range(sub_layers)]
    if sub_layers:
        reader.u(2 * (8 - sub_layers))
    for profile, level in present:
        reader.u(88 * profile + 8 * level)
    reader.ue()
    chroma = reader.ue()
    if chroma == 3:
        reader.u(1)
    width, height = reader.ue(), reader.ue()
    if reader.flag():
        left, right, top, bottom = (reader.ue() for _ in range(4))
        width -= (2 if chroma in (1, 2) else 1) * (left + right)
        height -= (2 if chroma == 1 else 1) * (top + bottom)
    return _checked("h265", Picture(width, height, chroma, 8 + reader.ue()))


@dataclass(frozen=True, slots=True)
class Av1Header:
    """Fields of a sequence header that containers repeat (AV1 §5.5)."""

    picture: Picture
    """Largest frame."""
    profile: int
    """0–2."""
    level: int
    """seq_level_idx of the first operating point, 0–31."""
    tier: int
    """0 main, 1 high."""
    mono: bool
    """No chroma."""
    subsampling: tuple[int, int]
    """Across, down."""
    position: int
    """chroma_sample_position."""


def av1_header(body: bytes) -> Av1Header:
    """Of a sequence header OBU's body. Raises ``MalformedError``."""
    reader = BitReader(body[:256], "av1")
    profile = reader.u(3)
    reader.u(1)
    reduced = reader.flag()
    tier = 0
    if reduced:
        level = reader.u(5)
    else:
        level, tier = _av1_operating_points(reader)
    width_bits, height_bits = reader.u(4) + 1, reader.u(4) + 1
    width, height = reader.u(width_bits) + 1, reader.u(height_bits) + 1
    if not reduced and reader.flag():  # frame_id_numbers_present_flag
        reader.u(7)
    reader.u(3)  # 128 superblocks, filter intra, intra edge filter
    if not reduced:
        _av1_tools(reader)
    reader.u(3)  # superres, cdef, restoration
    depth, mono, subsampling, position = _av1_color(reader, profile)
    chroma = 0 if mono else {(1, 1): 1, (1, 0): 2}.get(subsampling, 3)
    picture = _checked("av1", Picture(width, height, chroma, depth))
    return Av1Header(picture, profile, level, tier, mono, subsampling, position)


def _av1_operating_points(reader: BitReader) -> tuple[int, int]:
    """Level and tier of the first operating point (§5.5.1)."""
    decoder_model = 0
    if reader.flag():  # timing_info_present_flag
        reader.u(64)
        if reader.flag():
            reader.ue()
        if reader.flag():
            decoder_model = reader.u(5) + 1
            reader.u(42)
    delays = reader.flag()
    points = []
    for _ in range(reader.u(5) + 1):
        reader.u(12)
        level = reader.u(5)
        tier = reader.u(1) if level > 7 else 0
        if decoder_model and reader.flag():
            reader.u(2 * decoder_model + 1)
        if delays and reader.flag():
            reader.u(4)
        points.append((level, tier))
    return points[0]


def _av1_tools(reader: BitReader) -> None:
    reader.u(4)  # interintra, masked, warped, dual filter
    if reader.flag():  # order hint
        reader.u(2)
        hint = True
    else:
        hint = False
    force = 2 if reader.flag() else reader.u(1)
    if force and not reader.flag():
        reader.u(1)
    if hint:
        reader.u(3)


def _av1_color(reader: BitReader, profile: int) -> tuple[int, bool, tuple[int, int], int]:
    """Depth, mono, subsampling, sample position (§5.5.2)."""
    depth = 8
    if reader.flag():
        depth = 12 if profile == 2 and reader.flag() else 10
    mono = profile != 1 and reader.flag()
    primaries = transfer = matrix = 2
    if reader.flag():
        primaries, transfer, matrix = reader.u(8), reader.u(8), reader.u(8)
    if mono:
        reader.u(1)
        return depth, True, (1, 1), 0
    if (primaries, transfer, matrix) == (1, 13, 0):  # sRGB
        return depth, False, (0, 0), 0
    reader.u(1)
    if profile == 0:
        subsampling = (1, 1)
    elif profile == 1:
        subsampling = (0, 0)
    elif depth == 12:
        across = reader.u(1)
        subsampling = (across, reader.u(1) if across else 0)
    else:
        subsampling = (1, 0)
    position = reader.u(2) if subsampling == (1, 1) else 0
    return depth, False, subsampling, position


def vp9_picture(frame: bytes) -> tuple[int, Picture]:
    """Profile and picture of a keyframe (VP9 bitstream §6.2). Raises ``MalformedError``."""
    reader = BitReader(frame[:32], "vp9")
    if reader.u(2) != 2:
        raise MalformedError("vp9", "frame marker")
    profile = reader.u(1) | reader.u(1) << 1
    if profile == 3:
        reader.u(1)
    if reader.flag() or reader.flag():  # shows an existing frame; is not key
        raise MalformedError("vp9", "not a keyframe")
    reader.u(2)
    if reader.u(24) != 0x498342:
        raise MalformedError("vp9", "frame sync code")
    depth = (12 if reader.flag() else 10) if profile >= 2 else 8
    chroma = 1
    if reader.u(3) != 7:
        reader.u(1)
        if profile & 1:
            across, down = reader.u(1), reader.u(1)
            reader.u(1)
            chroma = 1 if across and down else 2 if across else 3
    else:
        chroma = 3
        if profile & 1:
            reader.u(1)
    width, height = reader.u(16) + 1, reader.u(16) + 1
    return profile, _checked("vp9", Picture(width, height, chroma, depth))
