"""One live channel from a real publisher to real players."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.system.conftest import PATIENCE, Served, start, stop, until

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]

#: Finds the player in the page's shadow trees.
PLAYER = """() => {
  const find = (root) => {
    for (const node of root.querySelectorAll('*')) {
      if (node.localName === 'helio-player') return node;
      const inside = node.shadowRoot && find(node.shadowRoot);
      if (inside) return inside;
    }
  };
  return find(document)?.stats;
}"""


def read(served: Served, transport: str, seconds: float = 3) -> subprocess.CompletedProcess[str]:
    """Watch with ffmpeg, which decodes every picture and complains of what is missing."""
    return subprocess.run(
        ["ffmpeg", "-v", "warning", "-rtsp_transport", transport, "-i", f"{served.rtsp}/demo"]
        + ["-t", str(seconds), "-f", "framemd5", "-"],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("way_in", ["tcp", "udp"])
@pytest.mark.parametrize("way_out", ["tcp", "udp"])
def test_ffmpeg_plays_what_ffmpeg_publishes(
    served: Served, publish: Callable[..., Any], way_in: str, way_out: str
) -> None:
    publish(way_in)
    played = read(served, way_out)
    assert played.returncode == 0, played.stderr
    assert "missed" not in played.stderr, played.stderr
    assert "concealing" not in played.stderr, played.stderr
    pictures = [line for line in played.stdout.splitlines() if line.startswith("0,")]
    assert len(pictures) >= 70
    assert len({line.split(",")[-1] for line in pictures}) >= 70, "every picture is another"


def test_gstreamer_and_mpv_play_it(served: Served, publish: Callable[..., Any]) -> None:
    publish("udp")
    gstreamer = ["gst-launch-1.0", "rtspsrc", f"location={served.rtsp}/demo", "latency=200"]
    gstreamer += ["!", "decodebin", "!", "fakesink", "num-buffers=75"]
    mpv = ["mpv", "--no-config", "--vo=null", "--ao=null", "--length=3", f"{served.rtsp}/demo"]
    played, watched = (
        subprocess.run(
            player,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE * 2,
        )
        for player in (gstreamer, mpv)
    )
    # Its exit code tells of the farewell too, which rtspsrc may break off itself.
    assert "Got EOS" in played.stdout, played.stdout
    assert watched.returncode == 0, watched.stdout


def test_without_a_publisher_nobody_plays(served: Served) -> None:
    for transport in ("tcp", "udp"):
        played = read(served, transport)
        assert played.returncode != 0
        assert "404" in played.stderr, played.stderr


def test_a_wrong_key_is_refused(served: Served, clip: Path) -> None:
    url = served.publish_url().replace(":a-key", ":another-key")
    done = subprocess.run(
        ["ffmpeg", "-v", "warning", "-re", "-i", str(clip), "-c", "copy", "-f", "rtsp", url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert "401" in done.stderr
    assert served.channel()["state"] == "idle"


def test_readers_outlive_a_killed_publisher(
    served: Served, publish: Callable[..., Any], tmp_path: Path
) -> None:
    first = publish("tcp")
    seen = tmp_path / "seen.md5"
    reader = start(
        ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", f"{served.rtsp}/demo"]
        + ["-an", "-flush_packets", "1", "-f", "framemd5", str(seen)],
        tmp_path / "reader.log",
    )

    def pictures() -> int:
        return seen.read_text().count("\n0,") if seen.exists() else 0

    try:
        until("pictures come", lambda: pictures() > 25)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        until("the channel waits", lambda: served.channel()["state"] == "waiting")
        before = pictures()
        publish("tcp")
        until("pictures come again", lambda: pictures() > before + 25)
        assert reader.poll() is None, "the same player, the same session"
    finally:
        stop(reader)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


def stats(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(PLAYER) or {}
    return found


@pytest.mark.browser
def test_chromium_plays_it_and_waits_for_a_publisher_that_returns(
    served: Served, publish: Callable[..., Any], browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(f"{served.http}/watch/demo?way=websocket")
    until("the page waits", lambda: "waiting" in str(stats(page).get("state")))
    first = publish("udp")
    until("it plays", lambda: stats(page).get("framesDecoded", 0) > 50)
    playing = until("figures are there", lambda: stats(page) if stats(page)["delayMs"] else None)
    assert playing["delayMs"] < 1_000
    assert (playing["width"], playing["height"]) == (640, 360)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until("the page waits again", lambda: stats(page)["state"] != "playing")
    decoded = stats(page)["framesDecoded"]
    publish("tcp")
    until("it goes on by itself", lambda: stats(page)["framesDecoded"] > decoded + 50)
    assert stats(page)["state"] == "playing"


@pytest.mark.page
def test_chromium_lists_the_channel(
    served: Served, publish: Callable[..., Any], browser: Browser
) -> None:
    publish("tcp")
    page = browser.new_page()
    page.goto(served.http)
    page.get_by_text("A clip").first.wait_for(timeout=PATIENCE * 1_000)
    page.get_by_text("On air").first.wait_for(timeout=PATIENCE * 1_000)
