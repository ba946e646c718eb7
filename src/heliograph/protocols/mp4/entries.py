"""Sample entries: what a file says about a track before any of its samples.

H.264 and H.265: ISO/IEC 14496-15; AV1, VP9 and Opus: the documents *in ISOBMFF* of AOMedia, the
WebM project and Xiph; AAC: ISO/IEC 14496-14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec, Track
from heliograph.protocols.mp4 import headers
from heliograph.protocols.mp4.boxes import box, full_box, numbers
from heliograph.protocols.mp4.headers import Picture
from heliograph.protocols.payload import aac, av1, description, h264, h265, nal
from heliograph.protocols.sdp import parameter_sets

#: ISO/IEC 14496-1 table 5: objectTypeIndication of MPEG-4 audio.
_OBJECT_AAC = 0x40
#: VP9's levels by the luma samples of a picture (*VP9 Levels*, WebM project).
_VP9_LEVELS = (
    (36_864, 10),
    (73_728, 11),
    (122_880, 20),
    (245_760, 21),
    (552_960, 30),
    (983_040, 31),
    (2_228_224, 40),
    (8_912_896, 50),
    (35_651_584, 60),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A track as a file describes it. Equal entries go with the same initialization."""

    track: Track
    """The track; its clock is the file's timescale for it."""
    codec: str
    """For ``CODECS`` of a playlist and for MSE (RFC 6381), such as ``avc1.64001f``."""
    width: int
    """Pixels; 0 for audio."""
    height: int
    """Likewise."""
    data: bytes = field(repr=False)
    """The box within ``stsd``."""


def writable(codec: Codec) -> bool:
    """Whether ``describe`` knows the codec."""
    return codec in _ENTRIES


def describe(track: Track, unit: bytes = b"") -> Entry:
    """The entry of a track, out of its format parameters and a key unit.

    Raises ``UnsupportedError`` for codecs that have no place here, ``MalformedError`` where track
    and unit do not tell what is needed.
    """
    make = _ENTRIES.get(track.codec)
    if make is None:
        raise UnsupportedError(f"no MP4 for {track.codec.value}", subject=track.codec.value)
    return make(track, unit)


def _visual(kind: str, track: Track, picture: Picture, codec: str, *boxes: bytes) -> Entry:
    head = bytes(6) + numbers(2, 1) + bytes(16) + numbers(2, picture.width, picture.height)
    # 72 dots an inch, one frame a sample, no compressor's name, 24 bits deep, -1
    head += numbers(4, 0x480000, 0x480000, 0) + numbers(2, 1) + bytes(32) + numbers(2, 24, 0xFFFF)
    return Entry(track, codec, picture.width, picture.height, box(kind, head, *boxes))


def _audio(kind: str, track: Track, codec: str, channels: int, *boxes: bytes) -> Entry:
    rate = track.clock_rate if track.clock_rate < 1 << 16 else 0
    head = bytes(6) + numbers(2, 1) + bytes(8) + numbers(2, channels, 16, 0, 0, rate, 0)
    return Entry(track, codec, 0, 0, box(kind, head, *boxes))


def _sets(
    track: Track, unit: bytes, of_type: Callable[[bytes], int], kinds: tuple[int, ...]
) -> dict[int, list[bytes]]:
    """Parameter sets by type: the unit's where it has some, else those of SDP."""
    found: dict[int, list[bytes]] = {}
    own = [n for n in nal.split_annexb(unit) if len(n) > 1 and of_type(n) in kinds]
    others = [n for n in parameter_sets(track) if len(n) > 1]
    for kind in kinds:
        of_kind = [n for n in own if of_type(n) == kind] or [
            n for n in others if of_type(n) == kind
        ]
        # one of each content, in order; the count's field has five bits in avcC
        found[kind] = list(dict.fromkeys(of_kind))[:31]
        if not of_kind or any(len(n) > nal.MAX_PARAMETER_SET_SIZE for n in of_kind):
            raise MalformedError("mp4", f"{track.codec.value} without parameter sets")
    return found


def _h264(track: Track, unit: bytes) -> Entry:
    sets = _sets(track, unit, h264.nal_type, (h264.SPS, h264.PPS))
    sps = sets[h264.SPS]
    codec = h264.codec_string(sps[0])
    picture = headers.h264_picture(sps[0])
    record = b"\x01" + sps[0][1:4] + b"\xff" + bytes((0xE0 | len(sps),))
    record += b"".join(numbers(2, len(n)) + n for n in sps)
    pps = sets[h264.PPS]
    record += bytes((len(pps),)) + b"".join(numbers(2, len(n)) + n for n in pps)
    if sps[0][1] in (100, 110, 122, 144):  # 14496-15 §5.3.3.1.2
        depth = 0xF8 | picture.depth - 8
        record += bytes((0xFC | picture.chroma, depth, depth, 0))
    return _visual("avc1", track, picture, codec, box("avcC", record))


def _h265(track: Track, unit: bytes) -> Entry:
    kinds = (h265.VPS, h265.SPS, h265.PPS)
    sets = _sets(track, unit, h265.nal_type, kinds)
    sps = sets[h265.SPS][0]
    codec = "hvc1" + h265.codec_string(sps)[4:]
    picture = headers.h265_picture(sps)
    plain = h264.unescape(sps)
    depth = 0xF8 | picture.depth - 8
    record = b"\x01" + plain[3:15]  # profile, compatibility, constraints, level
    record += numbers(2, 0xF000) + b"\xfc" + bytes((0xFC | picture.chroma, depth, depth))
    layers, nested = (plain[2] >> 1 & 7) + 1, plain[2] & 1
    record += numbers(2, 0) + bytes((layers << 3 | nested << 2 | 3, len(kinds)))
    for kind in kinds:
        record += bytes((0x80 | kind,)) + numbers(2, len(sets[kind]))
        record += b"".join(numbers(2, len(n)) + n for n in sets[kind])
    return _visual("hvc1", track, picture, codec, box("hvcC", record))


def _av1(track: Track, unit: bytes) -> Entry:
    obu = next((o for o in av1.split_stream(unit) if o.type == av1.SEQUENCE_HEADER), None)
    if obu is None:
        raise MalformedError("mp4", "av1 without a sequence header")
    header = headers.av1_header(obu.body)
    depth = header.picture.depth
    across, down = header.subsampling
    third = header.tier << 7 | (depth > 8) << 6 | (depth == 12) << 5 | header.mono << 4
    third |= across << 3 | down << 2 | header.position
    record = bytes((0x81, header.profile << 5 | header.level, third, 0)) + obu.sized()
    tier = "H" if header.tier else "M"
    codec = f"av01.{header.profile}.{header.level:02}{tier}.{depth:02}"
    return _visual("av01", track, header.picture, codec, box("av1C", record))


def _vp9(track: Track, unit: bytes) -> Entry:
    profile, picture = headers.vp9_picture(unit)
    size = picture.width * picture.height
    level = next((level for limit, level in _VP9_LEVELS if size <= limit), 62)
    chroma = {1: 1, 2: 2}.get(picture.chroma, 3)
    # colours as unspecified: 2, 2, 2
    record = bytes((profile, level, picture.depth << 4 | chroma << 1, 2, 2, 2, 0, 0))
    codec = f"vp09.{profile:02}.{level:02}.{picture.depth:02}"
    return _visual("vp09", track, picture, codec, full_box("vpcC", 1, 0, record))


def _descriptor(tag: int, *parts: bytes) -> bytes:
    """ISO/IEC 14496-1 §8.3.3; lengths in four bytes as everybody writes them."""
    body = b"".join(parts)
    size = len(body)
    return bytes((tag, size >> 21 | 0x80, size >> 14 & 127 | 0x80, size >> 7 & 127 | 0x80)) + (
        bytes((size & 127,)) + body
    )


def _aac(track: Track, unit: bytes) -> Entry:
    config = description(track)
    if config is None:
        raise MalformedError("mp4", "aac without its configuration")
    channels = aac.parse_config(config).channels or track.channels
    decoder = bytes((_OBJECT_AAC, 0x15)) + bytes(3) + numbers(4, 0, 0)
    descriptors = _descriptor(
        3,
        numbers(2, track.id + 1) + b"\0",
        _descriptor(4, decoder, _descriptor(5, config)),
        _descriptor(6, b"\x02"),
    )
    esds = full_box("esds", 0, 0, descriptors)
    return _audio("mp4a", track, aac.codec_string(config), channels, esds)


def _opus(track: Track, unit: bytes) -> Entry:
    channels = track.channels if track.channels in (1, 2) else 2
    # No samples to skip: whoever joins a live channel joins in the middle.
    record = bytes((0, channels)) + numbers(2, 0) + numbers(4, track.clock_rate) + bytes(3)
    return _audio("Opus", track, "opus", channels, box("dOps", record))


_ENTRIES: dict[Codec, Callable[[Track, bytes], Entry]] = {
    Codec.H264: _h264,
    Codec.H265: _h265,
    Codec.AV1: _av1,
    Codec.VP9: _vp9,
    Codec.AAC: _aac,
    Codec.AAC_LATM: _aac,
    Codec.OPUS: _opus,
}
