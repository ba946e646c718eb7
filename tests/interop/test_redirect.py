"""Players of others whom a portal sends on by RTSP: they follow, and are let in by the ticket."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.live.portal_site import Place, Placer

from heliograph.bus.memory import MemoryNetwork
from heliograph.live.options import ChannelOptions
from heliograph.live.registry import Channels
from heliograph.live.tickets import Tickets
from heliograph.model.nodes import node_id
from heliograph.plane import PlaneLoop, open_plane
from heliograph.servers.rtsp import RtspOptions, RtspServer
from heliograph.servers.rtsp_places import RtspPlaces

from .peers.clip import Clip

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

#: Seconds for starting everything at once on two cores.
PATIENCE = 40.0
KEYS = [Ed25519PrivateKey.generate() for _ in range(2)]
PORTAL, UNIT = (node_id(key.public_key().public_bytes_raw()) for key in KEYS)

#: Each ends by itself when it has got 20 pictures.
FFMPEG = "ffmpeg -nostdin -v info -rtsp_transport {} -i URL -map 0:v -frames:v 20 -f null -"
PLAYERS = {
    "ffmpeg by TCP": FFMPEG.format("tcp"),
    "ffmpeg by UDP": FFMPEG.format("udp"),
    "mpv": "mpv --no-config --vo=null --ao=null --frames=20 URL",
    "GStreamer": "gst-launch-1.0 -e rtspsrc location=URL protocols=tcp latency=0 ! "
    "rtph264depay ! h264parse ! identity eos-after=20 ! fakesink",
}


@contextlib.asynccontextmanager
async def served(keeper: str = "") -> AsyncIterator[RtspServer]:
    """An RTSP server with a channel that asks viewers for a key."""
    plane = open_plane(1)
    loop = PlaneLoop(plane)
    channels = Channels(loop)
    channels.create("clip", ChannelOptions(key="secret", view_key="sesame"), keeper=keeper)
    server = RtspServer(channels, loop, RtspOptions("127.0.0.1", 0, rtp_port=0))
    loop.start()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        channels.close()
        loop.stop()
        plane.close()


async def start(line: str, url: str) -> asyncio.subprocess.Process:
    words = [word.replace("URL", url) for word in line.split()]
    assert shutil.which(words[0]), f"{words[0]} is not installed"
    return await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def has_seen(player: str, program: asyncio.subprocess.Process, said: bytes) -> bool:
    """Whether a player that has ended got its 20 pictures."""
    # GStreamer 1.22 sends PAUSE on its way out and may break that off itself: its pipeline has
    # ended well then, its status is 1 all the same, and its TEARDOWN follows on the connection.
    return b"Got EOS" in said if player == "GStreamer" else program.returncode == 0


async def stop(program: asyncio.subprocess.Process) -> None:
    if program.returncode is None:
        program.kill()
    await program.communicate()


@pytest.mark.parametrize("player", PLAYERS)
async def test_players_follow_a_redirect_to_the_unit(player: str, clip: Clip) -> None:
    network = MemoryNetwork()
    buses = [await network.bus(node) for node in (PORTAL, UNIT)]
    async with served() as portal, served(PORTAL) as unit:
        buses[1].announce("node", "unit", {"rtsp": {"host": "127.0.0.1", "port": unit.port}})
        await buses[0].until_present("node")
        placer, tickets = Placer(Place(UNIT)), Tickets(UNIT, {PORTAL}.__contains__)
        portal.places = RtspPlaces(
            buses[0],
            portal.channels,
            KEYS[0],
            Tickets(PORTAL, lambda node: True),
            placer=placer,
        )
        unit.places = RtspPlaces(buses[1], unit.channels, KEYS[1], tickets)
        source = f"ffmpeg -nostdin -v error -re -stream_loop -1 -i {clip.opus} -c copy -f rtsp"
        address = f"rtsp://127.0.0.1:{unit.port}/clip?key=secret"
        publisher = await start(f"{source} -rtsp_transport tcp URL", address)
        channel, joined = unit.channels.get("clip"), []
        unit.channels.subscribe(lambda event: joined.append(event.kind))
        program = None
        try:
            async with asyncio.timeout(PATIENCE):
                while channel.state != "on_air":  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            program = await start(
                PLAYERS[player], f"rtsp://127.0.0.1:{portal.port}/clip?key=sesame"
            )
            async with asyncio.timeout(PATIENCE):
                said, _ = await program.communicate()
            assert has_seen(player, program, said), said.decode(errors="replace")[-2000:]
        finally:
            for one in (publisher, program):
                if one is not None:
                    await stop(one)
        assert "reader-joined" in joined
        assert portal.places.redirects == 1
        assert tickets.counters["tickets_accepted"] >= 1
        assert tickets.counters["tickets_refused"] == 0
    for bus in buses:
        await bus.close()
