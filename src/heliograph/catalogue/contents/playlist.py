"""Playlists: of HLS (RFC 8216), and lists of media (M3U); pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, urljoin

from heliograph.model.errors import MalformedError, TooLargeError

#: Characters of a playlist.
MAX_PLAYLIST = 4 * 2**20
#: Entries of a list of media.
MAX_ENTRIES = 20_000
#: Characters of an address.
MAX_LINK = 2000

_SAFE = "%/:=&?~#+!$,;'@()*[]"
_ATTRIBUTE = re.compile(r'([A-Za-z0-9-]{1,64})=("[^"]{0,500}"|[^,\s"]{0,500})')
_RESOLUTION = re.compile(r"(\d{1,5})x(\d{1,5})")


class PlaylistKind(StrEnum):
    """What a playlist is."""

    MASTER = "master"
    """HLS: names variants of one title."""
    MEDIA = "media"
    """HLS: names the segments of one title."""
    LIST = "list"
    """Names media, each for itself."""


@dataclass(frozen=True, slots=True)
class Item:
    """One medium of a list."""

    uri: str
    """Absolute."""
    title: str = ""
    """For people."""
    duration: float | None = None
    """Seconds; None: not told."""


@dataclass(frozen=True, slots=True)
class Playlist:
    """What a playlist says."""

    kind: PlaylistKind
    items: tuple[Item, ...] = ()
    """Of a list; empty for HLS."""
    duration: float | None = None
    """Of an HLS playlist of segments that has its end; seconds."""
    bits_per_second: int = 0
    """Of the variant that draws most; 0: not told."""
    codecs: str = ""
    width: int = 0
    height: int = 0


def parse_playlist(text: str, base: str) -> Playlist:
    """A playlist that is at ``base``; ``MalformedError`` where it is none."""
    if len(text) > MAX_PLAYLIST:
        raise TooLargeError(f"playlist longer than {MAX_PLAYLIST} characters", subject=base[:200])
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    lines = [line for line in lines if line]
    if any(line.startswith("<") for line in lines[:1]):
        raise MalformedError("playlist", "it is HTML or XML")
    tagged = bool(lines) and lines[0].startswith("#EXTM3U")
    if tagged and any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        return _master(lines)
    if tagged and any(line.startswith("#EXT-X-TARGETDURATION") for line in lines):
        return _media(lines)
    return _list(lines, base)


def _master(lines: list[str]) -> Playlist:
    best: dict[str, str] = {}
    for line in lines:
        name, mark, rest = line.partition(":")
        if name == "#EXT-X-STREAM-INF" and mark:
            found = attributes(rest)
            if _whole(found.get("BANDWIDTH", "")) >= _whole(best.get("BANDWIDTH", "")):
                best = found
    size = _RESOLUTION.fullmatch(best.get("RESOLUTION", ""))
    return Playlist(
        PlaylistKind.MASTER,
        bits_per_second=_whole(best.get("BANDWIDTH", "")),
        codecs=best.get("CODECS", "")[:100],
        width=int(size[1]) if size else 0,
        height=int(size[2]) if size else 0,
    )


def _media(lines: list[str]) -> Playlist:
    total = 0.0
    for line in lines:
        if line.startswith("#EXTINF:"):
            total += _seconds(line.removeprefix("#EXTINF:").partition(",")[0]) or 0.0
    ended = "#EXT-X-ENDLIST" in lines and 0 < total < 1e9
    return Playlist(PlaylistKind.MEDIA, duration=round(total, 3) or None if ended else None)


def _list(lines: list[str], base: str) -> Playlist:
    items: list[Item] = []
    title, duration = "", None
    for line in lines:
        if line.startswith("#EXTINF:"):
            about = line.removeprefix("#EXTINF:")
            duration = _seconds(about.partition(",")[0].split(" ")[0])
            # Attributes may hold commas in quotes; the title is behind the last quote's comma.
            title = about[about.rfind('"') + 1 :].partition(",")[2].strip()
        elif not line.startswith("#"):
            uri = _absolute(line, base)
            if uri is None:
                raise MalformedError("playlist", f"{line[:80]!r} is no address")
            if len(items) >= MAX_ENTRIES:
                raise TooLargeError(f"more than {MAX_ENTRIES} entries", subject=base[:200])
            items.append(Item(uri, title[:200], duration))
            title, duration = "", None
    return Playlist(PlaylistKind.LIST, tuple(items))


def attributes(text: str) -> dict[str, str]:
    """An attribute list (RFC 8216 section 4.2), without quotes."""
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _absolute(link: str, base: str) -> str | None:
    try:
        uri = urljoin(base, quote(link, safe=_SAFE))
    except ValueError:
        return None
    return uri if "://" in uri and len(uri) <= MAX_LINK else None


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _seconds(text: str) -> float | None:
    """Seconds above 0; lists say -1 or 0 for what they do not know."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 < found < 1e9 else None
