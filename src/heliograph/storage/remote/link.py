"""One TCP connection between two nodes: frames in, frames out, and what is to be waited for."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import cast

from heliograph.model.errors import HelioError, MalformedError, UnreachableError
from heliograph.storage.remote.wire import Frame, Reader, encode

#: Bytes that wait in the transport before nothing more is given to it. What waits here can still be
#: overtaken by what is more urgent.
HIGH_WATER = 4 << 20


class Link(asyncio.BufferedProtocol):
    """The transport's side of a connection; both ends have one.

    Frames are sent in the order of their rank, lower ones first, as soon as the transport takes
    them.
    """

    def __init__(
        self, received: Callable[[Link, Frame], None], lost: Callable[[Link], None]
    ) -> None:
        """``received`` is called for each frame, ``lost`` once when the connection has ended."""
        self.fault: MalformedError | None = None
        """What the peer did wrong, if that ended the connection."""
        self.heard = 0.0
        """When bytes came last, the loop's time."""
        self._received = received
        self._lost = lost
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._queue: list[tuple[float, int, Frame, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._paused = False
        self._closed = False

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self.heard = asyncio.get_running_loop().time()
        if self._closed:  # given up before TLS was agreed on
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self.heard = asyncio.get_running_loop().time()
        try:
            for frame in self._reader.received(nbytes):
                if self._closed:
                    return
                self._received(self, frame)
        except MalformedError as error:
            self.fault = error
            self.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        queue, self._queue = self._queue, []
        for _, _, _, sent in queue:
            if not sent.done():
                sent.set_exception(UnreachableError("the connection has ended"))
                sent.exception()  # whoever waited may be gone
        self._lost(self)

    # Called by the node

    @property
    def transport(self) -> asyncio.Transport | None:
        """For what TLS knows of the peer."""
        return self._transport

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._closed

    async def send(self, frame: Frame, rank: float = 0.0) -> None:
        """Give a frame to the transport when it is its turn. ``UnreachableError``: too late."""
        if self._closed or self._transport is None:
            raise UnreachableError("the connection has ended")
        if not self._paused and not self._queue:
            self._write(frame)
            return
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._order), frame, sent))
        await sent

    def send_now(self, frame: Frame) -> None:
        """Give a small frame to the transport, before all that waits."""
        if not self._closed and self._transport is not None:
            self._write(frame)

    def hold(self, stop: bool) -> None:
        """Receive nothing more for now, or go on."""
        if self._transport is None or self._closed or self._transport.is_closing():
            return
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it, whatever waits."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def _pump(self) -> None:
        while self._queue and not self._paused and not self._closed:
            _, _, frame, sent = heapq.heappop(self._queue)
            if sent.cancelled():
                continue
            try:
                self._write(frame)
            except HelioError as error:
                sent.set_exception(error)
            else:
                sent.set_result(None)

    def _write(self, frame: Frame) -> None:
        assert self._transport is not None
        head, payload = encode(frame)
        self._transport.write(head)
        if len(payload):
            self._transport.write(payload)
