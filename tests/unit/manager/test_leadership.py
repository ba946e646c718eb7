"""One manager is active, and stops before another can begin."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from tests.unit.manager.leases import Database, Lease
from tests.unit.manager.waiting import until

from heliograph.manager.leadership import (
    Attempt,
    Change,
    Leader,
    Leadership,
    LeaseTimes,
)
from heliograph.model.errors import MalformedError

QUICK = LeaseTimes(ttl=0.6, renew=0.05, safety=0.2, timeout=0.2, rest=0.5)


def lease(epoch: int = 1, ttl: float = 2.0) -> Lease:
    return Lease("manager", "left", epoch, ttl)


def won(rules: Leadership, now: float = 0.0, epoch: int = 1) -> None:
    rules.answered(rules.ask(now), lease(epoch), now)
    change = rules.look(now)
    assert change is not None
    assert change.lease is not None


def lost(rules: Leadership, now: float) -> bool:
    change = rules.look(now)
    return change is not None and change.lease is None


# --- the rules ----------------------------------------------------------------------------------


def test_a_lease_makes_active_and_renewing_it_keeps_active() -> None:
    rules = Leadership()
    won(rules)
    for tick in range(1, 100):
        now = tick * 0.5
        assert rules.due(now)
        attempt = rules.ask(now)
        assert attempt.renew == lease()
        rules.answered(attempt, lease(), now + 0.1)
        assert rules.look(now + 0.1) is None
        assert rules.lease(now + 0.4) == lease()


def test_a_holder_without_answers_stops_before_the_lease_can_run_out() -> None:
    rules = Leadership()
    # The database counts from its answer at 0.9 at the latest; the question was put at 0.
    rules.answered(rules.ask(0.0), lease(), 0.9)
    assert rules.lease(1.59)
    rules.ask(0.5)
    rules.ask(1.0)
    assert rules.lease(1.6) is None
    assert rules.lease(5.0) is None


def test_a_process_that_stood_still_knows_at_once_that_it_is_not_active() -> None:
    rules = Leadership()
    won(rules)
    attempt = rules.ask(0.5)  # it was answered in time, but nobody looked
    assert rules.lease(30.0) is None
    rules.answered(attempt, lease(), 30.0)
    assert rules.lease(30.0) is None
    assert lost(rules, 30.0)
    assert rules.due(30.0)


def test_an_answer_that_comes_late_counts_from_its_question() -> None:
    rules = Leadership()
    won(rules)
    rules.answered(rules.ask(0.5), lease(), 1.5)
    assert rules.lease(2.09)
    assert rules.lease(2.1) is None


def test_losing_the_lease_to_another_ends_it_at_once() -> None:
    rules = Leadership()
    won(rules)
    rules.answered(rules.ask(0.5), None, 0.6)
    assert rules.lease(0.6) is None
    assert lost(rules, 0.6)


def test_answers_from_before_a_loss_do_not_bring_it_back() -> None:
    rules = Leadership()
    won(rules)
    early = rules.ask(0.5)
    assert rules.step_down(0.6, "refused") == lease()
    rules.answered(early, lease(), 0.7)
    assert rules.lease(0.7) is None
    assert not rules.due(2.5)  # others are let try
    assert rules.due(2.6)


def test_a_standby_asks_at_once_when_the_active_one_is_gone() -> None:
    rules = Leadership()
    rules.answered(rules.ask(0.0), None, 0.1)
    assert not rules.due(0.2)
    rules.hurry(0.2)
    assert rules.due(0.2)


def test_a_lease_lost_and_won_again_unseen_is_told_as_both() -> None:
    rules = Leadership()
    won(rules)
    rules.step_down(0.1, "refused")
    rules.answered(rules.ask(2.2), lease(3), 2.3)
    first, second = rules.look(2.3), rules.look(2.3)
    assert first is not None
    assert first.lease is None
    assert second is not None
    assert second.lease == lease(3)
    assert rules.look(2.3) is None


def test_times_that_cannot_work_are_refused() -> None:
    for wrong in ({"renew": 2.0}, {"safety": 1.9}, {"safety": 0.0}, {"timeout": 0.0}):
        with pytest.raises(MalformedError):
            LeaseTimes(**wrong)


class _Host:
    """One manager of a simulated cluster; now and then it stands still, or is cut off."""

    def __init__(self, cluster: _Simulated, name: str) -> None:
        self.rules = Leadership()
        self.name = name
        self.frozen_until = self.cut_until = 0.0
        self._cluster = cluster

    def turn(self) -> None:
        now, rng = self._cluster.now, self._cluster.rng
        if self.frozen_until > now:
            return
        if rng.random() < 0.001:
            self.frozen_until = now + rng.uniform(0.1, 5.0)
            return
        if rng.random() < 0.002:
            self.cut_until = now + rng.uniform(0.5, 4.0)
        while self.rules.look(now) is not None:
            pass
        if self.rules.due(now):
            attempt = self.rules.ask(now)
            if self.cut_until <= now:
                self._cluster.later(lambda: self._reach_database(attempt))

    def _reach_database(self, attempt: Attempt) -> None:
        database = self._cluster.database
        found: Lease | None
        if attempt.renew is None:
            found = database.take("manager", self.name, 2.0)
        elif database.good(attempt.renew):
            database.ends = self._cluster.now + 2.0
            found = attempt.renew
        else:
            found = None
        if self.cut_until <= self._cluster.now:
            self._cluster.later(lambda: self._answered(attempt, found))

    def _answered(self, attempt: Attempt, found: Lease | None) -> None:
        if self.frozen_until > self._cluster.now:
            self._cluster.later(lambda: self._answered(attempt, found))
        else:
            self.rules.answered(attempt, found, self._cluster.now)


class _Simulated:
    """Three managers and a database; each way takes its time, and some end nowhere."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.database = Database(lambda: self.now)
        self.hosts = [_Host(self, name) for name in ("left", "right", "third")]
        self._later: list[tuple[float, Callable[[], None]]] = []

    def later(self, call: Callable[[], None]) -> None:
        if self.rng.random() < 0.9:
            self._later.append((self.now + self.rng.expovariate(4), call))

    def step(self) -> None:
        self.now += 0.01
        for one in sorted(self._later, key=lambda one: one[0]):
            if one[0] <= self.now:
                self._later.remove(one)
                one[1]()
        for host in self.hosts:
            host.turn()

    def active(self) -> list[tuple[str, int]]:
        held = [(host.name, host.rules.lease(self.now)) for host in self.hosts]
        return [(name, one.epoch) for name, one in held if one is not None]


@pytest.mark.parametrize("seed", range(10))
def test_never_are_two_active_whatever_is_late_lost_or_frozen(seed: int) -> None:
    cluster = _Simulated(seed)
    reigns: dict[int, str] = {}
    active_for = 0
    for _ in range(6000):
        cluster.step()
        active = cluster.active()
        assert len(active) <= 1
        for name, epoch in active:
            assert reigns.setdefault(epoch, name) == name
            active_for += 1
    assert active_for > 1000
    assert len(reigns) > 1


# --- the driver ---------------------------------------------------------------------------------


class _Told:
    def __init__(self, database: Database, holder: str, times: LeaseTimes = QUICK) -> None:
        self.changes: list[int | None] = []
        self.leader = Leader(database, holder, self._changed, times)

    def _changed(self, change: Change) -> None:
        self.changes.append(change.lease.epoch if change.lease else None)


def _database() -> Database:
    return Database(asyncio.get_running_loop().time)


async def test_a_standby_takes_over_when_the_holder_stops_and_waits_for_one_that_dies() -> None:
    database = _database()
    left, right = _Told(database, "left"), _Told(database, "right")
    left.leader.start()
    await until(lambda: left.leader.lease)
    right.leader.start()
    await until(lambda: right.leader.counters()["asked"] >= 3)
    assert right.leader.lease is None
    await left.leader.close()  # gives it back
    assert left.changes == [1, None]
    await until(lambda: right.leader.lease)
    assert right.changes == [2]
    # Somebody who dies gives nothing back.
    assert right.leader._task is not None
    right.leader._task.cancel()
    third = _Told(database, "third")
    third.leader.start()
    await until(lambda: third.leader.lease)
    assert third.changes == [3]
    assert right.leader.lease is None
    await third.leader.close()


@pytest.mark.parametrize("how", ["away", "hangs"])
async def test_without_the_database_nobody_is_active_and_with_it_again_somebody(how: str) -> None:
    database = _database()
    left = _Told(database, "left")
    left.leader.start()
    await until(lambda: left.leader.lease)
    setattr(database, how, True)
    await until(lambda: left.changes == [1, None])
    assert left.leader.lease is None
    await until(lambda: left.leader.counters()["failed"] >= 3)
    setattr(database, how, False)
    await until(lambda: left.leader.lease)
    assert left.changes[:2] == [1, None]
    await left.leader.close()


async def test_one_that_steps_down_gives_the_lease_to_another() -> None:
    database = _database()
    left, right = _Told(database, "left"), _Told(database, "right")
    left.leader.start()
    await until(lambda: left.leader.lease)
    right.leader.start()
    left.leader.step_down("a unit knows a higher epoch")
    assert left.leader.lease is None
    await until(lambda: right.leader.lease)
    assert right.changes == [2]
    await left.leader.close()
    await right.leader.close()
