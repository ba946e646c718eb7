"""RTSP header values: Transport, Session, Range, RTP-Info, Public.

RFC 2326 §12, with the forms of RFC 7826 §18 that clients use. Every parser gives a value or
``MalformedError``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from heliograph.model.errors import MalformedError

#: Alternatives in one Transport header; players send 1 to 3.
MAX_TRANSPORTS = 16
#: Streams in one RTP-Info header; one a track.
MAX_RTP_INFO = 256
#: RFC 2326 §12.37: the time-out where the Session header has none, in seconds.
DEFAULT_TIMEOUT = 60

_NUMBER = re.compile(r"\d{1,10}", re.ASCII)
_SESSION = re.compile(r"[^\s;,]{1,256}", re.ASCII)
_NPT = re.compile(
    r"(?:(\d{1,7}):(\d{1,2}):(\d{1,2}(?:\.\d{0,9})?)|(\d{1,10}(?:\.\d{0,9})?))", re.ASCII
)
_CLOCK = re.compile(r"\d{8}T\d{6}(?:\.\d{1,9})?Z", re.ASCII)
_SMPTE = re.compile(r"\d{1,2}:\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d{1,2})?)?", re.ASCII)
_RTP_INFO_START = re.compile(r",\s*(?=url=)", re.ASCII | re.IGNORECASE)

Pair = tuple[int, int]

#: Parameters that are pairs of numbers, and the largest number each may hold.
_PAIR_LIMITS = {"interleaved": 255, "client_port": 65535, "server_port": 65535, "port": 65535}


def split_quoted(text: str, separator: str) -> Iterator[str]:
    """Split at ``separator`` where it is not inside double quotes; parts are stripped."""
    start, quoted, escaped = 0, False, False
    for position, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and quoted:
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == separator and not quoted:
            yield text[start:position].strip()
            start = position + 1
    yield text[start:].strip()


def unquote(text: str) -> str:
    """Take the double quotes and backslashes off a quoted string; other text is unchanged."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


@dataclass(frozen=True, slots=True)
class Transport:
    """One alternative of a Transport header (RFC 2326 §12.39, RFC 7826 §18.54)."""

    protocol: str = "RTP"
    """Upper case; ``RTP`` or something this project does not speak."""
    profile: str = "AVP"
    """``AVP`` or ``AVPF``; ``SAVP`` means encryption."""
    lower: Literal["UDP", "TCP"] = "UDP"
    """Lower transport; UDP where the header has none."""
    multicast: bool = False
    """Multicast; RFC 2326's default. See ``cast_stated``."""
    cast_stated: bool = True
    """Whether ``unicast`` or ``multicast`` was written; players that leave it out mean unicast."""
    interleaved: Pair | None = None
    """RTP and RTCP channel on the RTSP connection, 0–255."""
    client_port: Pair | None = None
    """Unicast RTP and RTCP port of the client."""
    server_port: Pair | None = None
    """Unicast RTP and RTCP port of the server."""
    port: Pair | None = None
    """Multicast RTP and RTCP port."""
    destination: str | None = None
    """Address to send to."""
    source: str | None = None
    """Address sent from."""
    ttl: int | None = None
    """Time to live of multicast packets, 0–255."""
    ssrc: int | None = None
    """Synchronisation source the sender will use."""
    mode: str | None = None
    """``PLAY``, ``RECORD`` or both with a comma; upper case; ``RECEIVE`` is kept as ``RECORD``."""
    rtcp_mux: bool = False
    """RTCP shares the RTP port (RFC 7826 §C.1.6.4)."""
    other: tuple[str, ...] = field(default=())
    """Parameters not understood, verbatim."""

    @property
    def is_tcp(self) -> bool:
        """Whether media are interleaved with the messages."""
        return self.lower == "TCP"

    @property
    def records(self) -> bool:
        """Whether the client is to send."""
        return self.mode is not None and "RECORD" in self.mode.split(",")

    def serialize(self) -> str:
        """The alternative as it stands in the header."""
        parts = [f"{self.protocol}/{self.profile}" + ("/TCP" if self.is_tcp else "")]
        if self.cast_stated:
            parts.append("multicast" if self.multicast else "unicast")
        parts.extend(f"{name}={value}" for name, value in self._parameters() if value is not None)
        if self.rtcp_mux:
            parts.append("RTCP-mux")
        parts.extend(self.other)
        return ";".join(parts)

    def _parameters(self) -> Iterator[tuple[str, str | None]]:
        yield "destination", self.destination
        yield "source", self.source
        yield "interleaved", _pair_text(self.interleaved)
        yield "ttl", None if self.ttl is None else str(self.ttl)
        yield "port", _pair_text(self.port)
        yield "client_port", _pair_text(self.client_port)
        yield "server_port", _pair_text(self.server_port)
        yield "ssrc", None if self.ssrc is None else f"{self.ssrc:08X}"
        yield "mode", None if self.mode is None else f'"{self.mode}"'


def _pair_text(pair: Pair | None) -> str | None:
    return None if pair is None else f"{pair[0]}-{pair[1]}"


def _pair(name: str, text: str, limit: int) -> Pair:
    first, dash, second = text.partition("-")
    first, second = first.strip(), second.strip()
    if not _NUMBER.fullmatch(first) or (dash and not _NUMBER.fullmatch(second)):
        raise MalformedError("rtsp", f"Transport {name}={text[:40]!r}")
    low = int(first)
    # One number means the next one is for RTCP (RFC 2326 §12.39).
    high = int(second) if dash else min(low + 1, limit)
    if low > limit or high > limit:
        raise MalformedError("rtsp", f"Transport {name}={text[:40]!r}")
    return low, high


def parse_transports(value: str) -> tuple[Transport, ...]:
    """Read a Transport header: alternatives in order of preference."""
    alternatives = [part for part in split_quoted(value, ",") if part]
    if not alternatives or len(alternatives) > MAX_TRANSPORTS:
        raise MalformedError("rtsp", f"Transport with {len(alternatives)} alternatives")
    return tuple(_parse_transport(part) for part in alternatives)


def serialize_transports(transports: Iterable[Transport]) -> str:
    """Write a Transport header."""
    return ",".join(transport.serialize() for transport in transports)


def _parse_transport(text: str) -> Transport:
    specification, *parameters = split_quoted(text, ";")
    protocol, *rest = specification.upper().split("/")
    if not rest or len(rest) > 2 or not protocol or not rest[0]:
        raise MalformedError("rtsp", f"Transport {specification[:40]!r}")
    lower = rest[1] if len(rest) == 2 else "UDP"
    if lower not in ("UDP", "TCP"):
        # A lower layer of another name is a protocol this project does not speak.
        return Transport(f"{protocol}/{lower}", rest[0], cast_stated=False)
    transport = Transport(protocol, rest[0], "TCP" if lower == "TCP" else "UDP", cast_stated=False)
    for parameter in parameters:
        name, equals, argument = parameter.partition("=")
        if name.strip():
            transport = _with_parameter(
                transport, name.strip().lower(), argument.strip() if equals else None, parameter
            )
    return transport


def _with_parameter(t: Transport, name: str, argument: str | None, whole: str) -> Transport:
    if argument is None:
        if name in ("unicast", "multicast"):
            return replace(t, multicast=name == "multicast", cast_stated=True)
        if name == "rtcp-mux":
            return replace(t, rtcp_mux=True)
        return replace(t, other=(*t.other, whole))
    text = unquote(argument)
    if name in _PAIR_LIMITS:
        pair = _pair(name, text, _PAIR_LIMITS[name])
        return replace(t, **{name: pair})  # type: ignore[arg-type]  # the key is one of four
    match name:
        case "destination":
            return replace(t, destination=text)
        case "source":
            return replace(t, source=text)
        case "ttl":
            return replace(t, ttl=_ttl(text))
        case "mode":
            modes = ",".join(m.strip().upper() for m in text.split(","))
            return replace(t, mode=modes.replace("RECEIVE", "RECORD"))
        case "ssrc":
            return replace(t, ssrc=_ssrc(text))
        case "dest_addr" | "src_addr":
            return _with_addresses(t, name, argument, whole)
        case _:
            return replace(t, other=(*t.other, whole))


def _ttl(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > 255:
        raise MalformedError("rtsp", f"Transport ttl={text[:20]!r}")
    return int(text)


def _ssrc(text: str) -> int | None:
    """Eight hexadecimal digits; what is not readable is dropped, servers have printed all kinds."""
    text = text.strip().split("/")[0]
    return int(text, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", text) else None


def _with_addresses(t: Transport, name: str, argument: str, whole: str) -> Transport:
    """RFC 7826 §18.54: ``dest_addr=":3456"/":3457"``, one or two addresses with ports."""
    found = [unquote(part) for part in split_quoted(argument, "/")]
    ports: list[int] = []
    host: str | None = None
    for address in found:
        host_part, colon, port = address.rpartition(":")
        if not colon or not _NUMBER.fullmatch(port) or int(port) > 65535:
            return replace(t, other=(*t.other, whole))
        host = host or host_part.strip("[]") or None
        ports.append(int(port))
    if not 1 <= len(ports) <= 2:
        return replace(t, other=(*t.other, whole))
    pair = (ports[0], ports[-1] if len(ports) == 2 or t.rtcp_mux else min(ports[0] + 1, 65535))
    if name == "src_addr":
        return replace(t, server_port=pair, source=host or t.source)
    return replace(t, client_port=pair, destination=host or t.destination)


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """``Session: id;timeout=60`` (RFC 2326 §12.37)."""

    id: str
    """Opaque, without blanks."""
    timeout: int = DEFAULT_TIMEOUT
    """Seconds without a sign of life after which the server ends the session."""

    def serialize(self) -> str:
        """The header's value as a server writes it."""
        return f"{self.id};timeout={self.timeout}"


def parse_session(value: str) -> SessionHeader:
    """Read a Session header."""
    identifier, *parameters = (part.strip() for part in value.split(";"))
    if not _SESSION.fullmatch(identifier):
        raise MalformedError("rtsp", f"Session {value[:40]!r}")
    timeout = DEFAULT_TIMEOUT
    for parameter in parameters:
        name, _, number = parameter.partition("=")
        if name.strip().lower() == "timeout" and _NUMBER.fullmatch(number.strip()):
            # 0 would mean "already over"; cameras that write it mean no limit worth stating.
            timeout = int(number) or DEFAULT_TIMEOUT
    return SessionHeader(identifier, timeout)


@dataclass(frozen=True, slots=True)
class Range:
    """``Range: npt=0-10`` (RFC 2326 §12.29). ``clock`` and ``smpte`` are checked for form only."""

    unit: str
    """``npt``, ``clock`` or ``smpte…``."""
    start: str | None = None
    """As written; ``now`` for live; ``None`` where open."""
    end: str | None = None
    """As written; ``None`` where open."""

    @property
    def start_seconds(self) -> float | None:
        """Start in seconds of normal play time; ``None`` for ``now``, open or another unit."""
        return npt_seconds(self.start) if self.unit == "npt" else None

    @property
    def end_seconds(self) -> float | None:
        """End in seconds of normal play time; ``None`` for ``now``, open or another unit."""
        return npt_seconds(self.end) if self.unit == "npt" else None

    def serialize(self) -> str:
        """The header's value."""
        return f"{self.unit}={self.start or ''}-{self.end or ''}"


#: What a live channel plays.
LIVE = Range("npt", "now")


def npt_seconds(text: str | None) -> float | None:
    """Normal play time (RFC 2326 §3.6) in seconds; ``None`` for ``now`` and for what it is not."""
    match = _NPT.fullmatch(text) if text is not None else None
    if match is None:
        return None
    if match[4] is not None:
        return float(match[4])
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def parse_range(value: str) -> Range:
    """Read a Range header; a ``time=`` parameter is not kept."""
    unit, equals, rest = value.partition(";")[0].partition("=")
    unit, rest = unit.strip().lower(), rest.strip()
    start, dash, end = rest.partition("-")
    start, end = start.strip(), end.strip()
    if unit == "npt":
        good = all(not t or t == "now" or _NPT.fullmatch(t) for t in (start, end))
    elif unit == "clock":
        good = all(not t or _CLOCK.fullmatch(t) for t in (start, end))
    else:
        good = unit.startswith("smpte") and all(not t or _SMPTE.fullmatch(t) for t in (start, end))
    # "npt=5" without the dash is seen from simple clients; it means from there on.
    if not equals or not good or not (start or end) or (not dash and unit != "npt"):
        raise MalformedError("rtsp", f"Range {value[:80]!r}")
    return Range(unit, start or None, end or None)


@dataclass(frozen=True, slots=True)
class RtpInfo:
    """One stream of an RTP-Info header (RFC 2326 §12.33, RFC 7826 §18.45)."""

    url: str
    """The stream's SETUP URL."""
    seq: int | None = None
    """Sequence number of the first packet, 0–65 535."""
    rtptime: int | None = None
    """RTP timestamp that belongs to the start of the range, 0–2³²−1."""


def parse_rtp_info(value: str) -> tuple[RtpInfo, ...]:
    """Read an RTP-Info header; URLs may hold commas, so it is cut before ``url=``."""
    found: list[RtpInfo] = []
    for entry in _RTP_INFO_START.split(value.strip()):
        if not entry[:4].lower() == "url=":
            raise MalformedError("rtsp", f"RTP-Info {value[:80]!r}")
        seq = re.search(r"[;:\s]seq=(\d{1,10})", entry, re.ASCII | re.IGNORECASE)
        rtptime = re.search(r"[;:\s]rtptime=(\d{1,10})", entry, re.ASCII | re.IGNORECASE)
        ends = [m.start() for m in (seq, rtptime) if m is not None]
        url = entry[4 : min(ends, default=len(entry))]
        if url.startswith('"'):  # 2.0: url="…" ssrc=0A13C760:seq=45102;rtptime=…
            url = url[1:].partition('"')[0]
        if len(found) == MAX_RTP_INFO:
            raise MalformedError("rtsp", f"RTP-Info with more than {MAX_RTP_INFO} streams")
        found.append(
            RtpInfo(
                url.strip(),
                # Cameras print 32-bit counters here; what counts is what the packets will show.
                None if seq is None else int(seq[1]) & 0xFFFF,
                None if rtptime is None else int(rtptime[1]) & 0xFFFFFFFF,
            )
        )
    return tuple(found)


def serialize_rtp_info(streams: Iterable[RtpInfo]) -> str:
    """Write an RTP-Info header in the form of RFC 2326."""
    written = []
    for stream in streams:
        text = f"url={stream.url}"
        if stream.seq is not None:
            text += f";seq={stream.seq}"
        if stream.rtptime is not None:
            text += f";rtptime={stream.rtptime}"
        written.append(text)
    return ",".join(written)


def parse_tokens(value: str) -> frozenset[str]:
    """Read Public, Allow, Require and other lists of tokens."""
    return frozenset(token for token in re.split(r"[,\s]+", value) if token)


def parse_scale(value: str) -> float:
    """Read a Scale or Speed header (RFC 2326 §12.34)."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise MalformedError("rtsp", f"Scale {value[:20]!r}")
    return number
