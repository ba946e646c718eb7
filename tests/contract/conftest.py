"""One harness over every implementation of the plane, so that one suite compares them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heliograph.plane import Plane, PlaneEvent, open_plane, parse_event
from heliograph.plane.twin import TwinPlane

from .sending import Viewer

#: How long the native plane's threads may take for what the twin does at once, seconds.
PATIENCE = 15.0


class Harness:
    """A plane with a way to let time pass and to wait for what it does."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.events: list[PlaneEvent] = []

    def poll(self) -> list[PlaneEvent]:
        """Take the events that wait; all of them so far."""
        self.events += [parse_event(raw) for raw in self.plane.drain()]
        return self.events

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` of the plane's time pass."""
        if isinstance(self.plane, TwinPlane):
            self.plane.advance(seconds)
        else:
            time.sleep(seconds)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until ``condition`` is true, and give its value."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.poll()
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, "the plane did not do it in time"
            self.wait(0.005)

    def event(self, kind: type[PlaneEvent], **fields: Any) -> Any:
        """Wait for an event of this kind with these fields, and take it out of those seen."""

        def find() -> PlaneEvent | None:
            for event in self.events:
                if isinstance(event, kind) and all(
                    getattr(event, name) == value for name, value in fields.items()
                ):
                    return event
            return None

        found = self.until(find)
        self.events.remove(found)
        return found

    def read(self, tap: int, count: int) -> list[tuple[int, int, int, int, int, int, bytes]]:
        """Wait for ``count`` items of a tap."""
        items: list[tuple[int, int, int, int, int, int, bytes]] = []

        def enough() -> bool:
            items.extend(item for item in self.plane.read_tap(tap)[0] if not item[5] & 4)
            return len(items) >= count

        self.until(enough)
        return items


@pytest.fixture(params=["twin", "native"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    # The native plane is not skipped where it is missing: ``open_plane`` says how to build it.
    plane: Plane = TwinPlane(network=True) if request.param == "twin" else open_plane(1)
    yield Harness(plane)
    plane.close()


@pytest.fixture
def viewer(harness: Harness) -> Iterator[Viewer]:
    """Who receives a title by UDP."""
    viewer = Viewer(harness)
    yield viewer
    viewer.close()
