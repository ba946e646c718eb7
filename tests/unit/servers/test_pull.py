"""Pulling, against our own RTSP server: one channel of a site is fetched into another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from heliograph.live.channel import Channel
from heliograph.live.options import ChannelOptions, PullOptions, Transport
from heliograph.live.pull import LONGEST_WAIT, Pull, wait_before
from heliograph.live.readers import ReaderHooks
from heliograph.live.states import State

from .rtsp_site import IDR, SLICE, Client, Site, rtp, running


class Waits:
    """Stands for the wait between attempts: tests let it go on."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.go = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.go.wait()
        self.go.clear()


class Copying:
    def __init__(self, site: Site, copy: Channel, pull: Pull, waits: Waits) -> None:
        self.site, self.copy, self.pull, self.waits = site, copy, pull, waits
        self.held = False
        """Whether the channel is closed."""

    async def publish(self) -> Client:
        publisher = await self.site.client()
        assert await publisher.publish(tracks=1) == 200
        publisher.send(0, rtp(1, IDR))
        await self.site.until(lambda: self.site.channel.state is State.ON_AIR)
        return publisher

    def tap(self) -> int:
        return self.copy.add_tap(hooks=ReaderHooks()).plane_reader


@contextlib.asynccontextmanager
async def copying(transport: Transport, **server: Any) -> AsyncIterator[Copying]:
    async with running(**server) as site:
        copy = site.channels.create("copy", ChannelOptions())
        waits = Waits()
        made: list[Copying] = []
        pull = Pull(
            copy,
            PullOptions(f"rtsp://127.0.0.1:{site.server.port}/demo", transport=transport),
            site.loop,
            clock=lambda: site.plane.now / 1e6,
            sleep=waits,
            chance=lambda: 1.0,
            held=lambda: made[0].held,
        )
        made.append(Copying(site, copy, pull, waits))
        try:
            yield made[0]
        finally:
            await pull.stop()


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP, Transport.AUTO])
async def test_pulled_channel_carries_what_the_server_sends(transport: Transport) -> None:
    async with copying(transport) as c:
        publisher = await c.publish()
        c.pull.start()
        await c.site.until(lambda: c.copy.state is State.ON_AIR)
        publisher.send(0, rtp(2))
        stats = c.copy.stats
        await c.site.until(lambda: stats().packets >= 2)
        tap = c.copy.audience.add_tap(hooks=ReaderHooks())
        tap.start()
        items, _ = c.site.plane.read_tap(tap.plane_reader)
        assert [item[6][12:] for item in items] == [IDR, SLICE]


async def test_udp_that_is_refused_becomes_tcp() -> None:
    async with copying(Transport.AUTO, udp=False) as c:
        await c.publish()
        c.pull.start()
        await c.site.until(lambda: c.copy.state is State.ON_AIR)
        (reader,) = c.site.channel.audience.readers.values()
        assert reader.kind == "rtsp-tcp"
        assert c.pull.attempts == 1


async def test_udp_by_which_nothing_comes_becomes_tcp() -> None:
    async with copying(Transport.AUTO) as c:
        await c.publish()
        # The packets are lost on the way: the sender's sockets are not asked to send.
        for endpoint in c.site.plane.endpoints.values():
            endpoint.sockets, kept = [], endpoint.sockets
            for sock in kept:
                sock.close()
        c.pull.start()
        await c.site.until(lambda: len(c.site.channel.audience.readers) == 1)
        await c.site.until(lambda: bool(c.copy.publishings))
        for _ in range(20):
            c.site.plane.advance(0.5)
            await asyncio.sleep(0)
        await c.site.until(lambda: c.copy.state is State.ON_AIR)
        assert [r.kind for r in c.site.channel.audience.readers.values()] == ["rtsp-tcp"]


async def test_lost_server_is_asked_again_and_readers_go_on() -> None:
    async with copying(Transport.TCP) as c:
        await c.publish()
        c.pull.start()
        await c.site.until(lambda: c.copy.state is State.ON_AIR)
        tap = c.copy.audience.add_tap(hooks=ReaderHooks())
        tap.start()
        first = c.site.plane.read_tap(tap.plane_reader)[0][-1]
        (reader,) = c.site.channel.audience.readers.values()
        reader.kick()
        await c.site.until(lambda: bool(c.waits.asked))
        assert c.copy.state is State.WAITING
        assert not tap.closed
        c.waits.go.set()
        await c.site.until(lambda: c.copy.state is State.ON_AIR)
        second = c.site.plane.read_tap(tap.plane_reader)[0][-1]
        assert second[2] == first[2] + 1
        assert c.pull.attempts == 2


async def test_server_that_is_not_there_is_asked_at_growing_distances() -> None:
    async with copying(Transport.TCP) as c:
        c.pull.start()  # the channel is idle: 404
        for count in (1, 2, 3):
            await c.site.until(lambda count=count: len(c.waits.asked) == count)
            c.waits.go.set()
        assert c.waits.asked[:3] == [1.0, 2.0, 4.0]
        assert c.pull.last_error


def test_waits_are_bounded_and_left_to_chance() -> None:
    assert wait_before(1, 0.0) == 0.5
    assert wait_before(1000, 1.0) == LONGEST_WAIT
    assert LONGEST_WAIT / 2 <= wait_before(20, 0.3) <= LONGEST_WAIT


async def test_what_is_closed_is_not_fetched_until_it_is_opened() -> None:
    async with copying(Transport.TCP) as c:
        await c.publish()
        c.pull.start()
        await c.site.until(lambda: c.copy.state is State.ON_AIR)
        c.held = True
        (publishing,) = c.copy.publishings.values()
        c.copy.dismiss(publishing, "channel closed")
        for _ in range(3):  # after the attempt that ended, and again and again
            count = len(c.waits.asked)
            c.waits.go.set()
            await c.site.until(lambda count=count: len(c.waits.asked) > count)
        assert c.pull.attempts == 1
        assert not c.copy.publishings
        c.held = False
        c.waits.go.set()
        await c.site.until(lambda: c.copy.state is State.ON_AIR and c.copy.publishings)
        assert c.pull.attempts == 2


async def test_rtp_told_by_an_sdp_file(tmp_path: Path) -> None:
    async with running() as site:
        endpoint, port, _ = site.plane.bind_udp("127.0.0.1", 0)
        site.plane.close_endpoint(endpoint)
        file = tmp_path / "camera.sdp"
        file.write_text(
            f"v=0\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=video {port} RTP/AVP 96\r\n"
            "a=rtpmap:96 H264/90000\r\n"
        )
        pull = Pull(site.channel, PullOptions(str(file)), site.loop)
        pull.start()
        await site.until(lambda: bool(site.channel.publishings))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        transport.sendto(rtp(1, IDR))
        await site.until(lambda: site.channel.state is State.ON_AIR)
        transport.close()
        await pull.stop()
        assert site.channel.state is State.WAITING
