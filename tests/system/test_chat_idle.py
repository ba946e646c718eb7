"""People who only read the chat: thousands of connections that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import pytest
from tests.system.conftest import PATIENCE, Served
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

pytestmark = pytest.mark.alone

COUNT = 2000
#: Bytes that one may cost: room to grow over what was measured (docs/wire/chat.md).
MOST = 20_000


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


Person: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _sit(host: str, port: int) -> Person:
    """Connect, say hello without a name, and wait for the history."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET /chat/demo HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
        "Accept-Language: en\r\nCache-Control: no-cache\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    writer.write(Frame(Opcode.TEXT, b'{"type":"hello"}').serialize(mask=True))
    await reader.readuntil(b'"type":"history"')
    return reader, writer


@contextlib.asynccontextmanager
async def sitting(http: str, count: int) -> AsyncIterator[list[Person]]:
    """So many connections at once, made in small crowds."""
    place = urlsplit(http)
    assert place.hostname is not None
    assert place.port is not None
    people: list[Person] = []
    try:
        while len(people) < count:
            crowd = min(100, count - len(people))
            people += await asyncio.gather(
                *(_sit(place.hostname, place.port) for _ in range(crowd))
            )
        yield people
    finally:
        for _, writer in people:
            writer.close()


async def test_idle_readers_are_cheap_and_all_are_told(served: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, COUNT + 1000)), hard))
    async with asyncio.timeout(PATIENCE * 2):
        async with sitting(served.http, 100):  # what the first ones cost is the server's
            pass
        before = resident(served.process.pid)
        async with sitting(served.http, COUNT) as people:
            each = (resident(served.process.pid) - before) / COUNT
            print(f"{each / 1000:.1f} kB for an idle connection")
            assert each < MOST
            url = served.http.replace("http", "ws") + "/chat/demo"
            async with connect(url, compression=None) as anna:
                await anna.send('{"type":"hello","name":"Anna"}')
                began = time.perf_counter()
                say = {"type": "say", "nonce": "n1", "text": "hello, all of you"}
                await anna.send(json.dumps(say))
                await asyncio.gather(*(reader.readuntil(b"all of you") for reader, _ in people))
                print(f"all told in {time.perf_counter() - began:.2f} s")
