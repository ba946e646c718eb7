"""Viewers over WebSocket: the handshake, frames of the native plane, texts, ends."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
from typing import Any

import pytest
from tests.contract.rtp import IDR, PPS, SPS
from tests.unit.web.site import PATIENCE, VIDEO, Site, running
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from heliograph.live.admission import Limits
from heliograph.live.options import ChannelOptions, LiveOptions

START = b"\0\0\0\1"


async def test_viewer_sees_frames_from_the_last_keyframe_on():
    async with running() as site:
        publishing = await site.on_air(3)
        async with site.viewer() as viewer:
            start = await viewer.text("start")
            assert (start["channel"], start["title"], start["state"]) == ("demo", "Test", "on_air")
            assert start["tracks"][0]["codec_string"] == "avc1.42c01f"
            frames = await viewer.take(3)
            assert [frame.flags & 1 for frame in frames] == [1, 0, 0]
            assert frames[0].data == START + SPS + START + PPS + START + IDR
            publishing.push(0, site.camera.gop(5))
            frames += await viewer.take(5)
            numbers = [frame.number for frame in frames]
            assert numbers == list(range(numbers[0], numbers[0] + 8))


async def test_connection_stays_established_after_the_hand_over():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.text("start")
            client = viewer.socket.transport.get_extra_info("socket")
            await site.until(lambda: not site.server.state.connections)
            state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            assert state == b"\x01"  # TCP_ESTABLISHED: neither end said that it closes
            assert site.server.connections == 1
        await site.until(lambda: site.websockets.open == 0)
        assert not site.channel.audience.readers


async def test_ping_is_answered_with_the_clock_of_the_server():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.socket.send('{"type":"ping","t":12.5}')
            pong = await viewer.text("pong")
            assert pong["t"] == 12.5
            assert pong["server_time_us"] > 1e15


async def test_viewer_hears_that_the_source_went_and_came_back():
    async with running() as site:
        publishing = await site.on_air()
        async with site.viewer() as viewer:
            await viewer.take(3)
            publishing.close()
            assert (await viewer.text("state"))["state"] == "waiting"
            again = site.publish()
            again.push(0, site.camera.gop(2))
            assert (await viewer.text("state"))["state"] == "on_air"
            frames = await viewer.take(2)
            assert frames[0].flags & 1


async def test_viewer_of_a_channel_without_source_waits_for_the_first():
    async with running() as site, site.viewer() as viewer:
        start = await viewer.text("start")
        assert (start["state"], start["tracks"]) == ("waiting", [])
        await site.on_air(2)
        tracks = await viewer.text("tracks")
        assert tracks["tracks"][0]["codec"] == "h264"
        frames = await viewer.take(2)
        assert frames[0].flags & 1


async def test_kicked_viewer_is_told_and_closed():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.text("start")
            await site.until(lambda: site.channel.audience.readers)
            next(iter(site.channel.audience.readers.values())).kick()
            assert (await viewer.text("end"))["reason"] == "kicked"
            with pytest.raises(ConnectionClosed):
                await viewer.take(100)
        await site.until(lambda: site.websockets.open == 0)


async def test_viewers_are_told_that_the_server_stops():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.text("start")
            site.channels.close()
            assert (await viewer.text("end"))["reason"] == "server stopping"


async def test_nonsense_ends_the_connection():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.socket.send("nonsense")
            assert (await viewer.text("end"))["reason"] == "malformed"


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/ws/nothing", {}, 404),
        ("/ws/", {}, 404),
        ("/ws/demo/more", {}, 404),
        ("/", {}, 404),
        ("/ws/demo", {"origin": "https://elsewhere.example"}, 403),
        ("/ws/demo", {"origin": "null"}, 403),
        ("/ws/demo", {"subprotocols": ["other.v9"]}, 400),
    ],
)
async def test_refusal_comes_before_the_upgrade(path: str, options: dict[str, Any], status: int):
    async with running() as site:
        await site.on_air()
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{site.server.port}{path}", **options):
                pass
        assert caught.value.response.status_code == status
        assert caught.value.response.headers["content-type"] == "application/json"
        assert site.context.counters["websockets_refused"] == 1
        assert site.websockets.open == 0


async def test_pages_of_the_same_host_and_port_may_read():
    async with running() as site:
        await site.on_air()
        async with site.viewer(origin=f"http://127.0.0.1:{site.server.port}") as viewer:
            assert await viewer.text("start")


async def test_pages_of_the_public_host_may_read():
    async with running(context={"public_host": "tv.example.org"}) as site:
        await site.on_air()
        async with site.viewer(origin="https://tv.example.org") as viewer:
            assert await viewer.text("start")


@pytest.mark.parametrize("key", ["view", "secret", "boss"])
async def test_view_key_opens_by_query_and_by_bearer_token(key: str):
    async with running(ChannelOptions(key="secret", view_key="view")) as site:
        await site.on_air()
        async with site.viewer(f"?key={key}") as viewer:
            assert await viewer.text("start")
        async with site.viewer(additional_headers={"Authorization": f"Bearer {key}"}) as viewer:
            assert await viewer.text("start")


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong"])
async def test_missing_or_wrong_view_key_is_refused(query: str):
    async with running(ChannelOptions(key="secret", view_key="view")) as site:
        await site.on_air()
        with pytest.raises(InvalidStatus) as caught:
            async with site.viewer(query):
                pass
        assert caught.value.response.status_code == 401


async def test_full_channel_is_refused_with_the_time_to_ask_again():
    async with running(live=LiveOptions(limits=Limits(max_readers=1))) as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.text("start")
            with pytest.raises(InvalidStatus) as caught:
                async with site.viewer():
                    pass
            assert caught.value.response.status_code == 503
            assert int(caught.value.response.headers["retry-after"]) > 0


async def test_addresses_not_allowed_are_refused():
    async with running(ChannelOptions(key="secret", view_from=("10.0.0.0/8",))) as site:
        await site.on_air()
        with pytest.raises(InvalidStatus) as caught:
            async with site.viewer():
                pass
        assert caught.value.response.status_code == 403


GOOD = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(range(16))).decode(),
}


async def _ask(site: Site, headers: dict[str, str], more: bytes = b"", verb: str = "GET") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    lines = [f"{verb} /ws/demo HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + more)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.readuntil(b"\r\n\r\n") + await reader.read(4096)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("change", "verb", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, "GET", 426),
        ({"Sec-WebSocket-Key": "short"}, "GET", 400),
        ({"Sec-WebSocket-Key": "=" * 400}, "GET", 400),
        ({}, "POST", 400),
        ({"Origin": "http://[broken"}, "GET", 403),
    ],
)
async def test_wrong_handshake_is_refused(change: dict[str, str], verb: str, status: int):
    async with running() as site:
        await site.on_air()
        answer = await _ask(site, GOOD | change, verb=verb)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert status != 426 or b"Sec-WebSocket-Version: 13\r\n" in answer


async def test_accept_is_that_of_the_standard():
    """The example of RFC 6455 section 1.3."""
    async with running() as site:
        await site.on_air()
        answer = await _ask(site, GOOD | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
        assert b"Sec-WebSocket-Protocol" not in answer


async def test_bytes_behind_the_handshake_are_not_lost():
    text = b'{"type":"ping","t":7}'
    ping = b"\x81" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text
    async with running() as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
        writer.write(b"GET /ws/demo HTTP/1.1\r\n" + head.encode() + b"\r\n" + ping)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b'"type":"pong","t":7')
        writer.close()
        await writer.wait_closed()


async def test_upgrade_behind_an_unfinished_request_is_refused():
    async with running() as site:
        head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /ws/demo HTTP/1.1\r\n"
            + head.encode()
            + b"\r\n"
        )
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read(-1)
        assert b" 503 " in answer
        assert b" 101 " not in answer
        writer.close()
        await writer.wait_closed()


async def test_viewer_that_vanishes_is_forgotten():
    async with running() as site:
        await site.on_air()
        async with site.viewer() as viewer:
            await viewer.text("start")
            client = viewer.socket.transport.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            viewer.socket.transport.abort()
        await site.until(lambda: site.websockets.open == 0 and not site.channel.audience.readers)


async def test_new_format_is_told_before_its_frames():
    async with running() as site:
        first = await site.on_air()
        async with site.viewer() as viewer:
            await viewer.take(3)
            first.close()
            other = VIDEO.__class__(0, VIDEO.kind, VIDEO.codec.VP8, 90000, 96)
            second = site.publish(other)
            # A VP8 keyframe of one packet: RFC 7741 section 4.2, start of partition 0.
            vp8 = b"\x10" + b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xb4\x00" + b"\x33" * 20
            second.push(0, [struct.pack("!BBHII", 0x80, 0x80 | 96, 1, 90, 5) + vp8])
            assert (await viewer.text("tracks"))["tracks"][0]["codec"] == "vp8"
            frames = await viewer.take(1)
            assert frames[0].data == vp8[1:]
