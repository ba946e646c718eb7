"""A site with an RTSP server on loopback and the twin as its plane, and a client made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

from heliograph.catalogue.keys import stream_fingerprint
from heliograph.catalogue.values import ChannelRecord, Standing, ViewAccess
from heliograph.live.options import ChannelOptions
from heliograph.live.registry import Channels
from heliograph.live.roster import Roster
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane
from heliograph.servers.rtsp import RtspOptions, RtspServer

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAH9oBQBbo,aM48gA==\r\n"
    "a=control:streamid=0\r\n"
    "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:streamid=1\r\n"
)
IDR = b"\x65\x88\x84" + b"\x11" * 40
SLICE = b"\x41\x9a\x24" + b"\x22" * 40


def rtp(sequence: int, payload: bytes = SLICE, payload_type: int = 96) -> bytes:
    head = struct.pack("!BBHII", 0x80, 0x80 | payload_type, sequence, 3000 * sequence, 7)
    return head + payload


class Site:
    """A server with one channel, and what tests do with it."""

    def __init__(self, channel: ChannelOptions, options: RtspOptions) -> None:
        self.plane = TwinPlane(network=True)
        self.loop = PlaneLoop(self.plane)
        self.channels = Channels(self.loop, configured={"demo": channel})
        self.server = RtspServer(
            self.channels,
            self.loop,
            options,
            administrator_key="boss",
            clock=lambda: self.plane.now / 1e6,
        )
        self.clients: list[Client] = []

    @property
    def channel(self) -> Any:
        return self.channels.get("demo")

    def guard(self, *keys: str) -> Roster:
        """Make the channel private, for those who show one of these keys; what judges again."""
        channel = self.channel
        record = ChannelRecord(
            1, "demo", "", None, True, ViewAccess.EVERYONE, {}, True, 0.0, datetime.now(UTC)
        )
        known = {stream_fingerprint("demo", key): sum(key.encode()) for key in keys}
        self.channels.change(channel, channel.options, Standing(record, known))
        return Roster(self.channels, Mock(), self.server.gate)

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        client = Client(self, reader, writer)
        self.clients.append(client)
        return client

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)


class Client:
    def __init__(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.site, self.reader, self.writer = site, reader, writer
        self.base = f"rtsp://127.0.0.1:{site.server.port}/demo"
        self.cseq = 0
        self.session = ""
        self.frames: list[tuple[int, bytes]] = []

    async def ask(
        self, method: str, url: str = "", body: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        self.cseq += 1
        lines = [f"{method} {url or self.base} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self.session:
            lines.append(f"Session: {self.session}")
        if body:
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            while (first := await self.reader.readexactly(1)) == b"$":
                self.frames.append(await self._frame())
            head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:] if line)
            fields = {name.lower(): value for name, value in fields.items()}
            body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        if "session" in fields:
            self.session = fields["session"].partition(";")[0]
        kind, number = head[0].split(" ")[:2]
        return (int(number) if kind.startswith("RTSP") else 0), fields, body

    async def _frame(self) -> tuple[int, bytes]:
        lane, size = struct.unpack("!BH", await self.reader.readexactly(3))
        return lane, await self.reader.readexactly(size)

    async def packets(self, count: int) -> list[tuple[int, bytes]]:
        async with asyncio.timeout(5):
            while len(self.frames) < count:
                assert await self.reader.readexactly(1) == b"$"
                self.frames.append(await self._frame())
        taken, self.frames = self.frames[:count], self.frames[count:]
        return taken

    def send(self, lane: int, packet: bytes) -> None:
        self.writer.write(b"$" + bytes([lane]) + len(packet).to_bytes(2) + packet)

    async def publish(self, *, key: str = "secret", tracks: int = 2) -> int:
        status, _, _ = await self.ask("ANNOUNCE", f"{self.base}?key={key}", SDP)
        if status != 200:
            return status
        for track in range(tracks):
            lanes = f"RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1};mode=record"
            status, _, _ = await self.ask("SETUP", f"{self.base}/streamid={track}", Transport=lanes)
            assert status == 200
        status, _, _ = await self.ask("RECORD")
        return status

    async def play(self, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1") -> int:
        status, _, _ = await self.ask("DESCRIBE", Accept="application/sdp")
        if status != 200:
            return status
        status, _, _ = await self.ask("SETUP", f"{self.base}/trackID=0", Transport=transport)
        if status != 200:
            return status
        status, _, _ = await self.ask("PLAY")
        return status

    async def ended(self) -> bytes:
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read(-1)
        return b""


@contextlib.asynccontextmanager
async def running(channel: ChannelOptions | None = None, **options: Any) -> AsyncIterator[Site]:
    listen = RtspOptions(address="127.0.0.1", port=0, rtp_port=0, **options)
    site = Site(channel or ChannelOptions(key="secret"), listen)
    site.loop.start()
    await site.server.start()
    try:
        yield site
    finally:
        await site.server.stop()
        for client in site.clients:
            client.writer.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        site.channels.close()
        site.loop.stop()
        site.plane.close()
