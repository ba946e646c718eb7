"""Session descriptions as lines and values (RFC 8866), before anything is made of them.

The grammar of RFC 8866 §9 is strict and no player follows it: cameras leave ``v=``, ``s=`` or
``t=`` out, end lines with LF alone, and invent attributes. So every line but ``m=`` may be missing,
order within a section does not matter, and unknown attributes are kept in order. What bounds a
description are its size and its counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from heliograph.model.errors import MalformedError, TooLargeError

#: Real descriptions have 0.3 to 4 KiB; a browser's offer with every codec about 12 KiB.
MAX_SDP = 64 * 1024
#: A channel has at most 256 tracks; nobody describes more than a handful of media.
MAX_MEDIA = 64
#: Attributes of one section. A browser writes about 200 for one video medium.
MAX_ATTRIBUTES = 1024
#: Formats named on one ``m=`` line; there are only 128 RTP payload types.
MAX_FORMATS = 128


@dataclass(frozen=True, slots=True)
class Attribute:
    """One ``a=`` line (RFC 8866 §5.13)."""

    name: str
    """What stands before the colon, case kept."""
    value: str | None = None
    """What follows the colon; ``None`` for a property attribute such as ``recvonly``."""

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The ``o=`` line (RFC 8866 §5.2); all as written."""

    username: str = "-"
    """``-`` where the host has no users."""
    session_id: str = "0"
    """Decimal digits by the RFC; some cameras write anything."""
    session_version: str = "0"
    """Rises with each change of the description."""
    network: str = "IN"
    """``IN``: the Internet."""
    address_type: str = "IP4"
    """``IP4`` or ``IP6``."""
    address: str = "0.0.0.0"
    """The machine that made the session; not where media come from."""

    def __str__(self) -> str:
        return (
            f"{self.username} {self.session_id} {self.session_version} "
            f"{self.network} {self.address_type} {self.address}"
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """The ``c=`` line (RFC 8866 §5.7)."""

    address: str
    """Address or host name without its suffixes."""
    address_type: str = "IP4"
    """``IP4`` or ``IP6``."""
    network: str = "IN"
    """``IN``: the Internet."""
    ttl: int | None = None
    """Time to live of an IPv4 multicast address, 0–255."""
    count: int | None = None
    """How many contiguous addresses; ``None`` means one."""

    def __str__(self) -> str:
        suffix = "" if self.ttl is None else f"/{self.ttl}"
        suffix += "" if self.count is None else f"/{self.count}"
        return f"{self.network} {self.address_type} {self.address}{suffix}"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A ``b=`` line (RFC 8866 §5.8, RFC 3890)."""

    type: str
    """``AS`` and ``CT`` count kbit/s, ``TIAS``, ``RS`` and ``RR`` bit/s."""
    value: str
    """Decimal digits as written."""

    def __str__(self) -> str:
        return f"{self.type}:{self.value}"


@dataclass(frozen=True, slots=True)
class Media:
    """One ``m=`` line and what belongs to it (RFC 8866 §5.14)."""

    kind: str
    """``video``, ``audio``, ``application``, ``text``, ``message`` or another word."""
    port: int
    """RTP port, 0–65535; 0 in RTSP, where SETUP agrees on the ports."""
    protocol: str
    """Transport profile such as ``RTP/AVP``."""
    formats: tuple[str, ...]
    """Payload types, best first."""
    port_count: int | None = None
    """How many port pairs; ``None`` means one."""
    title: str | None = None
    """The ``i=`` line."""
    connection: Connection | None = None
    """The ``c=`` line of this medium; the session's holds where there is none."""
    bandwidths: tuple[Bandwidth, ...] = ()
    """``b=`` lines in order."""
    key: str | None = None
    """The obsolete ``k=`` line, kept and never used."""
    attributes: tuple[Attribute, ...] = ()
    """``a=`` lines in order, unknown ones too."""

    def attribute(self, name: str) -> str | None:
        """The first value of attribute ``name``; "" for a property attribute, else ``None``."""
        return next(self.values(name), None)

    def values(self, name: str) -> Iterator[str]:
        """Every value of attribute ``name``, in order."""
        return _values(self.attributes, name)


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description (RFC 8866 §5)."""

    version: str = "0"
    """The ``v=`` line; always 0."""
    origin: Origin | None = None
    """The ``o=`` line, ``None`` where it is missing or not readable."""
    name: str | None = None
    """The ``s=`` line."""
    information: str | None = None
    """The session's ``i=`` line."""
    contacts: tuple[tuple[str, str], ...] = ()
    """``u=``, ``e=`` and ``p=`` lines in order, as (letter, value)."""
    connection: Connection | None = None
    """The session's ``c=`` line."""
    bandwidths: tuple[Bandwidth, ...] = ()
    """``b=`` lines in order."""
    timing: tuple[tuple[str, str], ...] = (("t", "0 0"),)
    """``t=``, ``r=`` and ``z=`` lines in order, as (letter, value)."""
    key: str | None = None
    """The obsolete ``k=`` line, kept and never used."""
    attributes: tuple[Attribute, ...] = ()
    """The session's ``a=`` lines in order, unknown ones too."""
    media: tuple[Media, ...] = field(default=())
    """The media in order."""

    def attribute(self, name: str) -> str | None:
        """The first value of session attribute ``name``; "" for a property, else ``None``."""
        return next(self.values(name), None)

    def values(self, name: str) -> Iterator[str]:
        """Every value of session attribute ``name``, in order."""
        return _values(self.attributes, name)

    def __str__(self) -> str:
        return serialize_sdp(self)


def _values(attributes: tuple[Attribute, ...], name: str) -> Iterator[str]:
    wanted = name.lower()
    return (a.value or "" for a in attributes if a.name.lower() == wanted)


def parse_sdp(text: str | bytes) -> SessionDescription:
    """Parse a description.

    ``MalformedError`` for what cannot be a description, ``TooLargeError`` above ``MAX_SDP`` bytes.
    Bytes are UTF-8 (RFC 8866 §5); others, as some cameras write into ``s=``, are replaced.
    """
    if len(text) > MAX_SDP:
        raise TooLargeError(f"SDP above {MAX_SDP} bytes", subject="sdp")
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    # Some servers end the body with NUL; BOM is left by editors in .sdp files.
    text = text.lstrip("\ufeff").rstrip("\0")
    session = _Section()
    sections = [session]
    seen_line = False
    for number, raw in enumerate(text.replace("\r", "\n").split("\n"), start=1):
        line = raw.rstrip(" \t")
        if not line:
            continue
        if "\0" in line:
            raise MalformedError("sdp", "NUL byte", offset=number)
        if len(line) < 2 or line[1] != "=":
            # Junk between lines is passed over as players do; a body that begins with it is no SDP.
            if not seen_line:
                raise MalformedError("sdp", f"no type=value line: {line[:40]!r}", offset=number)
            continue
        seen_line = True
        letter, value = line[0], raw[2:]
        if letter == "m":
            if len(sections) > MAX_MEDIA:
                raise MalformedError("sdp", f"more than {MAX_MEDIA} media", offset=number)
            sections.append(_Section(media=_parse_media(value, number)))
        else:
            sections[-1].take(letter, value, number)
    if not seen_line:
        raise MalformedError("sdp", "empty")
    return session.as_session(tuple(section.as_media() for section in sections[1:]))


class _Section:
    """Collects the lines of the session or of one medium."""

    def __init__(self, media: Media | None = None) -> None:
        self.media = media
        self.single: dict[str, str] = {}
        self.contacts: list[tuple[str, str]] = []
        self.timing: list[tuple[str, str]] = []
        self.bandwidths: list[Bandwidth] = []
        self.attributes: list[Attribute] = []
        self.connection: Connection | None = None

    def take(self, letter: str, value: str, number: int) -> None:
        lines = len(self.contacts) + len(self.timing) + len(self.bandwidths) + len(self.attributes)
        if lines >= MAX_ATTRIBUTES:
            raise MalformedError("sdp", f"more than {MAX_ATTRIBUTES} lines in one section")
        if letter == "a":
            name, colon, rest = value.partition(":")
            self.attributes.append(Attribute(name.strip(), rest if colon else None))
        elif letter == "b":
            kind, colon, rest = value.partition(":")
            if colon:
                self.bandwidths.append(Bandwidth(kind, rest))
        elif letter == "c":
            # The first one holds; further ones name layers on further addresses.
            if self.connection is None:
                self.connection = _parse_connection(value, number)
        elif letter in "uep":
            self.contacts.append((letter, value))
        elif letter in "trz":
            self.timing.append((letter, value))
        elif letter in "vosik":
            self.single.setdefault(letter, value)
        # Other letters are passed over: RFC 8866 §5 would drop the whole, players do not.

    def as_media(self) -> Media:
        assert self.media is not None
        return replace(
            self.media,
            title=self.single.get("i"),
            connection=self.connection,
            bandwidths=tuple(self.bandwidths),
            key=self.single.get("k"),
            attributes=tuple(self.attributes),
        )

    def as_session(self, media: tuple[Media, ...]) -> SessionDescription:
        return SessionDescription(
            version=self.single.get("v", "0"),
            origin=_parse_origin(self.single["o"]) if "o" in self.single else None,
            name=self.single.get("s"),
            information=self.single.get("i"),
            contacts=tuple(self.contacts),
            connection=self.connection,
            bandwidths=tuple(self.bandwidths),
            timing=tuple(self.timing),
            key=self.single.get("k"),
            attributes=tuple(self.attributes),
            media=media,
        )


def _parse_origin(value: str) -> Origin | None:
    # User names with blanks are seen in the wild: count from the right.
    parts = value.rsplit(None, 5)
    return Origin(*parts) if len(parts) == 6 else None


def _small_number(text: str, limit: int) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 6 and int(text) <= limit:
        return int(text)
    return None


def _parse_connection(value: str, number: int) -> Connection | None:
    parts = value.split()
    if len(parts) != 3:
        return None  # "c=IN IP4" with no address: treated as not there
    network, address_type, address = parts
    address, *suffixes = address.split("/")
    numbers = [_small_number(suffix, 65535) for suffix in suffixes]
    if len(numbers) > 2 or None in numbers:
        raise MalformedError("sdp", f"address {parts[2][:80]!r}", offset=number)
    if address_type.upper() == "IP6":  # IPv6 has no TTL here (RFC 8866 §5.7)
        return Connection(address, address_type, network, None, numbers[0] if numbers else None)
    ttl = numbers[0] if numbers else None
    if ttl is not None and ttl > 255:
        raise MalformedError("sdp", f"time to live {ttl}", offset=number)
    return Connection(address, address_type, network, ttl, numbers[1] if numbers[1:] else None)


def _parse_media(value: str, number: int) -> Media:
    parts = value.split()
    if len(parts) < 3 or len(parts) > 3 + MAX_FORMATS:
        raise MalformedError("sdp", f"m={value[:80]!r}", offset=number)
    kind, port_text, protocol = parts[:3]
    port_text, slash, count_text = port_text.partition("/")
    port = _small_number(port_text, 65535)
    count = _small_number(count_text, 65535) if slash else None
    if port is None or (slash and count is None):
        raise MalformedError("sdp", f"port {parts[1][:20]!r}", offset=number)
    return Media(kind, port, protocol, tuple(parts[3:]), count)


def serialize_sdp(description: SessionDescription) -> str:
    """Write a description with CRLF, in the order of RFC 8866 §5."""
    d = description
    lines = [f"v={d.version}"]
    if d.origin is not None:
        lines.append(f"o={d.origin}")
    if d.name is not None:
        lines.append(f"s={d.name}")
    if d.information is not None:
        lines.append(f"i={d.information}")
    lines.extend(f"{letter}={value}" for letter, value in d.contacts)
    if d.connection is not None:
        lines.append(f"c={d.connection}")
    lines.extend(f"b={bandwidth}" for bandwidth in d.bandwidths)
    lines.extend(f"{letter}={value}" for letter, value in d.timing)
    if d.key is not None:
        lines.append(f"k={d.key}")
    lines.extend(f"a={attribute}" for attribute in d.attributes)
    for medium in d.media:
        ports = "" if medium.port_count is None else f"/{medium.port_count}"
        head = [medium.kind, f"{medium.port}{ports}", medium.protocol, *medium.formats]
        lines.append("m=" + " ".join(head))
        if medium.title is not None:
            lines.append(f"i={medium.title}")
        if medium.connection is not None:
            lines.append(f"c={medium.connection}")
        lines.extend(f"b={bandwidth}" for bandwidth in medium.bandwidths)
        if medium.key is not None:
            lines.append(f"k={medium.key}")
        lines.extend(f"a={attribute}" for attribute in medium.attributes)
    return "\r\n".join(lines) + "\r\n"
