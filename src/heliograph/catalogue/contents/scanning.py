"""Asks a foreign web server what it holds: its directory listings and its playlists.

Nothing but what is below the address given is looked at. Pages, files, depth and time are bounded;
where a bound ends a scan, what was found until then counts, and the result says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urljoin, urlsplit

from heliograph.catalogue.contents import checks
from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.catalogue.contents.listing import MAX_LISTING, Entry, parse_listing
from heliograph.catalogue.contents.naming import MAIN, PLAYLISTS, Named, name_of
from heliograph.catalogue.contents.playlist import Playlist, PlaylistKind, parse_playlist
from heliograph.catalogue.contents.values import Format
from heliograph.model.errors import HelioError, MalformedError, RemoteError, TooLargeError

if TYPE_CHECKING:
    import httpx

#: Pages of one scan: directories and playlists.
MAX_PAGES = 1000
#: Files of one scan.
MAX_FILES = 20_000
#: Directories below one another.
MAX_DEPTH = 8
#: Seconds of one scan: who asked waits for it.
MAX_TIME = 45.0
#: Pages asked for at a time: the server has viewers to serve.
AT_ONCE = 4
#: Seconds for one page.
PAGE_TIME = 10.0
#: Redirects of one page.
MAX_REDIRECTS = 3
#: Listings that people read come first: Caddy's JSON tells no less, and nginx has one form only.
HEADERS = {
    "accept": "text/html, application/json;q=0.9, */*;q=0.5",
    "accept-encoding": "identity",
}
#: Pages that failed and are told of.
MAX_TOLD = 50


@dataclass(frozen=True, slots=True)
class Page:
    """What a server answered."""

    url: str
    """Where it was in the end, after redirects."""
    kind: str
    """Media type, in lower case, without parameters."""
    text: str


#: Gets a page; ``HelioError`` where it cannot be had.
Fetch: TypeAlias = Callable[[str], Awaitable[Page]]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file on the server, and which title it is a copy of."""

    named: Named
    uri: str
    size: int | None = None
    duration: float | None = None
    playlist: Playlist | None = None
    """What is known of it, for HLS."""


@dataclass(slots=True)
class Scan:
    """What was found."""

    files: list[FoundFile] = field(default_factory=list)
    pages: int = 0
    """Listings and playlists that were read."""
    passed: int = 0
    """Entries that are nothing to play, or parts of what is."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Pages that could not be read, and why."""
    cut: str = ""
    """Which bound ended it; empty: none did."""


def check_host(url: str, host: str | None) -> None:
    """``MalformedError`` for an address that is not of that host; None: any will do."""
    if host is None:
        return
    try:
        found = urlsplit(url).hostname or ""
        same = checks.host(found) == host
    except (ValueError, MalformedError):
        raise MalformedError("url", f"{url[:80]!r} names no host") from None
    if not same:
        reason = f"{url[:80]!r} is of {found[:80]}, the server's host is {host}"
        raise MalformedError("url", f"{reason}; say any_host (--any-host) where that is meant")


async def scan(
    url: str, fetch: Fetch, *, host: str | None = None, max_time: float = MAX_TIME
) -> Scan:
    """Look through a listing and what is below it, or through a playlist.

    ``host``: files on others are passed over; None: none is. The error of the first page is
    raised, those of others are told of in the result.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise MalformedError("url", f"{url[:80]!r}: {error}") from None
    if scheme not in ("http", "https"):
        raise MalformedError("url", f"{url[:80]!r} is neither http:// nor https://")
    page = await fetch(url)
    found = Scan(pages=1)
    if _is_playlist(page):
        _take_playlist(found, page)
        _keep_host(found, host)
        return found
    walk = _Walk(fetch, found)
    await walk.look(page, 0)
    try:
        async with asyncio.timeout(max_time):
            await walk.run()
    except TimeoutError:
        found.cut = f"after {max_time:g} s"
    _add(found, [*walk.playlists])  # those that nobody came to read
    _keep_host(found, host)
    return found


def _keep_host(found: Scan, host: str | None) -> None:
    """Pass over, and tell of, files that are on other hosts."""
    kept: list[FoundFile] = []
    for one in found.files:
        try:
            check_host(one.uri, host)
            kept.append(one)
        except MalformedError as error:
            found.passed += 1
            _failed(found, one.uri, error)
    found.files = kept


class _Walk:
    """Goes from directory to directory, some at a time."""

    def __init__(self, fetch: Fetch, found: Scan) -> None:
        self.playlists: deque[FoundFile] = deque()
        """Found, and not read yet."""
        self._directories: deque[tuple[str, int]] = deque()
        self._fetch = fetch
        self._found = found
        self._seen: set[str] = set()

    async def look(self, page: Page, depth: int) -> None:
        """Sort the entries of a listing, beside the loop: there may be thousands."""
        self._seen.add(page.url)
        entries = await asyncio.to_thread(parse_listing, page.text, page.url)
        playlists, others, directories = await asyncio.to_thread(_sorted, entries)
        self._found.passed += len(entries) - len(playlists) - len(others) - len(directories)
        room = max(0, MAX_FILES - len(self._found.files) - len(self.playlists))
        if len(playlists) > room:
            self._found.cut = f"more than {MAX_FILES} files"
        self.playlists += playlists[:room]
        _add(self._found, others)
        for directory in directories:
            if depth >= MAX_DEPTH:
                self._found.cut = f"directories more than {MAX_DEPTH} deep"
            elif len(self._directories) >= MAX_PAGES:
                self._found.cut = f"more than {MAX_PAGES} directories"
            elif directory.uri not in self._seen:
                self._seen.add(directory.uri)
                self._directories.append((directory.uri, depth + 1))

    async def run(self) -> None:
        """Until nothing is left, or a bound is reached."""
        found = self._found
        while self._directories or self.playlists:
            if found.pages >= MAX_PAGES or len(found.files) >= MAX_FILES:
                found.cut = f"after {found.pages} pages, {len(found.files)} files"
                return
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(self._directories))):
                    group.create_task(self._enter(*self._directories.popleft()))
                for _ in range(min(AT_ONCE, len(self.playlists))):
                    group.create_task(self._read(self.playlists.popleft()))

    async def _enter(self, address: str, depth: int) -> None:
        self._found.pages += 1
        try:
            await self.look(await self._fetch(address), depth)
        except HelioError as error:
            _failed(self._found, address, error)

    async def _read(self, one: FoundFile) -> None:
        self._found.pages += 1
        try:
            page = await self._fetch(one.uri)
            playlist = await asyncio.to_thread(parse_playlist, page.text, page.url)
            one = replace(one, playlist=playlist, duration=playlist.duration)
        except HelioError as error:
            _failed(self._found, one.uri, error)
        finally:  # also where the time is over
            _add(self._found, [one])


def _failed(found: Scan, address: str, error: HelioError) -> None:
    if len(found.failed) < MAX_TOLD:
        found.failed.append((address, error.message))


def _sorted(entries: list[Entry]) -> tuple[list[FoundFile], list[FoundFile], list[Entry]]:
    """Playlists, other files, and directories to look into.

    Where a playlist stands for its directory, all else in there are its parts.
    """
    named = [(one, name_of(one.uri)) for one in entries if not one.directory]
    files = [FoundFile(name, one.uri, one.size) for one, name in named if name is not None]
    playlists = [one for one in files if one.named.format is Format.HLS]
    main = [one for one in playlists if _stem(one.uri) in MAIN]
    if main:
        order = {"master": 0, "index": 1}
        return [min(main, key=lambda one: order.get(_stem(one.uri), 2))], [], []
    others = [one for one in files if one.named.format is not Format.HLS]
    return playlists, others, [one for one in entries if one.directory]


def _stem(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[0].lower()


def _is_playlist(page: Page) -> bool:
    ending = urlsplit(page.url).path.rpartition(".")[2].lower()
    return "mpegurl" in page.kind or ending in {*PLAYLISTS, "m3u"}


def _take_playlist(found: Scan, page: Page) -> None:
    playlist = parse_playlist(page.text, page.url)
    if playlist.kind is not PlaylistKind.LIST:
        named = name_of(page.url)
        if named is not None:
            _add(found, [FoundFile(named, page.url, None, playlist.duration, playlist)])
        return
    for item in playlist.items:
        named = name_of(item.uri)
        if named is None:
            found.passed += 1
            continue
        if item.title:
            named = replace(named, title=item.title)
        _add(found, [FoundFile(named, item.uri, None, item.duration)])


def _add(found: Scan, files: list[FoundFile]) -> None:
    room = MAX_FILES - len(found.files)
    if len(files) > room:
        found.cut = f"more than {MAX_FILES} files"
    found.files += files[:room]


def records_of(files: Collection[FoundFile], server: str, known: Collection[str]) -> list[Record]:
    """What is to be put into the catalogue. ``known``: names, in lower case, of titles that are
    there and keep what is said of them."""
    records: dict[tuple[str, str], Record] = {}
    for one in files:
        name = one.named.name
        if name.lower() not in known:
            said: dict[str, Any] = {"name": name, "title": one.named.title}
            if one.duration:
                said["duration"] = one.duration
            records.setdefault(("", name.lower()), Record(Kind.TITLE, said, one.uri))
        about: dict[str, Any] = {
            "title": name,
            "server": server,
            "format": one.named.format.value,
            "uri": one.uri,
        }
        if one.size is not None:
            about["size"] = one.size
        if one.playlist is not None and one.playlist.bits_per_second:
            about["bits_per_second"] = one.playlist.bits_per_second
            about |= {"codecs": one.playlist.codecs}
            about |= {"width": one.playlist.width, "height": one.playlist.height}
        records[name.lower(), one.uri] = Record(Kind.FILE, about, one.uri)
    return list(records.values())


async def fetch_page(url: str) -> Page:
    """Get a page over HTTP. ``RemoteError`` where the server does not give it, or sends elsewhere;
    ``TooLargeError`` above ``MAX_LISTING`` bytes."""
    import httpx  # it takes a while to load, and most servers scan nobody

    at = url
    try:
        async with (
            asyncio.timeout(PAGE_TIME),
            httpx.AsyncClient(timeout=PAGE_TIME, trust_env=False) as client,
        ):
            for _ in range(MAX_REDIRECTS + 1):
                async with client.stream("GET", at, headers=HEADERS) as answer:
                    if not answer.has_redirect_location:
                        return await _page(at, answer)
                    at = urljoin(at, answer.headers["location"])
                if urlsplit(at).hostname != urlsplit(url).hostname:
                    raise RemoteError(f"{url} leads to another server: {at[:200]}", subject=url)
            raise RemoteError(f"{url}: more than {MAX_REDIRECTS} redirects", subject=url)
    except TimeoutError:
        raise RemoteError(f"{url}: no answer within {PAGE_TIME:g} s", subject=url) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise RemoteError(f"{url}: {error or type(error).__name__}", subject=url) from None


async def _page(url: str, answer: httpx.Response) -> Page:
    if not answer.is_success:
        raise RemoteError(f"{url} answered {answer.status_code}", subject=url)
    # A packed answer unfolds a thousand times, or a million, before anybody can count it.
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise RemoteError(f"{url} answered packed, unasked", subject=url)
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > MAX_LISTING:
            raise TooLargeError(f"{url}: more than {MAX_LISTING} bytes", subject=url)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Page(url, kind, body.decode("utf-8", "replace"))
