"""``python -m tests.probe.whep ADDRESS COUNT PORTAL...``: viewers by WebRTC who do as pages do.

They decode nothing. Whoever hears nothing asks a portal whether his session lives, and opens
another where it does not. A line a tenth of a second for each to whom something came: when, his
number, his packets so far, his sessions so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from tests.interop.peers.aiortc_peer import prefer_h264, without_estimates

#: Seconds without a packet after which the session is asked after, as pages do.
QUIET = 0.6
#: Seconds between two questions.
AGAIN = 1.0
#: Seconds for the first packet, and of silence although the unit says that it sends.
PATIENCE = 4.0
#: Seconds for an answer of a portal.
TIMEOUT = 4.0


class Session:
    """One session of a viewer, at a unit."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.heard = time.monotonic()
        self.came = 0
        self.path = ""
        """Of its URL; the unit stands behind ``~``."""

    async def open(self, portal: str, channel: str, origin: str) -> None:
        """Make the offer; ``OSError`` where no session comes of it."""
        for kind in ("audio", "video"):
            self._connection.addTransceiver(kind, direction="recvonly")
        prefer_h264(self._connection)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        body = without_estimates(self._connection.localDescription.sdp).encode()
        url = f"{portal}/whep/{channel}" + (f"?from={origin}" if origin else "")
        request = urllib.request.Request(url, body, {"Content-Type": "application/sdp"})
        status, headers, answer = await asyncio.to_thread(ask, request)
        if status != 201:
            raise OSError(f"{status} {answer[:200]}")
        self.path = headers["Location"]
        for transceiver in self._connection.getTransceivers():
            transceiver.receiver._handle_rtp_packet = self._packet
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self.heard = time.monotonic()

    @property
    def unit(self) -> str:
        return self.path.rpartition("~")[2] if "~" in self.path else ""

    async def _packet(self, _packet: object, arrival_time_ms: int) -> None:
        self.heard = time.monotonic()
        self.came += 1
        self._viewer.packets += 1

    async def over(self, portals: list[str]) -> None:
        """Return when there is reason for another session."""
        asked_at = 0.0
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            silent = now - self.heard
            if silent < QUIET or now - asked_at < AGAIN:
                continue
            asked_at = now
            request = urllib.request.Request(
                portals[self._viewer.turn % len(portals)] + self.path, method="HEAD"
            )
            try:
                status, headers, _ = await asyncio.to_thread(ask, request)
            except OSError:
                self._viewer.turn += 1  # that portal is away: the other one knows
                continue
            if self.heard > now:
                continue
            state = headers.get("Heliograph-State", "")
            if status != 200 or (state == "on_air" and silent > PATIENCE):
                self._viewer.say(f"{silent:.1f} s without packets at {self.unit}: {status} {state}")
                return
            if status == 200 and state != "on_air":
                asked_at += AGAIN

    async def close(self, portal: str) -> None:
        """End it; harmless where its unit is gone."""
        if self.path:
            request = urllib.request.Request(portal + self.path, method="DELETE")
            with contextlib.suppress(OSError):
                await asyncio.to_thread(ask, request)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._connection.close(), 10)


def ask(request: urllib.request.Request) -> tuple[int, Any, str]:
    """Status, headers and text of an answer."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode(errors="replace")


class Viewer:
    """Somebody who watches for ever."""

    def __init__(self, number: int) -> None:
        self.number = self.turn = number
        self.packets = self.sessions = self._told = 0

    async def watch(self, portals: list[str]) -> None:
        origin = ""
        closing: set[asyncio.Task[None]] = set()
        while True:
            portal = portals[self.turn % len(portals)]
            session = Session(self)
            try:
                await session.open(portal, "demo", origin)
                self.sessions += 1
                self.say(f"{portal} gave {session.unit}")
                await session.over(portals)
                origin = session.unit
            except Exception as error:
                self.say(f"{portal}: {error!r}")
                self.turn += 1
                await asyncio.sleep(0.5)
            task = asyncio.create_task(session.close(portal))
            closing.add(task)
            task.add_done_callback(closing.discard)

    def say(self, text: str) -> None:
        now = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
        print(f"{now} {self.number} {text}", file=sys.stderr, flush=True)

    def tell(self) -> None:
        if self.packets != self._told:
            self._told = self.packets
            print(f"{time.monotonic():.3f} {self.number} {self.packets} {self.sessions}")


async def main(count: int, portals: list[str]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    viewers = [Viewer(number) for number in range(count)]
    tasks = [asyncio.create_task(viewer.watch(portals)) for viewer in viewers]
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.1)
        for viewer in viewers:
            viewer.tell()
        sys.stdout.flush()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    here = sys.argv[1]
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [here]
    asyncio.run(main(int(sys.argv[2]), sys.argv[3:]))
