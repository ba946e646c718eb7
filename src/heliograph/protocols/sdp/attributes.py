"""The attributes a relay reads: rtpmap, fmtp, range, rtcp, ssrc, source-filter and their kin.

Each ``parse_*`` takes the attribute's value and gives a value, or ``MalformedError``.
``*_of`` helpers take a section, skip what cannot be read, and give what is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from heliograph.model.errors import MalformedError
from heliograph.protocols.sdp.description import Attribute, Media, SessionDescription

#: Clock rates are 32-bit in every RTP library; 1 GHz is above every registered one.
MAX_CLOCK_RATE = 1_000_000_000
#: RFC 8866 sets no limit; 255 is what fits in AES67's and every codec's channel count.
MAX_AUDIO_CHANNELS = 255

_RTPMAP = re.compile(r"\s*(\d{1,3})\s+([^\s/]+)\s*/\s*(\d{1,10})\s*(?:/\s*(\d{1,3})\s*)?", re.ASCII)
_PAYLOAD_TYPE = re.compile(r"\s*(\d{1,3})(?:\s+|$)", re.ASCII)


class Direction(StrEnum):
    """Who sends (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


_DIRECTIONS = frozenset(direction.value for direction in Direction)


@dataclass(frozen=True, slots=True)
class RtpMap:
    """``a=rtpmap:<type> <encoding>/<clock>[/<channels>]`` (RFC 8866 §6.6)."""

    payload_type: int
    """RTP payload type, 0–127."""
    encoding: str
    """Encoding name as written; compared without regard to case."""
    clock_rate: int
    """RTP timestamp units a second."""
    channels: int = 0
    """Audio channels; 0 where not written (which means 1 for audio)."""

    def __str__(self) -> str:
        channels = f"/{self.channels}" if self.channels else ""
        return f"{self.payload_type} {self.encoding}/{self.clock_rate}{channels}"


@dataclass(frozen=True, slots=True)
class RtcpPort:
    """``a=rtcp:<port> [IN IP4 <address>]`` (RFC 3605 §2.1)."""

    port: int
    """RTCP port, 1–65535."""
    address: str | None = None
    """Address where it differs from the medium's connection address."""


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """``a=source-filter: incl IN IP4 <destination> <source>…`` (RFC 4570 §3)."""

    include: bool
    """``incl``: only these sources; otherwise ``excl``: all but these."""
    destination: str
    """Multicast address the filter is for, or ``*``."""
    sources: tuple[str, ...]
    """Source addresses, at least one."""


@dataclass(frozen=True, slots=True)
class Ssrc:
    """``a=ssrc:<id> <attribute>[:<value>]`` (RFC 5576 §4.1)."""

    ssrc: int
    """Synchronisation source, 0–2³²−1."""
    attribute: str
    """Such as ``cname``."""
    value: str | None = None
    """What follows the attribute's colon."""


class _Attributed(Protocol):
    """The session or a medium."""

    @property
    def attributes(self) -> tuple[Attribute, ...]: ...


def parse_rtpmap(value: str) -> RtpMap:
    """Read the value of an rtpmap attribute."""
    match = _RTPMAP.fullmatch(value)
    if match is None:
        raise MalformedError("sdp", f"rtpmap {value[:80]!r}")
    payload_type, clock_rate = int(match[1]), int(match[3])
    channels = int(match[4] or 0)
    if payload_type > 127 or not 1 <= clock_rate <= MAX_CLOCK_RATE or channels > MAX_AUDIO_CHANNELS:
        raise MalformedError("sdp", f"rtpmap out of range: {value[:80]!r}")
    return RtpMap(payload_type, match[2], clock_rate, channels)


def parse_fmtp(value: str) -> tuple[int, dict[str, str]]:
    """Read an fmtp attribute: payload type, and parameters as ``parse_parameters`` has them."""
    match = _PAYLOAD_TYPE.match(value)
    if match is None or int(match[1]) > 127:
        raise MalformedError("sdp", f"fmtp {value[:80]!r}")
    return int(match[1]), parse_parameters(value[match.end() :])


def parse_parameters(text: str) -> dict[str, str]:
    """Read format parameters, as they stand behind an fmtp's payload type; names in lower case.

    Values are verbatim but for blanks around them; a parameter without ``=`` has the value "".
    Where a name comes twice the first one holds.
    """
    parameters: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name := name.strip().lower():
            parameters.setdefault(name, value.strip())
    return parameters


def serialize_fmtp(payload_type: int, parameters: Mapping[str, str]) -> str:
    """Write the value of an fmtp attribute."""
    return f"{payload_type} {serialize_parameters(parameters)}"


def serialize_parameters(parameters: Mapping[str, str]) -> str:
    """Write format parameters without a payload type."""
    return ";".join(f"{name}={value}" if value else name for name, value in parameters.items())


def parse_rtcp(value: str) -> RtcpPort:
    """Read the value of an rtcp attribute."""
    parts = value.split()
    if not parts or not re.fullmatch(r"\d{1,5}", parts[0], re.ASCII) or len(parts) not in (1, 4):
        raise MalformedError("sdp", f"rtcp {value[:80]!r}")
    port = int(parts[0])
    if not 1 <= port <= 65535:
        raise MalformedError("sdp", f"rtcp port {port}")
    return RtcpPort(port, parts[3] if len(parts) == 4 else None)


def parse_source_filter(value: str) -> SourceFilter:
    """Read the value of a source-filter attribute."""
    parts = value.split()
    if len(parts) < 5 or parts[0].lower() not in ("incl", "excl"):
        raise MalformedError("sdp", f"source-filter {value[:80]!r}")
    return SourceFilter(parts[0].lower() == "incl", parts[3], tuple(parts[4:]))


def parse_ssrc(value: str) -> Ssrc:
    """Read the value of an ssrc attribute."""
    number, _, rest = value.strip().partition(" ")
    if not re.fullmatch(r"\d{1,10}", number, re.ASCII) or int(number) >= 1 << 32:
        raise MalformedError("sdp", f"ssrc {value[:80]!r}")
    attribute, colon, text = rest.strip().partition(":")
    return Ssrc(int(number), attribute, text if colon else None)


def rtpmaps_of(media: Media) -> dict[int, RtpMap]:
    """The readable rtpmaps of a medium by payload type; the first one of a type holds."""
    maps: dict[int, RtpMap] = {}
    for value in media.values("rtpmap"):
        try:
            rtpmap = parse_rtpmap(value)
        except MalformedError:
            continue
        maps.setdefault(rtpmap.payload_type, rtpmap)
    return maps


def fmtps_of(media: Media) -> dict[int, dict[str, str]]:
    """The readable format parameters of a medium by payload type; lines of one type are merged."""
    found: dict[int, dict[str, str]] = {}
    for value in media.values("fmtp"):
        try:
            payload_type, parameters = parse_fmtp(value)
        except MalformedError:
            continue
        known = found.setdefault(payload_type, {})
        for name, text in parameters.items():
            known.setdefault(name, text)
    return found


def direction_of(media: Media, session: SessionDescription | None = None) -> Direction:
    """The direction of a medium; the session's holds where it has none (RFC 8866 §6.7)."""
    sections: list[_Attributed] = [media] if session is None else [media, session]
    for section in sections:
        for attribute in section.attributes:
            if attribute.value is None and attribute.name.lower() in _DIRECTIONS:
                return Direction(attribute.name.lower())
    return Direction.SENDRECV


def framerate_of(media: Media) -> float | None:
    """Frames a second (RFC 8866 §6.13), if said and credible (above 0, at most 1000)."""
    text = media.attribute("framerate")
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if math.isfinite(rate) and 0 < rate <= 1000 else None


def rtcp_of(media: Media) -> RtcpPort | None:
    """The RTCP port of a medium if stated; it is the RTP port plus one otherwise."""
    value = media.attribute("rtcp")
    try:
        return None if value is None else parse_rtcp(value)
    except MalformedError:
        return None


def rtcp_mux_of(media: Media) -> bool:
    """Whether RTP and RTCP share a port (RFC 5761 §5.1.3)."""
    return media.attribute("rtcp-mux") is not None


def ssrcs_of(media: Media) -> tuple[int, ...]:
    """The synchronisation sources named for a medium, each once, in order."""
    found: dict[int, None] = {}
    for value in media.values("ssrc"):
        try:
            found[parse_ssrc(value).ssrc] = None
        except MalformedError:
            continue
    return tuple(found)


def source_filters_of(media: Media, session: SessionDescription) -> tuple[SourceFilter, ...]:
    """The source filters that hold for a medium; its own replace the session's (RFC 4570 §3)."""
    for values in (media.values("source-filter"), session.values("source-filter")):
        filters = []
        for value in values:
            try:
                filters.append(parse_source_filter(value))
            except MalformedError:
                continue
        if filters:
            return tuple(filters)
    return ()
