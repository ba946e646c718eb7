"""``kill -9`` of a node while disks come and go, titles are imported and channels recorded, at many
moments of each; started again it goes on, and every byte is right."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.perf.films import make
from tests.perf.proc import tree
from tests.system.conftest import until
from tests.system.test_cluster import Node

pytestmark = [pytest.mark.probe, pytest.mark.timeout(1800)]

#: Kills in all; the moment of each is drawn in its own part of the operation's time.
KILLS = int(os.environ.get("HELIO_PROBE_KILLS", "20"))
SEED = int(os.environ.get("HELIO_PROBE_SEED", "7"))
#: Seconds of the film: what a disk has takes a second or more to move at ``MOVE`` bytes a second.
SECONDS, MOVE = 40, 4_000_000
#: Seconds that anything may take after a start: half a minute of it to start on a busy machine.
PATIENCE = 120.0
#: Seconds that an order takes, most of which a disk is measured for.
ORDER = 3.0
#: Seconds after which a change that moves nothing more has ended, or will not go further.
STILL = 4.0
#: Seconds after a start until nothing is left of an import that the kill ended.
SOON = 15.0
#: Seconds of pictures that a kill may cost a recording (docs/operate/storage.md).
LACKING = 1.0
RATE = 25


class Site:
    """A node with two volumes: disks of ``films`` come and go, ``other`` takes what is new."""

    def __init__(self, directory: Path, film: Path) -> None:
        self.directory, self.film = directory, film
        # What is read comes from disks, not from memory.
        more = "cache_bytes = 0\n"
        self.node = Node(directory / "node", "node", keeps=True, more=more, patience=PATIENCE)
        self.serial = itertools.count()
        self.other = str(directory / "disk-other")

    def begin(self) -> None:
        """Start the node, make the volumes, import the film."""
        self.node.start()
        disks = [{"path": self.place()} for _ in range(4)]
        self.ask("POST", "/volumes", {"name": "films", "data": 2, "parity": 1, "disks": disks})
        self.ask("POST", "/volumes", {"name": "other", "disks": [{"path": self.other}]})
        self.ask("PATCH", "/volumes/films", {"move": MOVE})
        self.send("film", "films")
        self.whole_title("film")
        self.sum = self.digest("film")
        self.blocks = self.held("films")
        """Members of all groups of the film."""

    def place(self) -> str:
        """A directory for another disk."""
        return str(self.directory / f"disk-{next(self.serial)}")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The API below ``/api/v1/storage``; a path as the body is the file to be sent."""
        key = (self.node.state / "administrator.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        address = f"{self.node.http}/api/v1/storage{path}"
        data = body.read_bytes() if isinstance(body, Path) else json.dumps(body).encode()
        asked = urllib.request.Request(
            address, None if body is None else data, headers, method=method
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                with error:  # the database of a busy machine may not answer in time
                    if error.code != 503 or time.monotonic() > deadline:
                        raise
            time.sleep(0.5)

    def volume(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.ask("GET", "")["volumes"] if one["name"] == name]
        return dict(found)

    def disks(self) -> dict[str, dict[str, Any]]:
        """Of ``films``, by path."""
        return {one["path"]: one for one in self.volume("films")["disks"]}

    def files(self, but: str) -> set[str]:
        """Blocks on the disks of ``films``, but for one."""
        found: set[str] = set()
        for disk in self.directory.glob("disk-*"):
            if str(disk) not in (but, self.other):
                found |= {str(one) for one in (disk / "blocks").rglob("*-0?")}
        return found

    def others(self) -> int:
        """Blocks on the disk of ``other``."""
        return sum(1 for _ in Path(self.other, "blocks").rglob("*-0?"))

    def others_are(self, count: int) -> bool:
        """Whether it has so many."""
        return self.others() == count

    def held(self, volume: str) -> int:
        return sum(one["blocks"] or 0 for one in self.volume(volume)["disks"])

    def titles(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.ask("GET", "/titles")["titles"]}

    def finished(self, name: str) -> bool:
        """Whether a recording is a title that grows no more."""
        return self.titles().get(name, {}).get("live") is False

    def send(self, name: str, volume: str) -> None:
        self.ask("PUT", f"/titles/{name}/media?filename={name}.mp4&volume={volume}", self.film)

    def whole_title(self, name: str) -> None:
        def done() -> bool:
            states = [one["state"] for one in self.ask("GET", "/imports")["imports"]]
            assert "failed" not in states, states
            return name in self.titles() and {*states} <= {"done"}

        until(f"{name} is imported", done, PATIENCE)

    def digest(self, name: str) -> str:
        """Of the title as one file, which is made of the content of all its blocks."""
        found = hashlib.sha256()
        with urllib.request.urlopen(f"{self.node.http}/titles/{name}.mp4", timeout=60) as answer:
            while piece := answer.read(1 << 20):
                found.update(piece)
        return found.hexdigest()

    def verified(self, name: str) -> None:
        def done() -> Any:
            found = self.ask("POST", f"/titles/{name}/verify")
            return found if found["ended"] is not None else None

        found = until(f"{name} is checked", done, PATIENCE)
        assert found["good"], found["faults"]

    def whole(self) -> None:
        """Wait until nothing is under way, and nothing is where it is not to be."""
        until("all is where it is to be", lambda: self.volume("films")["change"] is None, PATIENCE)
        until("nothing is left over", lambda: self.held("films") == self.blocks, PATIENCE)

    def kill(self) -> None:
        """The node alone; what it started has to end by itself."""
        children = tree(self.node.process.pid)[1:]
        self.node.kill()
        until(
            "its workers ended",
            lambda: not [one for one in children if Path(f"/proc/{one}/stat").exists()],
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path, make(tmp_path, SECONDS, scene_s=SECONDS))
    try:
        found.begin()
        yield found
    finally:
        if found.node.served is not None and found.node.process.poll() is None:
            found.node.kill()


class Change:
    """A change of disks. Ordered again where the kill came before the order was kept."""

    def __init__(self, site: Site, what: str, turn: random.Random) -> None:
        self.site, self.what = site, what
        known = sorted(site.disks())
        self.old = turn.choice(known)
        self.id = site.disks()[self.old]["id"]
        self.before = site.files(self.old)
        self.new = site.place()
        gone = {"add": [], "remove": [self.old], "replace": [self.old], "pull": [self.old]}[what]
        come = [self.new] if what in ("add", "replace") else []
        self.wanted = ({*known} - {*gone}) | {*come}

    def order(self) -> None:
        disk = f"/volumes/films/disks/{self.id}"
        match self.what:
            case "add":
                self.site.ask("POST", "/volumes/films/disks", {"path": self.new})
            case "remove":
                self.site.ask("DELETE", disk)
            case "replace":
                self.site.ask("POST", f"{disk}/replace", {"path": self.new})
            case "pull":
                shutil.rmtree(self.old, ignore_errors=True)
                self.site.ask("DELETE", f"{disk}?force=true")

    def progress(self) -> int:
        """Files that came to disks and left them since it was made."""
        return len(self.site.files(self.old) ^ self.before)

    def reached(self, count: float) -> Callable[[], bool]:
        """Whether it has got so far, or goes no further."""
        seen, since = -1, time.monotonic()

        def look() -> bool:
            nonlocal seen, since
            if (found := self.progress()) != seen:
                seen, since = found, time.monotonic()
            return found >= count or time.monotonic() > since + STILL

        return look

    def taken(self) -> bool:
        """Whether the order has been kept."""
        state = self.site.volume("films")
        found = {one["path"]: one["state"] for one in state["disks"]}
        there = self.new in found if self.what in ("add", "replace") else True
        left = self.old not in found or found[self.old] != "active"
        return there if self.what == "add" else there and left

    def again(self) -> None:
        """As an administrator would who heard no answer: the same, with the same directory."""
        if not self.taken():
            self.order()

    def check(self) -> None:
        self.site.whole()
        until("disks are as ordered", lambda: {*self.site.disks()} == self.wanted, PATIENCE)
        assert self.site.volume("films")["lost"] == {"blocks": 0, "titles": []}
        assert self.site.digest("film") == self.site.sum
        self.site.verified("film")


def killed(site: Site, order: Callable[[], None], reached: Callable[[], bool]) -> bool:
    """Kill the node once an order was begun and has got so far, or ended; whether it had been
    answered."""
    answered = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
            order()
            answered.set()

    thread = threading.Thread(target=run)
    thread.start()
    until("that moment", reached)
    done = answered.is_set()
    site.kill()
    thread.join(60)
    site.node.start()
    return done


def after(seconds: float) -> Callable[[], bool]:
    """Whether so much time has passed since this was called."""
    at = time.monotonic() + seconds
    return lambda: time.monotonic() >= at


def moments(count: int, turn: random.Random) -> list[float]:
    """Parts of an operation's time, one in each of as many even pieces."""
    return [(number + turn.random()) / count for number in range(count)]


def test_disks_come_and_go_whenever_the_node_is_killed(site: Site) -> None:
    turn = random.Random(SEED)
    kinds = ("add", "remove", "replace", "pull")
    count = max(1, KILLS * 3 // 5 // len(kinds))
    whole: dict[str, int] = {}
    for what in kinds:  # without a kill: how much each moves, and the control of what is checked
        change = Change(site, what, turn)
        change.order()
        change.check()
        whole[what] = change.progress()
        if what == "pull":  # as many disks as before
            filled = Change(site, "add", turn)
            filled.order()
            filled.check()
    told = {True: 0, False: 0}
    for what in kinds:
        for part in moments(count, turn):
            change = Change(site, what, turn)
            answered = killed(site, change.order, change.reached(part * whole[what]))
            moved, resumed = change.progress(), site.volume("films")["change"] is not None
            told[resumed] += 1
            change.again()
            change.check()
            print(
                f"{what}: killed when {moved} of about {whole[what]} files had come or gone, "
                f"{'answered' if answered else 'not answered'}, "
                f"{'went on' if resumed else 'nothing was under way'}"
            )
            active = len(site.disks())
            if active < 4 or active > 5:
                more = Change(site, "add" if active < 4 else "remove", turn)
                more.order()
                more.check()
    print(f"{told[True]} of {sum(told.values())} kills met a change that went on afterwards")
    assert told[True] > 0


def test_a_directory_is_ordered_again_whenever_the_order_was_killed(site: Site) -> None:
    """While it is made a disk and measured, and when it is one that no volume has yet."""
    turn = random.Random(SEED + 5)
    opened = site.node.state / "disks.json"
    for number, part in enumerate(moments(max(2, KILLS // 5), turn)):
        change = Change(site, "add", turn)
        known = functools.partial(lambda path: path in opened.read_text(), change.new)
        answered = killed(site, change.order, known if number % 2 else after(part * ORDER))
        remembered, kept = known(), change.taken()
        change.again()
        change.check()
        print(
            f"add: killed {'when' if remembered else 'before'} it was a disk,"
            f" {'answered' if answered else 'not answered'}, {'kept' if kept else 'ordered again'}"
        )
        less = Change(site, "remove", turn)
        less.order()
        less.check()


def test_a_film_is_imported_whole_or_not_at_all(site: Site) -> None:
    turn = random.Random(SEED + 1)
    begun = time.monotonic()
    site.send("other", "other")
    site.whole_title("other")
    took = time.monotonic() - begun
    assert site.digest("other") == site.sum
    site.ask("DELETE", "/titles/other")
    until("it is erased", lambda: site.others_are(0), PATIENCE)
    whole = 0
    for number, part in enumerate(moments(max(1, KILLS // 5), turn)):
        name = f"other{number}"
        killed(site, functools.partial(site.send, name, "other"), after(part * took))
        there = name in site.titles()
        print(f"import: killed after {part * took:.2f} of {took:.2f} s, {'there' * there}")
        if not there:
            until("nothing stays of it", functools.partial(site.others_are, whole), SOON)
            site.send(name, "other")
            site.whole_title(name)
        assert site.titles()[name]["volume"] == "other"
        assert site.digest(name) == site.sum
        site.verified(name)
        whole = site.others()
    assert site.digest("film") == site.sum


def test_a_disk_leaves_though_an_import_into_its_volume_was_killed(site: Site) -> None:
    turn = random.Random(SEED + 3)
    for number in range(max(1, KILLS // 10)):
        leaving = Change(site, "remove", turn)
        come = len(site.files("")) + turn.randint(4, site.blocks // 2)
        killed(
            site,
            functools.partial(site.send, f"half{number}", "films"),
            lambda come=come: len(site.files("")) >= come,  # type: ignore[misc]
        )
        if f"half{number}" in site.titles():
            pytest.fail("it was imported before the kill")
        begun = time.monotonic()
        leaving.order()
        leaving.check()
        print(
            f"import killed with half its blocks, disk gone after {time.monotonic() - begun:.1f} s"
        )
        more = Change(site, "add", turn)
        more.order()
        more.check()


def frames(url: str, *options: str) -> list[str]:
    """Sums of the pictures that a player decodes."""
    line = ["ffmpeg", "-v", "error", *options, "-i", url, "-map", "0:v"]
    line += ["-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return [one.split(",")[-1].strip() for one in done.stdout.splitlines() if one[0] != "#"]


def test_a_recording_keeps_what_it_had(site: Site) -> None:
    turn = random.Random(SEED + 2)
    pictures = frames(str(site.film))
    place = {one: number for number, one in enumerate(pictures)}
    assert len(place) == len(pictures)
    assert site.node.served is not None
    url = site.node.served.publish_url()
    for number, part in enumerate(moments(max(1, KILLS // 5), turn)):
        name = f"live{number}"
        line = ["ffmpeg", "-v", "error", "-re", "-i", str(site.film), "-c", "copy"]
        publisher = subprocess.Popen(
            [*line, "-f", "rtsp", "-rtsp_transport", "tcp", url],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until("it is on air", lambda: site.node.state_of() == "on_air")
            site.ask("POST", "/recordings", {"channel": "demo", "name": name, "volume": "other"})
            begun = time.monotonic()
            killed(site, lambda: None, after(1.0 + part * 12))
            lasted = time.monotonic() - begun
        finally:
            publisher.kill()
            publisher.wait()
        until("it is finished", functools.partial(site.finished, name), PATIENCE)
        assert site.titles()[name]["volume"] == "other"
        site.verified(name)
        came = frames(f"{site.node.rtsp}/{name}", "-rtsp_transport", "tcp")
        first = place[came[0]]
        assert came == pictures[first : first + len(came)]
        seconds = 1.0 + part * 12
        print(f"recording: killed after {seconds:.2f} s, {len(came) / RATE:.2f} s are there")
        assert lasted >= seconds
        # From the first key picture on, which may be a second away.
        assert len(came) / RATE >= seconds - LACKING - 1.0
    assert site.digest("film") == site.sum
