"""The player on a page of another site."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .peers import ffmpeg
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser]

PATIENCE = 30.0

#: As docs/embed.md has it.
_PAGE = """<!doctype html>
<title>Somebody else's page</title>
<script type="module" src="{server}/embed/helio-player.js"></script>
<helio-player src="{src}" way="{way}" autoplay muted controls></helio-player>
<input aria-label="A field of the page" />
"""

_LOOK = """
() => {
  const player = document.querySelector("helio-player");
  return { state: player?.dataset.state, way: player?.dataset.way,
           frames: player?.stats?.framesDecoded ?? 0 };
}
"""


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., str]]:
    """A web server of somebody else: gives the address of a page with the player."""
    pages: dict[str, str] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = pages.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def page(helio: Server, src: str, way: str = "") -> str:
            path = f"/{len(pages)}"
            pages[path] = _PAGE.format(server=helio.http, src=src, way=way)
            return f"http://127.0.0.1:{server.server_port}{path}"

        yield page
        server.shutdown()
        thread.join(5)


def plays(tab: Tab, way: str) -> None:
    def look() -> bool:
        seen = tab.evaluate(_LOOK)
        return seen.get("way") == way and seen["state"] == "playing" and seen["frames"] > 30

    try:
        wait_until(look, PATIENCE, f"the player plays by {way}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {tab.evaluate(_LOOK)} {tab.complaints}") from None


def test_a_page_of_another_site_plays_a_channel(
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    elsewhere: Callable[..., str],
    clip: Clip,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    by_name = chromium.open(elsewhere(server, "clip"))
    plays(by_name, "webrtc")
    by_address = chromium.open(elsewhere(server, f"{server.http}/watch/clip", "hls"))
    plays(by_address, "hls")
    # The page's keys are its own.
    by_name.evaluate(
        "() => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'k', bubbles: true}))"
    )
    assert by_name.evaluate(_LOOK)["state"] == "playing"
    for tab in (by_name, by_address):
        assert tab.complaints == []
        tab.close()


@pytest.mark.long
def test_a_page_of_another_site_goes_over_to_hls_and_says_what_it_lacks(
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    elsewhere: Callable[..., str],
    clip: Clip,
    tmp_path: Path,
) -> None:
    server = serve(settings={"webrtc": {"enabled": False}})
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    tab = chromium.open(elsewhere(server, "clip"))
    plays(tab, "hls")
    unknown = chromium.open(elsewhere(server, "nowhere"))
    unknown.until_text("There is no such channel", PATIENCE)
    for one in (tab, unknown):
        assert one.complaints == []
        one.close()
