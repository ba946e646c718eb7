"""From descriptions to a channel's tracks and back.

What a relay can carry is wider than what it understands: a medium whose codec it does not know
becomes a track with ``Codec.UNKNOWN``, relayed without being looked into.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heliograph.model.errors import UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.sdp.attributes import (
    RtpMap,
    fmtps_of,
    rtpmaps_of,
    serialize_fmtp,
)
from heliograph.protocols.sdp.description import (
    Attribute,
    Connection,
    Media,
    Origin,
    SessionDescription,
    serialize_sdp,
)

#: Track ids are one byte at the plane and in the WebSocket framing.
MAX_TRACKS = 256
#: Parameter sets kept from one fmtp; H.264 allows 32 SPS and 256 PPS, real streams have 2 or 3.
MAX_PARAMETER_SETS = 64
#: Bytes of one parameter set; real ones are below 200, scaling lists make it a few thousand.
MAX_PARAMETER_SET = 8192

#: RFC 3551 §6, tables 4 and 5: what a payload type means without an rtpmap.
STATIC_PAYLOAD_TYPES: Mapping[int, RtpMap] = {
    m.payload_type: m
    for m in (
        RtpMap(0, "PCMU", 8000, 1),
        RtpMap(3, "GSM", 8000, 1),
        RtpMap(4, "G723", 8000, 1),
        RtpMap(5, "DVI4", 8000, 1),
        RtpMap(6, "DVI4", 16000, 1),
        RtpMap(7, "LPC", 8000, 1),
        RtpMap(8, "PCMA", 8000, 1),
        RtpMap(9, "G722", 8000, 1),
        RtpMap(10, "L16", 44100, 2),
        RtpMap(11, "L16", 44100, 1),
        RtpMap(12, "QCELP", 8000, 1),
        RtpMap(14, "MPA", 90000),
        RtpMap(15, "G728", 8000, 1),
        RtpMap(16, "DVI4", 11025, 1),
        RtpMap(17, "DVI4", 22050, 1),
        RtpMap(18, "G729", 8000, 1),
        RtpMap(25, "CelB", 90000),
        RtpMap(26, "JPEG", 90000),
        RtpMap(28, "nv", 90000),
        RtpMap(31, "H261", 90000),
        RtpMap(32, "MPV", 90000),
        RtpMap(33, "MP2T", 90000),
        RtpMap(34, "H263", 90000),
    )
}

_CODECS: Mapping[str, tuple[Kind, Codec]] = {
    "h264": (Kind.VIDEO, Codec.H264),
    "h265": (Kind.VIDEO, Codec.H265),
    "hevc": (Kind.VIDEO, Codec.H265),  # as some cameras write it
    "vp8": (Kind.VIDEO, Codec.VP8),
    "vp9": (Kind.VIDEO, Codec.VP9),
    "av1": (Kind.VIDEO, Codec.AV1),
    "mpv": (Kind.VIDEO, Codec.MPEG2),
    "opus": (Kind.AUDIO, Codec.OPUS),
    "mpeg4-generic": (Kind.AUDIO, Codec.AAC),
    "mp4a-latm": (Kind.AUDIO, Codec.AAC_LATM),
    "pcmu": (Kind.AUDIO, Codec.PCMU),
    "pcma": (Kind.AUDIO, Codec.PCMA),
    "l16": (Kind.AUDIO, Codec.L16),
    "l24": (Kind.AUDIO, Codec.L24),
}

#: The encoding name written where the publisher's is not known.
_ENCODINGS: Mapping[Codec, str] = {
    Codec.H264: "H264",
    Codec.H265: "H265",
    Codec.VP8: "VP8",
    Codec.VP9: "VP9",
    Codec.AV1: "AV1",
    Codec.MPEG2: "MPV",
    Codec.OPUS: "opus",
    Codec.AAC: "mpeg4-generic",
    Codec.AAC_LATM: "MP4A-LATM",
    Codec.PCMU: "PCMU",
    Codec.PCMA: "PCMA",
    Codec.L16: "L16",
    Codec.L24: "L24",
}

#: Formats that repair or accompany another one and are never a track of their own.
_COMPANIONS = frozenset(
    ("rtx", "red", "ulpfec", "flexfec", "flexfec-03", "parityfec", "telephone-event", "cn")
)

_KINDS: Mapping[str, Kind] = {"video": Kind.VIDEO, "audio": Kind.AUDIO, "application": Kind.DATA}
_PROFILES = frozenset(("RTP/AVP", "RTP/AVPF", "RTP/AVP/UDP", "RTP/AVP/TCP", "TCP/RTP/AVP"))


@dataclass(frozen=True, slots=True)
class DescribedTrack:
    """A track and the medium it was described by."""

    track: Track
    """The track; its id is its place among the playable media."""
    media: Media
    """Where control URL, port and address are found."""
    index: int
    """Place of the medium in the description, from 0."""


@dataclass(frozen=True, slots=True)
class Multicast:
    """Where a channel is sent to many at once."""

    address: str
    """Multicast address, IPv4 or IPv6."""
    port: int
    """Even RTP port of the first track; the n-th track uses ``port + 2 n``."""
    ttl: int = 16
    """Hops the packets may take, 1–255."""


def described_tracks(description: SessionDescription) -> tuple[DescribedTrack, ...]:
    """The media that can be carried, in order, with their tracks; never raises."""
    found: list[DescribedTrack] = []
    for index, media in enumerate(description.media):
        track = _track_of(media, len(found))
        if track is not None:
            found.append(DescribedTrack(track, media, index))
    return tuple(found[:MAX_TRACKS])


def tracks_from_sdp(description: SessionDescription) -> tuple[Track, ...]:
    """The tracks of a description; ``UnsupportedError`` if none is video or audio over RTP."""
    tracks = tuple(described.track for described in described_tracks(description))
    if not any(track.kind is not Kind.DATA for track in tracks):
        raise UnsupportedError("the description has no video or audio over RTP", subject="sdp")
    return tracks


def _track_of(media: Media, track_id: int) -> Track | None:
    kind = _KINDS.get(media.kind.lower())
    if kind is None or media.protocol.upper() not in _PROFILES:
        return None
    maps, parameters = rtpmaps_of(media), fmtps_of(media)
    blind: Track | None = None
    for text in media.formats:
        if not (text.isascii() and text.isdigit() and len(text) <= 3):
            continue
        payload_type = int(text)
        rtpmap = maps.get(payload_type) or STATIC_PAYLOAD_TYPES.get(payload_type)
        if rtpmap is None or rtpmap.encoding.lower() in _COMPANIONS:
            continue
        known_kind, codec = _CODECS.get(rtpmap.encoding.lower(), (kind, Codec.UNKNOWN))
        if codec is Codec.AAC and parameters.get(payload_type, {}).get("mode", "").lower() in (
            "celp-cbr",
            "celp-vbr",
            "generic",
        ):
            codec = Codec.UNKNOWN  # mpeg4-generic carries more than AAC (RFC 3640 §3.3)
        if known_kind is not kind:
            codec = Codec.UNKNOWN
        track = Track(
            id=track_id,
            kind=kind,
            codec=codec,
            clock_rate=rtpmap.clock_rate,
            payload_type=payload_type,
            channels=_channels(rtpmap, kind, codec),
            encoding=rtpmap.encoding,
            fmtp=parameters.get(payload_type, {}),
        )
        if codec is not Codec.UNKNOWN:
            return track
        blind = blind or track
    return blind


def _channels(rtpmap: RtpMap, kind: Kind, codec: Codec) -> int:
    if kind is not Kind.AUDIO:
        return 0
    if rtpmap.channels or codec is Codec.UNKNOWN:
        return rtpmap.channels
    # Opus is always written /2 (RFC 7587 §7); without a number audio has one channel.
    return 2 if codec is Codec.OPUS else 0 if codec is Codec.AAC_LATM else 1


def _base64(text: str) -> bytes | None:
    """Decode as leniently as cameras encode: padding may be missing, blanks may be inside."""
    compact = "".join(text.split()).rstrip("=")
    if not compact or len(compact) > MAX_PARAMETER_SET * 4 // 3 + 4:
        return None
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def parameter_sets(track: Track) -> list[bytes]:
    """The parameter sets sent out of band, as NAL units without start codes, in order of use.

    H.264: sprop-parameter-sets (RFC 6184 §8.1); H.265: sprop-vps, -sps, -pps (RFC 7798 §7.1).
    What cannot be decoded is left out: the stream may bring it in band.
    """
    if track.codec is Codec.H264:
        names: tuple[str, ...] = ("sprop-parameter-sets",)
    elif track.codec is Codec.H265:
        names = ("sprop-vps", "sprop-sps", "sprop-pps")
    else:
        return []
    found: list[bytes] = []
    for name in names:
        for text in track.fmtp.get(name, "").split(",")[:MAX_PARAMETER_SETS]:
            unit = _base64(text)
            # Some encoders leave the start code on; it is not part of the NAL unit.
            if unit is not None:
                unit = unit.removeprefix(b"\0\0\0\1").removeprefix(b"\0\0\1")
            if unit:
                found.append(unit)
    return found[:MAX_PARAMETER_SETS]


def aac_lengths(track: Track) -> tuple[int, int, int]:
    """(sizelength, indexlength, indexdeltalength) of RFC 3640 §3.2.1 in bits, 0–32 each.

    All 0 for another codec. Where the lengths are missing, those that ``mode`` stands for
    (§3.3.5, §3.3.6) and else those of AAC-hbr, which every camera without a mode means.
    """
    if track.codec is not Codec.AAC:
        return (0, 0, 0)
    low = track.fmtp.get("mode", "").lower() == "aac-lbr"
    defaults = (6, 2, 2) if low else (13, 3, 3)
    if not any(n in track.fmtp for n in ("sizelength", "indexlength", "indexdeltalength")):
        return defaults
    lengths = []
    for name in ("sizelength", "indexlength", "indexdeltalength"):
        text = track.fmtp.get(name, "0")  # a length that is not written is 0 (§4.1)
        good = text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 32
        lengths.append(int(text) if good else -1)
    if -1 in lengths or lengths[0] == 0:
        return defaults
    return (lengths[0], lengths[1], lengths[2])


def sdp_for_channel(
    name: str,
    title: str,
    tracks: Sequence[Track],
    session_id: int,
    *,
    session_version: int = 1,
    origin_address: str = "127.0.0.1",
    control: str = "trackID={id}",
    multicast: Multicast | None = None,
) -> str:
    """Describe a channel to a reader.

    ``session_id`` stays the same while the channel lives, ``session_version`` rises with each
    change of the tracks. ``control`` is formatted with the track's ``id``; "" leaves control
    attributes out, as in a file for plain RTP.
    """
    version6 = ":" in (multicast.address if multicast is not None else origin_address)
    address_type = "IP6" if version6 else "IP4"
    if multicast is None:
        connection = Connection("::" if version6 else "0.0.0.0", address_type)
    else:
        ttl = None if version6 else multicast.ttl
        connection = Connection(multicast.address, address_type, ttl=ttl)
    attributes = [Attribute("tool", "heliograph"), Attribute("type", "broadcast")]
    if control:
        attributes += [Attribute("control", "*"), Attribute("range", "npt=now-")]
    description = SessionDescription(
        origin=Origin(
            "-",
            str(session_id),
            str(session_version),
            "IN",
            "IP6" if ":" in origin_address else "IP4",
            origin_address,
        ),
        name=_one_line(title) or name,
        information=name,
        connection=connection,
        attributes=tuple(attributes),
        media=tuple(
            _media_of(track, control, 0 if multicast is None else multicast.port + 2 * position)
            for position, track in enumerate(tracks)
        ),
    )
    return serialize_sdp(description)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _media_of(track: Track, control: str, port: int) -> Media:
    attributes = []
    encoding = track.encoding or _ENCODINGS.get(track.codec, "")
    if encoding:
        # One channel need not be written (RFC 8866 §6.6), and GStreamer 1.22 writes none either.
        channels = track.channels if track.kind is Kind.AUDIO and track.channels > 1 else 0
        rtpmap = RtpMap(track.payload_type, encoding, track.clock_rate, channels)
        attributes.append(Attribute("rtpmap", str(rtpmap)))
    if track.fmtp:
        attributes.append(Attribute("fmtp", serialize_fmtp(track.payload_type, track.fmtp)))
    # No direction: ONVIF, and rtspsrc with it, take "sendonly" for the way back to a camera.
    if control:
        attributes.append(Attribute("control", control.format(id=track.id)))
    kind = "application" if track.kind is Kind.DATA else str(track.kind)
    formats = (str(track.payload_type),)
    return Media(kind, port, "RTP/AVP", formats, attributes=tuple(attributes))
