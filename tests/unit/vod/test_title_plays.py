"""What statistics are told of those who play titles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from tests.unit.told_plays import Told

from heliograph.catalogue.contents import following
from heliograph.catalogue.contents.batches import Addresses
from heliograph.catalogue.contents.following import Following
from heliograph.plane import SenderStats
from heliograph.vod.playing import Viewer
from heliograph.vod.plays import TitlePlays
from heliograph.vod.sessions import SessionEvent

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Statistics:
    def __init__(self) -> None:
        self.now = BEGIN
        self.told = Told()
        self.following = Following(
            "node", self.told, addresses=Addresses.FULL, now=lambda: self.now
        )
        self.plays = TitlePlays(self.following)
        self.stats = SenderStats()

    def session(self, id: int = 1) -> Any:
        return SimpleNamespace(
            id=id,
            manifest=SimpleNamespace(name="film"),
            viewer=Viewer("192.0.2.7", "rtsp-udp"),
            since=BEGIN,
            stats=lambda: self.stats,
        )

    def look_after(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.following.look()


def test_a_play_is_told_when_it_begins_each_minute_and_at_the_end():
    at = Statistics()
    session = at.session()
    at.plays.observe(SessionEvent("session-joined", session))
    at.look_after(1)
    assert at.told == []  # nothing was sent yet
    at.stats = SenderStats(packets=10, bytes=1000)
    at.look_after(1)
    at.look_after(59)
    assert [play.sent_bytes for play in at.told] == [1000]
    at.stats = SenderStats(packets=600, bytes=60_000, underruns=2)
    at.look_after(1)
    at.now += timedelta(seconds=5)
    at.plays.observe(SessionEvent("session-left", session, "left"))
    last = at.told[-1]
    assert len(at.told) == 3
    assert len({play.id for play in at.told}) == 1
    assert (last.name, last.unit, last.client, last.way) == (
        "film",
        "node",
        "192.0.2.7",
        "rtsp-udp",
    )
    assert (last.started, last.ended) == (BEGIN, BEGIN + timedelta(seconds=67))
    assert (last.sent_bytes, last.stalls) == (60_000, 2)
    assert len(at.plays) == 0


def test_who_got_nothing_is_not_told_of():
    at = Statistics()
    session = at.session()
    at.plays.observe(SessionEvent("session-joined", session))
    at.plays.observe(SessionEvent("session-left", session, "left"))
    at.plays.observe(SessionEvent("session-left", session, "left"))
    assert at.told == []


def test_too_many_are_counted_and_all_are_looked_at_in_turn(monkeypatch):
    monkeypatch.setattr(following, "MAX_OPEN", 5)
    monkeypatch.setattr(following, "LOOKS", 2)
    at = Statistics()
    at.stats = SenderStats(packets=1)
    for id in range(7):
        at.plays.observe(SessionEvent("session-joined", at.session(id)))
    assert at.following.unfollowed == 2
    for _ in range(3):
        at.look_after(0)
    assert len(at.told) == 5
