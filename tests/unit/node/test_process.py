"""What a server's process is told once everything is started."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from heliograph.node.process import GC_THRESHOLDS, SWITCH_INTERVAL, spare_the_loop


@pytest.fixture
def process() -> Iterator[None]:
    """As it was before, afterwards."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("process")
def test_neither_threads_nor_the_collector_keep_the_loop_waiting() -> None:
    spare_the_loop()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    assert sys.getswitchinterval() <= 0.001, "each turn of the loop may wait as long"
    assert gc.get_threshold() == GC_THRESHOLDS
