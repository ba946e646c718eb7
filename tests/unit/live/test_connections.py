"""Every composition of the kinds of connections: whatever carries it, and sealed or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.live.connections import MAX_MESSAGE, Connection, Multicast, Sealed, Tcp, Udp
from heliograph.live.connections.sealed import MAX_SENDERS, WINDOW
from heliograph.model.errors import RemoteError, ResourceError, TooLargeError

PATIENCE = 15.0
HOST = "127.0.0.1"
KEY = b"k" * 16

Pair = tuple[Connection, Connection]
Cover = Callable[[Connection], Connection]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def udp() -> Pair:
    ports = free_port(), free_port()
    one, other = ((HOST, port) for port in ports)
    return Udp(one, other), Udp(other, one)


def tcp() -> Pair:
    place = (HOST, free_port())
    return Tcp(local=place), Tcp(peer=place)


def multicast() -> Pair:
    group = ("239.255.74.8", free_port())
    return Multicast(group, HOST), Multicast(group, HOST)


def plain(inner: Connection) -> Connection:
    return inner


def crypto(inner: Connection) -> Connection:
    return Sealed(inner, KEY)


@asynccontextmanager
async def opened(carrier: Callable[[], Pair], *covers: Cover) -> AsyncIterator[list[Connection]]:
    made: list[Connection] = list(carrier())
    for cover in covers:
        made = [cover(one) for one in made]
    try:
        for one in made:
            await one.open()
        async with asyncio.timeout(PATIENCE):
            yield made
    finally:
        for one in made:
            one.close()


every = pytest.mark.parametrize("carrier", [udp, tcp, multicast])
covers = pytest.mark.parametrize("covers", [(plain,), (crypto,), (crypto, crypto)])


async def come(connection: Connection, wanted: set[bytes]) -> None:
    """Wait until all of these came, among whatever else a group brings."""
    left = set(wanted)
    while left:
        left.discard(await connection.receive())


@every
@covers
async def test_messages_go_both_ways(carrier: Callable[[], Pair], covers: tuple[Cover, ...]):
    async with opened(carrier, *covers) as (one, other):
        longest = bytes(one.room)
        for message in (b"there", longest):
            one.send(message)
        other.send(b"back")
        await come(other, {b"there", longest})
        await come(one, {b"back"})
        assert one.counters["sent"] == 2
        assert other.counters["received"] >= 2
        with pytest.raises(TooLargeError):
            one.send(longest + b"x")


@every
@covers
async def test_who_waits_is_told_of_the_end(carrier: Callable[[], Pair], covers: tuple[Cover, ...]):
    async with opened(carrier, *covers) as (one, _):
        waiting = asyncio.create_task(one.receive())
        await asyncio.sleep(0)
        one.close()
        with pytest.raises(RemoteError):
            await waiting
        one.close()


@every
async def test_nobody_without_the_key_is_heard(carrier: Callable[[], Pair]):
    inner = carrier()
    one, other = Sealed(inner[0], KEY), Sealed(inner[1], b"x" * 16)
    right = Sealed(inner[1], KEY)
    try:
        await one.open()
        await other.open()
        async with asyncio.timeout(PATIENCE):
            other.send(b"forged")
            inner[1].send(b"plain and long enough to have a seal at its end")
            inner[1].send(b"short")
            right.send(b"true")
            assert await one.receive() == b"true"
        assert one.counters["refused"] == 3
    finally:
        one.close()
        other.close()


@every
async def test_no_message_comes_twice(carrier: Callable[[], Pair]):
    inner = carrier()
    kept: list[bytes] = []
    one, other = Sealed(inner[0], KEY), Sealed(inner[1], KEY)
    send = inner[1].send
    inner[1].send = lambda message: (kept.append(message), send(message))[1]  # type: ignore[method-assign]
    try:
        await one.open()
        await other.open()
        async with asyncio.timeout(PATIENCE):
            other.send(b"first")
            assert await one.receive() == b"first"
            send(kept[0])
            other.send(b"second")
            assert await one.receive() == b"second"
        assert one.counters["refused"] == 1
    finally:
        one.close()
        other.close()


class Recorded(Connection):
    """Keeps what is sent, to be received in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.coming: list[bytes] = []

    async def open(self) -> None:
        pass

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    async def receive(self) -> bytes:
        if not self.coming:
            raise RemoteError("that was all")
        return self.coming.pop(0)

    def close(self) -> None:
        pass


def take(way: Recorded, end: Sealed) -> list[bytes]:
    """What is let through of what comes."""

    async def drain() -> list[bytes]:
        found = []
        try:
            while True:
                found.append(await end.receive())
        except RemoteError:
            return found

    return asyncio.run(drain())


@given(st.lists(st.integers(0, 40), max_size=120))
def test_whatever_the_order_each_comes_once(order: list[int]):
    way = Recorded()
    sender, end = Sealed(way, KEY), Sealed(way, KEY)
    for n in range(41):
        sender.send(bytes([n]))
    way.coming = [way.sent[n] for n in order]
    assert take(way, end) == [bytes([n]) for n in dict.fromkeys(order)]


@given(st.binary(max_size=80), st.integers(0, 40), st.integers(0, 255))
def test_any_bytes_are_refused(data: bytes, place: int, flip: int):
    way = Recorded()
    sender, end = Sealed(way, KEY), Sealed(way, KEY)
    sender.send(b"a message of this length")
    (whole,) = way.sent
    changed = bytearray(whole)
    changed[place] ^= flip
    way.coming = [data, bytes(changed)]
    assert take(way, end) == ([b"a message of this length"] if flip == 0 else [])


def test_what_is_older_than_the_window_is_refused():
    way = Recorded()
    sender, end = Sealed(way, KEY), Sealed(way, KEY)
    for _ in range(WINDOW + 2):
        sender.send(b"x")
    way.coming = [way.sent[-1], way.sent[0], way.sent[2]]
    assert len(take(way, end)) == 2


def test_senders_that_are_remembered_are_bounded():
    way = Recorded()
    end = Sealed(way, KEY)
    for _ in range(MAX_SENDERS + 10):
        Sealed(way, KEY).send(b"x")
    way.coming = list(way.sent)
    assert len(take(way, end)) == MAX_SENDERS + 10
    assert len(end._seen) == MAX_SENDERS


async def test_what_cannot_be_opened_says_why():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        with pytest.raises(ResourceError, match="UDP"):
            await Udp(taken.getsockname(), (HOST, 9)).open()
    with pytest.raises(RemoteError, match="no connection"):
        await Tcp(peer=(HOST, free_port())).open()
    with pytest.raises(ResourceError, match="TCP"):
        await Tcp(local=("203.0.113.9", 1)).open()
    with pytest.raises(ResourceError, match="multicast"):
        await Multicast(("239.255.74.8", free_port()), "203.0.113.9").open()
    for wrong in (
        lambda: Multicast(("10.0.0.1", 9)),
        lambda: Tcp(),
        lambda: Sealed(Recorded(), b"short"),
    ):
        with pytest.raises(ValueError, match=r"."):
            wrong()
    assert Sealed(Recorded(), KEY).room < MAX_MESSAGE
