"""What a person sees: pictures of the pages, kept for people to look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Where the pictures go.
SHOTS = Path(os.environ.get("CI_ARTIFACTS") or Path(__file__).parents[2] / ".cache" / "screenshots")
SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
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
            tab.wait_numbers(make.RATE, 20)
        if words:
            tab.until_text(words, 10)
        tab.until_pictures(10)
        tab.screenshot(SHOTS / f"{name}-{size}-{scheme}.png")
        width = tab.evaluate("() => document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"], f"{name} is {width} wide"
        assert tab.complaints == [], name
        tab.close()
