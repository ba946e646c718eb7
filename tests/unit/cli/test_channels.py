"""``helio channels`` against an HTTP server of the test's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from heliograph.cli import REFUSED, main

CHANNEL = {
    "name": "news",
    "title": "News",
    "state": "on_air",
    "tracks": [{"codec": "h264"}, {"codec": "opus"}],
    "readers": 3,
    "bitrate": 2_100_000,
    "urls": {"page": "http://here/watch/news"},
}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    body: bytes = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("server", [json.dumps({"channels": [CHANNEL]}).encode()], indirect=True)
def test_shows_a_row_a_channel(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channels", "--server", server]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split("\t")[0] == "name"
    assert row.split("\t") == [
        "news",
        "News",
        "on air",
        "h264 + opus",
        "3",
        "2.1 Mbit/s",
        "http://here/watch/news",
    ]


@pytest.mark.parametrize("server", [b"<html>"], indirect=True)
def test_says_when_it_is_another_server(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channels", "--server", server]) == REFUSED
    assert "not a Heliograph server" in capsys.readouterr().err


def test_says_when_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channels", "--server", "http://127.0.0.1:1"]) == REFUSED
    assert "no answer from http://127.0.0.1:1" in capsys.readouterr().err
