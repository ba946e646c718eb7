"""An HTTP server that notes what commands ask, and answers with what is set."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer


class Api(BaseHTTPRequestHandler):
    """Notes what is asked, and answers with what is set."""

    status, body = 200, b"{}"
    by_path: Mapping[str, tuple[int, bytes]] = {}
    """Answers to paths that have their own."""
    asked: list[tuple[str, str, str, object]]
    headers_of: list[dict[str, str]]
    """Of what was asked, in lower case."""
    cookie = ""
    """That is set by each answer."""

    def answer(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        given = json.loads(self.rfile.read(length)) if length else None
        key = self.headers.get("authorization", "")
        self.asked.append((self.command, self.path, key, given))
        self.headers_of.append({name.lower(): value for name, value in self.headers.items()})
        status, body = self.by_path.get(self.path.partition("?")[0], (self.status, self.body))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if self.cookie:
            self.send_header("set-cookie", f"{self.cookie}; HttpOnly; Path=/")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[tuple[type[Api], str]]:
    """Its handler, and its address."""
    handler = type("Handler", (Api,), {"asked": [], "headers_of": []})
    with HTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield handler, f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()
