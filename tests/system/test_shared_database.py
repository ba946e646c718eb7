"""Two machines with one database: the same channels, and another manager when one dies."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.interop.peers.postgresql import PostgreSQL
from tests.system.conftest import KEY, start, stop, until
from tests.system.test_cluster import Node

PASSWORD = "a rather long sentence"
#: Seconds in which another manager acts for one that died: a lease lasts 2.
TAKE_OVER = 5.0


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture
def portals(tmp_path: Path, database: PostgreSQL) -> Iterator[tuple[Node, Node]]:
    """Two nodes with all roles and one database; the second joined by a token."""
    more = f'[database]\nurl = "{database.url()}"\n'
    first = Node(tmp_path / "first", "first", more=more)
    second = Node(tmp_path / "second", "second", more=more)
    try:
        first.start()
        token = first.helio("token").split()[0]
        second.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token)
        yield first, second
        for node in (first, second):
            assert node.served is not None
            assert "Traceback" not in node.served.log.read_text()
    finally:
        for node in (second, first):
            if node.served is not None:
                stop(node.process)


def ask(node: Node, method: str, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
    """Status and answer; an administrator asks unless ``key`` is another one."""
    shown = key or (node.state / "administrator.key").read_text().strip()
    request = urllib.request.Request(
        f"{node.http}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {shown}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def active(node: Node) -> str:
    """Name of the manager that acts, as a node sees it."""
    managers = json.loads(node.helio("names", "manager", "--json"))
    return next((one["name"] for one in managers if one["value"]["active"]), "")


def go(node: Node, answers: Counter[int]) -> str:
    """Where a player of the title ``film`` is sent, who is one of ``answers`` by status."""
    place = urlsplit(node.http)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request("GET", "/go/film?format=mp4")
        answer = connection.getresponse()
        answers[answer.status] += 1
        return answer.getheader("location") or ""
    finally:
        connection.close()


class Picture:
    """A viewer by TCP, and how many pictures he got."""

    def __init__(self, node: Node, file: Path) -> None:
        self._file = file
        self.process = start(
            ["ffmpeg", "-v", "warning", "-rtsp_transport", "tcp", "-i", f"{node.rtsp}/demo", "-an"]
            + ["-f", "framemd5", "-flush_packets", "1", str(file)],
            file.with_suffix(".log"),
        )

    @property
    def count(self) -> int:
        return len(self._file.read_text().splitlines()) if self._file.exists() else 0

    def goes_on(self) -> None:
        before = self.count
        until("more pictures come", lambda: self.count > before + 10)
        assert self.process.poll() is None


@pytest.mark.timeout(180)
def test_portals_of_one_database_are_one(
    portals: tuple[Node, Node], database: PostgreSQL, clip: Path, tmp_path: Path
) -> None:
    first, second = portals
    until("one manager acts", lambda: active(first) == active(second) != "")
    acting, other = portals if active(first) == "first" else (second, first)
    programs: list[subprocess.Popen[bytes]] = []

    def watch(node: Node) -> Picture:
        viewer = Picture(node, tmp_path / f"pictures-{len(programs)}.txt")
        programs.append(viewer.process)
        until("pictures come", lambda: viewer.count > 10)
        return viewer

    try:
        # Each node's key makes the first administrator, of both.
        setup = {"name": "root", "password": PASSWORD}
        shown = (first.state / "administrator.key").read_text().strip()
        assert ask(first, "POST", "/setup", {**setup, "key": shown})[0] == 200
        assert ask(second, "POST", "/session", setup)[0] == 200

        made, _ = ask(acting, "POST", "/channels", {"name": "demo", "key": KEY})
        assert made == 201
        began = time.monotonic()
        until("it is known there", lambda: ask(other, "GET", "/channels/demo")[0] == 200)
        assert time.monotonic() - began < 2
        assert other.served is not None
        programs.append(
            start(
                ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
                + ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
                + [other.served.publish_url()],
                tmp_path / "publisher.log",
            )
        )
        until("it is on air", lambda: acting.state_of() == other.state_of() == "on_air")
        watch(acting)
        stays = watch(other)
        assert ask(other, "PATCH", "/channels/demo", {"title": "Changed"})[0] == 200
        until(
            "it is changed", lambda: ask(acting, "GET", "/channels/demo")[1]["title"] == "Changed"
        )

        acting.kill()
        until("the other one acts", lambda: active(other) == other.name, TAKE_OVER)
        units = json.loads(other.helio("unit", "list", "--json"))
        assert other.name in [one["name"] for one in units if one["state"] == "up"]
        stays.goes_on()

        database.stop()
        until(
            "changes are refused",
            lambda: ask(other, "PATCH", "/channels/demo", {"title": "Lost"})[0] == 503,
        )
        stays.goes_on()
        watch(other)  # a new one is let in
        status, session = ask(other, "GET", "/session", key="no-key-at-all")
        assert (status, session["account"]) == (200, None)
        database.start()
        until(
            "changes are made again",
            lambda: ask(other, "PATCH", "/channels/demo", {"title": "Kept"})[0] == 200,
        )
        until("somebody acts again", lambda: active(other) == other.name)
        stays.goes_on()
        acting.start()
        until("it is back", lambda: acting.state_of() == "on_air")
        assert ask(acting, "GET", "/channels/demo")[1]["title"] == "Kept"
        assert ask(acting, "DELETE", "/channels/demo")[0] == 204
        until("it is gone", lambda: ask(other, "GET", "/channels/demo")[0] == 404)
    finally:
        for program in programs:
            if program.poll() is None:
                program.send_signal(signal.SIGKILL)
            program.wait()


@pytest.mark.timeout(180)
def test_titles_are_redirected_while_the_database_is_down_and_counted_when_it_is_back(
    portals: tuple[Node, Node], database: PostgreSQL
) -> None:
    first, second = portals
    # What is measured of the servers is the first portal's port, which stays.
    probe = {"kind": "tcp", "interval": 0.5, "port": urlsplit(first.http).port}
    assert ask(first, "POST", "/titles", {"name": "film", "title": "A film"})[0] == 201
    files = {f"edge-{number}": f"http://edge-{number}.example/film.mp4" for number in (1, 2)}
    for name, uri in files.items():
        new = {"name": name, "host": "127.0.0.1", "probes": [probe]}
        assert ask(first, "POST", "/servers", new)[0] == 201
        new = {"title": "film", "server": name, "format": "mp4", "uri": uri}
        assert ask(first, "POST", "/files", new)[0] == 201
    before: Counter[int] = Counter()
    for node in portals:
        for uri in files.values():
            until("both are used", lambda node=node, uri=uri: go(node, before) == uri)
    known = before[302]

    def counted() -> int:
        status, report = ask(second, "GET", "/reports/titles")
        assert status == 200
        assert report["missing"] == 0
        return sum(one["redirects"] for one in report["lines"] if one["name"] == "film")

    until("they are counted", lambda: counted() == known)
    # In order: tests let it lose what it said it had when it is killed (synchronous_commit).
    database.stop(signal.SIGINT)
    until(
        "the database is missed",
        lambda: ask(second, "PATCH", "/titles/film", {"title": "Lost"})[0] == 503,
    )
    during: Counter[int] = Counter()
    places = {go(node, during) for _ in range(30) for node in portals}
    assert during == {302: 60}
    assert places == {*files.values()}
    database.start()
    until(
        "changes are made again",
        lambda: ask(second, "PATCH", "/titles/film", {"title": "Kept"})[0] == 200,
    )
    until("all are counted, and each once", lambda: counted() >= known + 60)
    after: Counter[int] = Counter()
    for node in portals:
        assert go(node, after) in files.values()
    until("what comes then as well", lambda: counted() >= known + 62)
    assert counted() == known + 62
