"""The watch page's keys, buttons and figures in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .peers import ffmpeg
from .peers.chromium import Chromium
from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .test_on_air import PATIENCE, SHOTS, plays

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: What the keys of the page act upon.
_LOOK = """
() => {
  const player = document.querySelector("helio-watch").shadowRoot.querySelector("helio-player");
  const root = player.shadowRoot;
  const video = root.querySelector("video.webrtc");
  const full = document.fullscreenElement?.shadowRoot.fullscreenElement ?? null;
  const rows = [...root.querySelectorAll(".stats dl > div")].map((row) =>
    [row.querySelector("dt").textContent, row.querySelector("dd").textContent]);
  return { state: player.dataset.state, muted: video.muted, volume: video.volume,
           paused: video.paused, full: full?.localName ?? "", wide: player.clientWidth / innerWidth,
           apart: root.pictureInPictureElement === video, figures: Object.fromEntries(rows),
           plots: root.querySelector("helio-plots")?.shadowRoot?.querySelectorAll("canvas")
             .length };
}
"""


def test_keys_and_buttons_do_what_they_say(
    clip: Clip,
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    tab = chromium.open(f"{server.http}/watch/clip?way=webrtc")
    plays(tab, "webrtc")

    def press(key: str) -> None:
        tab.on(lambda page: page.keyboard.press(key))

    def click(name: str) -> None:
        tab.on(lambda page: page.get_by_role("button", name=name, exact=True).click())

    def until(**wanted: Any) -> None:
        def look() -> bool:
            seen = tab.evaluate(_LOOK)
            return all(seen[name] == value for name, value in wanted.items())

        try:
            wait_until(look, PATIENCE, f"{wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {tab.evaluate(_LOOK)}") from None

    until(muted=False, volume=1, paused=False, full="", apart=False, figures={})
    press("m")
    until(muted=True)
    click("Sound on (m)")
    until(muted=False)
    # Twice a tenth less on the slider; ears are logarithmic.
    press("ArrowDown")
    press("ArrowDown")
    until(volume=pytest.approx(0.8**2))
    press("ArrowUp")
    until(volume=pytest.approx(0.9**2))
    tab.on(lambda page: page.get_by_label("Volume").fill("0.5"))
    until(volume=pytest.approx(0.5**2))
    for key in ("k", " "):
        press(key)
        until(state="paused", paused=True)
        press(key)
        until(state="playing", paused=False)
    press("s")
    until(plots=2)  # which are loaded when first wanted

    def measured() -> bool:
        found = tab.evaluate(_LOOK)["figures"]
        names = found["Way"], found["Codecs"], found["Picture"].partition(",")[0]
        counts = [found[name].split(" ")[0] for name in ("Decoded", "Bitrate", "Delay")]
        return names == ("WebRTC", "H.264, Opus", "640 × 360") and all(
            count[0] in "123456789" for count in counts
        )

    wait_until(measured, PATIENCE, "figures")
    press("f")
    until(full="helio-player", wide=1)
    tab.screenshot(SHOTS / "full-screen.png")
    click("Leave full screen (f)")
    until(full="")
    press("p")
    until(apart=True, state="playing")
    click("Picture in picture (p)")
    until(apart=False)
    click("Statistics (s)")
    until(figures={})
    # What is written is not taken for keys.
    tab.on(lambda page: page.get_by_label("Your name in the chat").fill(""))
    tab.on(lambda page: page.get_by_label("Your name in the chat").press_sequentially("mkfps"))
    until(muted=False, state="playing", full="", apart=False, figures={})
    assert tab.complaints == []
    tab.close()
