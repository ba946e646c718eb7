"""Which sources are fetched, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from heliograph.live.options import ChannelOptions, PullOptions
from heliograph.node import pulls as module
from heliograph.node.pulls import Pulls, same_ring


class FakePull:
    """Says what becomes of it."""

    going: list[FakePull]

    def __init__(self, channel, options, loop, *, held: Callable[[], bool]) -> None:
        self.url, self.held = options.url, held

    def start(self) -> None:
        self.going.append(self)

    async def stop(self) -> None:
        await asyncio.sleep(0)
        self.going.remove(self)


def channel(name: str, *urls: str) -> SimpleNamespace:
    options = ChannelOptions(pulls=tuple(PullOptions(url) for url in urls))
    return SimpleNamespace(name=name, options=options)


@pytest.fixture
def going(monkeypatch: pytest.MonkeyPatch) -> list[FakePull]:
    monkeypatch.setattr(module, "Pull", FakePull)
    FakePull.going = []
    return FakePull.going


async def test_a_channels_sources_are_fetched_until_it_is_stopped(going: list[FakePull]):
    closed = {"yard"}
    pulls = Pulls(None, lambda name: name in closed)  # type: ignore[arg-type]
    pulls.start(channel("yard", "rtsp://a/", "rtsp://b/"))
    pulls.start(channel("gate", "rtsp://c/"))
    pulls.start(channel("quiet"))
    assert [(pull.url, pull.held()) for pull in going] == [
        ("rtsp://a/", True),
        ("rtsp://b/", True),
        ("rtsp://c/", False),
    ]
    await pulls.stop("yard")
    await pulls.stop("unknown")
    assert [pull.url for pull in going] == ["rtsp://c/"]
    pulls.start(channel("yard", "rtsp://d/"))
    await pulls.close()
    assert going == []


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"title": "T", "max_readers": 3, "multicast": False}, True),
        ({"depth_ms": 5000}, False),
        ({"pulls": (PullOptions("rtsp://a/"),)}, False),
    ],
)
def test_what_a_ring_was_made_with_cannot_change(change: dict, same: bool):
    assert same_ring(ChannelOptions(), ChannelOptions(**change)) is same
