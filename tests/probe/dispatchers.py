"""Two portals behind one service address, of which one is killed, and who asks there meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.interop.peers.network import PREFIX, Network
from tests.interop.peers.program import wait_until
from tests.probe.machines import Machine
from tests.probe.site import Site

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


@dataclass(frozen=True, slots=True)
class Death:
    """What came of a portal's death, for those who ask at the service address."""

    who: str
    gap: float
    """Seconds until a request was answered again."""
    longest: float
    """Most seconds without an answer from then on: it does not go away again either."""
    lost: int
    """Requests that were not answered."""
    taken: bool
    """Whether the other portal has the address now."""


@contextlib.contextmanager
def portals(links: Network, directory: Path) -> Iterator[Site]:
    """Two of them with the address, and a title."""
    address = f'service_address = "{ADDRESS}/24 dev eth0"\n'
    site = Site(links, directory, units=0, cluster=address)
    try:
        site.start()
        _add_title(site)
        yield site
    finally:
        site.close()


def _add_title(site: Site) -> None:
    first = site.portals[0]
    # Something that is always there: what is redirected to is not what is measured here.
    probes = [{"kind": "tcp", "port": site.database.port, "interval": 1.0}]
    file = {"title": "film", "server": "one", "format": "mp4", "uri": "http://one.example/f.mp4"}
    for path, body in (
        ("/titles", {"name": "film", "title": "A film"}),
        ("/servers", {"name": "one", "host": site.database.host, "probes": probes}),
        ("/files", file),
    ):
        status, answer = first.order("POST", path, body)
        assert status == 201, (path, status, answer)


def holder_of(site: Site) -> Machine:
    """The portal that took the address last."""
    taken = [
        (line, portal.name)
        for portal in site.portals
        for line in portal.program.log.splitlines()
        if "service address is here" in line
    ]
    return site.machines[max(taken)[1]]  # lines begin with the time


def kill_holder(site: Site, client: Client) -> Death:
    """Kill the portal that has the address, when both are there and requests are answered, and
    start it again."""
    for portal in site.portals:
        wait_until(portal.answers, PATIENCE, f"{portal.name} is there")
    begun = time.monotonic()
    wait_until(lambda: len(client.good_since(begun)) > RATE, PATIENCE, "requests are answered")
    holder = holder_of(site)
    died = time.monotonic()
    site.begin("kill", holder.name)
    wait_until(lambda: len(client.good_since(died)) > RATE, PATIENCE, "answered again")
    good = sorted(client.good_since(died))
    lost = sum(one.began > died and not one.good for one in list(client.requests))
    taken = holder_of(site) is not holder
    site.end("kill", holder.name)
    wait_until(lambda: (site.tend(), not site.starting)[1], PATIENCE, "it is back")
    longest = max(later - one for one, later in itertools.pairwise([died, *good]))
    return Death(holder.name, good[0] - died, longest, lost, taken)
