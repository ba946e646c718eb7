"""One of two dispatchers is killed: how long requests to the service address fail.

A client on the same network asks for a title some hundred times a second, each time by a new
connection, as players come. ``HELIO_PROBE_DISPATCHERS`` trials (6).
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import pytest
from tests.interop.peers.network import Network
from tests.probe.dispatchers import BACK, Client, kill_holder, portals

pytestmark = [pytest.mark.probe, pytest.mark.alone, pytest.mark.timeout(900)]

TRIALS = int(os.environ.get("HELIO_PROBE_DISPATCHERS", "6"))


def test_requests_to_the_service_address_are_answered_again_at_once(
    links: Network, tmp_path: Path
) -> None:
    gaps = []
    with portals(links, tmp_path) as site:
        client = Client()
        try:
            for trial in range(TRIALS):
                death = kill_holder(site, client)
                gaps.append(death.gap)
                print(
                    f"trial {trial}: {death.who} killed, answered again after "
                    f"{death.gap * 1000:.0f} ms, {death.lost} requests lost, "
                    f"{death.longest * 1000:.0f} ms without any answer at most",
                    flush=True,
                )
                assert death.taken
                assert death.longest <= BACK
        finally:
            client.stop()
    print(f"{len(gaps)} kills: {statistics.median(gaps) * 1000:.0f} ms (median), "
          f"{max(gaps) * 1000:.0f} ms at most")  # fmt: skip
