"""HLS multivariant playlists of others, read to be joined with those of other servers; pure.

Tags and attributes are those of draft-pantos-hls-rfc8216bis, section 4.4.6. What a tag says is
passed on as it was written; addresses become absolute.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from heliograph.model.errors import MalformedError, TooLargeError

#: Characters of a multivariant playlist; those of three renditions and a sound have a thousand.
MAX_TEXT = 64 << 10
#: Variants, and renditions beside them: more than any player offers to choose from.
MAX_TAGS = 128
#: Segments of a playlist: 22 hours of those of 4 s.
MAX_SEGMENTS = 20_000
#: Milliseconds by which the ends of segments that are the same may differ; as hls.js has it.
TOLERANCE_MS = 250
#: Characters of an address.
MAX_ADDRESS = 2000

VARIANT, RENDITION, TRICK = "#EXT-X-STREAM-INF", "#EXT-X-MEDIA", "#EXT-X-I-FRAME-STREAM-INF"
#: Attributes by which variants name groups of renditions.
GROUPS = ("AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS")
#: What changes how players begin; all else that is not known here is left out.
_SESSION_KEY = "#EXT-X-SESSION-KEY"
_INDEPENDENT = "#EXT-X-INDEPENDENT-SEGMENTS"
#: What is ours to say.
_REPLACED = ("PATHWAY-ID", "STABLE-VARIANT-ID", "STABLE-RENDITION-ID")
_ATTRIBUTE = re.compile(r'([A-Z0-9-]{1,64})=("[^"]{0,2048}"|[^",\s]{1,500})\s*(?:,\s*|$)')
#: What stays as it is in an address.
_SAFE = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, slots=True)
class Tag:
    """One line of a playlist that has attributes."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    """In their order; values as they are written, with their quotes."""
    uri: str = ""
    """Absolute; empty: it names none."""

    def get(self, name: str) -> str:
        """The value of an attribute as it is written; empty: it has none."""
        return next((value for known, value in self.attributes if known == name), "")

    @property
    def bandwidth(self) -> int:
        """Bits a second at most; 0: not told."""
        text = self.get("BANDWIDTH")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where segments end, as a media playlist says it."""

    first: int = 0
    """Number of the first segment (EXT-X-MEDIA-SEQUENCE)."""
    ends: bytes = b""
    """Milliseconds from the beginning, as unsigned numbers of 32 bits; small, as there are some
    thousand of each film. Empty: not known."""
    ended: bool = False
    """Whether nothing more comes."""

    def alike(self, other: Cuts) -> bool:
        """Whether segments of the same number are of the same time, as far as both tell."""
        if not (self.ends and other.ends):
            return not self.ends and not other.ends
        mine, theirs = array("I", self.ends), array("I", other.ends)
        if self.first != other.first or (self.ended and other.ended and len(mine) != len(theirs)):
            return False
        return all(abs(a - b) <= TOLERANCE_MS for a, b in zip(mine, theirs, strict=False))


@dataclass(frozen=True, slots=True)
class Multivariant:
    """What a multivariant playlist says of its title; without variants: it is none, but names
    segments itself."""

    variants: tuple[Tag, ...] = ()
    renditions: tuple[Tag, ...] = ()
    """Sounds, texts and other pictures, in groups."""
    tricks: tuple[Tag, ...] = ()
    """Of key pictures only, for seeking."""
    keys: tuple[Tag, ...] = ()
    """By which players get keys before they need them."""
    independent: bool = False
    """Whether all segments begin where decoding can."""
    cuts: Cuts = Cuts()
    """Of its segments, or of those of its first variant."""


def parse_cuts(text: str) -> Cuts:
    """What a media playlist says; nothing is known of the segments of one that says it wrong."""
    first, total, ends = 0, 0.0, array("I")
    for line in text.splitlines():
        name, _, rest = line.strip().partition(":")
        try:
            if name == "#EXTINF":
                total += float(rest.partition(",")[0])
                ends.append(round(total * 1000))
            elif name == "#EXT-X-MEDIA-SEQUENCE":
                first = int(rest)
        except (ValueError, OverflowError):
            return Cuts()
        if len(ends) > MAX_SEGMENTS:
            return Cuts()
    return Cuts(first, ends.tobytes(), "#EXT-X-ENDLIST" in text)


def parse_multivariant(text: str, base: str) -> Multivariant:
    """Read the playlist that is at ``base``. The cuts of a multivariant one are not known by it.

    ``MalformedError`` where it is no playlist, or has variables (EXT-X-DEFINE); ``TooLargeError``.
    """
    text = text.removeprefix("\ufeff")
    if not text.startswith("#EXTM3U"):
        raise MalformedError("playlist", "it does not begin with #EXTM3U")
    if VARIANT not in text:
        return Multivariant(cuts=parse_cuts(text))
    if len(text) > MAX_TEXT:
        raise TooLargeError(f"playlist longer than {MAX_TEXT} characters", subject=base[:200])
    found: dict[str, list[Tag]] = {VARIANT: [], RENDITION: [], TRICK: [], _SESSION_KEY: []}
    independent = False
    lines = iter(text.splitlines())
    for line in lines:
        name, _, rest = line.strip().partition(":")
        if name == "#EXT-X-DEFINE":
            raise MalformedError("playlist", "it has variables")
        if name == _INDEPENDENT:
            independent = True
        if name not in found:
            continue
        if sum(map(len, found.values())) >= MAX_TAGS:
            raise TooLargeError(f"more than {MAX_TAGS} variants", subject=base[:200])
        attributes = _attributes(rest)
        link = _next(lines) if name == VARIANT else dict(attributes).get("URI", '""')[1:-1]
        kept = tuple(pair for pair in attributes if pair[0] not in ("URI", *_REPLACED))
        found[name].append(Tag(name, kept, _absolute(link, base) if link else ""))
    return Multivariant(
        tuple(sorted(found[VARIANT], key=lambda one: -one.bandwidth)),
        tuple(found[RENDITION]),
        tuple(one for one in found[TRICK] if one.uri),
        tuple(one for one in found[_SESSION_KEY] if one.uri),
        independent,
    )


def _next(lines: Iterator[str]) -> str:
    """The address that follows a variant."""
    for line in lines:
        if line.strip() and not line.startswith("#"):
            return line.strip()
    raise MalformedError("playlist", "a variant has no address")


def _attributes(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        if match is None:
            raise MalformedError("playlist", f"attributes {text[at : at + 40]!r}")
        found.append((match[1], match[2]))
        at = match.end()
    return found


def _absolute(link: str, base: str) -> str:
    try:
        uri = urljoin(base, quote(link, safe=_SAFE))
    except ValueError:
        uri = ""
    if "://" not in uri or len(uri) > MAX_ADDRESS or '"' in uri:
        raise MalformedError("playlist", f"{link[:80]!r} is no address")
    return uri
