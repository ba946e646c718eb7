"""Pages of foreign servers, asked for over a socket."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from heliograph.catalogue.contents import scanning
from heliograph.catalogue.contents.scanning import fetch_page, scan
from heliograph.model.errors import MalformedError, RemoteError, TooLargeError


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers by path."""

    silent: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.silent.wait(30)
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("location", "http://127.0.0.2:9/films/")
        elif self.path == "/films":
            self.send_response(301)
            self.send_header("location", "/films/")
        elif self.path == "/round":
            self.send_response(302)
            self.send_header("location", "/round")
        elif self.path == "/packed":
            self.send_response(200)
            self.send_header("content-encoding", "gzip, gzip")
        elif self.path in ("/films/", "/large"):
            self.send_response(200)
            self.send_header("content-type", "Text/HTML; charset=utf-8")
        else:
            self.send_response(404)
        self.end_headers()
        if self.path == "/films/":
            self.wfile.write('<a href="Größe.mp4">'.encode() + b"\xff")
        elif self.path == "/large":
            self.wfile.write(b"x" * 100_000)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    Pages.silent.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Pages.silent.set()
        server.shutdown()
        thread.join()


async def test_page_is_told_with_where_it_was_in_the_end(web: str) -> None:
    page = await fetch_page(f"{web}/films")
    assert (page.url, page.kind) == (f"{web}/films/", "text/html")
    assert page.text == '<a href="Größe.mp4">\ufffd'
    found = await scan(f"{web}/films", fetch_page)
    assert [one.uri for one in found.files] == [f"{web}/films/Gr%C3%B6%C3%9Fe.mp4"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/none", "404"),
        ("/away", "another server"),
        ("/round", "redirects"),
        ("/packed", "packed"),
        ("/silent", "no answer within"),
    ],
)
async def test_page_that_cannot_be_had(
    web: str, path: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "/silent":
        monkeypatch.setattr(scanning, "PAGE_TIME", 0.2)
    with pytest.raises(RemoteError, match=words):
        await fetch_page(web + path)


async def test_page_without_end_is_left(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MAX_LISTING", 50_000)
    with pytest.raises(TooLargeError):
        await fetch_page(f"{web}/large")
    with pytest.raises(MalformedError):
        await scan("http://[::1/", fetch_page)
    for wrong in ("http://", "http://[", "http://127.0.0.1:1/x"):
        with pytest.raises(RemoteError):
            await fetch_page(wrong)
