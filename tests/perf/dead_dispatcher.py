"""How long requests fail when the portal dies that they go to, by real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
from statistics import median
from typing import TYPE_CHECKING

from tests.interop.peers import network
from tests.perf.figures import Figure, Result, at_most
from tests.probe.dispatchers import BACK, RATE, TIMEOUT, Client, Death, kill_holder, portals

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN = "heliograph"
#: Deaths, one after the other.
DEATHS, QUICK_DEATHS = 10, 2


def dead_dispatcher(plan: Plan) -> Result:
    """Requests to the service address of two portals."""
    if os.geteuid() or not shutil.which("ip"):
        raise RuntimeError("networks are made by root with iproute2")
    directory = plan.place.work / "dead-dispatcher"
    directory.mkdir()
    directory.chmod(0o755)
    deaths: list[Death] = []
    with contextlib.contextmanager(network.network)() as links, portals(links, directory) as site:
        client = Client()
        try:
            for _ in range(QUICK_DEATHS if plan.quick else DEATHS):
                deaths.append(kill_holder(site, client))
                gap, lost = deaths[-1].gap, deaths[-1].lost
                plan.say(f"  answered again after {gap:.2f} s, {lost} requests lost")
        finally:
            client.stop()
    what = "from a portal's death to the next answer"
    kept = sum(not one.taken for one in deaths)
    return Result(
        "dead-dispatcher",
        f"Requests to the service address of two portals, one of which is killed {len(deaths)} "
        f"times, {RATE:.0f} a second",
        (
            Figure(f"{what}, median", OWN, median(one.gap for one in deaths), "s"),
            Figure(f"{what}, most", OWN, max(one.gap for one in deaths), "s", target=at_most(BACK)),
            Figure(
                "longest time without any answer",
                OWN,
                max(one.longest for one in deaths),
                "s",
                target=at_most(BACK),
            ),
            Figure("requests lost a death, median", OWN, median(one.lost for one in deaths), ""),
            Figure("deaths after which the other had no address", OWN, kept, "", target=at_most(0)),
        ),
        (
            "Each portal and PostgreSQL in a network of its own; by SIGKILL. Each request is a new "
            f"connection, which is given up after {TIMEOUT} s.",
        ),
    )
