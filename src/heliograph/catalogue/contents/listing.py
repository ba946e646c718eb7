"""What the directory listings of foreign web servers say, as HTML and as JSON; pure.

nginx (``autoindex``), Apache (``mod_autoindex``), Caddy (``file_server browse``), lighttpd and
Python's own all write links, one to each entry; nginx and Caddy write JSON where they are told to.
Only entries below the listing's own address count: not those of sorting, of the parent directory,
of other hosts.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from heliograph.model.errors import MalformedError, TooLargeError

#: Characters of a listing: ten thousand entries as Apache writes them.
MAX_LISTING = 4 * 2**20
#: Entries of a listing.
MAX_ENTRIES = 20_000
#: Characters of a link.
MAX_LINK = 2000

_LINK = re.compile(
    r"<a\s(?:[^<>]{0,500}?\s)?href\s*=\s*(?:\"([^\"<>]{1,2000})\"|'([^'<>]{1,2000})'|([^\s\"'<>]{1,2000}+))"
    r"[^<>]{0,500}+>",
    re.IGNORECASE,
)
#: nginx writes the exact size behind the date; a dash for directories.
_SIZE = re.compile(r"[^<]{0,300}</a>\s+\d\d-\w{3}-\d{4} \d\d:\d\d\s+(\d{1,15})\s")
#: Characters that quoting leaves: those of a URI, and percent-codes that are there already.
_SAFE = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a directory of a listing."""

    uri: str
    """Absolute; a directory's ends with a slash."""
    directory: bool
    size: int | None = None
    """Bytes; None: not told, or rounded."""


def parse_listing(text: str, base: str) -> list[Entry]:
    """The entries of a listing that is at ``base``, each once, in its order.

    ``MalformedError`` where JSON is no listing; HTML without links is an empty one.
    """
    if len(text) > MAX_LISTING:
        raise TooLargeError(f"listing longer than {MAX_LISTING} characters", subject=base[:200])
    root = _root(base)
    found = _of_json(text) if text.lstrip()[:1] in ("[", "{") else _of_html(text)
    entries: dict[str, Entry] = {}
    for link, size in found:
        uri = below(link, root)
        if uri is None or uri in entries:
            continue
        if len(entries) >= MAX_ENTRIES:
            raise TooLargeError(f"more than {MAX_ENTRIES} entries", subject=base[:200])
        directory = uri.endswith("/")
        entries[uri] = Entry(uri, directory, None if directory else size)
    return list(entries.values())


def below(link: str, root: str) -> str | None:
    """The absolute address of a link in a page at ``root``; None where it is not below it."""
    try:
        uri = urljoin(root, quote(link.strip(), safe=_SAFE))
        parts, base = urlsplit(uri), urlsplit(root)
        same = (parts.scheme, parts.netloc) == (base.scheme, base.netloc)
    except ValueError:
        return None
    if not same or parts.query or parts.fragment or len(uri) > MAX_LINK:
        return None
    path = parts.path
    inside = path.startswith(base.path) and len(path) > len(base.path)
    steps = path.split("/")
    if not inside or ".." in steps or "." in steps or "" in steps[1:-1]:
        return None
    return uri


def _root(base: str) -> str:
    """The address that links of a page at ``base`` begin at, without a query."""
    plain = base.partition("#")[0].partition("?")[0]
    scheme, mark, rest = plain.partition("://")
    if not mark or not scheme or not rest:
        raise MalformedError("listing", f"{base[:80]!r} is no absolute address")
    place, _, path = rest.partition("/")
    return f"{scheme}://{place}/{path.rpartition('/')[0] + '/' if '/' in path else ''}"


def _of_html(text: str) -> list[tuple[str, int | None]]:
    found: list[tuple[str, int | None]] = []
    for match in _LINK.finditer(text):
        link = html.unescape(next(group for group in match.groups() if group is not None))
        size = _SIZE.match(text, match.end())
        found.append((link, int(size[1]) if size else None))
    return found


def _of_json(text: str) -> list[tuple[str, int | None]]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("listing", str(error)[:200]) from None
    if not isinstance(listed, list):
        raise MalformedError("listing", "JSON that is no array")
    found: list[tuple[str, int | None]] = []
    for one in listed:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise MalformedError("listing", "an entry without a name")
        name: str = one["name"]
        # nginx says ``type``, Caddy ``is_dir``.
        directory = one.get("type") == "directory" or one.get("is_dir") is True
        size = one.get("size")
        exact = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**53
        link = quote(name.rstrip("/"), safe="", errors="replace")
        found.append((f"./{link}/" if directory else f"./{link}", size if exact else None))
    return found
