"""A page whose unit is killed: the picture moves again within two seconds, by another unit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.contract.bus_site import ZenohSite
from tests.ports import free_port
from tests.unit.live.portal_site import Place, Placer
from tests.unit.web.site import running

from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.options import ChannelOptions
from heliograph.live.remote import Portal, Viewers

from .peers import ffmpeg
from .peers.chromium import Chromium, Tab
from .peers.clip import Clip
from .peers.program import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.browser, pytest.mark.timeout(150)]

PATIENCE = 40.0
#: Seconds in which the picture has to move again: 2, and what a machine of two cores adds on which
#: the browser, two units and two publishers run besides.
MOVES_AGAIN = 4.0

#: Notes when pictures are shown, and that of the page before any.
NOTE = """() => {
  const video = document.querySelector("helio-watch").shadowRoot
    .querySelector("helio-player").shadowRoot.querySelector("video.webrtc");
  window.pictures = [];
  const note = () => { pictures.push(performance.now()); video.requestVideoFrameCallback(note); };
  video.requestVideoFrameCallback(note);
}"""


class Process:
    """A unit."""

    def __init__(self, node: str, program: asyncio.subprocess.Process, address: str) -> None:
        self.node = node
        self.program = program
        self.address = address


@contextlib.asynccontextmanager
async def units(site: ZenohSite, count: int, keeper: str) -> AsyncIterator[list[Process]]:
    found: list[Process] = []
    try:
        for number in range(count):
            identity = site.identity(f"unit{number}")
            directory = str(site.directory / f"unit{number}")
            words = [directory, str(free_port()), f"127.0.0.1:{site.ports[0]}", keeper]
            program = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.interop.peers.unit",
                *words,
                cwd=Path(__file__).parents[2],
                stdout=asyncio.subprocess.PIPE,
            )
            found.append(Process(identity.node, program, ""))
            assert program.stdout is not None
            line = b""
            async with asyncio.timeout(PATIENCE):
                while not line.startswith(b"rtsp://"):
                    line = await program.stdout.readline()
            found[-1].address = line.decode().strip()
        yield found
    finally:
        for one in found:
            if one.program.returncode is None:
                one.program.kill()
            await one.program.communicate()


async def until(look: Callable[[], bool], what: str) -> None:
    """Wait for something of the page, whose thread is another."""
    await asyncio.to_thread(wait_until, look, PATIENCE, what)


def shown(tab: Tab) -> int:
    number: int = tab.evaluate("() => window.pictures.length")
    return number


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)]
)
async def test_the_picture_moves_again_when_the_unit_dies(
    how: signal.Signals, clip: Clip, chromium: Chromium, tmp_path: Path
) -> None:
    cluster = ZenohSite(tmp_path)
    bus = await cluster.bus()
    async with units(cluster, 2, bus.node) as both:
        placer = Placer(Place(both[0].node), Place(both[1].node))
        viewers = Viewers(bus, Offers(OfferLimits()))
        portal = Portal(bus, viewers, placer)
        context = {"portal": portal}
        publishers = [
            ffmpeg.publish(clip.opus, f"{one.address}?key=secret", "tcp", tmp_path, name=f"p{n}")
            for n, one in enumerate(both)
        ]
        try:
            async with running(ChannelOptions(), context=context, offers=OfferLimits()) as site:
                site.channels.create("clip", ChannelOptions())
                url = f"http://127.0.0.1:{site.server.port}/watch/clip?way=webrtc"
                tab = await asyncio.to_thread(chromium.open, url)
                await until(lambda: tab.state == "playing", "the page plays")
                await asyncio.to_thread(tab.evaluate, NOTE)
                await until(lambda: shown(tab) > 100, "pictures")
                before = await asyncio.to_thread(shown, tab)
                os.kill(both[0].program.pid, how)
                await until(lambda: shown(tab) > before + 60, "pictures again")
                gap = await asyncio.to_thread(
                    tab.evaluate,
                    "() => Math.max(...pictures.slice(1).map((at, i) => at - pictures[i]))",
                )
                assert len(placer.asked) == 2
                assert placer.asked[1][2] == both[0].node
                print(f"the picture stood for {gap:.0f} ms")
                assert gap < MOVES_AGAIN * 1000
                await asyncio.to_thread(tab.close)
        finally:
            for one in publishers:
                await asyncio.to_thread(one.stop)
            await viewers.close()
            if how is signal.SIGSTOP:
                os.kill(both[0].program.pid, signal.SIGCONT)
    await cluster.close()
