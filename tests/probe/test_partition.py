"""The network falls into two parts, and heals: media and granted places stay, nothing else grows.

The database is with the first portal and two units; the second portal and a unit are on the other
side, where another channel enters. The same once more while the database is away for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.joiners import Joiner, Joiners
from tests.probe.machines import KEY, Machine
from tests.probe.site import DATABASE, Site, small_clip, wrong

pytestmark = [pytest.mark.probe, pytest.mark.timeout(600)]

Keep = Callable[[Program], Program]

#: Seconds that the network is in two parts, beyond what is done meanwhile.
APART = 10.0
#: Seconds without a packet that viewers have on the side of their publisher, at most.
GAP = 1.5
PATIENCE = 60.0


@pytest.fixture
def site(links: Network, tmp_path: Path, run: Keep) -> Iterator[Site]:
    made = Site(links, tmp_path, more="[unit]\ngroups = 10\nplaces = 2\n")
    try:
        made.start()
        assert made.portals[1].order("POST", "/channels", {"name": "there", "key": KEY})[0] == 201
        clip = small_clip(tmp_path / "clip.mp4")
        for unit, channel in ((made.units[0], "demo"), (made.units[2], "there")):
            command = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
            command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
            command += [f"rtsp://me:{KEY}@{unit.peer.address}:8554/{channel}"]
            wait_until(lambda u=unit, c=channel: knows(u, c), PATIENCE, f"{unit.name} knows it")
            run(Program(f"publisher of {channel}", command, tmp_path))
        yield made
    finally:
        made.close()


def knows(machine: Machine, channel: str) -> bool:
    """Whether a channel is open at a node."""
    return machine.order("GET", f"/channels/{channel}")[0] == 200


def groups(machine: Machine, site: Site, unit: Machine, channel: str) -> list[Any]:
    """Of a channel at a unit, by a portal."""
    view = site.view(machine)
    here = next(one for one in view["units"] if one["name"] == unit.name)
    found: list[Any] = here["groups"].get(channel, [])
    return found


def url(portal: Machine, channel: str) -> str:
    return f"rtsp://{portal.peer.address}:8554/{channel}"


def goes_on(viewer: Joiner, since: float) -> bool:
    return viewer.last > since


@pytest.mark.parametrize("database", [True, False], ids=["database here", "database away"])
def test_two_parts_are_one_again(site: Site, database: bool) -> None:
    here, there = site.portals
    apart = site.units[2]
    joiners = Joiners()
    try:
        for channel in ("demo", "there"):
            wait_until(
                lambda c=channel: here.order("GET", f"/channels/{c}")[1].get("state") == "on_air",
                PATIENCE,
                f"{channel} is on air",
            )
        # Who comes sooner than that is given one elsewhere.
        wait_until(
            lambda: groups(here, site, apart, "there"), PATIENCE, "the unit there has groups"
        )
        mine = joiners.come([url(here, "demo")] * 2, PATIENCE)
        theirs = joiners.come([url(there, "there")] * 2, PATIENCE)
        assert all(one.first for one in mine + theirs), [one.refusals for one in mine + theirs]
        before = groups(here, site, apart, "there")
        places = sum(places - viewers - kept for _, viewers, kept, places in before)
        at_unit = sum(viewers for _, viewers, *_ in before)
        if not database:
            site.begin("kill", DATABASE)
        site.links.split([there.peer, apart.peer])
        parted = time.monotonic()

        # Here: with the database a manager acts, and without none does.
        def state() -> tuple[list[str], list[str]]:
            return _acting(here), _acting(there)

        wanted = ([here.name] if database else [], [])
        wait_until(lambda: state() == wanted, PATIENCE, "each side knows who acts")
        print(f"{time.monotonic() - parted:.1f} s until both sides know who acts: {wanted}")
        status, _ = here.order("POST", "/channels/demo/extend", {"groups": 1})
        assert (status == 200) is database, status
        refused, _ = there.order("POST", "/channels/there/extend", {"groups": 1})
        assert refused == 503
        lists = here.order("GET", "/cluster")[1] if database else None
        if lists is not None:
            assert not wrong(lists)

        # There: those who watch go on, others come as long as places are granted, none beyond.
        new = joiners.come([url(there, "there")] * places, 20.0)
        admitted = sum(one.first is not None for one in new)
        beyond = joiners.come([url(there, "there")] * 2, 4.0)
        print(
            f"there: {at_unit} at the unit, {places} places free, {admitted} came, "
            f"{sum(one.first is not None for one in beyond)} beyond"
        )
        assert admitted == places, [one.refusals[-1:] for one in new]
        assert not any(one.first for one in beyond)
        assert all("503" in one.refusals[-1] for one in beyond), beyond[0].refusals
        time.sleep(max(0.0, parted + APART - time.monotonic()))
        now = time.monotonic()
        watching = theirs + new if at_unit == len(theirs) else new
        assert all(now - one.last < GAP for one in watching), "viewers there lost their pictures"
        assert _acting(there) == []

        site.links.heal()
        healed = time.monotonic()
        if not database:
            site.end("kill", DATABASE)
        wait_until(lambda: _whole(site), PATIENCE, "one manager, one tree, no doubled groups")
        print(f"whole {time.monotonic() - healed:.1f} s after the network was")
        view = site.view(there)
        kept = {one["name"]: one["kept"] for one in view["channels"]}
        assert (kept["demo"] > 1) is database

        def groups_of(channel: str) -> int:
            channels = site.view(there)["channels"]
            return next(one["groups"] for one in channels if one["name"] == channel)

        wait_until(lambda: groups_of("demo") >= kept["demo"], PATIENCE, "groups that are kept")
        assert kept["there"] == 1
        since = time.monotonic()
        wait_until(
            lambda: all(goes_on(one, since) for one in mine + watching),
            PATIENCE,
            "who watched watches",
        )
        more = joiners.come([url(here, "there"), url(there, "demo")] * 2, PATIENCE)
        assert all(one.first for one in more), [one.refusals[-1:] for one in more]
    finally:
        joiners.close()


def _acting(portal: Machine) -> list[str]:
    """Active managers that a portal sees."""
    status, found = portal.order("GET", "/names")
    assert status == 200
    return [
        one["name"] for one in found["names"] if one["kind"] == "manager" and one["value"]["active"]
    ]


def _whole(site: Site) -> bool:
    """One manager for both portals, all units, one tree of each channel, no group twice."""
    try:
        views = [site.view(portal) for portal in site.portals]
    except OSError:
        return False
    for portal, view in zip(site.portals, views, strict=True):
        assert not wrong(view), wrong(view)
        if any(one["state"] != "up" for one in view["units"]) or len(_acting(portal)) != 1:
            return False
        if any(one["orphans"] for one in view["channels"]):
            return False
        for channel in ("demo", "there"):
            status, tree = portal.order("GET", f"/channels/{channel}/tree")
            if status != 200 or len(tree["trees"]) != 1:
                return False
    return views[0]["epoch"] == views[1]["epoch"]
