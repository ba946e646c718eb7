"""A feed against a server that behaves, and against ones that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from heliograph.model.errors import NotFoundError, RemoteError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.player import network
from heliograph.player.arrivals import Arrival
from heliograph.player.network import Feed
from heliograph.player.rtsp_client import Absent
from heliograph.player.streams import playable
from heliograph.player.timeline import Origin

from .rtsp_peer import Peer

PATIENCE = 15.0


class Heard:
    """What a feed told."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[Arrival, float]] = []
        self.starts: list[float] = []

    def arrived(self, arrival: Arrival, media: float) -> None:
        self.arrivals.append((arrival, media))

    def restarted(self, stream: int, start: float, first: int | None) -> None:
        self.starts.append(start)
        self.arrivals.clear()

    def moved(self, stream: int, seconds: float) -> None:
        raise AssertionError("a title's media times are exact")


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def feed_of(url: str, heard: Heard, **named: bool) -> Feed:
    return Feed(url, heard, first_stream=0, origin=Origin(), **named)


@pytest.mark.parametrize("udp", [True, False])
async def test_a_title_comes_whole_with_its_times(udp: bool) -> None:
    peer, heard = Peer(pace=20.0), Heard()
    async with peer.serving() as url:
        feed = feed_of(url, heard, udp=udp)
        try:
            await feed.start()
            assert feed.duration == 2.0
            await until(lambda: feed.ended(2.0))
            assert feed.udp == udp
        finally:
            await feed.close()
    whole = peer.packets()
    numbers = [arrival.number for arrival, _ in heard.arrivals]
    assert numbers == list(range(numbers[0], numbers[0] + len(whole)))
    expected = [((p.timestamp - whole[0][1].timestamp) & 0xFFFFFFFF) / 9e4 for _, p in whole]
    assert [media for _, media in heard.arrivals] == pytest.approx(expected)
    assert peer.asked[-1].method == "TEARDOWN"


async def test_nothing_by_udp_changes_to_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "UDP_PATIENCE", 0.2)
    peer, heard = Peer(mute_udp=True, pace=20.0), Heard()
    async with peer.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            await until(lambda: feed.ended(2.0))
        finally:
            await feed.close()
    assert not feed.udp
    assert "by UDP" in feed.remarks[0]
    assert len(heard.arrivals) == len(peer.packets())


async def test_refused_udp_changes_to_tcp() -> None:
    peer, heard = Peer(refuse_udp=True), Heard()
    async with peer.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            assert not feed.udp
        finally:
            await feed.close()


async def test_a_server_that_sends_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SILENCE", 0.2)
    peer = Peer(live=True)
    peer.pace = 1e-9
    peer.lose = {0}
    async with peer.serving() as url:
        feed = feed_of(url, Heard(), udp=False)
        with pytest.raises(RemoteError, match="no packet came"):
            await feed.start()
        await feed.close()


async def test_a_server_that_dies_is_told() -> None:
    peer = Peer()
    async with peer.serving() as url:
        feed = feed_of(url, Heard())
        await feed.start()
    async with asyncio.timeout(PATIENCE):
        error = await feed.failed
    assert "closed the connection" in error.message
    await feed.close()


async def test_a_server_that_falls_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(live=True)
    async with peer.serving() as url:
        feed = feed_of(url, Heard())
        await feed.start()
        monkeypatch.setattr(network, "SILENCE", 0.3)
        peer.pace = 1e-9
        async with asyncio.timeout(PATIENCE):
            assert "nothing came" in (await feed.failed).message
        await feed.close()


async def test_what_is_not_there_is_not_found() -> None:
    peer = Peer(missing=True)
    async with peer.serving() as url:
        with pytest.raises(NotFoundError):
            await feed_of(url, Heard()).open()
    with pytest.raises(Absent, match="cannot reach"):
        await feed_of(url, Heard()).open()


async def test_only_tracks_that_can_be_played_are_asked_for() -> None:
    known = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)
    odd = Track(1, Kind.AUDIO, Codec.UNKNOWN, 8000, 97, encoding="G729")
    data = Track(2, Kind.DATA, Codec.UNKNOWN, 90_000, 98)
    good, remarks = playable([known, odd, data])
    assert good == [known]
    assert len(remarks) == 1
    assert "G729" in remarks[0]
    peer = Peer()
    sdp = peer.sdp().replace("H264/90000", "X-NEW/90000")
    peer.sdp = lambda: sdp  # type: ignore[method-assign]
    async with peer.serving() as url:
        with pytest.raises(UnsupportedError, match="X-NEW"):
            await feed_of(url, Heard()).open()


@pytest.mark.parametrize("udp", [True, False])
async def test_after_a_seek_nothing_of_before_is_told(udp: bool) -> None:
    peer, heard = Peer(stale=3 if udp else 0), Heard()
    async with peer.serving() as url:
        feed = feed_of(url, heard, udp=udp)
        try:
            await feed.start()
            await until(lambda: len(heard.arrivals) >= 3)
            await feed.seek(1.5)
            await until(lambda: len(heard.arrivals) >= 5)
        finally:
            await feed.close()
    assert heard.starts == [0.0, pytest.approx(36 / 25)]  # the keyframe before
    assert heard.arrivals[0][1] == pytest.approx(36 / 25)
    assert min(media for _, media in heard.arrivals) >= 1.4


async def test_a_paused_server_sends_nothing_and_goes_on_where_it_was() -> None:
    peer, heard = Peer(), Heard()
    async with peer.serving() as url:
        feed = feed_of(url, heard)
        try:
            await feed.start()
            await feed.pause()
            await asyncio.sleep(0.05)
            count = len(heard.arrivals)
            await asyncio.sleep(0.3)
            assert len(heard.arrivals) == count
            await feed.resume()
            await until(lambda: len(heard.arrivals) > count + 2)
        finally:
            await feed.close()
    numbers = [arrival.number for arrival, _ in heard.arrivals]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert heard.starts == [0.0]


async def test_speed_is_asked_only_of_servers_that_mean_it_as_written() -> None:
    for name, agreed in (("heliograph 1", True), ("GStreamer RTSP server", False)):
        peer = Peer(name=name)
        async with peer.serving() as url:
            feed = feed_of(url, Heard())
            try:
                await feed.start()
                assert await feed.change_speed(1.5) is agreed
                assert peer.speeds == ([1.5] if agreed else [])
            finally:
                await feed.close()


async def test_stopping_while_it_connects_leaves_nothing() -> None:
    left = asyncio.Event()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    feed = feed_of(f"rtsp://127.0.0.1:{port}/mute", Heard())
    task = asyncio.create_task(feed.start())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await feed.close()
    server.close()
    async with asyncio.timeout(PATIENCE):
        await left.wait()
