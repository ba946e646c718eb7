"""Two machines as one: real servers that join by a token, and players at the other one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import nursery
from tests.nursery import Born
from tests.ports import free_port
from tests.system.conftest import KEY, PATIENCE, Served, start, stop, until

HELIO = [sys.executable, "-m", "heliograph"]


class Node:
    """A server of the cluster, which may be ended and started again with what it kept."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        keeps: bool = False,
        redirect: bool = False,
        more: str = "",
        patience: float = PATIENCE,
    ) -> None:
        """``keeps``: the channel ``demo``. ``redirect``: viewers may be sent to another unit; media
        cross from node to node where they are not. ``more``: further settings. ``patience``:
        seconds that it has to start."""
        directory.mkdir()
        self.name, self.state, self._patience = name, directory / "state", patience
        self.bus = free_port()
        http, rtsp, rtp = free_port(), free_port(), free_port(pair=True)
        self._config = directory / "helio.toml"
        channel = (
            f'[[channels]]\nname = "demo"\nkey = "{KEY}"\non_conflict = "replace"\n'
            if keeps
            else ""
        )
        self._config.write_text(
            f'[server]\nstate_dir = "{self.state}"\n'
            f'[http]\nhost = "127.0.0.1"\nport = {http}\n'
            f'[rtsp]\nhost = "127.0.0.1"\nport = {rtsp}\nrtp_port = {rtp}\n'
            f"redirect = {str(redirect).lower()}\n"
            "[https]\nport = 0\n[rtmp]\nport = 0\n[webrtc]\nport = 0\n"
            f'[mesh]\nhost = "127.0.0.1"\nport = {free_port()}\n'
            f'[cluster]\nenabled = true\nname = "{name}"\nhost = "127.0.0.1"\nport = {self.bus}\n'
            f"scouting = false\n[storage]\nport = {free_port()}\n{more}{channel}"
        )
        self._log = directory / "server.log"
        self.http, self.rtsp = f"http://127.0.0.1:{http}", f"rtsp://127.0.0.1:{rtsp}"
        self._rtsp_port = rtsp
        self.served: Served | None = None

    def start(self, *options: str) -> Node:
        process = nursery.serve(["--config", str(self._config), *options], self._log)
        self.served = Served(process, self.http, self.rtsp, self._rtsp_port, self._log)

        def ready() -> bool:
            assert process.poll() is None, self._log.read_text()
            try:
                with urllib.request.urlopen(f"{self.http}/readyz", timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        until(f"{self.name} is ready", ready, self._patience)
        return self

    @property
    def process(self) -> subprocess.Popen[bytes] | Born:
        assert self.served is not None
        return self.served.process

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def helio(self, *arguments: str) -> str:
        """Run a command of the administrator's against this server; what it printed."""
        command, *rest = arguments
        key = str(self.state / "administrator.key")
        asked = [command, *rest, "--server", self.http, "--key-file", key]
        return nursery.helio(asked, PATIENCE)

    def nodes(self) -> set[str]:
        """Names of all nodes that this one sees."""
        return {one["name"] for one in json.loads(self.helio("names", "node", "--json"))}

    def state_of(self, channel: str = "demo") -> str:
        assert self.served is not None
        try:
            return str(self.served.channel(channel)["state"])
        except OSError:
            return "unknown"

    def probe(self, seconds: float = 3) -> dict[str, Any]:
        """What a viewer by UDP gets here."""
        command = [*HELIO, "probe", f"{self.rtsp}/demo", "--seconds", str(seconds), "--json"]
        done = subprocess.run(
            [*command, "--transport", "udp"],
            capture_output=True,
            text=True,
            timeout=PATIENCE + seconds,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def joined(directory: Path) -> Iterator[tuple[Node, Node, str]]:
    """Two nodes; the first keeps the channel ``demo``, the second joined by a token, the third."""
    first = Node(directory / "first", "first", keeps=True)
    second = Node(directory / "second", "second")
    try:
        first.start()
        token = first.helio("token").split()[0]
        second.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token)
        until("the channel is known there", lambda: second.state_of() != "unknown")
        yield first, second, token
    finally:
        for node in (first, second):
            if node.served is not None and node.process.poll() is None:
                node.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two nodes that are joined, and end in order."""
    with joined(tmp_path) as (first, second, token):
        yield first, second
        for node in (second, first):
            assert node.served is not None
            assert token not in node.served.log.read_text()
            assert stop(node.process) == 0, node.served.log.read_text()
            assert "Traceback" not in node.served.log.read_text()


@pytest.fixture
def publish(clip: Path, tmp_path: Path) -> Iterator[Callable[[Node], subprocess.Popen[bytes]]]:
    """Start an ffmpeg that publishes the clip at a node; gives its process."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(node: Node) -> subprocess.Popen[bytes]:
        assert node.served is not None
        started.append(
            start(
                ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
                + ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", node.served.publish_url()],
                tmp_path / "publisher.log",
            )
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def lost(found: dict[str, Any]) -> int:
    return sum(track["lost"] for track in found["tracks"])


def test_what_is_published_at_one_node_is_watched_at_the_other(
    cluster: tuple[Node, Node], publish: Callable[[Node], subprocess.Popen[bytes]]
) -> None:
    first, second = cluster
    publish(first)
    until("it is on air there", lambda: second.state_of() == "on_air")
    found = second.probe()
    assert len(found["tracks"]) == 2
    assert all(track["packets"] > 50 for track in found["tracks"])
    assert lost(found) == 0
    tree = json.loads(first.helio("tree", "demo", "--json"))
    (root,) = tree["trees"]
    assert (root["name"], [one["name"] for one in root["branches"]]) == ("first", ["second"])


def test_what_is_published_at_the_other_node_is_watched_at_the_first(
    cluster: tuple[Node, Node], publish: Callable[[Node], subprocess.Popen[bytes]]
) -> None:
    first, second = cluster
    publish(second)  # by the key that the first one keeps
    until("it is on air there", lambda: first.state_of() == "on_air")
    assert lost(first.probe()) == 0
    refused = subprocess.run(
        [*HELIO, "publish", "pattern", "demo", "--url", second.rtsp, "--key", "wrong-key"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert refused.returncode == 3
    assert "key" in refused.stderr


@pytest.mark.timeout(150)
def test_a_viewer_stays_while_the_node_of_the_publisher_is_killed_and_returns(
    cluster: tuple[Node, Node],
    publish: Callable[[Node], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    first, second = cluster
    publish(first)
    until("it is on air there", lambda: second.state_of() == "on_air")
    pictures = tmp_path / "pictures.txt"

    def watch() -> subprocess.Popen[bytes]:
        command = ["ffmpeg", "-v", "warning", "-rtsp_transport", "tcp", "-i", f"{second.rtsp}/demo"]
        command += ["-y", "-an", "-f", "framemd5", "-flush_packets", "1", str(pictures)]
        return start(command, tmp_path / "viewer.log")

    viewer = watch()

    def seen() -> int:
        return len(pictures.read_text().splitlines()) if pictures.exists() else 0

    def watches() -> bool:
        nonlocal viewer
        if viewer.poll() is not None:  # no place was granted yet, and ffmpeg asks once
            viewer = watch()
        return seen() > 30

    try:
        until("pictures come", watches)
        first.kill()
        until("the silence is noticed", lambda: second.state_of() == "waiting")
        until("it is gone for others", lambda: second.nodes() == {"second"})
        assert viewer.poll() is None
        before = seen()
        first.start()
        publish(first)
        until("pictures come again", lambda: seen() > before + 30)
        assert first.nodes() == second.nodes() == {"first", "second"}
        assert viewer.poll() is None
    finally:
        stop(viewer)


@pytest.mark.timeout(180)
def test_viewers_sit_where_there_is_room_and_a_unit_can_be_emptied(
    tmp_path: Path, publish: Callable[[Node], subprocess.Popen[bytes]]
) -> None:
    small = "[unit]\ngroups = 1\nplaces = 2\n"
    first = Node(tmp_path / "first", "first", keeps=True, redirect=True, more=small)
    second = Node(tmp_path / "second", "second", redirect=True, more=small)
    watching: list[subprocess.Popen[bytes]] = []

    def watch() -> subprocess.Popen[bytes]:
        command = [*HELIO, "probe", f"{second.rtsp}/demo", "--seconds", "60"]
        command += ["--transport", "tcp"]  # he has left as soon as his connection has ended
        watching.append(start(command, tmp_path / f"viewer-{len(watching)}.log"))
        return watching[-1]

    def seated() -> dict[str, int]:
        units = json.loads(first.helio("unit", "list", "--json"))
        return {one["name"]: one["viewers"] for one in units if one["state"] == "up"}

    try:
        first.start()
        token = first.helio("token").split()[0]
        second.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token)
        publish(first)
        until("it is on air there", lambda: second.state_of() == "on_air")
        until("both are units", lambda: seated() == {"first": 0, "second": 0})
        for count in range(1, 5):
            watch()
            until("he is seated", lambda count=count: sum(seated().values()) == count)
        assert seated() == {"first": 2, "second": 2}
        refused = subprocess.run(
            [*HELIO, "probe", f"{second.rtsp}/demo", "--seconds", "1"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
        assert refused.returncode == 3
        assert "503" in refused.stderr
        assert all(viewer.poll() is None for viewer in watching)
        for viewer in watching:
            stop(viewer)
        until("all have left", lambda: sum(seated().values()) == 0)
        assert "second" in first.helio("unit", "drain", "second")
        assert seated() == {"first": 0}
        watch()
        until("he sits at the other", lambda: seated() == {"first": 1})
        first.helio("unit", "return", "second")
        until("it is back", lambda: "second" in seated())
    finally:
        for process in watching:
            stop(process)
        for node in (second, first):
            if node.served is not None and node.process.poll() is None:
                node.kill()


@pytest.mark.timeout(150)
def test_a_closed_channel_is_closed_at_both_nodes_until_it_is_opened(
    cluster: tuple[Node, Node], publish: Callable[[Node], subprocess.Popen[bytes]]
) -> None:
    first, second = cluster

    def come() -> str:
        """What a publisher is told."""
        command = [*HELIO, "publish", "pattern", "demo", "--url", second.rtsp, "--key", KEY]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 3
        return done.stderr

    publisher = publish(second)
    until("it is on air there", lambda: first.state_of() == "on_air")
    assert "demo: is closed" in first.helio("channels", "close", "demo")
    publisher.wait(PATIENCE)
    until("it is off air", lambda: "on_air" not in (first.state_of(), second.state_of()))
    assert "is closed" in come()
    # The node knows by itself when it is back, whoever leads.
    stop(second.process)
    second.start("--join", f"tls/127.0.0.1:{first.bus}")
    assert "is closed" in come()
    assert "demo: is open, with" in first.helio("channels", "open", "demo")
    until("nobody is refused", lambda: not second.served.channel("demo")["closed"])  # type: ignore[union-attr]
    publish(second)
    until("it is on air again", lambda: first.state_of() == "on_air")


@pytest.mark.timeout(150)
def test_a_token_is_good_once(cluster: tuple[Node, Node], tmp_path: Path) -> None:
    first, _ = cluster
    token = first.helio("token").split()[0]
    join = f"tls/127.0.0.1:{first.bus}"
    third = Node(tmp_path / "third", "third")
    third.start("--join", join, "--token", token)
    stop(third.process)
    third.start("--join", join)  # it has its certificate by now
    stop(third.process)
    fourth = Node(tmp_path / "fourth", "fourth")
    refused = subprocess.run(
        [*HELIO, "serve", "--config", str(fourth._config), "--join", join, "--token", token],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert refused.returncode == 3
    assert "cannot join" in refused.stderr
