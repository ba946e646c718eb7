"""What a person sees: pictures of the pages, kept for people to look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.page]

PATIENCE = 45.0

#: Where the pictures go.
SHOTS = Path(os.environ.get("CI_ARTIFACTS") or Path(__file__).parents[2] / ".cache" / "screenshots")
SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}


#: What a person does on the pages, done at once.
_ASK = """
async (requests) => {
  for (const [method, path, body] of requests) {
    const answer = await fetch(`/api/v1${path}`, {
      method, body: JSON.stringify(body), headers: { "content-type": "application/json" } });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  }
}
"""


def shoot(tab: Tab, name: str, size: str, scheme: str) -> None:
    """Keep a picture of the page, and see that it fits."""
    tab.until_pictures(PATIENCE)
    tab.screenshot(SHOTS / f"{name}-{size}-{scheme}.png")
    width = tab.evaluate("() => document.documentElement.scrollWidth")
    assert width <= SIZES[size]["width"], f"{name} is {width} wide"
    assert tab.complaints == [], name


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_says_what_it_is(
    size: str,
    scheme: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve(
        {"name": "clip", "title": "A clip that goes round", "key": KEY},
        {"name": "empty", "title": "Nothing yet", "key": KEY},
    )
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    look = {"viewport": SIZES[size], "color_scheme": scheme, "is_mobile": size == "narrow"}
    pages = {
        "list": ("/", "A clip that goes round"),
        "watch": ("/watch/clip?way=websocket", "A clip that goes round"),
        "live": ("/live/clip", "A clip that goes round"),
        "waiting": ("/watch/empty", "Nothing on air right now"),
        "unknown": ("/watch/no-such-channel", "There is no such channel"),
        "404": ("/no/such/page", ""),
    }
    for name, (path, words) in pages.items():
        tab = chromium.open(server.http + path, **look)
        if name == "watch":
            tab.spy()
            tab.wait_numbers(make.RATE, PATIENCE)
        if words:
            tab.until_text(words, PATIENCE)
        shoot(tab, name, size, scheme)
        tab.close()
    person = chromium.open(f"{server.http}/setup", **look)
    person.until_text("Set up this server", PATIENCE)
    shoot(person, "setup", size, scheme)
    key = (tmp_path / "server-state" / "administrator.key").read_text().strip()
    ada = {"name": "ada", "password": "three plain words", "display_name": "Ada"}
    ben = {"name": "ben", "password": "three plain words", "role": "broadcaster"}
    yard = {"name": "yard", "title": "The yard at night", "private": True}
    requests = [("POST", "/setup", {"key": key, **ada}), ("POST", "/accounts", ben)]
    requests += [("POST", "/channels", yard), ("POST", "/channels/yard/keys", {"label": "Studio"})]
    person.evaluate(_ASK, requests)
    stranger = chromium.open(f"{server.http}/sign-in", **look)
    stranger.until_text("Sign in", PATIENCE)
    shoot(stranger, "sign-in", size, scheme)
    stranger.close()
    for name, (path, words) in {
        "mine": ("/mine", "The yard at night"),
        "admin": ("/admin", "The server now"),
        "choice": ("/live", "Your channels"),
        "owner": ("/live/yard", "no key is needed"),
        "list-owner": ("/", "Private"),
    }.items():
        person.go(server.http + path)
        person.until_text(words, PATIENCE)
        if name == "mine":
            person.click("Stream keys")
            person.write(label="Phone")
            person.click("Make a key")
            person.until_text("Copy it now.", PATIENCE)
        shoot(person, name, size, scheme)
    person.close()
