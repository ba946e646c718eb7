"""Servers and peers that end with their test, by their own ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from .peers.clip import Clip
from .peers.heliograph import KEY, Server
from .peers.program import Program

P = TypeVar("P", bound=Program)


@pytest.fixture(scope="session")
def clip() -> Clip:
    """The clip; made when it is not in the cache."""
    return Clip()


@pytest.fixture
def run() -> Iterator[Callable[[P], P]]:
    """Hand a program over to be ended with the test, the newest first."""
    programs: list[Program] = []

    def keep(program: P) -> P:
        programs.append(program)
        return program

    yield keep
    for program in reversed(programs):
        program.stop()


@pytest.fixture
def serve(run: Callable[[Server], Server], tmp_path: Path) -> Callable[..., Server]:
    """Start ``helio serve`` with channels; without any, with the one called ``clip``."""

    def start(*channels: dict[str, Any], **named: Any) -> Server:
        given = list(channels) or [{"name": "clip", "key": KEY}]
        return run(Server(tmp_path, given, **named)).until_ready()

    return start
