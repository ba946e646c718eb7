"""How soon Chromium shows a channel by each way, and how far LL-HLS is behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from tests.interop.peers.chromium import EXECUTABLE, FLAGS
from tests.interop.peers.clip import Clip
from tests.perf import proc
from tests.perf.figures import Figure, Result, at_most, middle, percentile
from tests.perf.plan import Plan
from tests.perf.servers import KEY, Place, Setting, Whep

OWN = "heliograph"
HLS_JS = Path(__file__).parents[1] / "interop" / "node" / "node_modules" / "hls.js" / "dist"
#: Milliseconds until a page must show something.
PATIENCE_MS = 20_000
#: Times a page is opened.
TIMES = 10
#: Seconds that a window is open before its first address: Chromium loads pages of its own for its
#: address bar then, on the same core, which a person who types there has waited for.
WINDOW_S = 1.0
#: Bounds of the first frame, ms.
BOUNDS = {"webrtc": 500, "websocket": 800, "hls": 1500}
#: Seconds of playing after which a player by HLS has found its place, and looks at its delay then.
SETTLE_S = 6.0
LOOKS = 20

#: When the page's player first shows a picture: ms since the address was opened.
_FIRST = """
() => new Promise((done, fail) => {
  const find = () => document.querySelector("helio-watch")?.shadowRoot
    ?.querySelector("helio-player");
  const look = () => {
    if (performance.now() > 20000) return fail("nothing was shown");
    const player = find();
    const video = player?.shadowRoot?.querySelector("video");
    const shown = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
    const drawn = player?.dataset.way === "websocket" && (player.stats?.framesDecoded ?? 0);
    if (shown > 0 || drawn > 0) return done([performance.now(), player.dataset.way]);
    requestAnimationFrame(look);
  };
  look();
})
"""

#: The same for hls.js on an empty page: ms since the player was made.
_HLS = """
(url) => new Promise((done, fail) => {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, autoplay: true });
  document.body.append(video);
  const begin = performance.now();
  const hls = (window.hls = new Hls({ lowLatencyMode: true }));
  hls.on(Hls.Events.ERROR, (_, data) => data.fatal && fail(data.details));
  video.requestVideoFrameCallback(() => done(performance.now() - begin));
  setTimeout(() => fail("nothing was shown"), 20000);
  hls.loadSource(url);
  hls.attachMedia(video);
})
"""

#: How old the picture is that is shown now, ms.
_AGE = "() => hls.playingDate && Date.now() - hls.playingDate.getTime()"


@contextlib.contextmanager
def _on_air(place: Place) -> Iterator[Whep]:
    """Run the server with the clip on air: a keyframe a second."""
    server = Whep()
    log = place.work / "first-frame.log"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1"]
    command += ["-i", str(Clip().opus), "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
    command.append(f"rtsp://any:{KEY}@127.0.0.1:{server.rtsp_port}/bench")
    with (
        server.serving(place, Setting()),
        proc.running(command, place.load_core, log),
    ):
        time.sleep(3)  # a keyframe, and the measured rate that WebRTC goes by
        yield server


@contextlib.contextmanager
def _browser(core: int) -> Iterator[Browser]:
    """Run Chromium on one core."""
    before = os.sched_getaffinity(0)
    with sync_playwright() as playwright:
        os.sched_setaffinity(0, {core})
        try:
            browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        finally:
            os.sched_setaffinity(0, before)
        yield browser
        browser.close()


@contextlib.contextmanager
def _page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = context.new_page()
        time.sleep(WINDOW_S)
        yield page
    finally:
        context.close()


def _by_page(plan: Plan, browser: Browser, server: Whep, way: str, times: int) -> list[float]:
    found = []
    for number in range(times + 1):
        with _page(browser) as page:
            page.goto(f"http://127.0.0.1:{server.http_port}/watch/bench?way={way}")
            at, shown_by = page.evaluate(_FIRST)
        plan.say(f"  {way} #{number}: {at:.0f} ms by {shown_by}")
        if number and shown_by == way:  # the first warms up browser and server
            found.append(float(at))
    return found


def _by_hls(
    plan: Plan, browser: Browser, server: Whep, times: int
) -> tuple[list[float], list[float]]:
    first, ages = [], []
    url = f"http://127.0.0.1:{server.http_port}/hls/bench/index.m3u8"
    for number in range(times + 1):
        with _page(browser) as page:
            page.goto(f"http://127.0.0.1:{server.http_port}/healthz")
            page.add_script_tag(path=HLS_JS / "hls.min.js")
            at = page.evaluate(_HLS, url)
            plan.say(f"  hls #{number}: {at:.0f} ms")
            if number:  # the first waits until there is a rendition
                first.append(float(at))
            if number == times:
                time.sleep(SETTLE_S)
                for _ in range(LOOKS):
                    age: Any = page.evaluate(_AGE)
                    if age is not None:
                        ages.append(float(age))
                    time.sleep(0.1)
    return first, ages


def first_frame(plan: Plan) -> Result:
    """First frame in Chromium by each way, and the delay of LL-HLS."""
    figures: list[Figure] = []
    times = 2 if plan.quick else TIMES
    if OWN in {server.name for server in plan.servers}:
        with _on_air(plan.place) as server, _browser(plan.place.load_core) as browser:
            found = {
                way: _by_page(plan, browser, server, way, times) for way in ("webrtc", "websocket")
            }
            found["hls"], ages = _by_hls(plan, browser, server, times)
        for way, values in found.items():
            told = f"first frame by {way}"
            bound = at_most(BOUNDS[way])
            figures.append(Figure(f"{told}, p50", OWN, middle(values), "ms", target=bound))
            figures.append(Figure(f"{told}, longest", OWN, max(values, default=None), "ms"))
        age = percentile(ages, 0.5) if ages else None
        figures.append(Figure("LL-HLS delay, p50", OWN, age, "ms", target=at_most(2000)))
    return Result(
        "first-frame",
        f"First frame in headless Chromium, {times} times each, a keyframe a second",
        tuple(figures),
        (
            "WebRTC and WebSocket: from the opening of the watch page's address, in a window that "
            f"has been open for {WINDOW_S:.0f} s and has kept nothing, to the first picture, the "
            "page's own files included. LL-HLS: from the making of hls.js on a bare page, the "
            "channel's rendition being there; its delay is the age of the picture that is shown, "
            "by the server's clock when it was taken.",
        ),
    )
