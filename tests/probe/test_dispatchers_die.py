"""One of two dispatchers is killed: how long requests to the service address fail.

A client on the same network asks for a title some hundred times a second, each time by a new
connection, as players come. ``HELIO_PROBE_DISPATCHERS`` trials (6).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.peers.network import PREFIX, Network
from tests.interop.peers.program import wait_until
from tests.probe.machines import Machine
from tests.probe.site import Site

pytestmark = [pytest.mark.probe, pytest.mark.alone, pytest.mark.timeout(900)]

TRIALS = int(os.environ.get("HELIO_PROBE_DISPATCHERS", "6"))
ADDRESS = f"{PREFIX}.200"
#: Requests a second.
RATE = 300.0
#: Seconds that a client waits for an answer: one that was asked of a dead machine gets none.
TIMEOUT = 0.25
#: Seconds in which requests succeed again.
BACK = 1.0
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    began: float
    ended: float
    good: bool


class Client:
    """Asks from a thread of its own, until it is stopped."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()

    async def _all(self) -> None:
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not self._ended.is_set():
                group.create_task(self._one())
                due = max(due + 1 / RATE, time.monotonic() - 0.1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self) -> None:
        began, status = time.monotonic(), b""
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(ADDRESS, 8080)
                try:
                    writer.write(b"GET /go/film HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    status = await reader.readuntil(b"\r\n")
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        self.requests.append(Request(began, time.monotonic(), status.startswith(b"HTTP/1.1 302")))

    def good_since(self, at: float) -> list[float]:
        """When requests were answered that began after a time."""
        return [one.ended for one in list(self.requests) if one.began > at and one.good]

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join(15)
        assert not self._thread.is_alive()


@pytest.fixture
def site(links: Network, tmp_path: Path) -> Iterator[Site]:
    address = f'service_address = "{ADDRESS}/24 dev eth0"\n'
    made = Site(links, tmp_path, units=0, cluster=address)
    try:
        made.start()
        yield made
    finally:
        made.close()


def holder_of(site: Site) -> Machine:
    """The portal that took the address last."""
    taken = [
        (line, portal.name)
        for portal in site.portals
        for line in portal.program.log.splitlines()
        if "service address is here" in line
    ]
    return site.machines[max(taken)[1]]  # lines begin with the time


def test_requests_to_the_service_address_are_answered_again_at_once(site: Site) -> None:
    first = site.portals[0]
    assert first.order("POST", "/titles", {"name": "film", "title": "A film"})[0] == 201
    # Something that is always there: what is redirected to is not what is measured here.
    probes = [{"kind": "tcp", "port": site.database.port, "interval": 1.0}]
    server = {"name": "one", "host": site.database.host, "probes": probes}
    assert first.order("POST", "/servers", server)[0] == 201
    file = {"title": "film", "server": "one", "format": "mp4", "uri": "http://one.example/f.mp4"}
    assert first.order("POST", "/files", file)[0] == 201
    client, gaps = Client(), []
    try:
        for trial in range(TRIALS):
            for portal in site.portals:
                wait_until(lambda p=portal: p.answers(), PATIENCE, f"{portal.name} is there")
            begun = time.monotonic()
            wait_until(
                lambda since=begun: len(client.good_since(since)) > RATE,
                PATIENCE,
                "requests are answered",
            )
            holder = holder_of(site)
            other = next(one for one in site.portals if one is not holder)
            died = time.monotonic()
            site.begin("kill", holder.name)
            wait_until(
                lambda since=died: len(client.good_since(since)) > RATE, PATIENCE, "answered again"
            )
            good = sorted(client.good_since(died))
            lost = [one for one in client.requests if one.began > died and not one.good]
            # Not only the first one: it does not go away again either.
            gap, longest = good[0] - died, max(b - a for a, b in itertools.pairwise([died, *good]))
            gaps.append(gap)
            print(
                f"trial {trial}: {holder.name} killed, answered again after {gap * 1000:.0f} ms, "
                f"{len(lost)} requests lost, {longest * 1000:.0f} ms without any answer at most",
                flush=True,
            )
            assert holder_of(site) is other
            assert longest <= BACK
            site.end("kill", holder.name)
            wait_until(lambda: (site.tend(), not site.starting)[1], PATIENCE, "it is back")
    finally:
        client.stop()
    print(f"{len(gaps)} kills: {statistics.median(gaps) * 1000:.0f} ms (median), "
          f"{max(gaps) * 1000:.0f} ms at most")  # fmt: skip
