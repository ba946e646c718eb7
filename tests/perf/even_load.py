"""How evenly real servers are loaded by real plays."""

from __future__ import annotations

import shutil
from statistics import median
from typing import TYPE_CHECKING

from tests.interop.peers.even_load import (
    COMING,
    DECAY,
    EVEN,
    FILLING,
    LENGTH,
    MEASURED,
    PIECE,
    RATES,
    SERVERS,
    House,
)
from tests.interop.peers.heliograph import Server
from tests.interop.peers.proxies import NGINX
from tests.perf.figures import Figure, Result, at_least, at_most

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN = "heliograph"
#: Seconds of a quick run: to fill the servers, and of the measurement.
QUICK = (10.0, 20.0)


def even_load(plan: Plan) -> Result:
    """Bytes that servers sent, by their own logs."""
    if not shutil.which(NGINX):
        raise RuntimeError("nginx is not installed")
    directory = plan.place.work / "even-load"
    directory.mkdir()
    settings = {"dispatcher": {"decay_s": DECAY}}
    portal = Server(directory, [], settings=settings, name="portal")
    filling, measured = QUICK if plan.quick else (FILLING, MEASURED)
    try:
        house = House(directory, portal.until_ready())
        try:
            found = house.measure(filling, measured)
        finally:
            house.stop()
    finally:
        portal.stop()
    refused = sum(one != "302" for one in found.statuses)
    what = "highest against mean load"
    bound = at_most(EVEN)
    return Result(
        "even-load",
        f"Load of {SERVERS} nginx by {len(found.statuses)} plays that one portal sent to them",
        (
            Figure(f"{what}, {measured:.0f} s", OWN, found.whole, "times", target=bound),
            Figure(
                f"{what}, {PIECE:.0f} s, median", OWN, median(found.pieces), "times", target=bound
            ),
            Figure(f"{what}, {PIECE:.0f} s, most", OWN, max(found.pieces), "times"),
            Figure("sent by all", OWN, found.rate / 1e6, "MB/s", target=at_least(2)),
            Figure("answers that were no redirects", OWN, refused, "", target=at_most(0)),
        ),
        (
            f"{len(RATES)} titles of {min(RATES)} to {max(RATES)} KiB/s, each on three to eight of "
            f"the servers, some asked for more than others; {COMING:.0f} plays begin each second "
            f"by chance and take {LENGTH:.0f} s in the middle, a few much longer. Loads are bytes "
            "by the servers' own logs.",
        ),
    )
