"""Who plays titles by HTTP: when a viewer is there, what it was promised, when it has left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.told_plays import Told

from heliograph.catalogue.contents.following import PROGRESS, Following
from heliograph.model.errors import BusyError
from heliograph.vod import watching
from heliograph.vod.admission import Budgets
from heliograph.vod.manifest import Manifest
from heliograph.vod.plays import TitlePlays
from heliograph.vod.promises import Admission
from heliograph.vod.watching import BEGIN, GONE, PAUSED, HttpViewer, Watching

from .made_titles import manifest, written


class Room:
    """A node with room for two streams."""

    def __init__(self) -> None:
        self.at = 0.0
        began = datetime(2026, 3, 1, tzinfo=UTC)
        self.told = Told()
        self.following = Following("a", self.told, now=lambda: began + timedelta(seconds=self.at))
        self.plays = TitlePlays(self.following)
        self.admission = Admission(lambda: Budgets(streams=2), lambda _: {})
        self.watching = Watching(self.plays, self.admission, clock=lambda: self.at)
        self.film: Manifest = manifest(*written(4.0))

    def enter(self, peer: str = "10.0.0.9", way: str = "hls", session: str = "") -> HttpViewer:
        return self.watching.enter(self.film, [0, 1], peer, way, session)

    def after(self, seconds: float) -> None:
        self.at += seconds
        self.watching.look()
        self.following.look()

    @property
    def streams(self) -> int:
        return self.admission.promised.streams


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    made = Room()
    yield made
    made.watching.close()


async def test_plays_are_told_each_minute_and_end_when_nothing_is_asked_for(room: Room) -> None:
    room.enter().sent(10)
    room.after(0)
    for _ in range(int(PROGRESS) // 10 + 1):
        room.at += 10
        room.enter().sent(1)
        room.after(0)
    assert [play.sent_bytes for play in room.told] == [10, 16]
    assert (len(room.watching), room.plays.count("film")) == (1, 1)
    room.after(GONE)
    assert (len(room.watching), room.plays.count("film")) == (0, 0)
    assert [play.sent_bytes for play in room.told] == [10, 16, 17]
    last = room.told[-1]
    assert (last.ended - last.started).total_seconds() == room.at
    assert (last.way, last.client) == ("hls", "10.0.0.0/24")
    room.enter().sent(5)
    room.after(0)
    assert room.told[-1].id != last.id


async def test_a_place_is_kept_while_media_are_asked_for_and_free_afterwards(room: Room) -> None:
    for peer in ("10.0.0.1", "10.0.0.2"):
        room.enter(peer).sent(1)
    with pytest.raises(BusyError) as refused:
        room.enter("10.0.0.3")
    assert refused.value.retry_after
    assert (room.watching.refused, room.streams) == (1, 2)
    for _ in range(5):  # the first goes on, the second has gone
        room.after(GONE / 2)
        room.enter("10.0.0.1").sent(1)
    assert len(room.watching) == 1
    room.enter("10.0.0.3")
    assert (len(room.watching), room.streams) == (2, 2)
    with pytest.raises(BusyError):
        room.enter("10.0.0.2")


async def test_who_comes_back_has_his_place_unless_another_wanted_it(room: Room) -> None:
    for peer in ("10.0.0.1", "10.0.0.2"):
        room.enter(peer).sent(1)
        room.at += 1
    room.after(2 * GONE)
    assert (len(room.watching), room.streams) == (0, 2)
    room.enter("10.0.0.1").sent(1)  # after a pause
    assert (len(room.watching), room.streams) == (1, 2)
    room.enter("10.0.0.3").sent(1)  # has what is left of who has not come back
    with pytest.raises(BusyError):
        room.enter("10.0.0.2")
    room.after(GONE)
    room.admission.promise(room.film, [0])  # by whatever way: who left first makes room
    assert room.streams == 2
    room.enter("10.0.0.3").sent(1)
    with pytest.raises(BusyError):
        room.enter("10.0.0.1")


async def test_what_is_kept_for_who_left_is_bounded(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.enter("10.0.0.1").sent(1)
    room.after(GONE)
    assert room.streams == 1
    room.after(PAUSED - 1)
    assert room.streams == 1
    room.after(1)
    assert room.streams == 0
    monkeypatch.setattr(watching, "MAX_VIEWERS", 1)
    room.enter("10.0.0.1").sent(1)
    room.after(GONE)
    room.enter("10.0.0.2").sent(1)
    room.after(GONE)
    assert room.streams == 1
    room.watching.close()
    assert room.streams == 0


async def test_sessions_of_one_address_are_told_apart_up_to_a_bound(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.enter(session="one").sent(1)
    room.enter(session="two").sent(1)
    room.enter(session="one")
    assert (len(room.watching), room.plays.count("film"), room.streams) == (2, 2, 2)
    with pytest.raises(BusyError):
        room.enter(session="three")
    room.admission._budgets = Budgets
    monkeypatch.setattr(watching, "MAX_SESSIONS", 3)
    for number in range(10):
        room.enter(session=f"made up {number}")
    assert (len(room.watching), room.streams) == (4, 4)  # three by name, and all others
    room.enter("10.0.0.8", session="one")
    assert len(room.watching) == 5
    room.after(GONE)
    room.enter(session="late")
    assert len(room.watching) == 1
    assert room.watching._sessions == {"10.0.0.9": 1}


async def test_who_only_asked_where_media_are_keeps_no_place(room: Room) -> None:
    room.enter()
    room.after(BEGIN - 1)
    assert room.streams == 1
    room.after(1)
    assert room.streams == 0
    assert room.told == []  # it got nothing


async def test_a_file_that_is_sent_slowly_keeps_its_place(room: Room) -> None:
    viewer = room.enter(way="mp4")
    room.watching.begin_sending(viewer)
    room.watching.begin_sending(viewer)  # two ranges at a time are one viewer
    room.after(10 * GONE)
    assert room.streams == 1
    room.watching.end_sending(viewer)
    room.after(10 * GONE)
    assert room.streams == 1
    viewer.sent(1)
    room.watching.end_sending(viewer)
    room.after(GONE - 1)
    assert len(room.watching) == 1
    room.after(1)
    assert len(room.watching) == 0


async def test_viewers_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_VIEWERS", 1)
    room.enter("10.0.0.1")
    with pytest.raises(BusyError):
        room.enter("10.0.0.2")
    room.enter("10.0.0.1")
    room.watching.close()
    assert (room.streams, len(room.watching), len(room.plays)) == (0, 0, 0)
