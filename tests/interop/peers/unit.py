"""A unit as a process of its own: ``python -m tests.interop.peers.unit DIR PORT JOIN KEEPER``.

It takes viewers whom a portal sends to its channel ``clip``, and media by RTSP; it tells on
standard output where, and runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from heliograph.bus import Bus, BusOptions
from heliograph.bus.identity import Identity
from heliograph.live.options import ChannelOptions
from heliograph.live.registry import Channels
from heliograph.live.remote import Unit
from heliograph.live.transcoding import Transcodes
from heliograph.live.webrtc import Rtc
from heliograph.plane import PlaneLoop, open_plane
from heliograph.servers.rtsp import RtspOptions, RtspServer


async def main(directory: str, port: str, join: str, keeper: str) -> None:
    """Be a unit."""
    identity = Identity.load(Path(directory))
    credentials = identity.credentials(datetime.now(UTC))
    bus = await Bus.open(BusOptions(identity.node, credentials, (f"127.0.0.1:{port}",), (join,)))
    plane = open_plane(1)
    loop = PlaneLoop(plane)
    channels = Channels(loop)
    channels.create("clip", ChannelOptions(key="secret"), keeper=keeper)
    rtc = Rtc(loop, plane.rtc_open("127.0.0.1:0", ["127.0.0.1:0"]), Transcodes(most=0))
    unit = Unit(bus, channels, rtc)
    server = RtspServer(channels, loop, RtspOptions("127.0.0.1", 0, rtp_port=0))
    loop.start()
    await server.start()
    print(f"rtsp://127.0.0.1:{server.port}/clip", flush=True)
    await asyncio.Event().wait()
    unit.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
