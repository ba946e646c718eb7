"""The HTTP server: bounds on connections, heads and time; start and stop."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest
from tests.unit.web.site import PATIENCE, Site, running

from heliograph.model.errors import ResourceError
from heliograph.servers.http import ENDLESS, MAX_HEAD, HttpOptions, HttpServer


async def _open(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", site.server.port)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read(-1)
        except ConnectionError:
            return b""


async def _ask(site: Site, data: bytes) -> bytes:
    reader, writer = await _open(site)
    writer.write(data)
    try:
        return await _rest(reader)
    finally:
        writer.close()


async def test_port_in_use_is_named():
    async with running() as site:
        other = HttpServer(
            site.app, site.context, HttpOptions(address="127.0.0.1", port=site.server.port)
        )
        with pytest.raises(ResourceError, match=str(site.server.port)) as caught:
            await other.start()
        assert caught.value.subject == "http.port"
        assert "address already in use" in str(caught.value).lower()
        await other.stop()


async def test_connections_above_the_bound_are_closed_and_counted():
    async with running(max_connections=2) as site:
        first, second = await _open(site), await _open(site)
        await site.until(lambda: site.server.connections == 2)
        third = await _open(site)
        assert await _rest(third[0]) == b""
        assert site.context.counters["http_connections_refused"] == 1
        first[1].close()
        await site.until(lambda: site.server.connections == 1)
        assert (await site.get("/healthz")).status_code == 200
        second[1].close()
        third[1].close()


async def test_viewers_count_as_connections():
    async with running(max_connections=1) as site, site.viewer() as viewer:
        await viewer.text("start")
        await site.until(lambda: not site.server.state.connections)
        with pytest.raises(httpx.TransportError):
            await site.get("/healthz")


async def test_a_thousand_connections_that_say_nothing_are_closed():
    async with running(head_timeout=1.0, max_connections=1500) as site:
        opened = await asyncio.gather(*(_open(site) for _ in range(1000)))
        assert (await site.get("/healthz")).status_code == 200
        ends = await asyncio.gather(*(_rest(reader) for reader, _ in opened))
        assert set(ends) == {b""}
        assert site.context.counters["http_timeouts"] == 1000
        for _, writer in opened:
            writer.close()
        await site.until(lambda: len(site.server.state.connections) <= 1)


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX: y"])
async def test_slow_head_is_not_waited_for(data: bytes):
    async with running(head_timeout=0.1) as site:
        assert await _ask(site, data) == b""
        assert site.context.counters["http_timeouts"] == 1


async def test_slow_head_of_a_second_request_is_not_waited_for():
    async with running(head_timeout=0.1) as site:
        answer = await _ask(site, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET")
        assert answer.endswith(b"ok\n")
        assert site.context.counters["http_timeouts"] == 1


async def test_slow_body_is_not_waited_for():
    async with running(answer_timeout=0.1) as site:
        head = b"POST /api/v1/channels HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer boss\r\n"
        assert await _ask(site, head + b"Content-Length: 100\r\n\r\n{") == b""


@pytest.mark.parametrize("lines", [1, 50])
async def test_head_that_is_too_long_is_refused(lines: int):
    line = b"X: " + b"y" * (2 * MAX_HEAD // lines) + b"\r\n"
    async with running() as site:
        answer = await _ask(site, b"GET / HTTP/1.1\r\nHost: x\r\n" + line * lines)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert site.context.counters["http_heads_refused"] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\x00: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    ],
)
async def test_nonsense_is_refused_and_the_server_goes_on(data: bytes):
    async with running() as site:
        answer = await _ask(site, data)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
        assert (await site.get("/healthz")).status_code == 200


async def test_other_upgrades_are_ignored():
    async with running() as site:
        answer = await _ask(
            site, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_requests_in_one_packet_are_answered_in_order():
    async with running() as site:
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n%s\r\n"
        answer = await _ask(
            site, request % b"" + request % b"" + request % b"Connection: close\r\n"
        )
        assert answer.count(b"ok\n") == 3


async def test_stop_is_quick_with_idle_and_slow_connections():
    async with running() as site:
        idle, slow = await _open(site), await _open(site)
        slow[1].write(b"POST /api/v1/channels HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        slow[1].write(b"Authorization: Bearer boss\r\n\r\n")
        await site.until(lambda: site.server.state.tasks)
        began = time.monotonic()
        await site.server.stop(timeout=0.1)
        assert time.monotonic() - began < 2
        assert await _rest(idle[0]) == b""
        await _rest(slow[0])
        idle[1].close()
        slow[1].close()
        with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
            probe.connect(("127.0.0.1", site.server.port))


async def test_stop_lets_an_answer_end():
    async with running() as site:
        reader, writer = await _open(site)
        body = b'{"name": "late"}'
        writer.write(b"POST /api/v1/channels HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer boss\r\n")
        writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        await site.until(lambda: site.server.state.tasks)
        stop = asyncio.create_task(site.server.stop(timeout=PATIENCE))
        writer.write(body)
        assert (await _rest(reader)).startswith(b"HTTP/1.1 201 ")
        await stop
        writer.close()


async def test_answers_are_dated():
    async with running() as site:
        assert (await site.get("/healthz")).headers["date"].endswith("GMT")


async def _swallow(scope, receive, send):
    """An application that takes a body, and gives a long answer, as slowly as its client is."""
    assert scope["type"] == "http"
    if scope["path"] == "/endless":
        scope.setdefault("extensions", {})[ENDLESS] = True
    taken = 0
    while True:
        message = await receive()
        taken += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(64):
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
    await send({"type": "http.response.body", "body": b"%d" % taken})


@pytest.mark.parametrize(("path", "whole"), [("/endless", True), ("/other", False)])
async def test_a_long_body_may_come_slowly_where_it_is_allowed(path: str, whole: bool):
    async with running(answer_timeout=0.4) as site:
        server = HttpServer(_swallow, site.context, HttpOptions("127.0.0.1", 0, answer_timeout=0.4))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 12\r\n\r\n"
        writer.write(head.encode())
        try:
            for _ in range(12):
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.1)
            answer = await _rest(reader)
        except ConnectionError:
            answer = b""
        assert answer.endswith(b"12\r\n0\r\n\r\n") is whole
        writer.close()
        await server.stop()


async def test_a_client_that_stops_in_the_middle_is_let_go():
    async with running() as site:
        server = HttpServer(_swallow, site.context, HttpOptions("127.0.0.1", 0, answer_timeout=0.3))
        await server.start()
        _, sends_no_more = await asyncio.open_connection("127.0.0.1", server.port)
        sends_no_more.write(b"PUT /endless HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")
        _, reads_no_more = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        reads_no_more.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.until(lambda: site.context.counters["http_timeouts"] == 2)
        sends_no_more.close()
        reads_no_more.close()
        await server.stop()
