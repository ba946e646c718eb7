"""Blocks between two nodes over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from heliograph.model.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    RemoteError,
    UnreachableError,
)
from heliograph.model.nodes import NodeId
from heliograph.storage.disks.disk import Disk
from heliograph.storage.errors import CorruptError
from heliograph.storage.reading import DiskReader
from heliograph.storage.remote import client as client_module
from heliograph.storage.remote.client import Address, RemotePeers, RemoteStore
from heliograph.storage.remote.server import MAX_REQUESTS, StoreServer
from heliograph.storage.remote.wire import Frame, Kind, encode
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume.stores import HeadHeld, Held, LocalStore

NODE = NodeId("abcdefghijklmnop")
OBJECT = ObjectId("0123456789abcdef" * 2)
KEY = BlockKey(OBJECT, 3, 1)
DISK = DiskId("00000000000000aa")
SECONDS = 20


def listener(port: int = 0) -> socket.socket:
    """A socket that listens on loopback."""
    return socket.create_server(("127.0.0.1", port))


class Side:
    """A served disk, and a client of it."""

    def __init__(self, path: Path) -> None:
        self.disk = Disk.create(path, "films", DISK)
        self.reader = DiskReader(self.disk)
        self.told: list[tuple[DiskId, BlockKey]] = []
        self.local = LocalStore(NODE, [self.reader], lambda *one: self.told.append(one))
        self.server = StoreServer({"films": self.local}.get)
        self.store: RemoteStore

    async def start(self) -> None:
        self.address = Address("127.0.0.1", await self.server.start(listener()))
        self.store = RemoteStore(NODE, self.address, "films")

    async def close(self) -> None:
        await self.store.close()
        await self.server.close()
        await self.reader.close()
        self.disk.close()


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    found = Side(tmp_path / "disk")
    await found.start()
    yield found
    await found.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.005)


def damage(path: Path) -> None:
    """Another last byte."""
    path.write_bytes(path.read_bytes()[:-1] + b"X")


async def test_everything_that_a_store_does_is_done_from_afar(side: Side) -> None:
    store = side.store
    payload = bytes(range(256)) * 8192
    await store.put(DISK, KEY, payload, (5, 2 << 20))
    block = await store.get(DISK, KEY, None)
    assert (block.payload, block.lengths) == (payload, (5, 2 << 20))
    assert (await store.get(DISK, KEY, asyncio.get_running_loop().time() + 1)).payload == payload
    assert (await store.held(OBJECT)).found == (Held(DISK, 3, 1),)
    assert (await store.held(OBJECT, 2)).found == ()
    await store.put_head(DISK, OBJECT, 7, b"head")
    assert await store.head(OBJECT) == (7, b"head")
    assert (await store.heads()).found == (HeadHeld(DISK, OBJECT, 7),)
    assert await store.head(ObjectId("f" * 32)) is None
    told, found = await store.usage(), await side.local.usage()
    # Others write to the same medium meanwhile: what is free of it changes between the two.
    assert [(disk, one.used, one.blocks) for disk, one in told.items()] == [
        (disk, one.used, one.blocks) for disk, one in found.items()
    ]
    assert told[DISK].free == pytest.approx(found[DISK].free, rel=0.1)
    assert told[DISK].capacity == pytest.approx(found[DISK].capacity, rel=0.1)
    await store.mend(DISK, KEY)
    assert side.told == [(DISK, KEY)]
    assert not await store.delete_head(DISK, OBJECT, 6)
    assert await store.delete_head(DISK, OBJECT, 7)
    assert await store.delete(DISK, KEY)
    assert not await store.delete(DISK, KEY)
    await store.put(DISK, KEY, b"again", background=True)
    assert await store.forget(OBJECT) == 1


async def test_errors_are_raised_as_if_the_disk_were_here(side: Side) -> None:
    with pytest.raises(NotFoundError):
        await side.store.get(DISK, KEY, math.inf)
    with pytest.raises(UnreachableError, match="not at this node"):
        await side.store.get(DiskId("00000000000000bb"), KEY, None)
    await side.store.put(DISK, KEY, b"one")
    with pytest.raises(ConflictError):
        await side.store.put(DISK, KEY, b"two")
    damage(Path(side.disk._block(KEY)))
    with pytest.raises(CorruptError):
        await side.store.get(DISK, KEY, None)


async def test_many_requests_share_few_connections(side: Side) -> None:
    keys = [BlockKey(OBJECT, number, 0) for number in range(100)]
    await asyncio.gather(*(side.store.put(DISK, key, str(key).encode()) for key in keys))
    got = await asyncio.gather(*(side.store.get(DISK, key, None) for key in keys))
    assert [one.payload for one in got] == [str(key).encode() for key in keys]
    assert side.server.counters.connections <= client_module.LINKS


async def test_a_cancelled_request_is_given_up_at_the_other_end(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(*_: Any) -> Any:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    monkeypatch.setattr(side.local, "get", hang)
    reading = asyncio.ensure_future(side.store.get(DISK, KEY, None))
    async with asyncio.timeout(SECONDS):
        await began.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await ended.wait()
    assert side.server.counters.cancelled == 1


async def test_a_node_that_is_gone_is_told_at_once_and_found_again(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BLACKOUT", 0.2)
    await side.store.put(DISK, KEY, b"block")
    await side.server.close()
    for _ in range(3):
        with pytest.raises(RemoteError):
            await side.store.get(DISK, KEY, None)
    side.server = StoreServer({"films": side.local}.get)
    await side.server.start(listener(side.address.port))
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                block = await side.store.get(DISK, KEY, None)
                break
            except UnreachableError:
                await asyncio.sleep(0.02)
    assert block.payload == b"block"


async def test_a_frozen_node_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PING", 0.05)
    monkeypatch.setattr(client_module, "SILENCE", 0.3)
    hello = encode(Frame(Kind.HELLO, 0, {"version": 1, "volume": "films"}))[0]

    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(freeze, "127.0.0.1")
    store = RemoteStore(NODE, Address("127.0.0.1", server.sockets[0].getsockname()[1]), "films")
    async with asyncio.timeout(SECONDS):
        with pytest.raises(RemoteError):
            await store.get(DISK, KEY, None)
    with pytest.raises(UnreachableError, match="silent"):
        await store.get(DISK, KEY, None)
    await store.close()
    server.close()
    await server.wait_closed()


async def test_a_node_is_reached_at_whichever_of_its_addresses_answers(side: Side) -> None:
    await side.store.put(DISK, KEY, b"block")
    silent: list[asyncio.StreamWriter] = []
    port = side.address.port
    # One address is answered by something that says nothing, one by nobody.
    other = await asyncio.start_server(lambda _, one: silent.append(one), "127.0.0.2", port)
    address = Address("127.0.0.2", port, others=("127.0.0.3", "127.0.0.1"))
    store = RemoteStore(NODE, address, "films")
    async with asyncio.timeout(SECONDS):
        assert (await store.get(DISK, KEY, None)).payload == b"block"
    assert len(silent) == 1
    # What answered is asked first from then on.
    later = asyncio.get_running_loop().time() + SECONDS
    assert (await store.get(DISK, KEY, later)).payload == b"block"
    assert len(silent) == 1
    await store.close()
    nowhere = RemoteStore(NODE, Address("127.0.0.3", port, others=("127.0.0.4",)), "films")
    with pytest.raises(UnreachableError):
        await nowhere.get(DISK, KEY, None)
    assert nowhere.counters.failed == 1
    await nowhere.close()
    for one in silent:
        one.close()
    other.close()
    await other.wait_closed()


async def test_strangers_and_other_volumes_are_refused(side: Side) -> None:
    other = RemoteStore(NODE, side.address, "music")
    with pytest.raises(UnreachableError, match="music"):
        await other.get(DISK, KEY, None)
    await other.close()
    closed = StoreServer({"films": side.local}.get, allowed=lambda _: False)
    store = RemoteStore(NODE, Address("127.0.0.1", await closed.start(listener())), "films")
    with pytest.raises(Exception, match="not a node of this volume"):
        await store.get(DISK, KEY, None)
    await store.close()
    await closed.close()
    assert closed.counters.refused == 1


async def test_noise_ends_its_connection_and_nothing_else(side: Side) -> None:
    await side.store.put(DISK, KEY, b"block")
    for noise in (b"GET / HTTP/1.1\r\n\r\n" * 9, bytes(40)):
        reader, writer = await asyncio.open_connection(side.address.host, side.address.port)
        writer.write(noise)
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
    await until(lambda: side.server.counters.malformed == 2)
    assert (await side.store.get(DISK, KEY, None)).payload == b"block"


async def test_who_asks_too_much_at_once_has_to_wait(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()
    now, most = 0, 0

    async def wait(*_: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await go.wait()
        now -= 1
        return {}

    monkeypatch.setattr(side.local, "usage", wait)
    reader, writer = await asyncio.open_connection(side.address.host, side.address.port)
    writer.write(encode(Frame(Kind.HELLO, 0, {"version": 1, "volume": "films"}))[0])
    count = 40 * MAX_REQUESTS
    for number in range(count):
        padding = "x" * 900  # so that some do not fit into what is received at once
        writer.write(encode(Frame(Kind.REQUEST, number, {"ask": "usage", "p": padding}))[0])
    await until(lambda: side.server.counters.held > 0)
    assert most < count / 10
    go.set()
    async with asyncio.timeout(SECONDS):
        while side.server.counters.requests < count:
            await reader.read(1 << 16)
    writer.close()


async def test_blocks_go_through_tls(side: Side, certificate: tuple[Path, Path]) -> None:
    await side.server.close()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    side.server = StoreServer({"films": side.local}.get)
    port = await side.server.start(listener(), serving)
    asking = ssl.create_default_context(cafile=str(certificate[0]))
    peers = RemotePeers("films", asking)
    peers.update({NODE: Address("127.0.0.1", port, "storage.test")})
    payload = bytes(1 << 20)
    await peers.store(NODE).put(DISK, KEY, payload)
    assert (await peers.store(NODE).get(DISK, KEY, None)).payload == payload
    peers.update({})
    with pytest.raises(UnreachableError):
        peers.store(NODE)
    await peers.close()


async def test_a_put_that_lies_about_itself_is_refused(side: Side) -> None:
    with pytest.raises(MalformedError):
        await side.store._ask("put", {"disk": DISK, "object": "x", "group": 0, "member": 0})
    with pytest.raises(MalformedError):
        await side.store._ask("put", {"disk": DISK, "object": OBJECT, "group": -1, "member": 0})
    with pytest.raises(Exception, match="not known"):
        await side.store._ask("format", {})
