"""Payload formats: between RTP packets and the access units that codecs and players take.

One module a format, its RFC at the top; ``base`` has what they share. Here are the choices by
codec. Used by whoever looks into media: the publisher, the pictures, the probe, the player.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec, Track
from heliograph.protocols.payload import (
    aac,
    av1,
    h264,
    h265,
    latm,
    mpeg2,
    nal,
    opus,
    sampled,
    vp8,
    vp9,
)
from heliograph.protocols.payload.base import (
    DEFAULT_PAYLOAD_SIZE,
    MAX_UNIT_SIZE,
    AccessUnit,
    Depacketizer,
    Packetizer,
    Payload,
)

__all__ = [
    "DEFAULT_PAYLOAD_SIZE",
    "MAX_UNIT_SIZE",
    "AccessUnit",
    "Depacketizer",
    "Packetizer",
    "Payload",
    "codec_string",
    "depacketizer",
    "description",
    "packetizer",
    "starts_keyframe",
]

_STARTS: dict[Codec, Callable[[bytes], bool]] = {
    Codec.H264: h264.starts_keyframe,
    Codec.H265: h265.starts_keyframe,
    Codec.VP8: vp8.starts_keyframe,
    Codec.VP9: vp9.starts_keyframe,
    Codec.AV1: av1.starts_keyframe,
    Codec.MPEG2: mpeg2.starts_keyframe,
}
_AUDIO = frozenset(
    {
        Codec.OPUS,
        Codec.AAC,
        Codec.AAC_LATM,
        Codec.PCMU,
        Codec.PCMA,
        Codec.L16,
        Codec.L24,
    }
)


def _unsupported(what: str, codec: Codec) -> UnsupportedError:
    return UnsupportedError(f"no {what} for {codec.value}", subject=codec.value)


def starts_keyframe(codec: Codec, payload: bytes) -> bool:
    """Whether a decoder can begin with this packet. Never raises; audio always can."""
    starts = _STARTS.get(codec)
    return starts(payload) if starts else codec in _AUDIO and len(payload) > 0


def _sets(track: Track) -> Sequence[bytes]:
    """Parameter sets of SDP. Ill-formed ones are left out: those in the stream will do."""
    read = h264.parameter_sets if track.codec is Codec.H264 else h265.parameter_sets
    found = []
    with contextlib.suppress(MalformedError):
        for candidate in read(track.fmtp):
            with contextlib.suppress(MalformedError):
                if track.codec is Codec.H264:
                    h264.H264Depacketizer([candidate])
                else:
                    h265.H265Depacketizer([candidate])
                found.append(candidate)
    return found[: nal.MAX_PARAMETER_SETS]


_DEPACKETIZERS: dict[Codec, Callable[[Track], Depacketizer]] = {
    Codec.H264: lambda track: h264.H264Depacketizer(_sets(track)),
    Codec.H265: lambda track: h265.H265Depacketizer(_sets(track)),
    Codec.VP8: lambda track: vp8.Vp8Depacketizer(),
    Codec.VP9: lambda track: vp9.Vp9Depacketizer(),
    Codec.AV1: lambda track: av1.Av1Depacketizer(),
    Codec.MPEG2: lambda track: mpeg2.Mpeg2Depacketizer(),
    Codec.OPUS: lambda track: opus.OpusDepacketizer(),
    Codec.AAC: lambda track: aac.AacDepacketizer(track.fmtp, track.clock_rate),
    Codec.AAC_LATM: lambda track: latm.LatmDepacketizer(track.fmtp, track.clock_rate),
    **dict.fromkeys(
        sampled.WIDTH, lambda track: sampled.SampledDepacketizer(track.codec, track.channels)
    ),
}


def depacketizer(track: Track) -> Depacketizer:
    """The depacketizer of a track as SDP describes it.

    Raises ``UnsupportedError`` for a codec or an interleaving that is not known here,
    ``MalformedError`` for format parameters without which units cannot be told apart.
    """
    fmtp = track.fmtp
    if fmtp.get("packetization-mode", "0").strip() == "2":
        raise _unsupported("interleaved mode", track.codec)
    if fmtp.get("sprop-max-don-diff", "0").strip() not in ("0", ""):
        raise _unsupported("decoding order numbers", track.codec)
    if track.codec not in _DEPACKETIZERS:
        raise _unsupported("depacketizer", track.codec)
    return _DEPACKETIZERS[track.codec](track)


def packetizer(
    codec: Codec, *, channels: int = 1, max_size: int = DEFAULT_PAYLOAD_SIZE
) -> Packetizer:
    """The packetizer of a codec; ``channels`` matters for sampled audio only.

    Raises ``UnsupportedError`` where there is none.
    """
    match codec:
        case Codec.H264:
            return h264.H264Packetizer(max_size)
        case Codec.H265:
            return h265.H265Packetizer(max_size)
        case Codec.VP8:
            return vp8.Vp8Packetizer(max_size)
        case Codec.VP9:
            return vp9.Vp9Packetizer(max_size)
        case Codec.AV1:
            return av1.Av1Packetizer(max_size)
        case Codec.MPEG2:
            return mpeg2.Mpeg2Packetizer(max_size)
        case Codec.OPUS:
            return opus.OpusPacketizer()
        case Codec.AAC:
            return aac.AacPacketizer(max_size)
        case Codec.PCMU | Codec.PCMA | Codec.L16 | Codec.L24:
            return sampled.SampledPacketizer(codec, channels, max_size)
    raise _unsupported("packetizer", codec)


def description(track: Track) -> bytes | None:
    """What a decoder needs beside the units: AAC's AudioSpecificConfig; otherwise ``None``."""
    with contextlib.suppress(MalformedError):
        if track.codec is Codec.AAC:
            return aac.config_from_fmtp(track.fmtp)
        if track.codec is Codec.AAC_LATM:
            config = latm.mux_config_from_fmtp(track.fmtp)
            return None if config is None else config.config
    return None


_FIXED_STRINGS = {
    Codec.VP8: "vp8",
    Codec.OPUS: "opus",
    Codec.PCMU: "ulaw",
    Codec.PCMA: "alaw",
}


def codec_string(track: Track, unit: bytes = b"") -> str | None:
    """The codec string of WebCodecs' registry, as exact as track and a key unit allow.

    ``None`` where it cannot be told (yet), or where browsers have no such codec.
    """
    with contextlib.suppress(MalformedError):
        match track.codec:
            case Codec.H264:
                return _h264_string(track, unit)
            case Codec.H265:
                sets = [*nal.split_annexb(unit), *_sets(track)]
                sps = next((s for s in sets if h265.nal_type(s) == h265.SPS), None)
                return None if sps is None else h265.codec_string(sps)
            case Codec.VP9:
                return vp9.codec_string(unit)
            case Codec.AV1:
                return av1.codec_string_of(unit) or "av01.0.04M.08"
            case Codec.AAC | Codec.AAC_LATM:
                config = description(track)
                return None if config is None else aac.codec_string(config)
    return _FIXED_STRINGS.get(track.codec)


def _h264_string(track: Track, unit: bytes) -> str | None:
    sets = [*nal.split_annexb(unit), *_sets(track)]
    sps = next((s for s in sets if h264.nal_type(s) == h264.SPS), None)
    if sps is not None:
        return h264.codec_string(sps)
    level = track.fmtp.get("profile-level-id", "")
    with contextlib.suppress(ValueError):
        if len(bytes.fromhex(level)) == 3:
            return f"avc1.{level.lower()}"
    return None
