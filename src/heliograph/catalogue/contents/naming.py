"""Which title a file on a foreign server is a copy of, by its address; pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from heliograph.catalogue.contents.values import Format
from heliograph.model.media import CHANNEL_NAME

#: What players fetch by HTTP as one file.
WHOLE = frozenset({"mp4", "m4v", "mov", "webm", "mkv", "ogv", "m4a", "mp3", "aac", "oga", "opus"})
#: Playlists of HLS.
PLAYLISTS = frozenset({"m3u8"})
#: Names of a playlist that stands for its directory.
MAIN = frozenset({"index", "master", "playlist", "main", "stream", "prog_index"})
#: Characters of a name.
_LONGEST = 64
#: Of those, hexadecimal digits by which names that had to be cut differ: among 20 000 files, as
#: many as a scan finds, two have the same ones with a chance of 1 in 5000.
_DIGITS = 10
_INIT = re.compile(r"init([-_.].*)?\.(mp4|m4a|m4v)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """What an address says of itself."""

    name: str
    """A logical id."""
    title: str
    """For people."""
    format: Format


def name_of(uri: str) -> Named | None:
    """What is at that address; None where it is nothing to play.

    ``…/Big%20Film.mp4`` is ``Big-Film``, ``…/Big-Film/index.m3u8`` too: copies on other servers,
    and in other formats, get the same name.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    found = format_of(uri)
    if found is None:
        return None
    path = [unquote(part) for part in parts.path.split("/") if part]
    if not path:
        return None
    stem, dot, ending = path[-1].rpartition(".")
    known = dot and ending.lower() in WHOLE | PLAYLISTS
    title = stem if known else path[-1]
    if found is Format.HLS and title.lower() in MAIN and len(path) > 1:
        title = path[-2]
    if found is Format.WHEP and title.lower() == "whep" and len(path) > 1:
        title = path[-2]
    name = slug(title)
    title = " ".join(title.replace("_", " ").split())
    return Named(name, title[:200], found) if name else None


def format_of(uri: str) -> Format | None:
    """How players take it, as far as the address tells; None: it is no medium."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return None
    path = rest.partition("?")[0].partition("#")[0]
    last = path.rpartition("/")[2]
    ending = last.rpartition(".")[2].lower() if "." in last and "/" in path else ""
    if scheme.lower() in ("rtsp", "rtsps", "rtspt", "rtspu"):
        return Format.RTSP
    if ending in PLAYLISTS:
        return Format.HLS
    if ending in WHOLE and not _INIT.fullmatch(last):
        return Format.MP4
    if "whep" in path.lower().split("/")[1:]:
        return Format.WHEP
    return None


def slug(text: str) -> str:
    """A logical id made of text; empty where nothing of it is left.

    One that is too long is cut, and ends with what tells it from others that begin alike: the same
    text has always the same one, upper and lower case as well.
    """
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    words = re.sub(r"-*\.[-.]*", ".", re.sub(r"-{2,}", "-", words))
    words = words.strip("-._")
    if len(words) > _LONGEST:
        digest = hashlib.sha256(words.lower().encode()).hexdigest()[:_DIGITS]
        words = f"{words[: _LONGEST - _DIGITS - 1].rstrip('-._')}-{digest}"
    return words if CHANNEL_NAME.fullmatch(words) else ""
