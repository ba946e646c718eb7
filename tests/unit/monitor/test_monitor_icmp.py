"""Pings over real sockets. Those that need a right say so where it is missing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from heliograph.dispatcher.monitor import icmp as module
from heliograph.dispatcher.monitor.icmp import Icmp, open_socket
from heliograph.model.errors import BusyError, ResourceError, UnreachableError
from heliograph.protocols import icmp as wire

LONG = 20.0
privileged = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need CAP_NET_RAW")


@pytest.fixture
async def icmp() -> AsyncIterator[Icmp]:
    made = Icmp()
    yield made
    made.close()


@privileged
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.77", "::1"])
async def test_host_that_is_there_answers(icmp: Icmp, address: str) -> None:
    ms = await icmp.ping(address, LONG)
    assert ms is not None
    assert 0 < ms < LONG * 1000
    assert icmp.counters["answers"] == 1


@privileged
async def test_many_at_once_are_told_apart(icmp: Icmp) -> None:
    found = await asyncio.gather(
        *(icmp.ping(f"127.0.{n // 250}.{n % 250 + 1}", LONG) for n in range(300))
    )
    assert all(found)
    assert icmp.counters["sent"] == icmp.counters["answers"] == 300


@privileged
async def test_two_programs_do_not_take_each_others_answers(icmp: Icmp) -> None:
    other = Icmp()
    found = await asyncio.gather(
        *(one.ping("127.0.0.1", LONG) for one in (icmp, other) for _ in range(20))
    )
    other.close()
    assert all(found)
    assert icmp.counters["answers"] == other.counters["answers"] == 20


@privileged
async def test_forged_answer_is_none(icmp: Icmp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses id and number still lacks the token."""
    tokens = iter([b"expected", b"another."])
    monkeypatch.setattr(module.secrets, "token_bytes", lambda size: next(tokens))
    pinger = icmp._pinger("127.0.0.1")
    assert pinger is not None
    task = asyncio.create_task(icmp.ping("240.0.0.1", 0.2))
    await asyncio.sleep(0)
    (seq,) = pinger._pending or (None,)
    if seq is not None:
        pinger._heard(wire.Reply(pinger._id, seq, b"guessed!"), "240.0.0.1", 0.0)
        pinger._heard(wire.Reply(pinger._id, seq, b"expected"), "127.0.0.9", 0.0)
        assert icmp.counters["foreign"] == 2
    with contextlib.suppress(UnreachableError):  # this machine may know that there is no way
        assert await task is None


@privileged
async def test_router_that_knows_no_way_ends_the_wait(icmp: Icmp) -> None:
    pinger = icmp._pinger("127.0.0.1")
    assert pinger is not None
    answer = asyncio.get_running_loop().create_future()
    pinger._pending[7] = module._Request(b"token", 0.0, "192.0.2.1", answer)
    pinger._heard(wire.Refusal(pinger._id, 7, 1), "10.0.0.1", 1.0)
    with pytest.raises(UnreachableError, match="code 1"):
        await answer
    pinger._pending.clear()


@privileged
async def test_requests_under_way_are_bounded(icmp: Icmp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 0)
    with pytest.raises(BusyError):
        await icmp.ping("127.0.0.1", LONG)


async def test_refused_sockets_are_logged_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> socket.socket:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(module.socket, "socket", refuse)
    icmp = Icmp()
    for address in ("127.0.0.1", "127.0.0.2", "::1"):
        assert not icmp.can(address)
        with pytest.raises(ResourceError):
            await icmp.ping(address, LONG)
    icmp.close()
    said = capsys.readouterr().out
    assert said.count("no ICMP") == 2
    assert "CAP_NET_RAW" in said
    assert "ping_group_range" in said


PROGRAM = """
import asyncio, json, os, sys
from heliograph.dispatcher.monitor.icmp import Icmp
async def main():
    icmp = Icmp()
    assert icmp.can("127.0.0.1") and icmp.can("::1")
    kinds = [p._socket.type.name for p in icmp._pingers.values()]
    answers = [await icmp.ping(a, 20.0) is not None for a in ("127.0.0.1", "::1")]
    silent = await icmp.ping("10.99.0.2", 0.3)
    icmp.close()
    print(json.dumps([kinds, answers, silent, dict(icmp.counters)]))
asyncio.run(main())
"""


@pytest.mark.probe
@privileged
@pytest.mark.parametrize("kind", ["SOCK_RAW", "SOCK_DGRAM"])
def test_raw_and_datagram_sockets_and_a_hole_that_swallows_all(kind: str) -> None:
    """In a network of its own: without the right to raw sockets the kernel's way is taken."""
    assert shutil.which("ip")
    name = f"helio-icmp{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    setup = [
        ["ip", "netns", "add", name],
        ["ip", "-n", name, "link", "set", "lo", "up"],
        ["ip", "-n", name, "link", "add", "hole", "type", "veth", "peer", "name", "deaf"],
        ["ip", "-n", name, "addr", "add", "10.99.0.1/24", "dev", "hole"],
        ["ip", "-n", name, "link", "set", "hole", "up"],
        ["ip", "-n", name, "link", "set", "deaf", "up"],
        [*inside, "ip", "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "hole"],
    ]
    command = [*inside, sys.executable, "-c", PROGRAM]
    if kind == "SOCK_DGRAM":
        allow = "echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range"
        setup.append([*inside, "sh", "-c", allow])
        command = [*inside, "capsh", "--drop=cap_net_raw", "--", "-c", '"$0" -c "$1"']
        command += [sys.executable, PROGRAM]
        assert shutil.which("capsh")
    try:
        for words in setup:
            subprocess.run(words, check=True, capture_output=True, timeout=30)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        kinds, answers, silent, counters = json.loads(done.stdout.splitlines()[-1])
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, timeout=30)
    assert kinds == [kind, kind]
    assert answers == [True, True]
    assert silent is None
    assert counters["sent"] == 3


@privileged
def test_socket_does_not_block() -> None:
    with open_socket(socket.AF_INET) as sock, pytest.raises(BlockingIOError):
        sock.recv(100)
