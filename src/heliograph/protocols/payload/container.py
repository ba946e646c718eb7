"""From a container's streams to tracks and access units, for whoever publishes a file.

A demuxer gives packets framed as the container wants them (lengths before NAL units, ADTS headers,
little-endian samples) and the parameters apart, as extradata. Here they become what the packetizers
take and what SDP says.
"""

from __future__ import annotations

from collections.abc import Callable

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.payload import aac, h264, h265, opus, sampled

#: RFC 3551 §6: formats with a payload type of their own, at these clock rates and one channel.
STATIC_TYPES = {Codec.PCMU: (0, 8000), Codec.PCMA: (8, 8000), Codec.MPEG2: (32, 90_000)}
#: The rtpmap encoding name of each codec.
ENCODINGS = {
    Codec.H264: "H264",
    Codec.H265: "H265",
    Codec.VP8: "VP8",
    Codec.VP9: "VP9",
    Codec.AV1: "AV1",
    Codec.MPEG2: "MPV",
    Codec.OPUS: "opus",
    Codec.AAC: "mpeg4-generic",
    Codec.PCMU: "PCMU",
    Codec.PCMA: "PCMA",
    Codec.L16: "L16",
    Codec.L24: "L24",
}
#: libavcodec's names.
CODECS = {
    "h264": Codec.H264,
    "hevc": Codec.H265,
    "vp8": Codec.VP8,
    "vp9": Codec.VP9,
    "av1": Codec.AV1,
    "mpeg1video": Codec.MPEG2,
    "mpeg2video": Codec.MPEG2,
    "opus": Codec.OPUS,
    "aac": Codec.AAC,
    "pcm_mulaw": Codec.PCMU,
    "pcm_alaw": Codec.PCMA,
    "pcm_s16be": Codec.L16,
    "pcm_s16le": Codec.L16,
    "pcm_s24be": Codec.L24,
    "pcm_s24le": Codec.L24,
}
_VIDEO = frozenset(
    {Codec.H264, Codec.H265, Codec.VP8, Codec.VP9, Codec.AV1, Codec.MPEG2},
)
_LITTLE_ENDIAN = {"pcm_s16le": 2, "pcm_s24le": 3}


def describe(
    name: str,
    *,
    track_id: int,
    extradata: bytes = b"",
    sample_rate: int = 0,
    channels: int = 0,
    first_packet: bytes = b"",
) -> Track | None:
    """The track of a stream; ``None`` if RTP has no format for it.

    ``name`` is libavcodec's for the codec, not for a decoder (PyAV: ``codec.canonical_name``).

    ``first_packet`` stands in where a container has no extradata (MPEG-TS): parameter sets and ADTS
    headers are read from it. Raises ``MalformedError`` for extradata that is not the codec's.
    """
    codec = CODECS.get(name)
    if codec is None:
        return None
    fmtp: dict[str, str] = {}
    match codec:
        case Codec.H264:
            fmtp = h264.fmtp_for(h264.parse_extradata(extradata or first_packet).parameter_sets)
        case Codec.H265:
            fmtp = h265.fmtp_for(h265.parse_extradata(extradata or first_packet).parameter_sets)
        case Codec.OPUS:
            fmtp = opus.fmtp_for(channels)
        case Codec.AAC:
            fmtp = aac.fmtp_for(extradata or aac.config_from_adts(first_packet))
    clock_rate = 90_000
    if codec is Codec.OPUS:  # RFC 7587 §7: always 48 000 and two channels
        clock_rate, channels = opus.CLOCK_RATE, 2
    elif codec not in _VIDEO:
        clock_rate = sample_rate
    payload_type, rate = STATIC_TYPES.get(codec, (0, 0))
    if rate != clock_rate or channels > 1:
        payload_type = 96 + track_id % 32
    return Track(
        id=track_id,
        kind=Kind.VIDEO if codec in _VIDEO else Kind.AUDIO,
        codec=codec,
        clock_rate=clock_rate,
        payload_type=payload_type,
        channels=0 if codec in _VIDEO else channels,
        encoding=ENCODINGS[codec],
        fmtp=fmtp,
    )


def framing(name: str, extradata: bytes = b"") -> Callable[[bytes], list[bytes]]:
    """What makes of one demuxed packet the data of access units (mostly one) for a packetizer.

    The function returned raises ``MalformedError`` for packets that are not framed as extradata
    announced. With several units in an ADTS packet each lasts one AAC frame.
    """
    if name == "h264":
        length_size = h264.parse_extradata(extradata).length_size
        return lambda data: [h264.to_annexb(data, length_size)]
    if name == "hevc":
        length_size = h265.parse_extradata(extradata).length_size
        return lambda data: [h265.to_annexb(data, length_size)]
    if name == "aac" and not extradata:
        return aac.split_adts
    if name in _LITTLE_ENDIAN:
        width = _LITTLE_ENDIAN[name]
        return lambda data: [sampled.swap_bytes(data, width)]
    if name not in CODECS:
        raise MalformedError("container", f"no RTP format for {name}")
    return lambda data: [data]
