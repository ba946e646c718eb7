"""Events of a plane in an asyncio loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from heliograph.plane import (
    ChannelSilent,
    ConnectionClosed,
    ControlReceived,
    EventsLost,
    PlaneLoop,
    ReaderClosed,
    SenderClosed,
    SenderEnded,
    SenderLow,
    SourceActive,
    SourceSilent,
    TapReady,
    parse_event,
)
from heliograph.plane.loop import BATCH
from heliograph.plane.twin import TwinPlane


class Scripted(TwinPlane):
    """A plane that says what it is told to."""

    def say(self, *events: tuple[Any, ...]) -> None:
        for event in events:
            self._emit(*event)


@pytest.fixture
def plane() -> Any:
    plane = Scripted()
    yield plane
    plane.close()


EVENTS: list[tuple[tuple[Any, ...], Any]] = [
    (("source-active", 1, 2, 3, True), SourceActive(1, 2, 3, True)),
    (("source-silent", 1, 2), SourceSilent(1, 2)),
    (("channel-silent", 1), ChannelSilent(1)),
    (("control", 4, b"x"), ControlReceived(4, b"x")),
    (("conn-closed", 4, "eof"), ConnectionClosed(4, "eof")),
    (("reader-closed", 5, "eof"), ReaderClosed(5, "eof")),
    (("tap-ready", 5), TapReady(5)),
    (("sender-low", 6, 900_000), SenderLow(6, 900_000)),
    (("sender-ended", 6), SenderEnded(6)),
    (("sender-closed", 6, "eof"), SenderClosed(6, "eof")),
    (("overflow", 9), EventsLost(9)),
]


@pytest.mark.parametrize(("raw", "event"), EVENTS)
def test_events_become_values(raw: tuple[Any, ...], event: Any) -> None:
    assert parse_event(raw) == event


@pytest.mark.parametrize("raw", [(), ("what", 1), ("channel-silent",), ("tap-ready", 1, 2)])
def test_unknown_events_are_refused(raw: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        parse_event(raw)


def test_events_reach_those_who_watch_their_id(plane: Scripted) -> None:
    loop, seen = PlaneLoop(plane), []
    loop.on_channel(1, lambda event: seen.append(("channel", event)))
    loop.on_source(2, lambda event: seen.append(("source", event)))
    loop.on_conn(4, lambda event: seen.append(("conn", event)))
    loop.on_reader(5, lambda event: seen.append(("reader", event)))
    loop.on_sender(6, lambda event: seen.append(("sender", event)))
    loop.on_lost(lambda event: seen.append(("lost", event)))
    plane.say(*(raw for raw, _ in EVENTS))
    loop.pump()
    assert [who for who, _ in seen] == [
        "source",
        "channel",
        "source",
        "channel",
        "channel",
        "conn",
        "conn",
        "reader",
        "sender",
        "sender",
        "sender",
        "lost",
    ]
    assert loop.unhandled == 1  # the tap had closed before it was ready


def test_failing_handler_is_counted_and_the_others_go_on(plane: Scripted) -> None:
    loop, seen = PlaneLoop(plane), []

    def fail(event: object) -> None:
        raise RuntimeError("a bug")

    loop.on_conn(1, fail)
    loop.on_conn(2, seen.append)
    plane.say(("control", 1, b""), ("nonsense",), ("control", 2, b""))
    loop.pump()
    assert seen == [ControlReceived(2, b"")]
    assert loop.handler_errors == 2


def test_forgotten_ids_are_not_called(plane: Scripted) -> None:
    loop, seen = PlaneLoop(plane), deque[Any]()
    loop.on_conn(1, seen.append)
    loop.on_reader(1, seen.append)
    loop.on_channel(1, seen.append)
    loop.on_source(1, seen.append)
    loop.on_sender(6, seen.append)
    loop.forget_conn(1)
    loop.forget_reader(1)
    loop.forget_channel(1)
    loop.forget_source(1)
    loop.forget_sender(6)
    plane.say(*(raw for raw, _ in EVENTS), ("control", 1, b""), ("tap-ready", 1))
    loop.pump()
    assert not seen


async def test_loop_wakes_for_events_and_takes_them_in_batches(plane: Scripted) -> None:
    loop, seen, done = PlaneLoop(plane), [], asyncio.Event()

    def take(event: Any) -> None:
        seen.append(event)
        if len(seen) == BATCH + 10:
            done.set()

    loop.on_conn(1, take)
    loop.start()
    plane.say(*[("control", 1, b"")] * (BATCH + 10))
    async with asyncio.timeout(5):
        await done.wait()
    loop.stop()
    assert loop.pump() == 0


def test_events_that_nobody_drains_are_counted() -> None:
    plane = Scripted(events=3)
    plane.say(*[("channel-silent", 1)] * 5)
    assert plane.drain()[0] == ("overflow", 2)
    assert plane.totals()["events_lost"] == 2
    plane.close()
