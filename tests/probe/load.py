"""The load generator: made for the test, or there already."""

from __future__ import annotations

import os
from pathlib import Path

from tests.perf.servers import build

#: What is used instead of building it.
THERE = os.environ.get("HELIO_PROBE_LOAD")


def built() -> Path:
    """``HELIO_PROBE_LOAD``, or what is built now."""
    return Path(THERE) if THERE else build()
