"""``python -m tests.system.whep_viewer URL COOKIE``: a viewer by WebRTC who is signed in.

Decodes nothing. A line for each tenth of a second in which something came: packets so far;
``ended`` when the server ends the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import urllib.request
from urllib.parse import urlsplit

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from tests.interop.peers.aiortc_peer import prefer_h264, without_estimates


async def main(url: str, cookie: str) -> None:
    connection, ended = RTCPeerConnection(RTCConfiguration(iceServers=[])), asyncio.Event()
    packets = 0

    async def came(_packet: object, arrival_time_ms: int) -> None:
        nonlocal packets
        packets += 1

    def changed() -> None:
        if connection.connectionState in ("failed", "closed"):
            ended.set()

    connection.on("connectionstatechange", changed)
    for kind in ("audio", "video"):
        connection.addTransceiver(kind, direction="recvonly")
    prefer_h264(connection)
    await connection.setLocalDescription(await connection.createOffer())
    place = urlsplit(url)
    request = urllib.request.Request(
        url,
        without_estimates(connection.localDescription.sdp).encode(),
        {
            "Content-Type": "application/sdp",
            "Cookie": cookie,
            "Origin": f"{place.scheme}://{place.netloc}",
        },
    )

    def ask() -> str:
        with urllib.request.urlopen(request, timeout=20) as answer:
            print(answer.headers["Location"], flush=True)
            return str(answer.read().decode())

    answer = await asyncio.to_thread(ask)
    for transceiver in connection.getTransceivers():
        transceiver.receiver._handle_rtp_packet = came
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    told = 0
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.1)
        if packets != told:
            told = packets
            print(told, flush=True)
    print("ended", flush=True)


if __name__ == "__main__":
    # It leaves out the loopback, where the tests are.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    asyncio.run(main(*sys.argv[1:]))
