"""Answers other nodes from this node's disks."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from heliograph.model.errors import (
    ForbiddenError,
    HelioError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnreachableError,
    UnsupportedError,
)
from heliograph.storage.remote.link import Link
from heliograph.storage.remote.messages import (
    Fields,
    error_told,
    heads_told,
    held_told,
    usage_told,
)
from heliograph.storage.remote.wire import MAX_BODY, VERSION, Buffer, Frame, Kind
from heliograph.storage.volume.stores import Store

log = structlog.get_logger(__name__)

#: Connections at once: each of a hundred nodes has four.
MAX_CONNECTIONS = 512
#: Requests of one connection at once. Above that nothing is received until one is answered.
MAX_REQUESTS = 64
#: Seconds until a peer has to have said who it is.
HELLO = 10.0
#: Bytes of a listing in one answer; what is larger is told to be incomplete.
MAX_LISTING = MAX_BODY - (1 << 16)

Answer = tuple[dict[str, Any], Buffer]
Handler = Callable[[Store, Fields, Buffer], Awaitable[Answer]]


@dataclass(slots=True)
class Counters:
    """What a server did since its start."""

    connections: int = 0
    refused: int = 0
    """Connections above the bound, of strangers, or of another volume or version."""
    malformed: int = 0
    """Connections ended because of what came."""
    requests: int = 0
    failed: int = 0
    """Of those, answered by an error."""
    cancelled: int = 0
    held: int = 0
    """Times that a connection had too many requests and had to wait."""
    bytes_sent: int = 0
    """Payload."""
    bytes_received: int = 0


class StoreServer:
    """Serves the disks of a node's volumes on one port."""

    def __init__(
        self,
        find: Callable[[str], Store | None],
        allowed: Callable[[asyncio.BaseTransport], bool] | None = None,
    ) -> None:
        """``find`` gives the disks that this node has of a volume, by its name.

        ``allowed`` judges a connection, by its certificate, before anything is read.
        """
        self.counters = Counters()
        self._find = find
        self._allowed = allowed
        self._peers: dict[Link, _Peer] = {}
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket, context: ssl.SSLContext | None = None) -> int:
        """Serve on a socket that listens, and is this server's from then on; returns its port."""
        port: int = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._link, sock=listener, ssl=context)
        return port

    async def close(self) -> None:
        """Listen no more, and end all connections."""
        if self._server is not None:
            self._server.close()
        for link in [*self._peers]:
            link.abort()
        tasks = [task for peer in self._peers.values() for task in peer.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _link(self) -> Link:
        link = Link(self._received, self._lost)
        self.counters.connections += 1
        peer = _Peer()
        self._peers[link] = peer
        peer.timer = asyncio.get_running_loop().call_later(HELLO, self._too_late, link)
        return link

    def _too_late(self, link: Link) -> None:
        self.counters.refused += 1
        link.abort()
        if link.transport is None:  # TLS was never agreed on: nobody tells of its end
            self._peers.pop(link, None)

    def _lost(self, link: Link) -> None:
        peer = self._peers.pop(link, None)
        if peer is None:
            return
        if peer.timer is not None:
            peer.timer.cancel()
        if link.fault is not None:
            self.counters.malformed += 1
            log.warning("storage peer dropped", error=link.fault.message)
        for task in peer.tasks.values():
            task.cancel()

    def _received(self, link: Link, frame: Frame) -> None:
        peer = self._peers[link]
        if not peer.volume:
            self._greet(link, peer, frame)
        elif frame.kind is Kind.REQUEST:
            self._request(link, peer, frame)
        elif frame.kind is Kind.CANCEL:
            task = peer.tasks.get(frame.number)
            if task is not None:
                self.counters.cancelled += 1
                task.cancel()
        elif frame.kind is Kind.PING:
            link.send_now(Frame(Kind.PONG, frame.number, {}))
        else:
            raise MalformedError("storage frame", f"{frame.kind.name} from a client")

    def _greet(self, link: Link, peer: _Peer, frame: Frame) -> None:
        try:
            volume = self._check(link, frame)
        except HelioError as error:
            self.counters.refused += 1
            log.warning("storage peer refused", error=error.message)
            link.send_now(Frame(Kind.ERROR, 0, error_told(error)))
            if link.transport is not None:
                link.transport.close()
            return
        peer.volume = volume
        if peer.timer is not None:
            peer.timer.cancel()
        link.send_now(Frame(Kind.HELLO, 0, {"version": VERSION, "volume": volume}))

    def _check(self, link: Link, frame: Frame) -> str:
        """The volume that is wanted."""
        if sum(bool(one.volume) for one in self._peers.values()) >= MAX_CONNECTIONS:
            raise ForbiddenError("too many connections")
        if self._allowed is not None and (
            link.transport is None or not self._allowed(link.transport)
        ):
            raise ForbiddenError("not a node of this volume")
        fields = Fields(frame.meta)
        if frame.kind is not Kind.HELLO:
            raise MalformedError("storage frame", "no greeting")
        if fields.integer("version") != VERSION:
            raise UnsupportedError(f"version {fields.integer('version')}, not {VERSION}")
        volume = fields.text("volume")
        if self._find(volume) is None:
            raise NotFoundError(f"volume {volume!r} is not here", subject=volume)
        return volume

    def _request(self, link: Link, peer: _Peer, frame: Frame) -> None:
        if frame.number in peer.tasks:
            raise MalformedError("storage frame", f"number {frame.number} is in use")
        self.counters.requests += 1
        self.counters.bytes_received += len(frame.payload)
        task = asyncio.get_running_loop().create_task(
            self._answer(link, frame, peer.volume), name="storage request"
        )
        peer.tasks[frame.number] = task
        if len(peer.tasks) == MAX_REQUESTS:
            self.counters.held += 1
            link.hold(True)

        def done(task: asyncio.Task[None]) -> None:
            del peer.tasks[frame.number]
            if len(peer.tasks) == MAX_REQUESTS - 1:
                link.hold(False)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("storage request failed", error=repr(error)[:300])

        task.add_done_callback(done)

    async def _answer(self, link: Link, frame: Frame, volume: str) -> None:
        fields = Fields(frame.meta)
        rank = 0.0
        try:
            rank = _rank(fields)
            handler = HANDLERS.get(fields.text("ask"))
            if handler is None:
                raise UnsupportedError(f"{fields.text('ask')!r} is not known here")
            store = self._find(volume)
            if store is None:  # not "no such block": only this node has not the volume now
                raise UnreachableError(f"volume {volume!r} is not here", subject=volume)
            meta, payload = await handler(store, fields, frame.payload)
            answer = Frame(Kind.ANSWER, frame.number, meta, payload)
        except HelioError as error:
            self.counters.failed += 1
            answer = Frame(Kind.ERROR, frame.number, error_told(error))
        except Exception as error:
            self.counters.failed += 1
            log.exception("storage request failed")
            answer = Frame(Kind.ERROR, frame.number, error_told(error))
        with contextlib.suppress(UnreachableError):  # nobody is there to be told
            try:
                await link.send(answer, rank)
            except TooLargeError as error:
                answer = Frame(Kind.ERROR, frame.number, error_told(error))
                await link.send(answer, rank)
            self.counters.bytes_sent += len(answer.payload)


class _Peer:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.tasks: dict[int, asyncio.Task[None]] = {}
        """Requests under way, by their numbers."""
        self.volume = ""
        """What it greeted for; empty: it has not greeted."""
        self.timer: asyncio.TimerHandle | None = None


def _rank(fields: Fields) -> float:
    """Answers that are wanted sooner go first, those without a deadline last but one."""
    deadline = fields.deadline(asyncio.get_running_loop().time())
    return 1e18 if deadline is None else deadline


async def _get(store: Store, fields: Fields, payload: Buffer) -> Answer:
    deadline = fields.deadline(asyncio.get_running_loop().time())
    block = await store.get(fields.disk(), fields.key(), deadline)
    return ({"lengths": [*block.lengths]} if block.lengths else {}), block.payload


async def _put(store: Store, fields: Fields, payload: Buffer) -> Answer:
    background = fields.deadline(0.0) == math.inf
    await store.put(fields.disk(), fields.key(), payload, fields.lengths(), background)
    return {}, b""


async def _delete(store: Store, fields: Fields, payload: Buffer) -> Answer:
    return {"there": await store.delete(fields.disk(), fields.key())}, b""


async def _held(store: Store, fields: Fields, payload: Buffer) -> Answer:
    listing = await store.held(fields.object(), fields.group())
    return _listed(listing.complete, held_told(listing.found), 17)


async def _forget(store: Store, fields: Fields, payload: Buffer) -> Answer:
    return {"count": await store.forget(fields.object())}, b""


async def _heads(store: Store, fields: Fields, payload: Buffer) -> Answer:
    listing = await store.heads()
    return _listed(listing.complete, heads_told(listing.found), 32)


def _listed(complete: bool, data: bytes, item: int) -> Answer:
    most = MAX_LISTING // item * item
    return {"complete": complete and len(data) <= most}, data[:most]


async def _head(store: Store, fields: Fields, payload: Buffer) -> Answer:
    found = await store.head(fields.object())
    if found is None:
        return {}, b""
    return {"serial": found[0]}, found[1]


async def _put_head(store: Store, fields: Fields, payload: Buffer) -> Answer:
    serial = fields.integer("serial")
    await store.put_head(fields.disk(), fields.object(), serial, bytes(payload))
    return {}, b""


async def _delete_head(store: Store, fields: Fields, payload: Buffer) -> Answer:
    serial = fields.integer("serial")
    there = await store.delete_head(fields.disk(), fields.object(), serial)
    return {"there": there}, b""


async def _mend(store: Store, fields: Fields, payload: Buffer) -> Answer:
    await store.mend(fields.disk(), fields.key())
    return {}, b""


async def _usage(store: Store, fields: Fields, payload: Buffer) -> Answer:
    return usage_told(await store.usage()), b""


#: What can be asked.
HANDLERS: Mapping[str, Handler] = {
    "get": _get,
    "put": _put,
    "delete": _delete,
    "held": _held,
    "forget": _forget,
    "heads": _heads,
    "head": _head,
    "put-head": _put_head,
    "delete-head": _delete_head,
    "mend": _mend,
    "usage": _usage,
}
