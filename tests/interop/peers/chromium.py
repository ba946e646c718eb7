"""Chromium on the pages: what the canvas shows, what the player says, what a person sees.

Playwright runs in a thread with a loop of its own: its loop must not be the tests'.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from .clip import Clip, make
from .program import wait_until

T = TypeVar("T")

EXECUTABLE = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

#: Likeness of a picture that went through YUV → RGB → luma and two scalings. Another picture of
#: the same scene has less than 30 dB.
MIN_PSNR = 30.0

#: Finds the player and notes, at each screen refresh, the number in the canvas when it changes.
_SPY = """
([blocks, codeRows, height, smallWidth, smallHeight]) => {
  const find = () => document.querySelector("helio-watch")?.shadowRoot
    ?.querySelector("helio-player");
  const strip = new OffscreenCanvas(blocks, 1);
  const stripContext = strip.getContext("2d", { willReadFrequently: true });
  const spy = (window.spy = { numbers: [], torn: 0, states: [], stats: [] });
  spy.player = find;
  const read = (canvas) => {
    const rows = (canvas.height * codeRows) / height;
    stripContext.imageSmoothingEnabled = false;
    stripContext.drawImage(canvas, 0, canvas.height - rows / 2, canvas.width, 1, 0, 0, blocks, 1);
    const data = stripContext.getImageData(0, 0, blocks, 1).data;
    let number = 0;
    let check = 0;
    for (let i = 0; i < blocks / 2; i++) number = number * 2 + (data[i * 4] >= 128 ? 1 : 0);
    for (let i = blocks / 2; i < blocks; i++) check = check * 2 + (data[i * 4] >= 128 ? 1 : 0);
    return (number ^ check) === 0xffff ? number : -1;
  };
  spy.picture = () => {
    const canvas = find().shadowRoot.querySelector("canvas");
    const small = new OffscreenCanvas(smallWidth, smallHeight);
    const context = small.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(canvas, 0, 0, smallWidth, smallHeight);
    const pixels = context.getImageData(0, 0, smallWidth, smallHeight).data;
    const luma = new Uint8Array(smallWidth * smallHeight);
    for (let i = 0; i < luma.length; i++) {
      // BT.709, to the studio range that the source has.
      const y = 0.2126 * pixels[i * 4] + 0.7152 * pixels[i * 4 + 1] + 0.0722 * pixels[i * 4 + 2];
      luma[i] = Math.round(16 + (y * 219) / 255);
    }
    let text = "";
    for (const value of luma) text += String.fromCharCode(value);
    return [read(canvas), btoa(text)];
  };
  let last = null;
  const look = () => {
    requestAnimationFrame(look);
    const player = find();
    const canvas = player?.shadowRoot?.querySelector("canvas");
    if (player && player.dataset.state !== spy.states.at(-1)) spy.states.push(player.dataset.state);
    if (!canvas || !canvas.width || !player.stats?.framesDecoded) return;
    const number = read(canvas);
    if (number === last) return;
    last = number;
    if (number < 0) spy.torn += spy.numbers.length ? 1 : 0;
    else spy.numbers.push(number);
  };
  look();
  setInterval(() => {
    const stats = find()?.stats;
    if (stats) spy.stats.push({ ...stats, at: performance.now() });
  }, 250);
}
"""


class Chromium:
    """A browser of its own, with an empty profile; in a namespace if one is named."""

    def __init__(self, *flags: str, namespace: str = "", directory: Path | None = None) -> None:
        assert shutil.which(EXECUTABLE), f"{EXECUTABLE} is not installed"
        self._flags = flags
        self._program = Path(EXECUTABLE)
        if namespace:
            assert directory is not None, "a directory for the script that enters the namespace"
            self._program = directory / f"chromium-{namespace}"
            self._program.write_text(
                f'#!/bin/sh\nexec ip netns exec {namespace} {EXECUTABLE} "$@"\n'
            )
            self._program.chmod(0o755)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._browser: Browser = self.do(self._start())

    async def _start(self) -> Browser:
        self._playwright = await async_playwright().start()
        return await self._playwright.chromium.launch(
            executable_path=self._program, headless=True, args=[*FLAGS, *self._flags]
        )

    def do(self, work: Coroutine[Any, Any, T], seconds: float = 40) -> T:
        """Run a coroutine in the browser's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def stop(self) -> None:
        """Close the browser and the thread."""
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _stop(self) -> None:
        await self._browser.close()
        await self._playwright.stop()

    def close_pages(self) -> None:
        """Close all pages that are open."""

        async def close() -> None:
            for context in [*self._browser.contexts]:
                await context.close()

        self.do(close())

    def open(self, url: str, **context: Any) -> Tab:
        """Open a page in a context of its own; ``context`` as ``Browser.new_context`` takes it."""
        return Tab(self, *self.do(self._open(url, context)))

    async def _open(self, url: str, options: dict[str, Any]) -> tuple[BrowserContext, Page]:
        context = await self._browser.new_context(**options)
        page = await context.new_page()
        await _go(page, url)
        return context, page


async def _go(page: Page, url: str) -> None:
    """Open an address; the watch page makes itself a moment after it is loaded."""
    await page.goto(url)
    await page.locator("helio-watch:not(:defined)").wait_for(state="detached")


class Tab:
    """One page."""

    def __init__(self, chromium: Chromium, context: BrowserContext, page: Page) -> None:
        self._chromium = chromium
        self._context = context
        self._page = page
        self.complaints: list[str] = []
        """Errors that scripts did not handle."""
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def evaluate(self, script: str, argument: object = None) -> Any:
        return self._chromium.do(self._page.evaluate(script, argument))

    def on(self, work: Callable[[Page], Coroutine[Any, Any, T]]) -> T:
        """Do something with the page, as Playwright does it."""
        return self._chromium.do(work(self._page))

    def go(self, url: str) -> None:
        """Open another page in the same tab, as the same person."""
        self._chromium.do(_go(self._page, url))

    def write(self, **fields: str) -> None:
        """Write into the newest fields of these names; ``_`` stands for ``-``."""
        for name, text in fields.items():
            found = self._page.locator(f"[name={name.replace('_', '-')}]:visible").last
            self._chromium.do(found.fill(text))

    def click(self, words: str) -> None:
        """Click the newest button or link with these very words, once it is there."""
        named = self._page.get_by_role("button", name=words, exact=True)
        linked = self._page.get_by_role("link", name=words, exact=True)
        self._chromium.do(named.or_(linked).last.click())

    def choose(self, name: str, value: str) -> None:
        """Choose one of several round buttons, or a value of a list."""
        radio = self._page.locator(f"input[name={name}][value={value}]")
        self._chromium.do(radio.check())

    @property
    def lines(self) -> list[str]:
        """Lines that the page offers to copy."""
        found: list[str] = self.evaluate(
            """() => { const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
                 [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
                 return all(document).filter((e) => e.localName === "copy-line")
                   .map((e) => e.text); }"""
        )
        return found

    def until_path(self, path: str, seconds: float) -> None:
        """Wait until the page at this path is there."""
        self._chromium.do(
            self._page.wait_for_url(lambda url: urlsplit(url).path == path, timeout=seconds * 1000),
            seconds + 5,
        )

    def load(self, script: Path) -> None:
        """Run a script file in the page."""
        self._chromium.do(self._page.add_script_tag(path=script))

    def spy(self) -> None:
        """Begin to note the numbers shown and the player's figures."""
        sizes = [make.BLOCKS, make.CODE_ROWS, make.HEIGHT, make.SMALL_WIDTH, make.SMALL_HEIGHT]
        self.evaluate(_SPY, sizes)

    @property
    def state(self) -> str:
        """State of the player; empty without one."""
        found: str = self.evaluate(
            """() => document.querySelector("helio-watch")?.shadowRoot
                 ?.querySelector("helio-player")?.dataset.state ?? "" """
        )
        return found

    @property
    def numbers(self) -> list[int]:
        """Numbers shown so far, in order."""
        numbers: list[int] = self.evaluate("() => spy.numbers")
        return numbers

    @property
    def stats(self) -> list[dict[str, Any]]:
        """The player's figures, four times a second."""
        stats: list[dict[str, Any]] = self.evaluate("() => spy.stats")
        return stats

    @property
    def text(self) -> str:
        """All that can be read on the page, shadow roots included."""
        found: str = self.evaluate(
            """() => { const all = (root) => [...root.querySelectorAll("*")].map((e) =>
                 (e.shadowRoot ? all(e.shadowRoot) : "")).join(" ") + " " +
                 [...root.childNodes].map((n) => n.innerText ?? n.textContent).join(" ");
                 return all(document.body); }"""
        )
        return found

    def until_state(self, state: str, seconds: float) -> None:
        """Wait for a state of the player."""
        wait_until(lambda: self.state == state, seconds, f"the player is {state}")

    def until_text(self, words: str, seconds: float) -> None:
        """Wait until ``words`` can be read on the page."""
        wait_until(lambda: words in self.text, seconds, f"{words!r} is on the page")

    def until_pictures(self, seconds: float) -> None:
        """Wait until every ``img`` of the page is there."""
        wait_until(
            lambda: self.evaluate(
                """() => { const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
                     [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
                     return all(document).filter((e) => e.tagName === "IMG")
                       .every((e) => e.complete); }"""
            ),
            seconds,
            "the page has its pictures",
        )

    def wait_numbers(self, count: int, seconds: float, since: int = 0) -> None:
        """Wait until ``count`` numbers were shown after the first ``since``."""
        wait_until(
            lambda: len(self.numbers) - since >= count, seconds, f"{count} numbers on the canvas"
        )

    def likeness(self, clip: Clip) -> tuple[int, float]:
        """Number of the picture on the canvas, and its likeness to the source's in dB."""
        number, text = self.evaluate("() => spy.picture()")
        assert 0 <= number < make.FRAMES, "no number can be read on the canvas"
        return number, clip.psnr(base64.b64decode(text), number)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._chromium.do(self._page.screenshot(path=path))

    def close(self) -> None:
        self._chromium.do(self._context.close())

    def judge(self, clip: Clip, count: int) -> list[str]:
        """Say what was wrong with at least ``count`` numbers, the picture, the delay and sound."""
        wrong = []
        numbers = self.numbers
        steps = [(b - a) % make.FRAMES for a, b in itertools.pairwise(numbers)]
        # A refresh of the screen may come too late to see a picture; going back is never right.
        if len(numbers) < count or any(step > make.RATE for step in steps):
            wrong.append(f"chromium: {len(numbers)} numbers, steps {sorted(set(steps))}")
        if torn := self.evaluate("() => spy.torn"):
            wrong.append(f"chromium: {torn} pictures without a number")
        number, likeness = self.likeness(clip)
        if likeness < MIN_PSNR:
            wrong.append(f"chromium: picture {number} has {likeness:.1f} dB")
        late = self.stats[-8:]
        last = late[-1]
        if last["decoderErrors"] or last["reconnects"]:
            wrong.append(f"chromium: {last}")
        delays = sorted(stats["delayMs"] or 1e9 for stats in late)
        if delays[len(delays) // 2] >= 1000:
            wrong.append(f"chromium: delay {delays} ms")
        skews = sorted(1e9 if s["avSkewMs"] is None else abs(s["avSkewMs"]) for s in late)
        if skews[len(skews) // 2] >= 100:
            wrong.append(f"chromium: sound and picture are {skews} ms apart")
        return wrong
