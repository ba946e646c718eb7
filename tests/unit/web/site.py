"""A server of pages, API and WebSockets on loopback over the native plane."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from tests.contract.rtp import Camera
from websockets.asyncio.client import ClientConnection, connect

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.passwords import Passwords
from heliograph.dispatcher.barring import Barring
from heliograph.live.channel import Channel
from heliograph.live.chat_entries import ChatLimits
from heliograph.live.chat_rooms import Chats
from heliograph.live.gate import Gate
from heliograph.live.hls import Hls
from heliograph.live.offers import OfferLimits
from heliograph.live.options import ChannelOptions, LiveOptions
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.registry import Channels
from heliograph.live.roster import Roster
from heliograph.live.transcoding import Transcodes
from heliograph.live.webrtc import Rtc
from heliograph.model.media import Codec, Kind, Track
from heliograph.plane import PlaneLoop, open_plane
from heliograph.servers.chat_server import ChatOptions, ChatServer
from heliograph.servers.dispatching import Redirects
from heliograph.servers.http import HttpOptions, HttpServer
from heliograph.web.app import WebContext, create_app
from heliograph.web.chat import ChatGate

KEY = "boss"
ADMIN = {"Authorization": f"Bearer {KEY}"}
VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90000, 96, fmtp={
    "packetization-mode": "1",
    "profile-level-id": "42c01f",
    "sprop-parameter-sets": "Z0LAH9oBQBbo,aM48gA==",
})  # fmt: skip
AUDIO = Track(1, Kind.AUDIO, Codec.OPUS, 48000, 97, channels=2)
PATIENCE = 30.0
#: Of the clients, which speak plain HTTP: each would read all authorities of the machine.
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Frame:
    """A binary message taken apart."""

    track: int
    flags: int
    epoch: int
    number: int
    time: int
    arrival: int
    data: bytes

    @classmethod
    def of(cls, message: bytes) -> Frame:
        kind, track, flags, zero, epoch, number, time, arrival = struct.unpack_from(
            "!BBBBIQqq", message
        )
        assert (kind, zero) == (1, 0)
        return cls(track, flags, epoch, number, time, arrival, message[32:])


class Viewer:
    """A WebSocket client that keeps texts and frames apart."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.texts: list[dict[str, Any]] = []
        self.frames: list[Frame] = []

    async def _one(self) -> None:
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.recv()
        if isinstance(message, str):
            self.texts.append(json.loads(message))
        else:
            self.frames.append(Frame.of(message))

    async def text(self, kind: str) -> dict[str, Any]:
        """The next text of this type, taken out."""
        while True:
            for text in self.texts:
                if text["type"] == kind:
                    self.texts.remove(text)
                    return text
            await self._one()

    async def take(self, count: int) -> list[Frame]:
        while len(self.frames) < count:
            await self._one()
        taken, self.frames = self.frames[:count], self.frames[count:]
        return taken


class Site:
    def __init__(
        self,
        channels: dict[str, ChannelOptions],
        context: dict[str, Any],
        server: dict[str, Any],
        live: LiveOptions,
        catalogue: Catalogue,
        chat: tuple[ChatLimits, ChatOptions],
        offers: OfferLimits | None,
    ) -> None:
        self.plane = open_plane(1)
        self.loop = PlaneLoop(self.plane)
        self.rtc: Rtc | None = None
        if offers is not None:
            port = self.plane.rtc_open("127.0.0.1:0", ["127.0.0.1:0"])
            self.rtc = Rtc(self.loop, port, Transcodes(most=0), offers)
            context = {"rtc": self.rtc, **context}
        self.channels = Channels(self.loop, configured=channels, options=live)
        # Frames of tests are no sound that a codec could make another of.
        context = {"hls": Hls(Transcodes(most=0)), **context}
        self.catalogue = catalogue
        dispatcher = context.get("dispatcher")
        barring = Barring() if dispatcher is None else dispatcher.barring
        context = {"barring": barring} | context
        gate = context.pop("gate", None) or Gate(KEY, catalogue=catalogue, refuses=barring.why)
        self.roster = Roster(self.channels, catalogue, gate)
        self.chats = Chats(catalogue, limits=chat[0])
        context = {"chats": self.chats} | context
        self.context = WebContext(
            self.channels, self.loop, KEY, "1.2.3", catalogue, self.roster, **context
        )
        self.chat = ChatServer(self.chats, ChatGate(self.context), chat[1])
        self.channels.subscribe(self.chat.observe)
        self.app = create_app(self.context)
        options, dispatcher = HttpOptions(**server), self.context.dispatcher
        redirects = None if dispatcher is None else Redirects(dispatcher, options.trust)
        self.server = HttpServer(self.app, self.context, options, self.chat, redirects)
        self.websockets = self.server.websockets
        self.http = httpx.AsyncClient(timeout=PATIENCE, verify=TLS)
        self.camera = Camera()

    @property
    def channel(self) -> Channel:
        return self.channels.get("demo")

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/ws/demo"

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.http.get(path, **options)

    def publish(self, *tracks: Track, priority: int = 0) -> Publishing:
        return self.channel.publish(
            tracks or (VIDEO,), PublishKind.PUSH, "127.0.0.1", priority=priority
        )

    async def on_air(self, frames: int = 3) -> Publishing:
        """Publish a keyframe and what follows it."""
        publishing = self.publish()
        publishing.push(0, self.camera.gop(frames))
        await self.until(lambda: self.channel.state == "on_air")
        return publishing

    @contextlib.asynccontextmanager
    async def viewer(self, query: str = "", **options: Any) -> AsyncIterator[Viewer]:
        options = {"subprotocols": ["helio.v1"], "compression": None} | options
        async with connect(self.ws + query, **options) as socket:
            yield Viewer(socket)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)


async def opened_catalogue(directory: Path | None) -> Catalogue:
    """A database in that directory, or in memory; hashing passwords costs next to nothing."""
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    url = "sqlite://" if directory is None else f"sqlite:///{directory / 'heliograph.db'}"
    return await Catalogue.open(url, passwords=quick)


@contextlib.asynccontextmanager
async def running(
    channel: ChannelOptions | None = None,
    *,
    state_dir: Path | None = None,
    context: dict[str, Any] | None = None,
    live: LiveOptions | None = None,
    silence_ms: int = 60_000,
    chat_limits: ChatLimits | None = None,
    chat_options: ChatOptions | None = None,
    offers: OfferLimits | None = None,
    **server: Any,
) -> AsyncIterator[Site]:
    options = channel or ChannelOptions(key="secret", title="Test")
    catalogue = await opened_catalogue(state_dir)
    site = Site(
        {"demo": replace(options, silence_ms=silence_ms)},
        dict(context or {}),
        {"address": "127.0.0.1", "port": 0} | server,
        live or LiveOptions(),
        catalogue,
        (chat_limits or ChatLimits(), chat_options or ChatOptions()),
        offers,
    )
    await catalogue.accounts.allow_first(KEY)
    await site.roster.open(state_dir)
    site.loop.start()
    site.chat.start()
    await site.server.start()
    site.http.base_url = httpx.URL(f"http://127.0.0.1:{site.server.port}")
    try:
        yield site
    finally:
        await site.http.aclose()
        await site.chat.close()
        if site.rtc is not None:
            site.rtc.close()
        site.channels.close()
        await site.server.stop(timeout=1)
        site.loop.stop()
        site.plane.close()
        await catalogue.close()
