"""The built pages and their assets, from memory."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from heliograph.model.media import CHANNEL_NAME
from heliograph.web.errors import error_response

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
#: What is compressed already gains nothing.
_COMPRESSED = {".png", ".ico", ".woff2"}

#: A file's name: no directory above, none hidden.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")

#: The build puts a digest of the content into the names of assets, so they never change.
_FOREVER = "public, max-age=31536000, immutable"
#: Pages name the assets of one build: ask each time whether they changed.
_ASK = "no-cache"

#: Pages by their address, beside those of channels.
_PAGES = {
    "/": "index.html",
    "/sign-in": "sign-in.html",
    "/setup": "setup.html",
    "/mine": "mine.html",
    "/admin": "admin.html",
    "/admin/contents": "contents.html",
    "/cluster": "cluster.html",
    "/admin/reports": "reports.html",
    "/admin/storage": "storage.html",
}

#: Scripts may run in pages of other sites, also in those that ask everything whether it may
#: (the Fetch standard, sections 3.3 and 3.7).
_ANYWHERE = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_NOT_BUILT = (
    "The pages are not built.\n\n"
    "Run `make run` in the source directory, or `npm ci && npm run build` in its folder web/.\n"
    "The REST API is at /api/v1/channels, its description at /api/v1/docs.\n"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A file as it is sent."""

    stamp: tuple[int, int]
    """Modification time in ns and size, by which a new build is noticed."""
    plain: bytes
    packed: bytes | None
    """The same by gzip, where that is smaller."""
    etag: str
    media_type: str


class Files:
    """Reads the files of one directory once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pages: dict[str, Page] = {}

    def get(self, *names: str) -> Page | None:
        """A file by its path below the directory, None without it."""
        suffix = Path(names[-1]).suffix
        if suffix not in _TYPES or not all(_NAME.fullmatch(name) for name in names):
            return None
        path = self._directory.joinpath(*names)
        key = "/".join(names)
        try:
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_size
            page = self._pages.get(key)
            if page is None or page.stamp != stamp:
                page = self._pages[key] = _load(path, stamp, suffix)
        except OSError:
            return None
        return page


def _load(path: Path, stamp: tuple[int, int], suffix: str) -> Page:
    plain = path.read_bytes()
    packed = None if suffix in _COMPRESSED else gzip.compress(plain, 9, mtime=0)
    if packed is not None and len(packed) >= len(plain):
        packed = None
    return Page(stamp, plain, packed, hashlib.sha256(plain).hexdigest()[:32], _TYPES[suffix])


def answer(request: Request, page: Page, cache: str, status: int = 200) -> Response:
    """The file, or that the client has it already (RFC 9110 section 13.1.2)."""
    packed = page.packed if _takes_gzip(request.headers.get("accept-encoding", "")) else None
    # The two forms are different representations and need different tags.
    etag = f'"{page.etag}{"-gz" if packed else ""}"'
    headers = {"etag": etag, "cache-control": cache, "vary": "accept-encoding"}
    known = {tag.strip().removeprefix("W/") for tag in _tags(request)}
    if status == 200 and (etag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["content-encoding"] = "gzip"
    content = page.plain if packed is None else packed
    return Response(content, status, headers, media_type=page.media_type)


def _takes_gzip(accept: str) -> bool:
    for part in accept.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _tags(request: Request) -> list[str]:
    return request.headers.get("if-none-match", "").split(",")


class Site:
    """Answers requests for pages, and for the scripts that they and other sites load."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def page(self, name: str) -> Endpoint:
        """One page, whatever its address says besides."""

        async def one(request: Request) -> Response:
            return self._html(request, name)

        return one

    def of_channel(self, name: str) -> Endpoint:
        """A page about a channel."""

        async def one(request: Request) -> Response:
            # A channel that is not there may come; the page says so and waits. Without a name it
            # asks for one.
            channel = request.path_params.get("name")
            if channel is None or CHANNEL_NAME.fullmatch(channel):
                return self._html(request, name)
            return self.missing(request)

        return one

    def scripts(self, folder: str, cache: str) -> Endpoint:
        """Files of a folder, which pages of any site may load."""

        async def one(request: Request) -> Response:
            found = self._files.get(folder, request.path_params["name"])
            if found is None:
                return self.missing(request)
            response = answer(request, found, cache)
            response.headers.update(_ANYWHERE)
            return response

        return one

    def missing(self, request: Request) -> Response:
        """That there is nothing at this address."""
        if request.url.path.startswith("/api/"):
            return error_response(404, "no such resource", request.url.path[:200])
        return self._html(request, "404.html", 404)

    def _html(self, request: Request, name: str, status: int = 200) -> Response:
        found = self._files.get(name)
        if found is None:
            text = _NOT_BUILT if status == 200 else "Not found.\n"
            return PlainTextResponse(text, 503 if status == 200 else status)
        return answer(request, found, _ASK, status)


def install(app: FastAPI, directory: Path) -> None:
    """Serve pages and assets, and 404 for all other paths, by ``app``. The last to be installed."""
    site = Site(Files(directory))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return site.missing(request)
        return error_response(error.status_code, str(error.detail), headers=error.headers)

    for path, file in _PAGES.items():
        app.add_route(path, site.page(file), methods=["GET"])
    app.add_route("/watch/{name}", site.of_channel("watch.html"), methods=["GET"])
    app.add_route("/live", site.of_channel("live.html"), methods=["GET"])
    app.add_route("/live/{name}", site.of_channel("live.html"), methods=["GET"])
    app.add_route("/assets/{name}", site.scripts("assets", _FOREVER), methods=["GET"])
    # Its name is written into pages of other sites and stays.
    app.add_route("/embed/{name}", site.scripts("embed", _ASK), methods=["GET"])
    app.add_exception_handler(HTTPException, on_http)
