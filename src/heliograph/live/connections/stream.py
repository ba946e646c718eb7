"""A connection by TCP: messages behind their length in two bytes (RFC 4571)."""

from __future__ import annotations

import asyncio
from typing import cast

from heliograph.live.connections.base import Connection, Waiting
from heliograph.model.errors import RemoteError, ResourceError

#: Seconds for a connection to stand.
CONNECT_TIMEOUT = 5.0
#: Bytes that may wait to be sent; a message that finds no room is dropped and counted.
MAX_UNSENT = 1 << 20


class Tcp(Connection, asyncio.Protocol):
    """One end connects (``peer``), the other one waits for that (``local``)."""

    room = (1 << 16) - 1

    def __init__(
        self, *, local: tuple[str, int] | None = None, peer: tuple[str, int] | None = None
    ) -> None:
        super().__init__()
        if (local is None) == (peer is None):
            raise ValueError("either local or peer")
        self.local = local
        """The address bound, once it is open."""
        self._peer = peer
        self._waiting = Waiting(self.counters)
        self._transport: asyncio.Transport | None = None
        self._server: asyncio.Server | None = None
        self._buffer = bytearray()
        self._unsent: list[bytes] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._peer is None:
            assert self.local is not None
            try:
                self._server = await loop.create_server(lambda: self, *self.local, backlog=1)
            except OSError as error:
                raise ResourceError(f"TCP {self.local}: {error}", subject="tcp") from error
            self.local = self._server.sockets[0].getsockname()[:2]
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_connection(lambda: self, *self._peer)
        except (OSError, TimeoutError) as error:
            raise RemoteError(f"no connection to {self._peer}: {error}", subject="tcp") from error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        if self._server is not None:
            self._server.close()  # there is one peer
        if self._transport is not None:
            transport.abort()
            return
        self._transport = transport
        unsent, self._unsent = self._unsent, []
        transport.writelines(unsent)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2])
            if len(self._buffer) < end:
                return
            self._waiting.put(bytes(self._buffer[2:end]))
            del self._buffer[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.end("the peer closed the connection")

    def send(self, message: bytes) -> None:
        self.check(message)
        data = len(message).to_bytes(2) + message
        transport = self._transport
        waits = sum(map(len, self._unsent))
        if transport is not None:
            waits = transport.get_write_buffer_size()
        if waits + len(data) > MAX_UNSENT or (transport is not None and transport.is_closing()):
            self.counters["dropped"] += 1
            return
        self.counters["sent"] += 1
        if transport is None:
            self._unsent.append(data)
        else:
            transport.write(data)

    async def receive(self) -> bytes:
        return await self._waiting.take()

    def close(self) -> None:
        for one in (self._server, self._transport):
            if one is not None:
                one.close()
        self._waiting.end("closed")
