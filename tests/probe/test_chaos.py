"""A cluster to which everything happens, in an order that a seed decides, while people watch.

Three units, two managers and portals, one PostgreSQL, each in a network of its own; players by
RTSP, viewers by WebRTC, a publisher, and administrators who change things. In each round one or two
machines are killed, frozen or cut off, or the database is; then they come back. At all times nobody
is without pictures for longer than ``BOUND`` seconds and no group is given twice; after each round
everything is as it was within ``WHOLE`` seconds: one manager, one tree, all units, all that people
were told was done.

``HELIO_CHAOS_SECONDS`` (120) says for how long, ``HELIO_CHAOS_SEED`` repeats a run's programme.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.network import Network
from tests.probe.ledger import Ledger, People
from tests.probe.machines import Machine
from tests.probe.site import DATABASE, Site, small_clip, wrong
from tests.probe.watchers import Publisher, RtspWatcher, Watcher, WhepWatchers

SECONDS = float(os.environ.get("HELIO_CHAOS_SECONDS", "120"))
SEED = os.environ.get("HELIO_CHAOS_SEED") or str(random.randrange(1_000_000))

pytestmark = [pytest.mark.probe, pytest.mark.timeout(SECONDS + 600)]

#: Seconds without pictures, at most, after something happened; most are a second or two. Machines
#: that run this may be busy: the distribution is printed.
BOUND = 30.0
#: Seconds until everything is as it was, once nothing is broken any more; most of them are those of
#: a process to start, half a minute where the machine is busy.
WHOLE = 90.0
#: Seconds after which it is said what is missing still.
SLOW = 5.0
#: Viewers of each kind.
PLAYERS, PAGES = 4, 4
#: Bytes that a process may grow by after ``WARM`` seconds of its life, and in all: a leak of one
#: session, or one fault, shows in an hour.
GROWTH, WARM = 24 << 20, 60.0
#: What a unit offers: with one of three left there is room for all viewers twice.
OFFER = "[unit]\ngroups = 12\nplaces = 2\n[webrtc]\noffers_per_minute = 6000\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a machine, or the database, and for how long."""

    what: str
    whom: str
    seconds: float
    after: float = 0.0
    """Seconds since the beginning of the round."""

    def __str__(self) -> str:
        later = f" after {self.after:.1f} s" if self.after else ""
        return f"{self.what} {self.whom} for {self.seconds:.1f} s{later}"


def programme(seed: str, portals: Sequence[str], units: Sequence[str]) -> Iterator[list[Fault]]:
    """Rounds for ever. One portal and one unit are always left alone, and of the units none where
    the database is away: nobody could give their viewers new groups."""
    rng = random.Random(seed)

    def fault(names: Sequence[str], after: float = 0.0) -> Fault:
        what = rng.choice(("kill", "freeze", "cut"))
        return Fault(what, rng.choice(names), rng.uniform(1.0, 10.0), after)

    while True:
        kind = rng.choices(
            ("unit", "portal", "database", "two units", "unit and portal", "database and portal"),
            (30, 25, 12, 8, 18, 7),
        )[0]
        later = rng.uniform(0.0, 3.0)
        match kind:
            case "unit":
                yield [fault(units)]
            case "portal":
                yield [fault(portals)]
            case "database":
                yield [fault([DATABASE])]
            case "two units":
                one = fault(units)
                yield [one, fault([name for name in units if name != one.whom], later)]
            case "unit and portal":
                yield [fault(units), fault(portals, later)]
            case _:
                yield [fault([DATABASE]), fault(portals, later)]


class Run:
    """One run, and what was seen of it."""

    def __init__(self, site: Site, people: People, watchers: list[Watcher]) -> None:
        self.site, self.people, self.watchers = site, people, watchers
        self.began = time.monotonic()
        self.silences: dict[str, list[float]] = defaultdict(list)
        """Longest time without pictures in each round, by what happened."""
        self.ways: dict[str, list[float]] = defaultdict(list)
        """The same by how somebody watches."""
        self.wholes: list[float] = []
        self.epochs: dict[int, str] = {}
        """Who was active in each."""
        self.resident: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
        """(age, bytes) of each process."""
        self.events = time.monotonic()
        """When something happened last."""
        self._sampled = 0.0
        self.publisher: Publisher | None = None

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    def wait(self, until: float) -> None:
        """Look at everything that must hold at all times, until then."""
        while True:
            self.site.tend()
            now = time.monotonic()
            died = self.site.died()
            assert not died, f"{died} ended by themselves"
            assert self.people.failure is None, self.people.failure
            for one in self.watchers:
                since = max(one.last, self.events)
                assert now - since < BOUND, f"{one.name} got nothing for {now - one.last:.1f} s"
            if now - self._sampled > 5.0:
                self._sampled = now
                for name, pid, size in self.site.memory():
                    found = self.resident[name, pid]
                    found.append((now, size))
            if now >= until:
                return
            time.sleep(min(0.1, until - now))

    def round(self, faults: list[Fault]) -> None:
        """Let something happen, and wait until all is well."""
        plan = [(one.after, "begin", one) for one in faults]
        plan += [(one.after + one.seconds, "end", one) for one in faults]
        many = sum(one.whom.startswith("unit") for one in faults) > 1
        if many or DATABASE in {one.whom for one in faults}:
            # No room for their viewers, or nobody who could tell when a unit is given things again.
            with self.people.hand:
                self.people.may_drain = False
                self.until_whole(drained_too=True)
        began = time.monotonic()
        for at, turn, one in sorted(plan, key=lambda step: step[:2]):
            self.wait(began + at)
            (self.site.begin if turn == "begin" else self.site.end)(one.what, one.whom)
            self.events = time.monotonic()
            logged = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
            self.say(f"{logged} {turn} {one.what} {one.whom}")
        mended = time.monotonic()
        self.people.may_drain = True
        self.wait(mended)
        self.until_whole()
        took = time.monotonic() - mended
        ways: dict[str, float] = {}
        for one in self.watchers:
            way = one.name.partition("-")[0]
            ways[way] = max(ways.get(way, 0.0), one.longest(began))
        for way, seconds in ways.items():
            self.ways[way].append(seconds)
        silent = max(ways.values())
        kind = " and ".join(
            sorted(f"{one.what} {re.sub('-[0-9]$', '', one.whom)}" for one in faults)
        )
        self.silences[kind].append(silent)
        self.wholes.append(took)
        names = "; ".join(map(str, faults))
        each = ", ".join(f"{way} {seconds:.1f}" for way, seconds in ways.items())
        self.say(f"{names}: longest without pictures {each} s, whole {took:.1f} s after")

    def until_whole(self, drained_too: bool = False) -> None:
        """Wait until nothing is missing; ``drained_too``: and all units take viewers."""
        deadline = time.monotonic() + WHOLE
        say = time.monotonic() + SLOW
        missing = ["not looked"]
        while missing:
            self.wait(time.monotonic() + 0.3)
            with self.people.hand:
                if drained_too:
                    self.people.give_back()
                missing = self.missing()
                if not missing and not drained_too:
                    self.learn()
                if drained_too:
                    missing += [f"{name} is drained" for name in self.people.drained()]
            if missing and time.monotonic() > say:
                say += SLOW
                self.say(f"still: {missing}"[:300])
            assert time.monotonic() < deadline, f"not within {WHOLE} s: {missing}"

    def missing(self) -> list[str]:
        """What is not as it should be."""
        site, found = self.site, []
        if site.starting or any(site.trouble.values()):
            return [f"{sorted(site.starting)} are not ready"]
        views = []
        for portal in site.portals:
            try:
                views.append(site.view(portal))
                found += self.looked(portal, views[-1])
            except OSError as error:
                return [f"{portal.name}: {error!r}"]
        if {view["epoch"] for view in views} != {max(self.epochs)}:
            found.append(f"epochs {[view['epoch'] for view in views]}")
        found += [
            f"{one.name} is without pictures"
            for one in self.watchers
            if not one.count or one.silent > 2.0
        ]
        return found

    def looked(self, portal: Machine, view: dict[str, Any]) -> list[str]:
        """What is not as it should be, by one portal."""
        broken = wrong(view)
        assert not broken, broken
        known = self.epochs.setdefault(view["epoch"], view["manager"])
        assert known == view["manager"], f"{known} and {view['manager']} in epoch {view['epoch']}"
        found = []
        active = [one["name"] for one in view["managers"] if one["active"]]
        if active != [view["manager"]] or len(view["managers"]) != len(self.site.portals):
            found.append(f"{portal.name} sees the managers {view['managers']}")
        states = {one["name"]: one["state"] for one in view["units"]}
        if set(states) != {one.name for one in self.site.units} or "gone" in states.values():
            found.append(f"{portal.name} sees the units {states}")
        status, tree = portal.order("GET", "/channels/demo/tree", timeout=5)
        if status != 200 or len(tree["trees"]) != 1:
            found.append(f"{portal.name}: trees {tree}")
        demo = next((one for one in view["channels"] if one["name"] == "demo"), None)
        if demo is None:
            return [*found, f"{portal.name}: no channel"]
        if demo["orphans"] and demo["ingest"] is not None:
            found.append(f"{demo['orphans']} hang nowhere: {demo['tree']}")
        if demo["groups"] < demo["kept"]:
            found.append(f"{demo['groups']} groups of {demo['kept']} that are kept")
        found += self.people.ledger.wrong(self.seen(portal, view))
        return found

    def seen(self, portal: Machine, view: dict[str, Any]) -> Any:
        """How things are that people change."""
        status, answer = portal.order("GET", "/channels", timeout=5)
        assert status == 200, answer
        titles = {one["name"]: one["title"] for one in answer["channels"]}
        drained = {one["name"]: one["state"] == "draining" for one in view["units"]}
        kept = {one["name"]: one["kept"] for one in view["channels"] if "kept" in one}
        keys: dict[str, set[Any]] = {}

        def look(thing: Any) -> Any:
            match thing:
                case ("channel", name):
                    return titles.get(name)
                case ("key", name, id):
                    if name not in keys:
                        status, found = portal.order("GET", f"/channels/{name}/keys", timeout=5)
                        rows = found["keys"] if status == 200 else []
                        keys[name] = {one["id"] for one in rows if not one["revoked"]}
                    return id in keys[name]
                case ("kept", name):
                    return kept.get(name)
                case ("drained", name):
                    return drained.get(name)
            raise AssertionError(thing)

        return look

    def learn(self) -> None:
        """What nobody knew is known now."""
        ledger: Ledger = self.people.ledger
        if all(map(ledger.is_sure, ledger.may)):
            return
        portal = self.site.portals[0]
        with contextlib.suppress(OSError):
            ledger.learn(self.seen(portal, self.site.view(portal)))

    def growth(self) -> dict[str, tuple[int, float, int, int]]:
        """By name: processes, most seconds of one, most growth of one, growth over the run."""
        found = {}
        for name in self.site.machines:
            grown, oldest, firsts = 0, 0.0, []
            lives = [life for (whose, _), life in self.resident.items() if whose == name]
            for life in lives:
                warm = [size for at, size in life if at - life[0][0] >= WARM]
                if warm:
                    early = statistics.median(warm[:3])
                    grown = max(grown, int(statistics.median(warm[-3:]) - early))
                    oldest = max(oldest, life[-1][0] - life[0][0])
                    firsts.append(int(early))
            over = firsts[-1] - firsts[0] if firsts else 0
            found[name] = (len(lives), oldest, grown, over)
        return found

    def report(self) -> None:
        """All figures."""
        for kind, silences in sorted(self.silences.items()):
            silences.sort()
            self.say(
                f"{kind}: {len(silences)} times, without pictures median "
                f"{statistics.median(silences):.1f} s, most {silences[-1]:.1f} s"
            )
        for way, silences in self.ways.items():
            silences.sort()
            self.say(
                f"by {way}: without pictures median {statistics.median(silences):.1f} s, p95 "
                f"{silences[len(silences) * 95 // 100]:.1f} s, most {silences[-1]:.1f} s"
            )
        every = sorted(one for silences in self.silences.values() for one in silences)
        self.say(
            f"{len(every)} rounds: without pictures median {statistics.median(every):.1f} s, p95 "
            f"{every[len(every) * 95 // 100]:.1f} s, most {every[-1]:.1f} s; whole again median "
            f"{statistics.median(self.wholes):.1f} s, most {max(self.wholes):.1f} s"
        )
        self.say(f"changes: {dict(self.people.counts)}; {len(self.epochs)} epochs seen")
        self.say(f"sessions: {[(one.name, one.sessions) for one in self.watchers]}")
        if self.publisher is not None:
            self.say(f"the publisher entered {self.publisher.starts} times")
        for name, (lives, oldest, grown, over) in self.growth().items():
            self.say(
                f"memory of {name}: {lives} processes, the oldest {oldest:.0f} s, grown by "
                f"{grown >> 10} KiB at most, from first to last process {over >> 10} KiB"
            )


@pytest.fixture
def site(links: Network, tmp_path: Path) -> Iterator[Site]:
    made = Site(links, tmp_path, more=OFFER)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_whatever_happens_to_a_cluster_people_go_on_watching(site: Site, tmp_path: Path) -> None:
    people = People(site.portals, site.units, f"{SEED} people")
    clip = small_clip(tmp_path / "clip.mp4")
    rng = random.Random(f"{SEED} entries")

    def entries() -> list[Machine]:
        """Where an encoder may enter; the one that it has first."""
        well = [one for one in site.machines.values() if site.well(one)]
        rng.shuffle(well)
        return sorted(well, key=lambda one: publisher is None or one is not publisher.at)

    publisher: Publisher | None = None
    publisher = Publisher(clip, entries, tmp_path / "publisher.log")
    players = [
        RtspWatcher(f"rtsp-{number}", site.portals, number, tmp_path / f"player-{number}.log")
        for number in range(PLAYERS)
    ]
    pages = WhepWatchers(PAGES, site.portals, tmp_path / "pages.log")
    run = Run(site, people, [*players, *pages.watchers])
    run.publisher = publisher
    try:
        run.say(f"HELIO_CHAOS_SEED={SEED}, {SECONDS:g} s, logs in {tmp_path}")
        people.start()
        run.until_whole()
        rounds = programme(
            SEED, [one.name for one in site.portals], [one.name for one in site.units]
        )
        while time.monotonic() - run.began < SECONDS:
            run.round(next(rounds))
        run.until_whole()
        people.stop()
        run.until_whole(drained_too=True)
        seats(run)
    finally:
        people.stop()
        for one in (publisher, pages, *players):
            one.stop()
        if run.wholes:
            run.report()
    judge(run)


def seats(run: Run) -> None:
    """Who left without a word is counted no more after a while; who watches is counted once."""
    deadline = time.monotonic() + 100
    while True:
        run.wait(time.monotonic() + 1.0)
        seated = -1
        with contextlib.suppress(OSError):
            seated = sum(one["viewers"] for one in run.site.view(run.site.portals[0])["units"])
        if seated == len(run.watchers):
            return
        assert time.monotonic() < deadline, f"{seated} seats for {len(run.watchers)} viewers"


def judge(run: Run) -> None:
    """What is to be seen only at the end."""
    active = defaultdict(set)
    for machine in run.site.machines.values():
        log = machine.program.log
        assert "Traceback" not in log, f"{machine.name}: {log[log.index('Traceback') :][:3000]}"
        # One that was without the database for a while finds the lease to be its own still.
        for epoch in re.findall(r"manager is active\W.*?epoch\W+(\d+)", log):
            active[int(epoch)].add(machine.name)
    twice = {epoch: names for epoch, names in active.items() if len(names) > 1}
    assert not twice, f"two managers in one epoch: {twice}"
    for name, (_, _, grown, over) in run.growth().items():
        assert grown < GROWTH, f"{name} has grown by {grown} bytes"
        assert over < GROWTH, f"{name} takes {over} bytes more than at the beginning"
