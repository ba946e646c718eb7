"""What a request wants, read from its headers; and the answers, as HTTP has them.

``Accept`` (RFC 9110 section 12.5.1) says which formats a client takes, ``?format=`` names one.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import parse_qsl, quote

from heliograph.catalogue.contents.values import Format

#: The order in which formats are chosen for those who take any: what most players can open first.
ORDER = (Format.MP4, Format.HLS, Format.RTSP, Format.WHEP)
#: Media types by which clients ask for a format.
MEDIA_TYPES = {
    "application/vnd.apple.mpegurl": Format.HLS,
    "application/x-mpegurl": Format.HLS,
    "audio/mpegurl": Format.HLS,
    "audio/x-mpegurl": Format.HLS,
    "video/mp4": Format.MP4,
    "audio/mp4": Format.MP4,
    "application/mp4": Format.MP4,
    "application/sdp": Format.WHEP,
    "application/x-rtsp": Format.RTSP,
}
#: Members of an Accept header that are read: browsers send eight.
MAX_RANGES = 32
#: Seconds until somebody for whom there is no server may come again.
RETRY_AFTER = 2
#: Parameters of the query that show a right; passed on to servers of ours, and to no others.
SHOWN = ("token", "key")
#: Characters of a name that are shown and recorded.
MAX_NAME = 128
#: Characters of a query that is looked at: a token has 500.
MAX_QUERY = 2048

#: Redirects are good for one request: the next one may be better served elsewhere.
_NEVER_KEPT = (
    (b"cache-control", b"no-store"),
    (b"vary", b"accept"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After"),
    (b"x-content-type-options", b"nosniff"),
    # An address may contain a key.
    (b"referrer-policy", b"no-referrer"),
)
_OF_REDIRECTS = (*_NEVER_KEPT, (b"content-length", b"0"))
#: Of the small page: colours as those of all pages (``web/src/ui/tokens.css``).
_STYLE = """
:root { color-scheme: light dark; --sky: #eef3f6; --ink: #15232e;
  --soft: #4b6170; --sun: #8a5200; }
@media (prefers-color-scheme: dark) {
  :root { --sky: #0e161d; --ink: #e8eff4; --soft: #9bb0be; --sun: #ffc863; }
}
body { margin: 0; min-height: 100vh; display: grid; place-content: center; text-align: center;
  padding: 2rem; box-sizing: border-box; background: var(--sky); color: var(--ink);
  font: 1.05rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; }
p { margin: 0 0 1rem; max-width: 36rem; }
.code { margin: 0; color: var(--sun); font-weight: 700; letter-spacing: .08em; }
a { color: inherit; }
nav { color: var(--soft); display: flex; gap: 1.5rem; justify-content: center; }
"""
_PAGE_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'self'; base-uri 'none'; style-src 'sha256-%b'"
    % b64encode(sha256(_STYLE.encode()).digest()),
)
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{phrase}</title>
<style>{style}</style>
</head>
<body>
<main>
<p class="code">{status}</p>
<h1>{phrase}</h1>
<p>{text}.</p>
<nav>{again}<a href="/">All channels and titles</a></nav>
</main>
</body>
</html>
"""
_AGAIN = '<a href="">Try again</a>'
#: What people read in place of HTTP's words, by status.
_PHRASES = {
    403: "Not for your network",
    404: "Not found",
    406: "Not in this format",
    451: "Not shown where you are",
    503: "Not to be had just now",
}
#: Each order of formats once, so that two that are alike are the same; there are 65.
_KNOWN: dict[tuple[Format, ...], tuple[Format, ...]] = {}
_ALONE = {one.value: _KNOWN.setdefault((one,), (one,)) for one in Format}
_WEIGHT = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)
#: A range that does not begin with the first byte.
_LATER = re.compile(rb"\s*bytes\s*=\s*(?:-|0*[1-9])", re.IGNORECASE)
#: What a URI may consist of in a header (RFC 3986 section 2), beside what is escaped.
_SAFE = ":/?#[]@!$&'()*+,;=-._~%"
_PLAIN = re.compile(rf"[A-Za-z0-9{re.escape(_SAFE)}]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request takes for an answer, whoever it comes from."""

    formats: tuple[Format, ...] = ORDER
    """Acceptable ones, the best first; empty: none that there is."""
    page: bool = False
    """Whether it takes HTML, as browsers do that go to an address."""
    shown: str = ""
    """``token=…&key=…`` as it was shown, for servers of ours."""
    named: bool = False
    """Whether a format was named rather than described."""
    later: bool = False
    """Whether it is for what is not the beginning of a file, which somebody has therefore begun."""
    head: bool = False
    """Whether it asks only what would be answered (HEAD): nobody plays by that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP, without what the connection adds."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case; the length of the body is among them."""
    body: bytes = b""

    def tail(self) -> bytes:
        """The answer as bytes, from behind its first line and its date on."""
        return b"%b\r\n%b" % (_lines(self.headers), self.body)


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


def accept_of(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """All lines of ``Accept`` as one (RFC 9110 section 5.3); names of headers in lower case."""
    return ",".join(value.decode("latin-1") for name, value in headers if name == b"accept")


def goes_on(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request is for a range that does not begin a file (RFC 9110 section 14.1.2)."""
    return any(name == b"range" and _LATER.match(value) is not None for name, value in headers)


def wish_of(
    accept: str, query: str, order: tuple[Format, ...] = ORDER, *, later: bool = False
) -> Wish:
    """What a request wants by its headers ``Accept`` (empty: any) and its query string; ``later``:
    as of ``goes_on``."""
    parameters = dict(parse_qsl(query, keep_blank_values=True)) if len(query) <= MAX_QUERY else {}
    shown = "&".join(
        f"{name}={quote(parameters[name], safe='')}" for name in SHOWN if parameters.get(name)
    )
    ranges = _ranges(accept)
    page = any(kind in ("text/html", "application/xhtml+xml") and q for kind, q in ranges)
    named = parameters.get("format")
    if named is not None:
        wanted = named.lower()
        return Wish(_ALONE.get(wanted, ()), page, shown, named=True, later=later)
    if not ranges:
        return Wish(_KNOWN.setdefault(order, order), page, shown, later=later)
    weights = [(_weight(one, ranges), place, one) for place, one in enumerate(order)]
    kept = sorted((-weight, place, one) for weight, place, one in weights if weight)
    formats = tuple(one for _, _, one in kept)
    return Wish(_KNOWN.setdefault(formats, formats), page, shown, later=later)


def _ranges(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.lower().split(",")[:MAX_RANGES]:
        kind, *parameters = part.split(";")
        if not kind.strip():
            continue
        weight = 1.0
        for parameter in parameters:
            match = _WEIGHT.fullmatch(parameter)
            if match:
                weight = float(match[1])
        found.append((kind.strip(), weight))
    return found


def _weight(format: Format, ranges: list[tuple[str, float]]) -> float:
    """That of the most specific range that holds the format; of several the highest."""
    best: tuple[int, float] = (0, 0.0)
    for kind, weight in ranges:
        if MEDIA_TYPES.get(kind) is format:
            exact = 3
        elif kind in ("video/*", "audio/*") and format in (Format.MP4, Format.HLS):
            exact = 2
        elif kind in ("*/*", "*"):
            exact = 1
        else:
            continue
        best = max(best, (exact, weight))
    return best[1]


def location(uri: str, shown: str = "") -> str:
    """A physical address as it may stand in a header, with what is shown added to its query."""
    if shown:
        path, mark, fragment = uri.partition("#")
        uri = f"{path}{'&' if '?' in path else '?'}{shown}{mark}{fragment}"
    return uri if _PLAIN.fullmatch(uri) else quote(uri, safe=_SAFE)


def location_line(uri: str, shown: str = "") -> bytes:
    """The header of a redirect that differs from one to another, as bytes, and the empty line."""
    return b"location: %b\r\n\r\n" % location(uri, shown).encode("ascii")


def redirect(uri: str, shown: str = "") -> Answer:
    """``302`` to a physical address."""
    where = location(uri, shown).encode("ascii")
    return Answer(302, (*_OF_REDIRECTS, (b"location", where)))


#: What stands before ``location_line`` in each redirect.
REDIRECT_LINES = _lines(_OF_REDIRECTS)


def refusal(status: int, text: str, *, page: bool, retry_after: int = 0) -> Answer:
    """A small page, or a line of text, that says why there is nothing. ``text`` is escaped."""
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    if page:
        kind = b"text/html; charset=utf-8"
        shown = html.escape(text[:1].upper() + text[1:])
        again = _AGAIN if retry_after else ""
        body = _PAGE.format(
            status=status, phrase=phrase, style=_STYLE, text=shown, again=again
        ).encode()
    else:
        kind = b"text/plain; charset=utf-8"
        body = f"{text}\n".encode()
    headers = [(b"content-type", kind), *_NEVER_KEPT, _PAGE_POLICY]
    if retry_after:
        headers.append((b"retry-after", b"%d" % retry_after))
    return Answer(status, (*headers, (b"content-length", b"%d" % len(body))), body)


def document(body: str, media_type: str) -> Answer:
    """A playlist or manifest, made for this one request."""
    data = body.encode()
    headers = ((b"content-type", media_type.encode()), *_NEVER_KEPT)
    return Answer(200, (*headers, (b"content-length", b"%d" % len(data))), data)
