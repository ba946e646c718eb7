"""The UDP ports of a session: all are read before anything is made of what came."""

from __future__ import annotations

import asyncio
import socket

import pytest

from heliograph.player import ports as module
from heliograph.player.ports import MediaPorts
from heliograph.player.senders import Address


async def test_what_waits_in_all_ports_is_read_in_one_turn() -> None:
    """A node counts over all tracks: what waits in one port would look lost in another."""
    came: list[tuple[int, bool, int]] = []
    turns: list[int] = []
    loop = asyncio.get_running_loop()

    def take(track: int, rtcp: bool, data: bytes, address: Address) -> None:
        if not came:
            loop.call_soon(lambda: turns.append(len(came)))
        came.append((track, rtcp, int(data)))

    ports = MediaPorts(take)
    bound = [await ports.bind(track, "127.0.0.1") for track in (0, 1)]
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for number in range(100):
            sender.sendto(str(number).encode(), ("127.0.0.1", bound[number % 10 == 0][0]))
        sender.sendto(b"100", ("127.0.0.1", bound[1][1]))
        async with asyncio.timeout(10):
            while not turns:  # noqa: ASYNC110 - turns are counted
                await asyncio.sleep(0)
        assert turns == [101]
        assert {one for one in came if one[0] == 1} == {
            *((1, False, number) for number in range(0, 100, 10)),
            (1, True, 100),
        }
        assert all(rtp % 2 == 0 and rtcp == rtp + 1 for rtp, rtcp in bound)
        where = ("127.0.0.1", bound[0][0])
        ports.send(1, b"7", where, rtcp=True)
        ports.send(9, b"8", where, rtcp=True)  # no such track
        async with asyncio.timeout(10):
            while came[-1] != (0, False, 7):  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)
        assert ports.dropped == 0
    finally:
        sender.close()
        ports.close()
    ports.close()


async def test_what_found_a_port_full_is_known_when_it_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RECEIVE_BUFFER", 4096)
    ports = MediaPorts(lambda *_: None)
    bound = await ports.bind(0, "127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):  # nothing is read meanwhile
            sender.sendto(bytes(1000), ("127.0.0.1", bound[0]))
    dropped = ports.dropped
    assert 0 < dropped < 100
    ports.close()
    ports.close()
    assert ports.dropped == dropped
