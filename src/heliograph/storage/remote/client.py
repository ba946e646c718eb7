"""Asks other nodes for what is on their disks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    NotFoundError,
    RemoteError,
    UnreachableError,
)
from heliograph.model.nodes import NodeId
from heliograph.storage.disks.disk import Block, Usage
from heliograph.storage.remote.link import Link
from heliograph.storage.remote.messages import (
    Fields,
    deadline_told,
    error_read,
    heads_read,
    held_read,
    key_told,
    usage_read,
)
from heliograph.storage.remote.wire import VERSION, Buffer, Frame, Kind
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume.stores import HeadHeld, Held, Listing, Store

#: Connections to one node for what has a deadline, and as many for the rest: a block that nobody
#: waits for must not be in the way of one that is watched.
LINKS = 2
#: Requests under way on one connection: 16 blocks of 1 MiB keep 10 Gbit/s busy for 13 ms.
MAX_UNDER_WAY = 16
#: Requests that wait for a place. Above that ``BusyError`` is raised.
MAX_WAITING = 1024
#: Seconds to connect, TLS and greeting included.
CONNECT = 5.0
#: Seconds after which the next of a node's addresses is tried beside those that have not answered
#: (RFC 8305 section 5 has 0.25).
STAGGER = 0.25
#: Seconds after a failure during which a node is not tried again.
BLACKOUT = 1.0
#: Seconds between two pings while answers are awaited, and until silence means that it is gone.
PING = 1.0
SILENCE = 4.0
#: Seconds that a request may take, whatever its caller says.
PATIENCE = 150.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node's disks are served."""

    host: str
    port: int
    name: str | None = None
    """What its certificate is for, where that is not the host."""
    certified: bool = False
    """Whether its certificate says which node it is: the subject's serial number."""
    others: tuple[str, ...] = ()
    """Further addresses of the node, best first: maybe only some can be reached from here."""


@dataclass(slots=True)
class Counters:
    """What was asked of one node since the start."""

    requests: int = 0
    failed: int = 0
    """Connections that could not be made, or broke."""
    cancelled: int = 0
    refused: int = 0
    """Requests not sent because too many waited."""
    bytes_received: int = 0
    bytes_sent: int = 0


class RemoteStore:
    """The disks of one other node."""

    def __init__(
        self,
        node: NodeId,
        address: Address,
        volume: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.node = node
        self.address = address
        self.counters = Counters()
        self._volume = volume
        self._context = context
        self._urgent = _Pool(self)
        self._bulk = _Pool(self)
        self._until = 0.0
        self._why = ""
        self._good = address.host
        """The address at which it answered last."""

    async def close(self) -> None:
        """End all connections; what is awaited fails."""
        await self._urgent.close()
        await self._bulk.close()

    async def get(self, disk: DiskId, key: BlockKey, deadline: float | None) -> Block:
        """As ``Store``."""
        now = asyncio.get_running_loop().time()
        meta = key_told(disk, key) | deadline_told(deadline, now)
        bulk = deadline is None or math.isinf(deadline)
        answer = await self._ask("get", meta, b"", bulk, rank=0.0 if bulk else deadline or 0.0)
        return Block(bytes(answer.payload), Fields(answer.meta).lengths())

    async def put(
        self,
        disk: DiskId,
        key: BlockKey,
        payload: Buffer,
        lengths: tuple[int, ...] = (),
        background: bool = False,
    ) -> None:
        """As ``Store``."""
        meta = key_told(disk, key)
        if lengths:
            meta["lengths"] = [*lengths]
        if background:
            meta["background"] = True
        await self._ask("put", meta, payload, True, rank=float(background))

    async def delete(self, disk: DiskId, key: BlockKey) -> bool:
        """As ``Store``."""
        answer = await self._ask("delete", key_told(disk, key))
        return Fields(answer.meta).flag("there")

    async def held(self, object: ObjectId, group: int | None = None) -> Listing[Held]:
        """As ``Store``."""
        answer = await self._ask("held", {"object": object, "group": group})
        complete = Fields(answer.meta).flag("complete")
        return Listing(held_read(bytes(answer.payload)), complete)

    async def forget(self, object: ObjectId) -> int:
        """As ``Store``."""
        answer = await self._ask("forget", {"object": object})
        return Fields(answer.meta).integer("count")

    async def heads(self) -> Listing[HeadHeld]:
        """As ``Store``."""
        answer = await self._ask("heads", {})
        complete = Fields(answer.meta).flag("complete")
        return Listing(heads_read(bytes(answer.payload)), complete)

    async def head(self, object: ObjectId) -> tuple[int, bytes] | None:
        """As ``Store``."""
        answer = await self._ask("head", {"object": object})
        if not answer.meta:
            return None
        return Fields(answer.meta).integer("serial"), bytes(answer.payload)

    async def put_head(self, disk: DiskId, object: ObjectId, serial: int, data: bytes) -> None:
        """As ``Store``."""
        await self._ask("put-head", {"disk": disk, "object": object, "serial": serial}, data)

    async def delete_head(self, disk: DiskId, object: ObjectId, serial: int) -> bool:
        """As ``Store``."""
        meta = {"disk": disk, "object": object, "serial": serial}
        answer = await self._ask("delete-head", meta)
        return Fields(answer.meta).flag("there")

    async def mend(self, disk: DiskId, key: BlockKey) -> None:
        """As ``Store``."""
        await self._ask("mend", key_told(disk, key))

    async def usage(self) -> Mapping[DiskId, Usage]:
        """As ``Store``."""
        return usage_read((await self._ask("usage", {})).meta)

    async def _ask(
        self,
        ask: str,
        meta: dict[str, Any],
        payload: Buffer = b"",
        bulk: bool = True,
        rank: float = 0.0,
    ) -> Frame:
        self.check()
        self.counters.requests += 1
        self.counters.bytes_sent += len(payload)
        pool = self._bulk if bulk else self._urgent
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await pool.ask({"ask": ask, **meta}, payload, rank)
        except TimeoutError:
            raise RemoteError(f"node {self.node} does not answer", subject=self.node) from None
        self.counters.bytes_received += len(answer.payload)
        if answer.kind is Kind.ERROR:
            raise error_read(answer.meta)
        return answer

    def check(self) -> None:
        """``UnreachableError`` while the node is not to be tried."""
        if asyncio.get_running_loop().time() < self._until:
            raise UnreachableError(f"node {self.node}: {self._why}", subject=self.node)

    def failed(self, why: str) -> None:
        """A connection could not be made, or broke: for a moment it is not tried again."""
        self.counters.failed += 1
        self._why = why
        self._until = asyncio.get_running_loop().time() + BLACKOUT

    async def connect(
        self, received: Callable[[Link, Frame], None], lost: Callable[[Link], None]
    ) -> Link:
        """A new connection, greeted; ``UnreachableError``, or what the other node refuses with."""
        try:
            async with asyncio.timeout(CONNECT):
                return await self._anywhere(received, lost)
        except (OSError, TimeoutError) as error:  # TLS errors are of the first kind
            why = str(error)[:200] or "no answer"
            self.failed(why)
            raise UnreachableError(f"node {self.node}: {why}", subject=self.node) from None
        except NotFoundError as error:  # it learns of the volume a moment after we do
            raise UnreachableError(
                f"node {self.node}: {error.message}", subject=self.node
            ) from None
        except HelioError as error:
            self.failed(error.message)
            raise

    async def _anywhere(
        self, received: Callable[[Link, Frame], None], lost: Callable[[Link], None]
    ) -> Link:
        """Connect where it answers first, beginning with where it did before; the error of the
        first address where it answers nowhere."""
        hosts = [*dict.fromkeys([self._good, self.address.host, *self.address.others])]
        tries: list[asyncio.Task[Link]] = []
        try:
            while len(tries) < len(hosts) or not all(one.done() for one in tries):
                if len(tries) < len(hosts):
                    host = hosts[len(tries)]
                    tries.append(asyncio.create_task(self._at(host, received, lost)))
                done, _ = await asyncio.wait(
                    [one for one in tries if not one.done()],
                    timeout=STAGGER if len(tries) < len(hosts) else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for one in done:
                    error = one.exception()
                    if error is None:
                        self._good = hosts[tries.index(one)]
                        tries.remove(one)
                        return one.result()
                    if not isinstance(error, (OSError, UnreachableError)):
                        raise error  # the node itself refuses
            return tries[0].result()  # which raises
        finally:
            for one in tries:
                if not one.cancel() and one.exception() is None:
                    one.result().abort()  # it was as quick
            await asyncio.gather(*tries, return_exceptions=True)

    async def _at(
        self, host: str, received: Callable[[Link, Frame], None], lost: Callable[[Link], None]
    ) -> Link:
        """A connection to one address of the node, greeted."""
        loop = asyncio.get_running_loop()
        greeting: asyncio.Future[Frame] = loop.create_future()

        def hear(link: Link, frame: Frame) -> None:
            if greeting.done():
                received(link, frame)
            else:
                greeting.set_result(frame)

        def end(link: Link) -> None:
            if not greeting.done():
                greeting.set_exception(UnreachableError("the connection has ended"))
            lost(link)

        link = Link(hear, end)
        name = self.address.name or host if self._context is not None else None
        try:
            await loop.create_connection(
                lambda: link, host, self.address.port, ssl=self._context, server_hostname=name
            )
            await self._greet(link, greeting, host)
        except BaseException:
            link.abort()
            raise
        finally:
            if greeting.done() and not greeting.cancelled():
                greeting.exception()
        return link

    async def _greet(self, link: Link, greeting: asyncio.Future[Frame], host: str) -> None:
        """Say what is wanted; errors as of ``connect``."""
        if self.address.certified and not _is(link, self.node):
            raise UnreachableError(f"another node is at {host}")
        link.send_now(Frame(Kind.HELLO, 0, {"version": VERSION, "volume": self._volume}))
        frame = await greeting
        if frame.kind is Kind.ERROR:
            raise error_read(frame.meta)
        if frame.kind is not Kind.HELLO or Fields(frame.meta).integer("version") != VERSION:
            raise MalformedError("storage frame", "no greeting")


def _is(link: Link, node: NodeId) -> bool:
    """Whether the other end has shown the certificate of a node."""
    found = None if link.transport is None else link.transport.get_extra_info("peercert")
    subject = (found or {}).get("subject", ())
    return any(pair == ("serialNumber", node) for part in subject for pair in part)


class _Pool:
    """Some connections to one node, made as they are needed."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._links: list[_Line] = []
        self._places = asyncio.Semaphore(LINKS * MAX_UNDER_WAY)
        self._waiting = 0
        self._making = asyncio.Lock()

    async def ask(self, meta: dict[str, Any], payload: Buffer, rank: float) -> Frame:
        if self._waiting >= MAX_WAITING:
            self._store.counters.refused += 1
            raise BusyError(f"too much is asked of node {self._store.node}")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            line = await self._line()
            return await line.ask(meta, payload, rank)
        finally:
            self._places.release()

    async def close(self) -> None:
        for line in [*self._links]:
            await line.close()

    async def _line(self) -> _Line:
        """The connection with the least under way, or a new one."""
        async with self._making:
            self._store.check()  # whoever was before may have failed
            self._links = [one for one in self._links if not one.closed]
            least = min(self._links, key=lambda one: one.under_way, default=None)
            if least is None or (least.under_way and len(self._links) < LINKS):
                least = _Line(self._store)
                await least.open()
                self._links.append(least)
            return least


class _Line:
    """One connection, and the requests under way on it."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._link: Link | None = None
        self._numbers = itertools.count(1)
        self._awaited: dict[int, asyncio.Future[Frame]] = {}
        self._pinging: asyncio.Task[None] | None = None
        self._why = "the connection broke"

    @property
    def closed(self) -> bool:
        return self._link is None or self._link.closed

    @property
    def under_way(self) -> int:
        return len(self._awaited)

    async def open(self) -> None:
        self._link = await self._store.connect(self._received, self._lost)

    async def close(self) -> None:
        if self._link is not None:
            self._link.abort()
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.gather(self._pinging, return_exceptions=True)

    async def ask(self, meta: dict[str, Any], payload: Buffer, rank: float) -> Frame:
        link = self._link
        if link is None:
            raise UnreachableError("not connected", subject=self._store.node)
        number = next(self._numbers) & 0xFFFFFFFF
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._awaited[number] = answer
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.get_running_loop().create_task(self._ping(link))
        try:
            await link.send(Frame(Kind.REQUEST, number, meta, payload), rank)
            return await answer
        except asyncio.CancelledError:
            self._store.counters.cancelled += 1
            link.send_now(Frame(Kind.CANCEL, number, {}))
            raise
        finally:
            del self._awaited[number]
            if answer.done() and not answer.cancelled():
                answer.exception()

    async def _ping(self, link: Link) -> None:
        """While answers are awaited: see that the other node lives."""
        loop = asyncio.get_running_loop()
        link.heard = loop.time()
        while self._awaited and not link.closed:
            await asyncio.sleep(PING)
            silent = loop.time() - link.heard
            if silent >= SILENCE:
                self._why = f"silent for {silent:.0f} s"
                link.abort()
            elif silent >= PING:
                link.send_now(Frame(Kind.PING, 0, {}))

    def _received(self, link: Link, frame: Frame) -> None:
        if frame.kind is Kind.PONG:
            return
        if frame.kind not in (Kind.ANSWER, Kind.ERROR):
            raise MalformedError("storage frame", f"{frame.kind.name} from a server")
        answer = self._awaited.get(frame.number)
        if answer is not None and not answer.done():  # else: it was given up
            answer.set_result(frame)

    def _lost(self, link: Link) -> None:
        if link is not self._link:  # one that was tried beside it, or never greeted
            return
        why = self._why if link.fault is None else link.fault.message
        if self._awaited:
            self._store.failed(why)
        for answer in self._awaited.values():
            if not answer.done():
                error = RemoteError(f"node {self._store.node}: {why}", subject=self._store.node)
                answer.set_exception(error)


class RemotePeers:
    """The other nodes of a volume, by their addresses."""

    def __init__(self, volume: str, context: ssl.SSLContext | None = None) -> None:
        self._volume = volume
        self._context = context
        self._stores: dict[NodeId, RemoteStore] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def update(self, addresses: Mapping[NodeId, Address]) -> None:
        """From now on these nodes are reached there, and no others."""
        for node in [*self._stores]:
            if addresses.get(node) != self._stores[node].address:
                store = self._stores.pop(node)
                task = asyncio.get_running_loop().create_task(store.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        for node, address in addresses.items():
            if node not in self._stores:
                self._stores[node] = RemoteStore(node, address, self._volume, self._context)

    def store(self, node: NodeId) -> Store:
        """The disks of a node; ``UnreachableError`` when its address is not known."""
        found = self._stores.get(node)
        if found is None:
            raise UnreachableError(f"where node {node} is, is not known", subject=node)
        return found

    @property
    def counters(self) -> Mapping[NodeId, Counters]:
        """What was asked, by node."""
        return {node: store.counters for node, store in self._stores.items()}

    async def close(self) -> None:
        """End all connections."""
        for store in self._stores.values():
            await store.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._closing, return_exceptions=True)
