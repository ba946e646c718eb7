"""What the fields of servers, titles and files may hold; ``MalformedError`` says what is wrong.

Each function gives the value as it is stored.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from heliograph.catalogue.contents.values import Format, Probe, ProbeKind
from heliograph.catalogue.names import clean_line
from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.model.media import CHANNEL_NAME

#: Characters of a physical address: with its title it has to fit PostgreSQL's index (2 704 bytes).
MAX_URI = 2000
#: Characters of a region's name.
MAX_REGION = 64
#: Characters of the code of a classification or a level.
MAX_CODE = 32
#: Characters of a title: it stands on one line.
MAX_TITLE = 200
#: Characters of a description: a page shows it in one piece.
MAX_DESCRIPTION = 4000
#: Characters of the name of a server's software, and of a file's codecs.
MAX_MAKE = 64
MAX_CODECS = 100
#: Years of age that a level can want.
MAX_AGE = 120
#: Characters of what a search looks through.
MAX_SOUGHT = 600
#: Classifications, and regions, of one title.
MAX_OF_TITLE = 64
#: Probes of one server: each kind with two or three addresses.
MAX_PROBES = 8
#: Shortest and longest span from one probe to the next, seconds.
PROBE_SPAN = (0.1, 3600.0)
#: Characters of a probe's path.
MAX_PATH = 1000
#: What 64 bits hold, and numbers of JSON's readers too.
MAX_NUMBER = 2**53
#: Sessions, and pixels: what 32 bits hold.
MAX_SMALL = 2**31 - 1
#: Seconds: longer than anything that is played in one piece.
MAX_DURATION = 366 * 86_400.0
#: A weight above this says no more than this one.
MAX_WEIGHT = 1_000_000.0

_CODE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_CODE - 1}}}")
_POLICY = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
#: RFC 3986, section 2: what a URI is made of.
_URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: These do something else than to play what a server holds.
_NOT_MEDIA = frozenset({"javascript", "data", "file", "blob", "about", "vbscript", "view-source"})
_PROBE = re.compile(
    r"(?P<kind>[a-z]+)(?:@(?P<interval>[0-9.]+))?(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)
#: Of a probe whose parts are in another order.
_SECONDS_LAST = re.compile(r"/.*@[\d.]+$")


def name(value: str, what: str) -> str:
    """The name of a server or a title, which is part of addresses."""
    if not CHANNEL_NAME.fullmatch(value):
        raise MalformedError(what, f"{value[:80]!r} (1 to 64 letters, digits, '.', '_' or '-')")
    return value


def line(value: str, what: str, limit: int) -> str:
    """One line of text for people."""
    return clean_line(value, limit=limit, what=what)


def text(value: str, what: str, limit: int) -> str:
    """Text of several lines."""
    if len(value) > limit:
        raise TooLargeError(f"{what} longer than {limit} characters", subject=what)
    lines = (clean_line(one, limit=limit, what=what) for one in value.splitlines())
    return "\n".join(lines).strip()


def region(value: str) -> str:
    """A region's name."""
    return clean_line(value, limit=MAX_REGION, what="region")


def regions(values: Iterable[str]) -> tuple[str, ...]:
    """Several, in order, each once."""
    found = sorted({region(one) for one in _few(values, "regions")} - {""})
    return tuple(found)


def code(value: str, what: str) -> str:
    """The code of a classification or a level."""
    if not _CODE.fullmatch(value):
        raise MalformedError(
            what, f"{value[:80]!r} (1 to {MAX_CODE} letters, digits, '.', '_' or '-')"
        )
    return value


def codes(values: Iterable[str]) -> tuple[str, ...]:
    """Codes of classifications, in order, each once."""
    return tuple(sorted({code(one, "class") for one in _few(values, "classes")}))


def policy(value: str) -> str:
    """The name of a policy, or nothing."""
    if value and not _POLICY.fullmatch(value):
        raise MalformedError("policy", f"{value[:80]!r} (lower case letters, digits and dashes)")
    return value


def host(value: str) -> str:
    """A name or a numeric address, without brackets."""
    plain = value.strip().removeprefix("[").removesuffix("]")
    if len(plain.partition("%")[2]) > 15:  # Linux, IFNAMSIZ
        raise MalformedError("host", f"{value[:80]!r} names no interface")
    try:
        return str(ipaddress.ip_address(plain))
    except ValueError:
        pass
    labels = plain.removesuffix(".").split(".")
    numeric = labels[-1].isdigit()  # nothing but a wrong address ends so
    if len(plain) > 253 or numeric or not all(_LABEL.fullmatch(label) for label in labels):
        raise MalformedError("host", f"{value[:80]!r} is neither a name nor an address")
    return plain.lower()


def number(value: int, what: str, most: int = MAX_NUMBER) -> int:
    """A count that is not negative."""
    if not 0 <= value <= most:
        raise MalformedError(what, f"{value} (0 to {most})")
    return value


def weight(value: float) -> float:
    """A share above 0."""
    if not 0 < value <= MAX_WEIGHT:
        raise MalformedError("weight", f"{value} (above 0, to {MAX_WEIGHT:g})")
    return float(value)


def duration(value: float | None) -> float | None:
    """Seconds above 0; None where they are not known."""
    if value is not None and not 0 < value <= MAX_DURATION:
        raise MalformedError("duration", f"{value} (above 0, to {MAX_DURATION:g} s)")
    return None if value is None else float(value)


def cidr(value: str) -> str:
    """A network; an address alone is one of its own."""
    try:
        if "%" in value:
            raise ValueError("a network has no scope")
        return str(ipaddress.ip_network(value.strip(), strict=True))
    except ValueError as error:
        raise MalformedError("network", f"{value[:80]!r}: {error}") from None


def uri(value: str) -> str:
    """An absolute address that a player can be sent to."""
    if len(value) > MAX_URI:
        raise TooLargeError(f"uri longer than {MAX_URI} characters", subject="uri")
    if not _URI.fullmatch(value):
        raise MalformedError("uri", f"{value[:80]!r} has characters that have to be percent-coded")
    scheme, mark, _ = value.partition("://")
    if not mark or not _SCHEME.fullmatch(scheme) or scheme.lower() in _NOT_MEDIA:
        raise MalformedError("uri", f"{value[:80]!r} is not absolute, as rtsp://host/film is")
    try:
        parts = urlsplit(value)
        has_host, user = bool(parts.hostname), parts.username
        _ = parts.port
    except ValueError as error:
        raise MalformedError("uri", f"{value[:80]!r}: {error}") from None
    if not has_host:
        raise MalformedError("uri", f"{value[:80]!r} names no host")
    if user is not None:
        raise MalformedError("uri", "every viewer would be told the user and password in it")
    return value


def format(value: str) -> Format:
    """How a file is played."""
    try:
        return Format(value.strip().lower())
    except ValueError:
        listed = ", ".join(Format)
        raise MalformedError("format", f"{value[:40]!r} is none of {listed}") from None


def probes(values: Iterable[Probe]) -> tuple[Probe, ...]:
    """The probes of a server, each once; none: it is not measured."""
    found = tuple(dict.fromkeys(_probe(one) for one in values))
    if len(found) > MAX_PROBES:
        raise TooLargeError(f"more than {MAX_PROBES} probes", subject="probes")
    return found


def parse_probe(value: str) -> Probe:
    """A probe as people write it: ``icmp``, ``tcp@1:8554``, ``http@0.3:8080/film.mp4``.

    The kind, then the seconds from one to the next, the port and the path, as far as wanted.
    """
    match = _PROBE.fullmatch(value.strip())
    if match is None or _SECONDS_LAST.search(value):
        raise MalformedError("probe", f"{value[:80]!r} (as icmp@10 or http@0.3:8080/film.mp4)")
    try:
        kind = ProbeKind(match["kind"])
        interval = float(match["interval"] or Probe(kind).interval)
    except ValueError:
        listed = ", ".join(ProbeKind)
        raise MalformedError("probe", f"{value[:80]!r} (kinds are {listed})") from None
    return _probe(Probe(kind, interval, int(match["port"] or 0), match["path"] or ""))


def write_probe(probe: Probe) -> str:
    """A probe as ``parse_probe`` reads it."""
    port = f":{probe.port}" if probe.port else ""
    return f"{probe.kind}@{str(probe.interval).removesuffix('.0')}{port}{probe.path}"


def _probe(probe: Probe) -> Probe:
    least, most = PROBE_SPAN
    if not least <= probe.interval <= most:
        raise MalformedError("probe", f"{probe.interval} s ({least:g} to {most:g})")
    if not 0 <= probe.port <= 65_535:
        raise MalformedError("probe", f"port {probe.port}")
    if len(probe.path) > MAX_PATH or (probe.path and not _URI.fullmatch(probe.path)):
        raise MalformedError("probe", f"path {probe.path[:80]!r}")
    if _SECONDS_LAST.search(probe.path):
        raise MalformedError("probe", f"path {probe.path[:80]!r} ends as seconds are written")
    if probe.path and (not probe.path.startswith("/") or probe.kind in ("icmp", "tcp")):
        raise MalformedError("probe", f"{probe.kind} with path {probe.path[:80]!r}")
    port = 0 if probe.kind is ProbeKind.ICMP else probe.port
    return Probe(ProbeKind(probe.kind), float(probe.interval), port, probe.path)


def _few(values: Iterable[str], what: str) -> list[str]:
    found = list(values)
    if len(found) > MAX_OF_TITLE:
        raise TooLargeError(f"more than {MAX_OF_TITLE} {what}", subject=what)
    return found
