"""Volumes for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.storage.disks.faulty import System, standing_in
from tests.unit.storage.volume.cluster import Cluster

Make = Callable[..., Awaitable[Cluster]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes clusters that are closed in the end."""
    made: list[Cluster] = []
    # Nothing waits for the medium: no test pulls a plug.
    system = standing_in(System())
    system.__enter__()

    async def one(*args: Any, **named: Any) -> Cluster:
        cluster = await Cluster.make(tmp_path / f"cluster{len(made)}", *args, **named)
        made.append(cluster)
        return cluster

    yield one
    for cluster in made:
        await cluster.close()
    system.__exit__()
