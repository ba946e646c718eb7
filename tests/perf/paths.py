"""Viewers whose way is blocked or narrowed while they watch, in networks of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.peers import blocked, ffmpeg, narrow, network
from tests.interop.peers.clip import Clip
from tests.interop.peers.heliograph import KEY, Server
from tests.interop.peers.network import SERVER, Network
from tests.perf.figures import Figure, Result, Target, at_most, middle

if TYPE_CHECKING:
    from tests.interop.peers.blocked import Blocked
    from tests.interop.peers.narrow import Narrowed
    from tests.perf.plan import Plan

OWN = "heliograph"
CHANNEL = "clip"
#: Times that datagrams are blocked.
BLOCKS, QUICK_BLOCKS = 5, 2
#: Times that a path is made narrow.
CUTS, QUICK_CUTS = 3, 1
#: How much longer the others' times between frames may become: what is less is the machine's doing.
UNCHANGED = 1.2


@contextlib.contextmanager
def _on_air(directory: Path) -> Iterator[tuple[Server, Network]]:
    """Run a server in a network of its own that peers can join, with the clip on air."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "tc", "iptables"))):
        raise RuntimeError("networks are made by root with iproute2 and iptables")
    directory.mkdir()
    directory.chmod(0o755)
    channels = [{"name": CHANNEL, "key": KEY}]
    with contextlib.ExitStack() as ends:
        links = ends.enter_context(contextlib.contextmanager(network.network)())
        server = Server(directory, channels, host=SERVER, namespace=links.server)
        ends.callback(server.stop)
        server.until_ready()
        url = server.rtsp(CHANNEL, key=KEY)
        ends.callback(ffmpeg.publish(Clip().opus, url, "tcp", directory).stop)
        server.until_state(CHANNEL, "on_air")
        yield server, links


def udp_blocked(plan: Plan) -> Result:
    """Datagrams are dropped while a page plays by WebRTC."""
    directory = plan.place.work / "udp-blocked"
    done: list[Blocked] = []
    with _on_air(directory) as (server, links):
        watching = blocked.Watching(server, links.join(), directory)
        try:
            for number in range(QUICK_BLOCKS if plan.quick else BLOCKS):
                done.append(watching.block(CHANNEL))
                said = f"no new picture for {done[-1].stop:.2f} s, by {done[-1].ways}"
                plan.say(f"  #{number + 1}: {said}")
        finally:
            watching.stop()
    return Result(
        "udp-blocked",
        f"A page in Chromium whose datagrams are dropped in mid-stream, {len(done)} times",
        tuple(of_blocks(done)),
        (
            "From the block to each next picture that is another one, by the number in it; the "
            "page has the default way and is left alone. The rules of a firewall in the viewer's "
            "namespace drop all of UDP, both ways, without an answer.",
        ),
    )


def of_blocks(done: list[Blocked]) -> list[Figure]:
    """Figures of some blocks, of which the worst is judged."""
    what = "longest time without a new picture"
    stops = [one.stop for one in done]
    anew = sum(not one.stayed for one in done)
    return [
        *_spread(what, stops, "s", at_most(blocked.CHANGE)),
        Figure("pages that were loaded anew", OWN, anew, "", target=at_most(0)),
    ]


def rate_cut(plan: Plan) -> Result:
    """A viewer's rate is cut to a fifth, and given back."""
    directory = plan.place.work / "rate-cut"
    done: list[Narrowed] = []
    with _on_air(directory) as (server, links):
        viewers = narrow.Viewers(server, links, CHANNEL, directory)
        try:
            for number in range(QUICK_CUTS if plan.quick else CUTS):
                done.append(viewers.narrow())
                plan.say(f"  #{number + 1}: {done[-1]}")
        finally:
            viewers.stop()
    return Result(
        "rate-cut",
        f"A viewer by WebRTC whose path is bounded to {narrow.NARROW_KBIT} kbit/s, a fifth of the "
        f"channel, for {narrow.NARROW:g} s, {len(done)} times",
        tuple(of_cuts(done)),
        (
            "By `tbf` with a queue of 300 ms. Two Chromiums watch, each in a network of its own. "
            "Sound is judged ten times a second by the samples that were not made up; what is "
            f"made up for less than {narrow.GAP:g} s at a stretch is not heard as a gap. Another "
            "viewer's frames are told apart by the kernel's time of their datagrams at his link.",
        ),
    )


def of_cuts(done: list[Narrowed]) -> list[Figure]:
    """Figures of some cuts: the worst of what the viewer had is judged, and the median of what
    another noticed."""
    figures = [
        *_spread("longest silence", [one.silence for one in done], "s", at_most(narrow.GAP)),
        *_spread("sound made up", [one.made_up for one in done], "s"),
        *_spread(
            "from the rate's return to the picture",
            [one.back for one in done],
            "s",
            at_most(narrow.BACK),
        ),
    ]
    for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        before, during = (
            [narrow.share(times, part) for times in of]
            for of in ([one.before for one in done], [one.during for one in done])
        )
        value = middle(during)
        times = [now / then for now, then in zip(during, before, strict=True)]
        what = f"between frames of another viewer meanwhile, {name}"
        bound = at_most(UNCHANGED) if part < 0.99 else None
        figures.append(Figure(what, OWN, value, "ms", "before", middle(times), bound))
    return figures


def _spread(
    what: str, values: list[float], unit: str, target: Target | None = None
) -> list[Figure]:
    """The median, and the worst, which is to keep the bound."""
    return [
        Figure(f"{what}, median", OWN, middle(values), unit),
        Figure(f"{what}, worst", OWN, max(values, default=None), unit, target=target),
    ]
