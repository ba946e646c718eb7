"""What a bus does, whatever carries it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.bus_site import MemorySite, Site, ZenohSite, settle, until

from heliograph.bus import Arrived, Bus, Changed, Event, Gone, Request
from heliograph.bus.wire import MAX_MESSAGE, Json
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    RemoteError,
    TooLargeError,
    UnreachableError,
    WrongStateError,
)


@pytest.fixture(params=["memory", "zenoh"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    made: Site = MemorySite() if request.param == "memory" else ZenohSite(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def two(site: Site) -> tuple[Bus, Bus]:
    return await site.bus(), await site.bus()


class Seen:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def texts(self) -> list[str]:
        return [f"{type(one).__name__} {one.name.name}={one.name.value}" for one in self.events]


async def echo(request: Request) -> Json:
    return request.value


async def test_a_call_gives_what_the_handler_of_that_node_gives(two: tuple[Bus, Bus]) -> None:
    one, other = two
    told: list[Request] = []

    async def answer(request: Request) -> Json:
        told.append(request)
        return {"got": request.value, "é": [1, 2.5, None, True]}

    other.serve("unit.grant", answer)
    await settle(one, other)
    value = await one.call(other.node, "unit.grant", {"channel": "cam"})
    assert value == {"got": {"channel": "cam"}, "é": [1, 2.5, None, True]}
    assert (told[0].method, told[0].caller) == ("unit.grant", one.node)


async def test_a_node_calls_itself_like_others(two: tuple[Bus, Bus]) -> None:
    one, _ = two
    one.serve("echo", echo)
    assert await one.call(one.node, "echo", [1]) == [1]


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("no channel 'x'", subject="x"),
        BusyError("full", subject="unit", retry_after=7),
        MalformedError("sdp", "no media", offset=3),
        ConflictError("somebody else has it"),
        RemoteError("the camera is silent", subject="cam"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_come_out_as_the_type_that_was_raised(
    two: tuple[Bus, Bus], error: HelioError
) -> None:
    one, other = two

    async def refuse(_request: Request) -> Json:
        raise error

    other.serve("refuse", refuse)
    await settle(one, other)
    with pytest.raises(type(error)) as caught:
        await one.call(other.node, "refuse", None)
    assert type(caught.value) is type(error)
    assert vars(caught.value) == vars(error)


async def test_an_error_that_is_not_ours_tells_nothing(two: tuple[Bus, Bus]) -> None:
    one, other = two

    async def fail(_request: Request) -> Json:
        raise ValueError("password is hunter2")

    other.serve("fail", fail)
    await settle(one, other)
    with pytest.raises(RemoteError) as caught:
        await one.call(other.node, "fail", None)
    assert "hunter2" not in repr(caught.value)


async def test_an_answer_that_json_cannot_say_is_an_error_at_the_caller(
    two: tuple[Bus, Bus],
) -> None:
    one, other = two

    async def strange(_request: Request) -> Json:
        return object()

    other.serve("strange", strange)
    await settle(one, other)
    with pytest.raises(MalformedError):
        await one.call(other.node, "strange", None)


async def test_who_is_not_there_cannot_be_reached(two: tuple[Bus, Bus]) -> None:
    one, _ = two
    with pytest.raises(UnreachableError):
        await one.call("a" * 16, "echo", None)


async def test_a_node_without_the_method_leaves_the_call_unanswered(two: tuple[Bus, Bus]) -> None:
    one, other = two
    with pytest.raises(RemoteError):
        await one.call(other.node, "nothing", None)


async def test_a_call_ends_at_its_deadline_at_both_ends(two: tuple[Bus, Bus]) -> None:
    one, other = two
    ended = asyncio.Event()

    async def sleep(_request: Request) -> Json:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    other.serve("sleep", sleep)
    await settle(one, other)
    with pytest.raises(RemoteError):
        await one.call(other.node, "sleep", None, timeout=0.2)
    await asyncio.wait_for(ended.wait(), 5)


async def test_calls_do_not_wait_for_one_another(two: tuple[Bus, Bus]) -> None:
    one, other = two
    gate = asyncio.Event()

    async def wait(request: Request) -> Json:
        if request.value:
            gate.set()
        await gate.wait()
        return request.value

    other.serve("wait", wait)
    await settle(one, other)
    first, second = await asyncio.gather(
        one.call(other.node, "wait", False), one.call(other.node, "wait", True)
    )
    assert (first, second) == (False, True)


async def test_all_who_serve_a_method_answer_and_errors_are_left_out(site: Site) -> None:
    one, other, third = [await site.bus() for _ in range(3)]

    async def answer(request: Request) -> Json:
        return request.value + 1

    async def refuse(_request: Request) -> Json:
        raise NotFoundError("not here")

    one.serve("count", answer)
    other.serve("count", answer)
    third.serve("count", refuse)
    await settle(one, other, third)
    assert await one.ask("count", 1) == sorted([(one.node, 2), (other.node, 2)])
    assert one.counters()["calls_failed"] == 1
    assert await one.ask("nobody", 1) == []


async def test_a_slow_node_does_not_take_the_answers_of_others(two: tuple[Bus, Bus]) -> None:
    one, other = two

    async def sleep(_request: Request) -> Json:
        await asyncio.sleep(60)

    one.serve("state", echo)
    other.serve("state", sleep)
    await settle(one, other)
    assert await one.ask("state", 1, timeout=0.5) == [(one.node, 1)]


async def test_a_method_is_served_once_and_again_after_it_was_closed(two: tuple[Bus, Bus]) -> None:
    one, other = two
    served = other.serve("echo", echo)
    with pytest.raises(ConflictError):
        other.serve("echo", echo)
    served.close()
    served.close()
    with pytest.raises(RemoteError):
        await one.call(other.node, "echo", 1)
    other.serve("echo", echo)
    await settle(one, other)
    assert await one.call(other.node, "echo", 1) == 1


async def test_publications_reach_who_listens_with_node_and_topic(two: tuple[Bus, Bus]) -> None:
    one, other = two
    heard: list[object] = []
    all_heard: list[object] = []
    one.subscribe("report/*", lambda *values: heard.append(values))
    ended = one.subscribe("**", lambda *values: all_heard.append(values))
    other.subscribe("report/cpu", lambda *values: heard.append(values))
    await settle(one, other)
    other.publish("report/cpu", {"load": 0.5})
    other.publish("report/cpu/core0", 1)
    other.publish("log", "x")
    await until(lambda: len(heard) >= 2 and len(all_heard) >= 3)
    assert heard == [(other.node, "report/cpu", {"load": 0.5})] * 2
    assert [topic for _, topic, _ in all_heard] == ["report/cpu", "report/cpu/core0", "log"]
    ended.close()
    await settle(one, other)
    other.publish("log", "y")
    other.publish("report/cpu", 2)
    await until(lambda: len(heard) == 4)
    assert len(all_heard) == 3


async def test_a_listener_that_fails_does_not_stop_others(two: tuple[Bus, Bus]) -> None:
    one, _ = two
    heard: list[Json] = []

    def fail(*_values: object) -> None:
        raise ValueError

    one.subscribe("a", fail)
    one.subscribe("a", lambda _node, _topic, value: heard.append(value))
    one.publish("a", 1)
    await until(lambda: heard == [1])


@pytest.mark.parametrize("topic", ["", "a//b", "/a", "a/", "a b", "ä", "a/" * 8 + "a", "*", "a$b"])
async def test_topics_are_checked(two: tuple[Bus, Bus], topic: str) -> None:
    with pytest.raises(MalformedError):
        two[0].publish(topic, 1)


async def test_values_are_checked(two: tuple[Bus, Bus]) -> None:
    one, other = two
    for value in (object(), float("nan"), {1, 2}, "\ud800"):
        with pytest.raises(MalformedError):
            one.publish("a", value)
    with pytest.raises(TooLargeError):
        await one.call(other.node, "echo", "x" * MAX_MESSAGE)


async def test_what_is_announced_is_seen_changes_and_goes(two: tuple[Bus, Bus]) -> None:
    one, other = two
    seen, own = Seen(), Seen()
    one.watch("unit", seen)
    other.watch("unit", own)
    name = other.announce("unit", "u1", {"places": 10})
    other.announce("portal", "p1")
    await until(lambda: len(seen.events) == 1)
    assert one.present("unit") == {(other.node, "u1"): {"places": 10}}
    name.update({"places": 9})
    name.update({"places": 9})  # the same again is no news
    await until(lambda: len(seen.events) == 2)
    name.close()
    name.close()
    await until(lambda: len(seen.events) == 3)
    first, second, third = seen.events
    assert isinstance(first, Arrived)
    assert isinstance(second, Changed)
    assert second.before == {"places": 10}
    assert isinstance(third, Gone)
    assert third.name.value == {"places": 9}
    assert own.texts() == seen.texts()
    assert one.present("unit") == {}
    with pytest.raises(WrongStateError):
        name.update({})


async def test_what_was_announced_before_is_told_once(site: Site) -> None:
    one = await site.bus()
    for number in range(20):
        one.announce("channel", f"c{number}", number)
    late = await site.bus()
    seen = Seen()
    late.watch("channel", seen)
    await until(lambda: len(late.present("channel")) == 20)
    again = Seen()
    late.watch("*", again)
    assert len(seen.events) == len(again.events) == 20
    assert [one.name for one in await late.names()] == sorted(f"c{n}" for n in range(20))


async def test_a_name_is_announced_once_by_a_node_and_by_several_nodes(
    two: tuple[Bus, Bus],
) -> None:
    one, other = two
    one.announce("manager", "m", 1)
    with pytest.raises(ConflictError):
        one.announce("manager", "m", 2)
    other.announce("manager", "m", 2)
    await until(lambda: len(one.present("manager")) == 2)
    assert one.present("manager") == {(one.node, "m"): 1, (other.node, "m"): 2}


async def test_names_and_kinds_are_checked_and_bounded(two: tuple[Bus, Bus]) -> None:
    one, _ = two
    for kind, name in (("", "a"), ("a", ""), ("a/b", "a"), ("a", "*"), ("a", "x" * 65)):
        with pytest.raises(MalformedError):
            one.announce(kind, name)
    one.announce("unit", "a", "x" * (MAX_MESSAGE // 2))
    with pytest.raises(TooLargeError):
        one.announce("unit", "b", "x" * (MAX_MESSAGE // 2))
    one.announce("unit", "b", "x")


async def test_a_node_that_closes_takes_its_names_with_it(two: tuple[Bus, Bus]) -> None:
    one, other = two
    seen = Seen()
    other.announce("unit", "u1", 1)
    await until(lambda: one.present("unit"))
    one.watch("unit", seen)
    await other.close()
    await until(lambda: seen.texts() == ["Arrived u1=1", "Gone u1=1"])
    with pytest.raises(UnreachableError):
        await other.call(one.node, "echo", 1)
    with pytest.raises(UnreachableError):
        other.publish("a", 1)


async def test_closing_ends_what_is_under_way(two: tuple[Bus, Bus]) -> None:
    one, other = two
    begun = asyncio.Event()

    async def sleep(_request: Request) -> Json:
        begun.set()
        await asyncio.sleep(60)

    other.serve("sleep", sleep)
    await settle(one, other)
    call = asyncio.create_task(one.call(other.node, "sleep", None, timeout=30))
    await asyncio.wait_for(begun.wait(), 5)
    await other.close()
    with pytest.raises(RemoteError) as caught:
        await asyncio.wait_for(call, 5)
    assert not isinstance(caught.value, UnreachableError), "it had begun"


async def test_one_waits_for_a_name(two: tuple[Bus, Bus]) -> None:
    one, other = two
    waiting = asyncio.create_task(one.until_present("manager"))
    await asyncio.sleep(0)
    other.announce("manager", "m", 1)
    assert [name.value for name in await waiting] == [1]
    with pytest.raises(UnreachableError):
        await one.until_present("storage", timeout=0.05)
