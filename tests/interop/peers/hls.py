"""Programs from npm that play and judge HLS."""

from __future__ import annotations

from pathlib import Path

from .chromium import Chromium, Tab
from .clip import make
from .program import Program, wait_until

NODE = Path(__file__).parents[1] / "node"

#: Plays with hls.js on an empty page and notes the numbers of the pictures.
_PLAY = """
([url, blocks, codeRows, height, config]) => {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, autoplay: true });
  document.body.append(video);
  const seen = (window.seen = { numbers: [], errors: [], hosts: [] });
  const hls = (window.hls = new Hls({ lowLatencyMode: true, ...config }));
  hls.on(Hls.Events.ERROR, (_, data) => seen.errors.push([data.fatal, data.details]));
  hls.on(Hls.Events.FRAG_LOADED, (_, data) => {
    const { host } = new URL(data.frag.url);
    if (host !== seen.hosts.at(-1)?.[1]) seen.hosts.push([performance.now() / 1000, host]);
  });
  const strip = new OffscreenCanvas(blocks, 1).getContext("2d", { willReadFrequently: true });
  strip.imageSmoothingEnabled = false;
  const look = () => {
    video.requestVideoFrameCallback(look);
    const rows = (video.videoHeight * codeRows) / height;
    strip.drawImage(video, 0, video.videoHeight - rows / 2, video.videoWidth, 1, 0, 0, blocks, 1);
    const data = strip.getImageData(0, 0, blocks, 1).data;
    let [number, check] = [0, 0];
    for (let i = 0; i < blocks / 2; i++) number = number * 2 + (data[i * 4] >= 128 ? 1 : 0);
    for (let i = blocks / 2; i < blocks; i++) check = check * 2 + (data[i * 4] >= 128 ? 1 : 0);
    if ((number ^ check) === 0xffff && number !== seen.numbers.at(-1)) seen.numbers.push(number);
  };
  video.requestVideoFrameCallback(look);
  hls.loadSource(url);
  hls.attachMedia(video);
}
"""


def judge(url: str, reloads: int, directory: Path, *, uneven: bool = False) -> Program:
    """Follow each of a channel's playlists for ``reloads``; judge all by hls-parser's strict rules.

    ``uneven``: pictures come when the camera has them, so that some parts are short.
    """
    assert (NODE / "node_modules" / "hls-parser").is_dir(), "make interop installs hls-parser"
    argv = ["node", str(NODE / "judge.mjs"), url, str(reloads)]
    argv += ["uneven"] if uneven else []
    return Program("hls-parser", argv, directory)


class HlsJs:
    """hls.js on a page of its own."""

    def __init__(self, chromium: Chromium, url: str, **config: float) -> None:
        """``config``: as of hls.js."""
        script = NODE / "node_modules" / "hls.js" / "dist" / "hls.min.js"
        assert script.is_file(), "make interop installs hls.js"
        # A bare page of the same server: others may not fetch from the loopback.
        bare = "/".join(url.split("/")[:3]) + "/healthz"
        self.tab: Tab = chromium.open(bare, bypass_csp=True)
        self.tab.load(script)
        self.tab.evaluate(_PLAY, [url, make.BLOCKS, make.CODE_ROWS, make.HEIGHT, config])

    @property
    def numbers(self) -> list[int]:
        """Numbers of the pictures shown so far."""
        found: list[int] = self.tab.evaluate("() => seen.numbers")
        return found

    @property
    def hosts(self) -> list[str]:
        """Host and port of each server that media came from, in their order."""
        return [host for _, host in self.tab.evaluate("() => seen.hosts")]

    @property
    def pathway(self) -> str:
        """The server that content steering made it choose for what it loads next."""
        found: str = self.tab.evaluate("() => hls.levels[hls.nextLoadLevel]?.pathwayId ?? ''")
        return found

    @property
    def errors(self) -> list[tuple[bool, str]]:
        """What the player complained of: whether it gave up, and why."""
        return [(fatal, why) for fatal, why in self.tab.evaluate("() => seen.errors")]

    @property
    def height(self) -> int:
        """Lines of the picture that is shown."""
        found: int = self.tab.evaluate("() => document.querySelector('video').videoHeight")
        return found

    @property
    def heights(self) -> list[int]:
        """Lines of the pictures offered."""
        found: list[int] = self.tab.evaluate("() => hls.levels.map((level) => level.height)")
        return found

    @property
    def frames(self) -> int:
        """Pictures decoded so far."""
        found: int = self.tab.evaluate(
            "() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
        )
        return found

    @property
    def stalls(self) -> int:
        """Times it had nothing to show."""
        return [why for _, why in self.errors].count("bufferStalledError")

    def choose(self, height: int) -> None:
        """Play the picture of this size from the next segment on."""
        self.tab.evaluate(
            "(height) => { hls.nextLevel = hls.levels.findIndex((l) => l.height === height); }",
            height,
        )

    @property
    def delay(self) -> float:
        """Age of the picture that is shown, by the playlist's dates, s."""
        age: float = self.tab.evaluate(
            "() => hls.playingDate ? (Date.now() - hls.playingDate.getTime()) / 1000 : 1e9"
        )
        return age

    def wait_numbers(self, count: int, seconds: float) -> None:
        """Wait until so many pictures were shown."""
        wait_until(lambda: len(self.numbers) >= count, seconds, f"{count} pictures by hls.js")
