"""Real nodes: viewers are sent away with their right, publishers are sent on with their unit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.interop.peers import aio
from tests.interop.peers.program import Program
from tests.system.conftest import KEY, PATIENCE, start, stop, until
from tests.system.test_cluster import Node
from tests.system.test_shared_database import Picture, ask

PASSWORD = "a rather long sentence"
ROLES = ("--role", "portal", "--role", "manager")

Enter = Callable[..., Node]


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Node]:
    """A portal and manager that keeps the channel ``demo`` and carries nobody."""
    first = Node(tmp_path / "portal", "portal", keeps=True)
    try:
        yield first.start(*ROLES)
        assert first.served is not None
        assert "Traceback" not in first.served.log.read_text()
    finally:
        stop(first.process)


@pytest.fixture
def enter(portal: Node, tmp_path: Path) -> Iterator[Enter]:
    """Start a node that joins it."""
    nodes: list[Node] = []

    def begin(name: str, *options: str) -> Node:
        nodes.append(Node(tmp_path / name, name))
        token = portal.helio("token").split()[0]
        nodes[-1].start("--join", f"tls/127.0.0.1:{portal.bus}", "--token", token, *options)
        until(f"{name} is a unit", lambda: states(portal).get(name) == "up")
        return nodes[-1]

    yield begin
    for node in nodes:
        if node.served is not None:
            stop(node.process)
            assert "Traceback" not in node.served.log.read_text()


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Ended after the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        stop(process)


def states(portal: Node) -> dict[str, str]:
    """Of units, by name; of none while no manager acts."""
    try:
        units = json.loads(portal.helio("unit", "list", "--json"))
    except subprocess.CalledProcessError:
        return {}
    return {one["name"]: one["state"] for one in units}


def root(portal: Node) -> str:
    """Name of the unit at which ``demo`` enters."""
    trees = json.loads(portal.helio("tree", "demo", "--json"))["trees"]
    return str(trees[0]["name"]) if len(trees) == 1 else ""


def signed_in(portal: Node) -> str:
    """The cookie of Ben, a viewer, made by the first administrator."""
    key = (portal.state / "administrator.key").read_text().strip()
    setup = {"key": key, "name": "root", "password": PASSWORD}
    assert ask(portal, "POST", "/setup", setup)[0] == 200
    ben = {"name": "ben", "password": PASSWORD}
    assert ask(portal, "POST", "/accounts", {**ben, "role": "viewer"})[0] == 201
    url = f"{portal.http}/api/v1/session"
    answer = httpx.post(url, json=ben, headers={"Origin": portal.http}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return "; ".join(f"{name}={value}" for name, value in answer.cookies.items())


@pytest.mark.timeout(180)
def test_a_viewer_loses_his_right_though_the_portal_that_let_him_in_was_killed_meanwhile(
    portal: Node,
    enter: Enter,
    clip: Path,
    tmp_path: Path,
    programs: list[subprocess.Popen[bytes]],
) -> None:
    unit = enter("unit", "--role", "unit")
    cookie = signed_in(portal)
    new = {"name": "yard", "key": KEY, "view_access": "accounts"}
    assert ask(portal, "POST", "/channels", new)[0] == 201
    until("the unit knows it", lambda: unit.state_of("yard") != "unknown")
    assert unit.served is not None
    programs.append(
        start(
            ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
            + ["-f", "rtsp", "-rtsp_transport", "tcp", unit.served.publish_url("yard")],
            tmp_path / "publisher.log",
        )
    )
    log = tmp_path / "viewer.log"
    command = [sys.executable, "-m", "tests.system.whep_viewer", f"{portal.http}/whep/yard", cookie]
    viewer = start(command, log)
    programs.append(viewer)

    def packets() -> int:
        words = [int(word) for word in log.read_text().split() if word.isdigit()]
        return max(words, default=0)

    def comes() -> None:
        before = packets()
        until("packets come", lambda: packets() > before + 100)

    comes()
    portal.kill()
    comes()
    portal.start(*ROLES)
    until("it sees the unit", lambda: states(portal) == {"unit": "up"})
    comes()
    assert viewer.poll() is None
    assert ask(portal, "PATCH", "/accounts/ben", {"disabled": True})[0] == 200
    viewer.wait(PATIENCE)
    assert log.read_text().split()[-1] == "ended"
    assert "viewer's right has ended" in unit.served.log.read_text()
    assert unit.state_of("yard") == "on_air"  # for others


@pytest.mark.timeout(180)
def test_a_publisher_whose_unit_is_drained_goes_on_at_another_and_viewers_see_it(
    portal: Node,
    enter: Enter,
    clip: Path,
    tmp_path: Path,
    programs: list[subprocess.Popen[bytes]],
) -> None:
    leaving = enter("leaving")
    other = enter("other")
    publishers: list[Program] = []

    def publish() -> Program:
        """By WHIP, always at the same address."""
        name = f"publisher-{len(publishers)}"
        url = f"{leaving.http}/whip/demo"
        publishers.append(aio.publish(clip, url, KEY, tmp_path, name=name))
        return publishers[-1]

    try:
        first = publish()
        until("it is on air", lambda: portal.state_of() == "on_air" and root(portal) == "leaving")
        viewer = Picture(portal, tmp_path / "pictures.txt")
        programs.append(viewer.process)
        viewer.goes_on()
        portal.helio("unit", "drain", "leaving", "--no-wait")
        first.wait(PATIENCE)
        second = publish()
        until("it enters at the other unit", lambda: root(portal) == "other")
        viewer.goes_on()
        portal.helio("unit", "drain", "leaving")  # returns when it is empty
        leaving.kill()  # nothing hangs on it any more
        until("it is gone", lambda: "leaving" not in portal.nodes())
        viewer.goes_on()
        assert second.running
        assert other.state_of() == "on_air"
    finally:
        for publisher in publishers:
            publisher.stop()
