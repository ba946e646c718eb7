"""Viewers who come at a moment that is measured, and try again until they are let in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from heliograph.model.errors import HelioError
from heliograph.model.media import Kind
from heliograph.player.rtsp_client import RtspClient, following

T = TypeVar("T")

#: Seconds between two attempts, and for one: a player gives up on a machine that says nothing.
AGAIN, ATTEMPT = 0.1, 4.0


class Joiner:
    """One who comes by RTSP, and stays."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._in = asyncio.Event()
        self.first: float | None = None
        """When the first packet came, on the clock of ``time.monotonic``."""
        self.last = 0.0
        self.came = 0
        self.refusals: list[str] = []
        self._client: RtspClient | None = None

    def _packet(self, _track: int, rtcp: bool, _data: bytes, _now: float) -> None:
        if not rtcp:
            self.last = time.monotonic()
            self.first = self.first or self.last
            self._in.set()
            self.came += 1

    async def come(self, patience: float) -> None:
        """Try until a packet has come, for so many seconds."""
        deadline = time.monotonic() + patience
        while self.first is None and time.monotonic() < deadline:
            try:
                async with asyncio.timeout(ATTEMPT):
                    self._client = await following(self.url, self._play)
                    await self._in.wait()
            except (HelioError, OSError, TimeoutError) as error:
                self.refusals.append(repr(error))
            if self.first is None:
                await self.leave()
                await asyncio.sleep(AGAIN)

    async def _play(self, url: str) -> RtspClient:
        client = RtspClient(url, on_packet=self._packet)
        try:
            await client.open()
            described = await client.describe()
            tracks = [one for one in described.tracks if one.kind is not Kind.DATA]
            await client.play(tracks, udp=False)
        except BaseException:
            await client.close()
            raise
        return client

    async def leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


class Joiners:
    """Viewers on an event loop of their own, which goes on while the test does something else."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.all: list[Joiner] = []

    def _do(self, work: Coroutine[Any, Any, T], patience: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience)

    def come(self, urls: list[str], patience: float) -> list[Joiner]:
        """Let somebody come to each of these, all at once; wait until they are in, or gave up."""
        new = [Joiner(url) for url in urls]
        self.all += new

        async def together() -> None:
            await asyncio.gather(*(one.come(patience) for one in new))

        self._do(together(), patience + 3 * ATTEMPT)
        return new

    def leave(self) -> None:
        """All go."""
        gone, self.all = self.all, []

        async def together() -> None:
            await asyncio.gather(*(one.leave() for one in gone), return_exceptions=True)

        self._do(together(), 10)

    def close(self) -> None:
        self.leave()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
