"""The watch page's keys, buttons and figures in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .peers import ffmpeg
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .test_on_air import PATIENCE, SHOTS, plays

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Keeps what the page's sound goes through where no video element plays it.
_KEEP_GAINS = """
const create = AudioContext.prototype.createGain;
AudioContext.prototype.createGain = function () {
  const gain = create.call(this);
  (window.gains ??= []).push(gain.gain);
  return gain;
};
"""

#: What the keys of the page act upon.
_LOOK = """
(way) => {
  const player = document.querySelector("helio-watch").shadowRoot.querySelector("helio-player");
  const root = player.shadowRoot;
  const drawn = way === "websocket";
  const video = root.querySelector(`video.${drawn ? "copy" : way}`);
  const gain = drawn ? Math.max(...window.gains.map((one) => one.value)) : 0;
  const full = document.fullscreenElement?.shadowRoot.fullscreenElement ?? null;
  const rows = [...root.querySelectorAll(".stats dl > div")].map((row) =>
    [row.querySelector("dt").textContent, row.querySelector("dd").textContent]);
  return { state: player.dataset.state, way: player.dataset.way,
           muted: drawn ? gain < 1e-3 : video.muted, volume: drawn ? gain : video.volume,
           paused: drawn ? player.dataset.state === "paused" : video.paused,
           full: full?.localName ?? "", wide: player.clientWidth / innerWidth,
           apart: root.pictureInPictureElement === video,
           decoded: player.stats.framesDecoded,
           copied: video.getVideoPlaybackQuality().totalVideoFrames,
           figures: Object.fromEntries(rows),
           plots: root.querySelector("helio-plots")?.shadowRoot?.querySelectorAll("canvas")
             .length };
}
"""

#: As when its tab is left: the browser says so, and refreshes no screen.
_HIDE = """
() => {
  window.requestAnimationFrame = () => 0;
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""

#: By each way: its name in the figures, and what they say of codecs.
WAYS = {
    "webrtc": ("WebRTC", r"H\.264, Opus"),
    "websocket": ("WebSocket", r"avc1\.[0-9a-f]{6}, opus"),
    "hls": ("HLS", r"avc1\.[0-9a-f]{6}, mp4a\.40\.2"),
}


@pytest.mark.parametrize("way", WAYS)
def test_keys_and_buttons_do_what_they_say(
    way: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    tab = chromium.open(f"{server.http}/404")
    tab.on(lambda page: page.add_init_script(_KEEP_GAINS))
    tab.go(f"{server.http}/watch/clip?way={way}")
    plays(tab, way)

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = tab.evaluate(_LOOK, way)
        return found

    def press(key: str) -> None:
        tab.on(lambda page: page.keyboard.press(key))

    def click(name: str) -> None:
        tab.on(lambda page: page.get_by_role("button", name=name, exact=True).click())

    def until(**wanted: Any) -> None:
        def look() -> bool:
            found = seen()
            return all(found[name] == value for name, value in wanted.items())

        try:
            wait_until(look, PATIENCE, f"{wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen()}") from None

    until(
        way=way,
        muted=False,
        volume=pytest.approx(1, abs=0.01),
        paused=False,
        full="",
        apart=False,
        figures={},
    )
    press("m")
    until(muted=True)
    click("Sound on (m)")
    until(muted=False)
    # Twice a tenth less on the slider; ears are logarithmic.
    press("ArrowDown")
    press("ArrowDown")
    until(volume=pytest.approx(0.8**2, abs=0.01))
    press("ArrowUp")
    until(volume=pytest.approx(0.9**2, abs=0.01))
    tab.on(lambda page: page.get_by_label("Volume").fill("0.5"))
    until(volume=pytest.approx(0.5**2, abs=0.01))
    for key in ("k", " "):
        press(key)
        until(state="paused", paused=True)
        press(key)
        until(state="playing", paused=False)
    press("s")
    until(plots=2)  # which are loaded when first wanted

    def measured() -> bool:
        found = seen()["figures"]
        name, codecs = WAYS[way]
        told = found["Way"] == name and re.fullmatch(codecs, found["Codecs"])
        counts = [found[name].split(" ")[0] for name in ("Decoded", "Bitrate", "Delay")]
        return bool(
            told
            and found["Picture"].startswith("640 × 360,")
            and all(count[0] in "123456789" for count in counts)
        )

    try:
        wait_until(measured, PATIENCE, "figures")
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen()['figures']}") from None
    press("f")
    until(full="helio-player", wide=1)
    if way == "webrtc":
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
    if way == "websocket":
        # Beside the page pictures go on where the page itself draws none.
        click("Picture in picture (p)")
        until(apart=True)
        tab.evaluate(_HIDE)
        begin = seen()
        enough = begin["decoded"] + 2 * make.RATE
        wait_until(lambda: seen()["decoded"] > enough, PATIENCE, "decoded pictures")
        shown, decoded = (seen()[name] - begin[name] for name in ("copied", "decoded"))
        assert shown > decoded / 2, f"{shown} shown of {decoded}"
    assert tab.complaints == []
    tab.close()
