"""Servers at ``::`` have peers of both families, and know IPv4 ones by their IPv4 address."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.unit.protocols.rtmp.client import HANDSHAKE
from tests.unit.servers.test_https import PEM, trusting
from tests.unit.web.site import PATIENCE, running

from heliograph.live.registry import Channels
from heliograph.model.errors import ResourceError
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane
from heliograph.servers.http import HttpOptions, HttpServer
from heliograph.servers.https import HttpsOptions, HttpsServer
from heliograph.servers.listening import bind_tcp
from heliograph.servers.rtmp import RtmpOptions, RtmpServer
from heliograph.servers.rtsp import RtspOptions, RtspServer

BOTH = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
ASK = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the address of who asks."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


async def talk(host: str, port: int, words: bytes, until: int = -1, **options: Any) -> bytes:
    """What is answered, up to so many bytes."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, port, **options)
        try:
            writer.write(words)
            return await (reader.read() if until < 0 else reader.readexactly(until))
        finally:
            writer.close()


@BOTH
async def test_pages_at_every_address(host: str):
    async with running() as site:
        server = HttpServer(who, site.context, HttpOptions("::", 0))
        await server.start()
        try:
            answer = await talk(host, server.port, ASK)
        finally:
            await server.stop()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert host.encode() in answer.split(b"\r\n\r\n", 1)[1].split(b"\r\n")


@BOTH
async def test_secure_pages_at_every_address(host: str):
    async with running() as site:
        server = HttpServer(who, site.context, HttpOptions("127.0.0.1", 0))
        await server.start()
        https = HttpsServer(server, site.plane, HttpsOptions("::", 0))
        await https.start(PEM)
        try:
            named = {"ssl": trusting(), "server_hostname": "localhost"}
            answer = await talk(host, https.port, ASK, **named)
        finally:
            await https.stop()
            await server.stop()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert host.encode() in answer.split(b"\r\n\r\n", 1)[1].split(b"\r\n")


@BOTH
async def test_rtsp_at_every_address(host: str):
    loop = PlaneLoop(TwinPlane(network=True))
    server = RtspServer(Channels(loop), loop, RtspOptions("::", 0, rtp_port=0))
    await server.start()
    try:
        ask = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
        assert await talk(host, server.port, ask, 15) == b"RTSP/1.0 200 OK"
    finally:
        await server.stop()


@BOTH
async def test_rtmp_at_every_address(host: str):
    loop = PlaneLoop(TwinPlane(network=True))
    server = RtmpServer(Channels(loop), loop, RtmpOptions("::", 0))
    await server.start()
    try:
        answer = await talk(host, server.port, HANDSHAKE, 3073)
        assert answer[0] == 3
    finally:
        await server.stop()


async def test_a_name_stands_for_all_its_addresses():
    loop = PlaneLoop(TwinPlane(network=True))
    server = RtmpServer(Channels(loop), loop, RtmpOptions("localhost", 0))
    await server.start()
    try:
        assert len(await talk("localhost", server.port, HANDSHAKE, 3073)) == 3073
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("address", "reason"),
    [("192.0.2.1", "assign"), ("2001:db8::1", "assign"), ("no.such.host.invalid", "(?i)name|node")],
)
async def test_an_address_that_is_not_there_is_told(address: str, reason: str):
    loop = PlaneLoop(TwinPlane(network=True))
    server = RtmpServer(Channels(loop), loop, RtmpOptions(address, 0))
    with pytest.raises(ResourceError, match=reason) as caught:
        await server.start()
    assert address in str(caught.value)
    assert caught.value.subject == "rtmp.port"


def test_a_port_taken_for_ipv4_is_taken_for_both():
    with socket.create_server(("127.0.0.1", 0)) as first:
        with pytest.raises(OSError, match="in use"):
            bind_tcp("::", first.getsockname()[1], 1)
        assert bind_tcp("::1", first.getsockname()[1], 1).close() is None
