"""``python -m tests.probe.packets URL``: play by UDP; a line for each packet: when it came, its
track, its sequence number, its timestamp."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from heliograph.model.media import Kind
from heliograph.player.rtsp_client import RtspClient
from heliograph.protocols.rtp import RtpPacket


async def play(url: str) -> None:
    """Until SIGTERM, or until the server ends it."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    def came(track: int, rtcp: bool, data: bytes, _now: float) -> None:
        if not rtcp:
            packet = RtpPacket.parse(data)
            sys.stdout.write(
                f"{time.monotonic():.6f} {track} {packet.sequence_number} {packet.timestamp}\n"
            )

    async def flush() -> None:
        while True:
            await asyncio.sleep(0.05)
            sys.stdout.flush()

    client = RtspClient(url, on_packet=came)
    flushing = asyncio.create_task(flush())
    try:
        await client.open()
        described = await client.describe()
        await client.play([one for one in described.tracks if one.kind is not Kind.DATA], udp=True)
        stop = asyncio.create_task(ended.wait())
        await asyncio.wait({stop, client.failure}, return_when=asyncio.FIRST_COMPLETED)
        if client.failure.done():
            raise client.failure.result()
    finally:
        flushing.cancel()
        sys.stdout.flush()
        await client.close()


if __name__ == "__main__":
    asyncio.run(play(sys.argv[1]))
