"""The control of one session: requests to its server, and going on at another node.

A session that several nodes send is known to all of them. Where the connection to the one that
controls it breaks, or a request is not answered, the next one is asked to take it over; what comes
by UDP goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from heliograph.model.errors import (
    ForbiddenError,
    HelioError,
    NotFoundError,
    RemoteError,
    UnauthorizedError,
)
from heliograph.player.rtsp_client import Dismissed, RtspClient
from heliograph.player.senders import Address
from heliograph.protocols.rtsp.events import ClientEvent
from heliograph.protocols.rtsp.sharing import Node

#: Times every node is asked before control counts as lost.
ROUNDS = 2
#: Seconds to reach a node that is to take over.
REACH = 2.0
#: Seconds to find a node that ends the session; it ends by itself a minute later.
CLOSE_PATIENCE = 3.0
#: Times a request is made, where control moves while it is under way.
ATTEMPTS = 3

T = TypeVar("T")

#: Reasons to lose a session by, rather than the way to control it.
_FINAL = (UnauthorizedError, ForbiddenError, NotFoundError, Dismissed)


class Uncontrolled(RemoteError):
    """No node takes requests at present; media may come all the same."""


class Listener(Protocol):
    """Who is told what a connection brings, in the order it comes."""

    def noticed(self, client: RtspClient, event: ClientEvent) -> None:
        """An event, before any packet that follows it."""

    def take(self, track: int, is_rtcp: bool, data: bytes, address: Address | None) -> None:
        """A datagram, or a frame (no address)."""


class Connection(RtspClient):
    """A connection that tells a listener, whoever sends."""

    def __init__(self, url: str, listener: Listener, *, key: str, share: bool = False) -> None:
        super().__init__(url, key=key, share=share)
        self.asked_url = url
        """With credentials, if it has them."""
        self._listener = listener

    def noticed(self, event: ClientEvent) -> None:
        self._listener.noticed(self, event)

    def take(self, track: int, rtcp: bool, data: bytes) -> None:
        self._listener.take(track, rtcp, data, None)

    def datagram(self, track: int, rtcp: bool, data: bytes, address: Address) -> None:
        self._listener.take(track, rtcp, data, address)


class Control:
    """One session's control."""

    def __init__(self, client: Connection, listener: Listener, *, key: str) -> None:
        """``client``: has described; ``key``: shown where the URL has no password."""
        self.client = client
        """The connection at present."""
        self.moves = 0
        """Times another node took over."""
        self.refusals = 0
        """Times a node was asked to, and did not."""
        self._listener, self._key = listener, key
        self._order = asyncio.Lock()  # one request and its answer at a time

    @property
    def place(self) -> str:
        """Host and port of who controls."""
        return urlsplit(self.client.session.url).netloc

    @property
    def lost(self) -> bool:
        """Whether the connection is of no use any more."""
        return self.client.failure.done()

    async def ask(self, request: Callable[[Connection], Awaitable[T]]) -> T:
        """Make a request; again, where the connection is lost over it and a node takes over.

        Raises ``Uncontrolled`` if none does, or what made the session end.
        """
        async with self._order:
            attempts = 0
            while True:
                client = await self._standing()
                attempts += 1
                try:
                    return await request(client)
                except HelioError as error:
                    if not client.failure.done():
                        raise
                    if attempts == ATTEMPTS:
                        raise Uncontrolled(error.message, subject=error.subject) from error

    async def regain(self) -> None:
        """Have another node take over, if the connection is lost; raises as ``ask`` does."""
        async with self._order:
            await self._standing()

    async def _standing(self) -> Connection:
        if not self.lost:
            return self.client
        error = self.client.failure.result()
        if not self.client.session.sharing.agreed or isinstance(error, _FINAL):
            raise error
        for _ in range(ROUNDS):
            for node in self._others():
                with contextlib.suppress(HelioError, TimeoutError):
                    self.client = await self._move(node)
                    self.moves += 1
                    return self.client
                self.refusals += 1
        raise Uncontrolled(f"no node controls it: {error.message}", subject=error.subject)

    def _others(self) -> list[Node]:
        """All nodes, from the one after the present one on; this one last."""
        told = self.client.session.sharing.nodes
        nodes = list(told.nodes) if told is not None else []
        here = urlsplit(self.client.session.url)
        for place, node in enumerate(nodes):
            if (node.host, node.port) == (here.hostname, here.port):
                return [*nodes[place + 1 :], *nodes[: place + 1]]
        return nodes

    async def _move(self, node: Node) -> Connection:
        before = self.client
        host = f"[{node.host}]" if ":" in node.host else node.host
        parts = urlsplit(before.asked_url)
        user, at, _ = parts.netloc.rpartition("@")
        url = parts._replace(netloc=f"{user}{at}{host}:{node.port}").geturl()
        client = Connection(url, self._listener, key=self._key)
        try:
            async with asyncio.timeout(REACH):
                await client.open()
            await client.take_over(before)
        except BaseException:
            client.abandon()
            raise
        before.abandon()
        return client

    async def close(self) -> None:
        """End the session, at another node if need be; harmless twice."""
        if self.lost and self.client.session.sharing.agreed:
            with contextlib.suppress(HelioError, TimeoutError):
                async with asyncio.timeout(CLOSE_PATIENCE):
                    await self.regain()
        await self.client.close()
