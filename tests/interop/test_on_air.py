"""From page to page: one browser goes on air, others watch it by each way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

from .peers import camera, ffmpeg
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser]

#: Seconds for pages and pictures on a busy machine.
PATIENCE = 30.0
SHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"

#: Presses the button with these words, wherever in the page's shadow roots it is.
_PRESS = """
(words) => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
    [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  const button = all(document).find((e) => e.localName === "button" && !e.disabled
    && e.textContent.includes(words));
  button?.click();
  return Boolean(button);
}
"""

#: Ticks the box that these words stand beside.
_TICK = """
(words) => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
    [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  const label = all(document).find((e) => e.localName === "label"
    && e.textContent.includes(words));
  const box = label?.querySelector("input[type=checkbox]");
  box?.click();
  return Boolean(box?.checked);
}
"""

#: Bytes of sound that the player has decoded.
_HEARD = """
() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
    [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  const videos = all(document).filter((e) => e.localName === "video");
  return Math.max(...videos.map((video) => video.webkitAudioDecodedByteCount ?? 0));
}
"""

#: How wide the page is, which buttons and fields lie beside it or are cut off, and its colour.
_FIT = """
() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
    [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  const shown = all(document).filter((e) => ["button", "select", "input", "video", "h1"]
    .includes(e.localName) && e.checkVisibility());
  const outside = shown.filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.left < -0.5 || box.right > innerWidth + 0.5);
  });
  const canvas = getComputedStyle(document.documentElement).backgroundColor;
  const body = getComputedStyle(document.body).backgroundColor;
  const colour = body === "rgba(0, 0, 0, 0)" ? canvas : body;
  return { wide: document.documentElement.scrollWidth,
           outside: outside.map((e) => e.outerHTML.slice(0, 120)),
           background: colour.match(/[0-9.]+/g).slice(0, 3).map(Number) };
}
"""

#: Keeps the connections that the page makes from now on.
_SPY_ON_PEERS = """
() => {
  window.peers = [];
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...given) { super(...given); window.peers.push(this); }
  };
}
"""

#: The servers by which each of them looks for paths.
_ICE_SERVERS = """
() => window.peers.map((peer) => peer.getConfiguration().iceServers.map((server) =>
  [[server.urls].flat(), server.username ?? "", server.credential ?? ""]))
"""

#: What the page's last connection received of the picture, half a second from now.
_INBOUND = """
async () => {
  await new Promise((done) => setTimeout(done, 500));
  const all = [...(await window.peers.at(-1).getStats()).values()];
  const video = all.find((one) => one.type === "inbound-rtp" && one.kind === "video");
  return { ...video, mimeType: all.find((one) => one.id === video?.codecId)?.mimeType };
}
"""

_PLAYER = """
() => {
  const player = document.querySelector("helio-watch")?.shadowRoot?.querySelector("helio-player");
  return player ? { state: player.dataset.state, way: player.dataset.way,
                    width: player.stats?.width ?? 0,
                    frames: player.stats?.framesDecoded ?? 0 } : {};
}
"""


def press(tab: Tab, words: str) -> None:
    wait_until(lambda: tab.evaluate(_PRESS, words), PATIENCE, f"a button {words!r}")


def select(tab: Tab, option: str) -> None:
    """Choose from whichever list has this value."""
    lists = f"select:has(option[value='{option}'])"
    tab.on(lambda page: page.locator(lists).select_option(option))


def go_on_air(chromium: Chromium, server: Server, size: str = "720p", **look: Any) -> Tab:
    """Open the page of a channel as its owner does, and start with a size of the picture."""
    devices = ["camera", "microphone"]
    tab = chromium.open(f"{server.http}/live/clip#key={KEY}", permissions=devices, **look)
    select(tab, size)
    press(tab, "Start")
    server.until_state("clip", "on_air", PATIENCE)
    return tab


def plays(tab: Tab, way: str, patience: float = PATIENCE) -> None:
    """Wait until the player shows moving pictures by a way."""

    def look() -> bool:
        seen: dict[str, Any] = tab.evaluate(_PLAYER)
        return seen.get("way") == way and seen["state"] == "playing" and seen["frames"] > 30

    try:
        wait_until(look, patience, f"the page plays by {way}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {tab.evaluate(_PLAYER)} {tab.text[-800:]}") from None


def watch(chromium: Chromium, server: Server, way: str) -> Tab:
    """Watch by a way, and keep the page's peers."""
    tab = chromium.open(f"{server.http}/404")
    tab.on(lambda page: page.add_init_script(f"({_SPY_ON_PEERS})()"))
    tab.go(f"{server.http}/watch/clip?way={way}")
    plays(tab, way)
    return tab


def test_the_cameras_pictures_are_seen_to_move_by_each_way(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve({"name": "clip", "title": "From a browser", "key": KEY})
    owner = go_on_air(chromium, server, "360p")
    assert KEY not in owner.evaluate("() => location.href")
    assert {row["kind"] for row in server.channel("clip")["inputs"]} == {"whip"}
    tabs = {way: watch(chromium, server, way) for way in ("webrtc", "websocket", "hls")}
    for way, tab in tabs.items():
        camera.until_moving(tab, PATIENCE, way)
    before, after = tabs["webrtc"].evaluate(_INBOUND), tabs["webrtc"].evaluate(_INBOUND)
    assert after["framesDecoded"] > before["framesDecoded"] > 30
    assert after["mimeType"] == "video/H264"
    assert after["packetsLost"] == 0
    owner.screenshot(SHOTS / "on-air.png")
    tabs["webrtc"].screenshot(SHOTS / "on-air-watched.png")
    # What does not move is told from what does: a picture that stands, and none.
    for way, tab in tabs.items():
        tab.on(lambda page: page.keyboard.press("k"))
        tab.until_state("paused", PATIENCE)
        still = camera.look(tab)
        assert still[0].camera, (way, still)
        assert not camera.moves(still), way
        tab.on(lambda page: page.keyboard.press("k"))
        tab.until_state("playing", PATIENCE)
    press(owner, "Hide picture")
    for way, tab in tabs.items():
        wait_until(
            lambda t=tab: all(one.black for one in camera.look(t, 0.5)),  # type: ignore[misc]
            PATIENCE,
            f"black by {way}",
        )
    press(owner, "Show picture")
    for way, tab in tabs.items():
        camera.until_moving(tab, PATIENCE, f"by {way} again")
    press(owner, "Stop")
    server.until_state("clip", "waiting")
    press(owner, "Start")
    server.until_state("clip", "on_air", PATIENCE)
    camera.until_moving(tabs["webrtc"], PATIENCE, "of the next time on air")
    for tab in (owner, *tabs.values()):
        assert tab.complaints == []
        tab.close()


def test_the_page_watches_by_hls_when_asked(
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    clip: Clip,
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    tab = chromium.open(f"{server.http}/watch/clip?way=hls")
    plays(tab, "hls")
    tab.close()


def test_without_webrtc_the_page_watches_by_tcp(
    serve: Callable[..., Server],
    run: Callable[[Program], Program],
    clip: Clip,
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve(settings={"webrtc": {"enabled": False}})
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    tab = chromium.open(f"{server.http}/watch/clip")
    plays(tab, "websocket")
    tab.close()


def test_the_pages_use_the_stun_and_turn_servers_that_they_are_told_of(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    port = free_port()  # where nobody answers
    stun = {"url": f"stun:127.0.0.1:{port}"}
    turn = {"url": f"turn:127.0.0.1:{port}?transport=udp", "username": "a,b", "credential": 'c"d'}
    server = serve(settings={"webrtc": {"ice_servers": [stun, turn]}})
    told = [
        [[stun["url"]], "", ""],
        [[turn["url"]], turn["username"], turn["credential"]],
    ]
    owner = chromium.open(
        f"{server.http}/live/clip#key={KEY}", permissions=["camera", "microphone"]
    )
    owner.evaluate(_SPY_ON_PEERS)
    press(owner, "Start")
    server.until_state("clip", "on_air", PATIENCE)
    assert owner.evaluate(_ICE_SERVERS) == [told]
    watcher = chromium.open(f"{server.http}/404")
    watcher.on(lambda page: page.add_init_script(f"({_SPY_ON_PEERS})()"))
    watcher.go(f"{server.http}/watch/clip?way=webrtc")
    plays(watcher, "webrtc")
    assert watcher.evaluate(_ICE_SERVERS) == [told]
    for tab in (watcher, owner):
        assert tab.complaints == []
        tab.close()
    assert turn["credential"] not in server.log


def test_the_page_on_air_fits_a_phone_at_night(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve({"name": "clip", "title": "A rather long title of a channel", "key": KEY})
    phone: dict[str, Any] = {
        "viewport": {"width": 390, "height": 844},
        "is_mobile": True,
        "color_scheme": "dark",
    }
    owner = go_on_air(chromium, server, **phone)
    owner.until_text("On air", PATIENCE)
    owner.screenshot(SHOTS / "on-air-narrow-dark.png")
    seen = owner.evaluate(_FIT)
    assert seen["wide"] <= 390, seen
    assert seen["outside"] == []
    red, green, blue = seen["background"]
    assert max(red, green, blue) < 64, "it is dark"
    assert owner.evaluate(_PRESS, "Stop")
    server.until_state("clip", "waiting")
    assert owner.complaints == []
    owner.close()


@pytest.mark.long
def test_half_the_size_is_sent_as_well_when_that_is_ticked(
    serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve({"name": "clip", "key": KEY})
    owner = chromium.open(
        f"{server.http}/live/clip#key={KEY}", permissions=["camera", "microphone"]
    )
    wait_until(lambda: owner.evaluate(_TICK, "Half the size"), PATIENCE, "a box to tick")
    owner.screenshot(SHOTS / "half-the-size.png")
    press(owner, "Start")
    server.until_state("clip", "on_air", PATIENCE)
    watcher = chromium.open(f"{server.http}/watch/clip?way=webrtc")
    plays(watcher, "webrtc")

    def layer() -> object:
        rows = server.manage("GET", "/channels/clip/readers")[1]["readers"]
        return [row.get("layer") for row in rows]

    wait_until(lambda: layer() == ["full"], PATIENCE, "the larger of two pictures")
    wait_until(lambda: watcher.evaluate(_PLAYER)["width"] == 1280, PATIENCE, "its size")
    # By HLS they are two renditions, with the sound beside them.
    by_hls = chromium.open(f"{server.http}/watch/clip?way=hls")
    plays(by_hls, "hls")
    wait_until(lambda: by_hls.evaluate(_HEARD) > 0, PATIENCE, "its sound")
    for tab in (watcher, by_hls, owner):
        tab.close()
