"""Flow control applied to a server that obeys, refuses, or does not know how."""

from __future__ import annotations

import asyncio

import pytest

from heliograph.model.errors import RemoteError
from heliograph.player.steering import CALM, FlowKind, FlowOptions, Steering


class Server:
    """What is steered."""

    def __init__(self, *, live: bool = False, knows_speed: bool = True) -> None:
        self.live = live
        self.paused = False
        self.knows_speed = knows_speed
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.slow = asyncio.Event()
        self.slow.set()

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await self.slow.wait()
        if self.error is not None:
            raise self.error

    async def pause(self) -> None:
        await self._ask("pause")
        self.paused = True

    async def resume(self, *, speed: float | None = None) -> None:
        await self._ask(f"resume {speed}")
        self.paused = False

    async def change_speed(self, factor: float) -> bool:
        if self.knows_speed:
            await self._ask(f"speed {factor:.2f}")
        return self.knows_speed


async def report(steering: Steering, *levels: float, start: float = 100.0) -> None:
    for place, level in enumerate(levels):
        steering.report(level, [level], start + place * (CALM + 0.01))
        for _ in range(5):
            await asyncio.sleep(0)


async def test_rates_follow_the_level() -> None:
    server = Server()
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE, 5))
    await report(steering, 1.0, 2.0, 4.0, 6.0, 9.0)
    # r = 1 + (5 − level) / 5 on crossing 1.5, 3.25, 5 and 8.5; nothing on the way.
    assert server.asked == ["speed 1.80", "speed 1.60", "speed 1.20", "speed 0.80", "speed 0.50"]
    await report(steering, 9.1, 9.2, 9.3, start=200.0)
    assert steering.requests == 5
    await steering.close()


async def test_pausing_goes_by_two_marks() -> None:
    server = Server()
    steering = Steering(server, 10.0, FlowOptions(FlowKind.PAUSE))
    await report(steering, 5.0, 8.0, 8.6, 5.0, 1.4, 5.0)
    assert server.asked == ["speed 1.50", "pause", "resume 1.5"]
    await steering.close()


async def test_a_server_without_speed_is_left_alone_and_that_is_said() -> None:
    server = Server(knows_speed=False)
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE))
    await report(steering, 1.0, 4.0, 9.0)
    assert server.asked == []
    assert steering.kind is FlowKind.NONE
    assert "own rate" in steering.reason
    await steering.close()


async def test_a_channel_is_not_steered() -> None:
    server = Server(live=True)
    steering = Steering(server, 1.0, FlowOptions(FlowKind.PAUSE))
    await report(steering, 0.0, 9.0)
    assert server.asked == []
    await steering.close()


async def test_one_request_at_a_time() -> None:
    server = Server()
    server.slow.clear()
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE))
    await report(steering, 1.0, 4.0, 9.0, 1.0)
    assert len(server.asked) == 1
    await steering.close()


async def test_a_server_that_refuses_is_asked_no_more() -> None:
    server = Server()
    server.error = RemoteError("PLAY: 501 Not Implemented")
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE))
    await report(steering, 1.0, 4.0, 9.0)
    assert len(server.asked) == 1
    assert "501" in steering.reason
    await steering.close()


async def test_a_bug_is_not_taken_for_a_refusal() -> None:
    server = Server()
    server.error = ZeroDivisionError()
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE))
    with pytest.raises(ZeroDivisionError):
        await report(steering, 1.0, 4.0, 9.0)
    await steering.close()


async def test_while_the_viewer_pauses_nothing_is_asked() -> None:
    server = Server()
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE))
    await steering.hold()
    await report(steering, 1.0, 9.0)
    assert server.asked == ["pause"]
    await steering.release()
    assert server.asked == ["pause", "resume None"]
    await report(steering, 1.0, start=300.0)
    assert server.asked[-1] == "speed 1.80"
    await steering.close()


async def test_buffers_of_streams_shown_together_are_kept_alike() -> None:
    server = Server()
    steering = Steering(server, 10.0, FlowOptions(FlowKind.RATE))
    steering.report(5.5, [4.0, 4.1, 5.5], 100.0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.asked == ["speed 0.72"]  # towards 4.1, the median
    await steering.close()
