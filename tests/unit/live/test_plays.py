"""What is told of plays: when they begin, each minute, and when they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.told_plays import Told

from heliograph.catalogue.contents.batches import Addresses
from heliograph.catalogue.contents.following import PROGRESS, Following
from heliograph.live.plays import Plays
from heliograph.live.readers import ReaderKind
from heliograph.live.states import LiveEvent
from heliograph.plane import ReaderStats


@dataclass
class Viewer:
    """A reader whose counters the test sets."""

    id: int
    kind: ReaderKind = ReaderKind.RTSP_TCP
    playing: bool = True
    counters: ReaderStats = field(default_factory=ReaderStats)
    sent_bytes: int = 0
    peer: str = "10.1.2.3"
    since: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    channel: Any = field(default_factory=lambda: SimpleNamespace(name="yard"))

    @property
    def counted(self) -> bool:
        return self.kind is not ReaderKind.TAP

    def stats(self) -> ReaderStats:
        return self.counters


class Stage:
    def __init__(self, addresses: Addresses = Addresses.NETWORK) -> None:
        self.at = datetime(2026, 3, 1, tzinfo=UTC)
        self.told = Told()
        self.following = Following("unit-a", self.told, addresses=addresses, now=lambda: self.at)
        self.plays = Plays(self.following)

    def event(self, kind: str, viewer: Viewer) -> None:
        self.plays.observe(LiveEvent(kind, "yard", "", viewer))  # type: ignore[arg-type]

    def pass_(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.following.look()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_play_is_told_at_its_start_each_minute_and_at_its_end(stage: Stage) -> None:
    viewer = Viewer(7)
    stage.event("reader-joined", viewer)
    stage.pass_(1)
    viewer.counters = ReaderStats(bytes=500)
    for _ in range(30):
        stage.pass_(PROGRESS / 20)
    viewer.counters = ReaderStats(bytes=900)
    stage.event("reader-left", viewer)
    assert [one.sent_bytes for one in stage.told] == [0, 500, 900]
    first, _, last = stage.told
    assert len({one.id for one in stage.told}) == 1
    assert (first.name, first.unit, first.client, first.way) == (
        "yard",
        "unit-a",
        "10.1.2.0/24",
        "rtsp-tcp",
    )
    assert (last.started, last.ended) == (viewer.since, stage.at)
    assert len(stage.plays) == 0


def test_between_two_words_it_is_noted_what_each_got_a_second_ago(stage: Stage) -> None:
    viewers = [Viewer(number) for number in range(30)]
    for viewer in viewers:
        stage.event("reader-joined", viewer)
    stage.pass_(0.25)
    assert (len(stage.told), stage.told.under_way) == (30, 30)
    for look in range(1, 40):
        for viewer in viewers:
            viewer.counters = ReaderStats(bytes=look)
        stage.pass_(0.25)
        assert stage.told.lived == stage.at
        if look >= 4:
            assert len(stage.told.notes) == 30
            assert {sent for sent, _ in stage.told.notes.values()} <= {*range(look - 3, look + 1)}
    assert len(stage.told) == 30
    for viewer in viewers:
        stage.event("reader-left", viewer)
    assert stage.told.under_way == 0


def test_who_never_played_is_not_told_of(stage: Stage) -> None:
    for kind in (ReaderKind.RTSP_UDP, ReaderKind.WHEP, ReaderKind.TAP):
        viewer = Viewer(1, kind, playing=kind is ReaderKind.WHEP)  # offered, never connected
        stage.event("reader-joined", viewer)
        stage.pass_(1)
        stage.event("reader-left", viewer)
    assert stage.told == []


def test_one_that_ends_at_once_is_told_of(stage: Stage) -> None:
    viewer = Viewer(1, ReaderKind.WHEP, counters=ReaderStats(bytes=40))
    stage.event("reader-joined", viewer)
    stage.event("reader-left", viewer)
    assert [(one.way, one.sent_bytes) for one in stage.told] == [("webrtc", 40)]


def test_bytes_go_on_when_the_counter_begins_anew_or_is_gone(stage: Stage) -> None:
    viewer = Viewer(1, ReaderKind.WEBSOCKET, counters=ReaderStats(bytes=100))
    stage.event("reader-joined", viewer)
    stage.pass_(1)
    viewer.counters = ReaderStats(bytes=30)  # another format: attached anew
    stage.pass_(1)
    viewer.counters = ReaderStats()  # the connection broke
    stage.event("reader-left", viewer)
    assert stage.told[-1].sent_bytes == 130


def test_a_member_of_a_group_counts_from_when_it_came(stage: Stage) -> None:
    viewer = Viewer(1, ReaderKind.MULTICAST, counters=ReaderStats(bytes=1000))
    stage.event("reader-joined", viewer)
    viewer.counters = ReaderStats(bytes=1500)
    stage.event("reader-left", viewer)
    assert stage.told[-1].sent_bytes == 500


def test_each_time_that_a_viewer_falls_behind_is_a_stall(stage: Stage) -> None:
    viewer = Viewer(1)
    stage.event("reader-joined", viewer)
    for dropped in (0, 5, 9, 9, 9, 12, 12):
        viewer.counters = ReaderStats(dropped_video=dropped)
        stage.pass_(1)
    stage.event("reader-left", viewer)
    assert stage.told[-1].stalls == 2


def test_bytes_by_hls_are_the_readers_own() -> None:
    stage = Stage(Addresses.NONE)
    viewer = Viewer(1, ReaderKind.HLS, sent_bytes=77)
    stage.event("reader-joined", viewer)
    stage.event("reader-left", viewer)
    assert [(one.way, one.client, one.sent_bytes) for one in stage.told] == [("hls", "", 77)]


def test_many_are_looked_at_in_turn(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliograph.catalogue.contents.following.LOOKS", 3)
    monkeypatch.setattr("heliograph.catalogue.contents.following.MAX_OPEN", 10)
    viewers = [Viewer(number) for number in range(12)]
    for viewer in viewers:
        stage.event("reader-joined", viewer)
    assert stage.following.unfollowed == 2
    for _ in range(4):
        stage.pass_(0.25)
    assert len(stage.told) == 10
    for _ in range(8):
        stage.pass_(PROGRESS / 4)
    assert len(stage.told) >= 15
    for viewer in viewers:
        stage.event("reader-left", viewer)
    assert len({one.id for one in stage.told}) == 10
