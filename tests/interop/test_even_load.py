"""How evenly eight servers are loaded by plays of differing length and rate, by their own logs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers.even_load import DECAY, EVEN, MEASURED, PIECE, House
from .peers.heliograph import Server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.alone,
    pytest.mark.long,
    pytest.mark.timeout(300),
]


def test_no_server_carries_a_quarter_more_than_the_mean_one(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    house = House(tmp_path, serve(settings={"dispatcher": {"decay_s": DECAY}}))
    try:
        found = house.measure()
    finally:
        house.stop()
    median = statistics.median(found.pieces)
    print(
        f"{len(found.statuses)} plays, {found.rate / 1e6:.1f} MB/s: highest over mean "
        f"{found.whole:.3f} in {MEASURED:g} s; in {PIECE:g} s {median:.3f} (median), "
        f"{max(found.pieces):.3f} at most"
    )
    assert set(found.statuses) == {"302"}
    assert found.rate > 2e6
    assert found.whole <= EVEN
    assert median <= EVEN
