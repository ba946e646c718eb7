"""The active manager is killed, or freezes: how long new viewers wait until they are let in.

Every place is a group of its own here, so that of the viewers who come at that moment some have no
place that is granted already: those need a manager. ``HELIO_PROBE_MANAGERS`` trials (4).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.joiners import Joiners
from tests.probe.machines import KEY
from tests.probe.site import Site, small_clip, wrong

pytestmark = [pytest.mark.probe, pytest.mark.timeout(900)]

Keep = Callable[[Program], Program]

TRIALS = int(os.environ.get("HELIO_PROBE_MANAGERS", "4"))
#: Seconds in which all are let in.
ADMITTED = 3.0
#: Viewers who come at once. Three to six places are free before: the manager grants more below
#: that, and takes back what is above.
COME = 10
PATIENCE = 60.0


@pytest.fixture
def site(links: Network, tmp_path: Path, run: Keep) -> Iterator[Site]:
    made = Site(links, tmp_path, more="[unit]\ngroups = 40\nplaces = 1\n")
    try:
        made.start()
        clip = small_clip(tmp_path / "clip.mp4")
        command = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
        command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
        command += [f"rtsp://me:{KEY}@{made.units[0].peer.address}:8554/demo"]
        run(Program("publisher", command, tmp_path))
        yield made
    finally:
        made.close()


def free(site: Site) -> int:
    """Places of the channel that nobody has, as the manager sees it."""
    view = site.view(site.portals[0])
    demo = next((one for one in view["channels"] if one["name"] == "demo"), None)
    return 0 if demo is None else demo["places"] - demo["viewers"] - demo["reserved"]


def whole(site: Site) -> bool:
    """Whether both managers are there and agree who acts."""
    site.tend()
    return not site.starting and site.acting() is not None and not wrong(site.view(site.portals[0]))


def test_new_viewers_are_let_in_again_within_seconds(site: Site) -> None:
    took: dict[str, list[float]] = {"kill": [], "freeze": []}
    joiners = Joiners()
    try:
        first = joiners.come([site.portals[0].rtsp], PATIENCE)
        assert first[0].first is not None, first[0].refusals
        for trial in range(TRIALS):
            what = ("kill", "freeze")[trial % 2]
            wait_until(lambda: 0 < free(site) < COME, PATIENCE, "fewer places than will come")
            acting = wait_until(site.acting, PATIENCE, "one manager acts")
            standby = next(one for one in site.portals if one is not acting)
            died = time.monotonic()
            site.begin(what, acting.name)
            came = joiners.come([standby.rtsp] * COME, PATIENCE)
            assert all(one.first for one in came), [one.refusals[-1:] for one in came]
            waits = sorted((one.first or died) - died for one in came)
            took[what].append(waits[-1])
            print(
                f"{what} {acting.name}: {COME} viewers saw pictures after "
                + ", ".join(f"{wait:.2f}" for wait in waits),
                flush=True,
            )
            wait_until(lambda one=standby: site.acting() is one, PATIENCE, "the other manager acts")
            site.end(what, acting.name)
            joiners.leave()
            wait_until(lambda: whole(site), PATIENCE, "the other manager is back")
            wait_until(lambda: free(site) < COME, PATIENCE, "places are given back")
    finally:
        joiners.close()
    for what, times in took.items():
        times.sort()
        print(
            f"{what}: {len(times)} times, all admitted after {times[len(times) // 2]:.2f} s "
            f"(median), {times[-1]:.2f} s most"
        )
    late = [one for times in took.values() for one in times if one > ADMITTED]
    assert len(late) <= TRIALS // 10, late
