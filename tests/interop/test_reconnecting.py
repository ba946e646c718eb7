"""A publisher and a viewer who lose their path or their session, and go on by themselves."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from .peers import camera, network
from .peers.chromium import Chromium
from .peers.heliograph import KEY, Server
from .peers.network import SERVER, Network
from .peers.program import wait_until
from .test_on_air import PATIENCE, press, select, watch

pytestmark = pytest.mark.interop


@pytest.fixture
def links() -> Iterator[Network]:
    """A network for the server, which peers join."""
    yield from network.network()


@pytest.mark.browser
def test_both_ends_go_on_by_themselves_whatever_they_lose(
    serve: Callable[..., Server], links: Network, tmp_path: Path
) -> None:
    server = serve({"name": "clip", "key": KEY}, host=SERVER, namespace=links.server)
    secure = f"--unsafely-treat-insecure-origin-as-secure={server.http}"
    there, here = links.join(), links.join()
    publishing = Chromium(secure, namespace=there.name, directory=tmp_path)
    watching = Chromium(secure, namespace=here.name, directory=tmp_path)
    try:
        sessions: list[str] = []

        methods: list[str] = []

        async def note(page: Page) -> None:
            page.on("response", lambda answer: sessions.append(answer.headers.get("location", "")))
            page.on("request", lambda request: methods.append(request.method))

        owner = publishing.open(
            f"{server.http}/live/clip#key={KEY}", permissions=["camera", "microphone"]
        )
        owner.on(note)
        select(owner, "360p")
        press(owner, "Start")
        viewer = watch(watching, server, "webrtc")
        camera.until_moving(viewer, PATIENCE, "before")

        def readers() -> list[Any]:
            rows = server.manage("GET", "/channels/clip/readers")[1]["readers"]
            return [row["id"] for row in rows]

        (session,) = readers()
        # A firewall drops its datagrams: ICE is restarted, and finds the way by TCP.
        (before,) = server.channel("clip")["inputs"]
        there.block_udp()
        wait_until(lambda: "PATCH" in methods, PATIENCE, "ICE is restarted")
        camera.until_moving(viewer, PATIENCE, "by another path")
        assert [row["id"] for row in server.channel("clip")["inputs"]] == [before["id"]]
        # The server has lost its session: another one takes its place.
        (path,) = filter(None, sessions)
        end = urllib.request.Request(server.http + path, method="DELETE")
        with urllib.request.urlopen(end, timeout=10) as answer:
            assert answer.status == 200
        wait_until(lambda: sum(map(bool, sessions)) == 2, PATIENCE, "it offers anew")
        camera.until_moving(viewer, PATIENCE, "of the next session")
        assert readers() == [session]
        assert viewer.evaluate("() => window.peers.length") == 1
        # The viewer hears nothing any more, of nobody, for a while.
        viewer.evaluate("() => { window.stayed = true; }")
        here.block()
        viewer.until_text("The server does not answer", PATIENCE)
        here.unblock()
        camera.until_moving(viewer, PATIENCE, "after the viewer's pause")
        assert viewer.evaluate("() => window.stayed"), "the page was not loaded anew"
        for tab in (owner, viewer):
            assert tab.complaints == []
    finally:
        publishing.stop()
        watching.stop()


@pytest.mark.page
@pytest.mark.parametrize("scripts", ["**/*.js", "**/watch-*.js"], ids=["all", "some"])
def test_a_page_whose_scripts_did_not_come_says_so(
    scripts: str, serve: Callable[..., Server], chromium: Chromium
) -> None:
    server = serve({"name": "clip", "key": KEY})
    tab = chromium.open(f"{server.http}/404")
    words = "This page did not load completely"
    # As when the network changes meanwhile: browsers break off what a page is loading then.
    tab.on(lambda page: page.route(scripts, lambda route: route.abort("connectionaborted")))
    tab.on(lambda page: page.goto(f"{server.http}/watch/clip"))
    tab.on(lambda page: page.get_by_text(words).wait_for(timeout=PATIENCE * 1000))
    tab.on(lambda page: page.unroute(scripts))
    tab.on(lambda page: page.reload())
    wait_until(lambda: tab.state != "", PATIENCE, "the player is there")
    assert words not in tab.text
    tab.close()
