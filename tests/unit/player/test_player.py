"""The whole player against a small server: what is seen, written, steered and said."""

from __future__ import annotations

import asyncio
import contextlib
import wave
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from heliograph.model.errors import RemoteError
from heliograph.player import beginning, session
from heliograph.player.flow import Spacing
from heliograph.player.options import PlayOptions
from heliograph.player.session import Player, State
from heliograph.player.steering import FlowKind, FlowOptions
from heliograph.player.streams import Stream
from heliograph.player.terminal import Statistics, bar
from heliograph.player.video import Command
from heliograph.player.writing import Writer

from .made import Noise, film
from .rtsp_peer import Peer

PATIENCE = 25.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers here are near: less is buffered and waited for."""
    monkeypatch.setattr(session, "BEGIN_AT", 0.5)
    monkeypatch.setattr(beginning, "RELATE_PATIENCE", 0.1)


class Screen:
    """A window that keeps what it is shown."""

    def __init__(self) -> None:
        self.pictures: dict[int, list[bytes]] = {}
        self.asked: list[Command] = []
        self.closed = False

    def show(self, frames: Mapping[int, VideoFrame]) -> None:
        for stream, frame in frames.items():
            picture = frame.to_ndarray(format="yuv420p").tobytes()
            self.pictures.setdefault(stream, []).append(picture)

    def commands(self) -> list[Command]:
        asked, self.asked = self.asked, []
        return asked

    def close(self) -> None:
        self.closed = True


class Outputs:
    def __init__(self, path: Path | None = None) -> None:
        self.window = Screen()
        self._path = path

    def screen(self, streams: Sequence[Stream]) -> Screen:
        return self.window

    def loudspeaker(self, streams: Sequence[Stream]) -> None:
        return None

    def writer(self, streams: Sequence[Stream]) -> Writer | None:
        tracks = {stream.index: stream.track for stream in streams}
        return None if self._path is None else Writer(self._path, tracks)


@contextlib.asynccontextmanager
async def playing(
    urls: list[str], outputs: Outputs, **named: object
) -> AsyncIterator[tuple[Player, asyncio.Task[None]]]:
    player = Player(urls, PlayOptions(**named), outputs)  # type: ignore[arg-type]
    task = asyncio.create_task(player.run())
    try:
        yield player, task
    finally:
        player.stop()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)


async def until(task: asyncio.Task[None], look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            if task.done():
                task.result()
                raise AssertionError("it ended")
            await asyncio.sleep(0.005)


async def test_a_film_is_seen_to_its_end_though_packets_are_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "BEGIN_AT", 1.0)  # time for an answer
    peer = Peer(film=film(count=30), pace=3.0, lose={5, 15, 16, 17, 25})
    outputs = Outputs()
    async with peer.serving() as url, playing([url], outputs) as (player, task):
        async with asyncio.timeout(PATIENCE):
            await task
        counters = player.feeds[0].incoming.losses.of(0)
    assert len(peer.nacked) == 5
    assert (counters.asked, counters.recovered) == (5, 5)
    shown, source = outputs.window.pictures[0], peer.film.pictures
    assert set(shown) <= set(source)
    assert shown[-1] == source[-1]
    assert len(shown) + player.presenter.skipped == 30  # type: ignore[union-attr]
    assert outputs.window.closed
    assert player.state is State.ENDED


async def test_what_is_written_is_the_film(tmp_path: Path) -> None:
    peer = Peer(film=film(count=30), pace=3.0)
    path = tmp_path / "film.yuv"
    async with peer.serving() as url, playing([url], Outputs(path), tcp=True) as (_, task):
        async with asyncio.timeout(PATIENCE):
            await task
    assert path.read_bytes() == b"".join(peer.film.pictures)


async def test_several_films_are_shown_together() -> None:
    peers = [Peer(pace=1.5) for _ in range(5)]
    outputs = Outputs()
    async with contextlib.AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(peer.serving()) for peer in peers]
        player, task = await stack.enter_async_context(playing(urls, outputs, seconds=1.0))
        async with asyncio.timeout(PATIENCE):
            await task
        assert player.presenter is not None
        told = player.presenter.skews.statistics()
    assert set(outputs.window.pictures) == set(range(5))
    assert told.samples > 10
    assert told.median <= 0.001
    assert told.p99 <= 1 / 25 + 0.001


async def test_twelve_channels_from_five_servers_are_laid_side_by_side(tmp_path: Path) -> None:
    """Uncompressed sound, stored apart: every sample of every channel is in its place."""
    channels = (2, 2, 2, 4, 2)
    sources = [Noise(n, 0.9, seed) for seed, n in enumerate(channels)]
    path = tmp_path / "twelve.wav"
    async with contextlib.AsyncExitStack() as stack:
        peers = [Peer(film=source, pace=1.0 + 0.1 * n) for n, source in enumerate(sources)]
        urls = [await stack.enter_async_context(peer.serving()) for peer in peers]
        _, task = await stack.enter_async_context(playing(urls, Outputs(path), tcp=True))
        async with asyncio.timeout(PATIENCE):
            await task
    with wave.open(str(path)) as file:
        heard = np.frombuffer(file.readframes(1 << 20), "<i2").reshape(-1, 12)
    whole = np.concatenate([source.samples for source in sources], axis=1)
    assert heard.shape == whole.shape
    assert np.array_equal(heard, whole)


async def test_keys_pause_seek_and_end() -> None:
    peer = Peer(film=film(count=400), pace=2.0)
    outputs = Outputs()
    async with peer.serving() as url, playing([url], outputs) as (player, task):
        await until(task, lambda: player.state is State.PLAYING and player.position > 0.2)
        outputs.window.asked.append(Command.PAUSE)
        await until(task, lambda: player.state is State.PAUSED and player.feeds[0].paused)
        stood = player.position
        await asyncio.sleep(0.1)
        assert player.position == stood
        outputs.window.asked.append(Command.PAUSE)
        await until(task, lambda: player.state is State.PLAYING and player.position > stood)
        outputs.window.asked.append(Command.FORWARD)
        await until(task, lambda: player.state is State.PLAYING and player.position > stood + 10)
        assert player.position < stood + 14
        outputs.window.asked.append(Command.QUIT)
        async with asyncio.timeout(PATIENCE):
            await task
    assert [request.method for request in peer.asked].count("PAUSE") == 2
    assert peer.asked[-1].method == "TEARDOWN"


async def test_a_steered_film_ends_once() -> None:
    """Asked for another rate after its end, a server would begin anew."""
    peer = Peer(film=film(count=60))
    flow = FlowOptions(FlowKind.RATE, 16)
    async with (
        peer.serving() as url,
        playing([url], Outputs(), buffer=1.5, flow=flow) as (
            player,
            task,
        ),
    ):
        async with asyncio.timeout(PATIENCE):
            await task
        assert peer.speeds
        assert peer.begun_anew == 0
        assert player.pipelines[0].units == 60
        assert player.rebuffered == 0


@pytest.mark.parametrize("spacing", list(Spacing))
async def test_the_server_is_steered_so_that_the_buffer_fills_and_does_not_overflow(
    spacing: Spacing,
) -> None:
    peer = Peer(film=film(count=250))
    flow = FlowOptions(FlowKind.RATE, 5, spacing)
    async with (
        peer.serving() as url,
        playing([url], Outputs(), buffer=2.0, flow=flow) as (
            player,
            task,
        ),
    ):
        await until(task, lambda: peer.speeds)
        steering = player.steerings[0]
        await until(task, lambda: player.level(player.feeds[0]) > steering.marks[1])
        counters = player.pipelines[0].buffer.counters
        shown = Statistics(player).as_json(0.0)["feeds"][0]
    assert max(peer.speeds) > 1.0
    assert (counters.underflows, counters.overflows) == (0, 0)
    assert shown["watermarks_ms"] == [round(1000 * mark) for mark in steering.marks]


async def test_pausing_keeps_the_level_between_its_marks() -> None:
    peer = Peer(film=film(count=250), pace=3.0)
    flow = FlowOptions(FlowKind.PAUSE)
    async with (
        peer.serving() as url,
        playing([url], Outputs(), buffer=1.0, flow=flow) as (
            player,
            task,
        ),
    ):
        methods = lambda: [request.method for request in peer.asked]  # noqa: E731
        await until(task, lambda: methods().count("PAUSE") >= 2)
        assert methods().count("PLAY") >= 2
        counters = player.pipelines[0].buffer.counters
    assert (counters.underflows, counters.overflows) == (0, 0)


async def test_a_server_that_dies_ends_it_with_the_reason() -> None:
    peer = Peer(live=True)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(contextlib.AsyncExitStack())
        url = await server.enter_async_context(peer.serving())
        player, task = await stack.enter_async_context(playing([url], Outputs(), buffer=0.3))
        await until(task, lambda: player.state is State.PLAYING)
        await server.aclose()
        with pytest.raises(RemoteError, match="closed the connection"):
            await asyncio.wait_for(task, PATIENCE)


async def test_stop_at_any_moment_is_clean() -> None:
    for wait in (0.0, 0.05, 0.3):
        peer = Peer(pace=2.0)
        async with peer.serving() as url, playing([url], Outputs()) as (player, task):
            await asyncio.sleep(wait)
            player.stop()
            async with asyncio.timeout(PATIENCE):
                await task


def test_a_drawn_buffer_has_its_watermarks() -> None:
    assert bar(500, 1000, [200, 800], 10) == "██┃██···│·"
    assert bar(0, 1000, [], 4) == "····"
    assert bar(9999, 1000, [], 4) == "████"
