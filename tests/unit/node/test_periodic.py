"""Work that is done now and then."""

from __future__ import annotations

import asyncio

import pytest
import structlog.testing

from heliograph.model.errors import ResourceError
from heliograph.node.periodic import Periodic


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_work_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise RuntimeError("a bug")

    periodic = Periodic("test", 0.001, work, at_once=True)
    periodic.start()
    await until(lambda: len(runs) >= 3)
    assert periodic.failures == 1
    await periodic.stop()
    await periodic.stop()
    count = len(runs)
    await asyncio.sleep(0.01)
    assert len(runs) == count


async def test_what_is_known_to_fail_is_said_in_one_line() -> None:
    async def work() -> None:
        raise ResourceError("the database does not answer")

    periodic = Periodic("test", 3600, work, at_once=True)
    with structlog.testing.capture_logs() as said:
        periodic.start()
        await until(lambda: periodic.failures)
        await periodic.stop()
    assert [(one["log_level"], one.get("exc_info")) for one in said] == [("warning", None)]
    assert said[0]["error"] == "the database does not answer"


async def test_first_run_can_wait() -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)

    periodic = Periodic("test", 3600, work)
    periodic.start()
    await asyncio.sleep(0)
    await periodic.stop()
    assert runs == []


async def test_a_run_under_way_comes_to_its_end() -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("begun")
        await asyncio.sleep(0.01)
        said.append("ended")

    periodic = Periodic("test", 3600, work, at_once=True)
    periodic.start()
    await until(lambda: said)
    await periodic.stop()
    assert said == ["begun", "ended"]
