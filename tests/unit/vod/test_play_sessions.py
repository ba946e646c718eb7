"""Sessions of titles on the twin: what a viewer is sent, when, and what happens when reads fail."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from heliograph.model.errors import (
    GoneError,
    HelioError,
    NotFoundError,
    ResourceError,
    UnreachableError,
    WrongStateError,
)
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane
from heliograph.vod import block_reader, feeding, playing
from heliograph.vod.admission import Budgets
from heliograph.vod.manifest import Manifest
from heliograph.vod.playing import PlayState, Started, Turns, Viewer, Wish, choose_scale
from heliograph.vod.promises import Admission, Promise
from heliograph.vod.sessions import PlaySession, SessionEvent

from .staged_film import Source, make_film

VIEWER = Viewer("127.0.0.1", "rtsp-udp", "test")
FILM = make_film(20)


@dataclass
class Sent:
    """An RTP packet that left."""

    at: int
    """Clock of the plane, µs."""
    track: int
    sequence: int
    timestamp: int
    name: str
    """``v3``: of the third picture."""


@dataclass
class Stage:
    """A session, its source and its plane."""

    manifest: Manifest
    source: Source
    plane: TwinPlane
    loop: PlaneLoop
    endpoint: int
    session: PlaySession = field(init=False)
    sent: list[Sent] = field(default_factory=list)
    byes: int = 0
    closed: list[str] = field(default_factory=list)
    events: list[SessionEvent] = field(default_factory=list)

    def open(self, **named: Any) -> PlaySession:
        tracks = [one.track.id for one in self.manifest.tracks]
        to = [(track, "10.0.0.1", 6000 + 2 * track, 6001 + 2 * track) for track in tracks]
        self.session = PlaySession(
            self.manifest,
            self.source,
            self.loop,
            tracks,
            lambda sender: self.plane.sender_to_udp(sender, self.endpoint, to),
            VIEWER,
            observe=self.events.append,
            on_closed=self.closed.append,
            **named,
        )
        return self.session

    async def play(self, **wish: Any) -> Started:
        return await self.session.play(Wish(**wish))

    async def advance(self, seconds: float) -> None:
        """Let time pass in the plane, and everybody do what there is to do in each step."""
        for _ in range(round(seconds / 0.02)):
            self.plane.advance(0.02)
            self.loop.pump()
            self.session._feeder.wake()
            for _ in range(6):
                await asyncio.sleep(0)
            self._take()

    def _take(self) -> None:
        for _, port, data in self.plane.sent(self.endpoint):
            track, rtcp = divmod(port - 6000, 2)
            if rtcp:
                self.byes += data[-8:-4] == struct.pack("!BBH", 0x81, 203, 1)
                continue
            _, _, sequence, timestamp, _ = struct.unpack("!BBHII", data[:12])
            name = data[12:].split(b" ")[0].decode()
            self.sent.append(Sent(self.plane.now, track, sequence, timestamp, name))

    def shown(self, track: int = 0) -> list[int]:
        """The units that were sent of a track."""
        found = (int(one.name[1:]) for one in self.sent if one.track == track)
        return list(dict.fromkeys(found))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the loop's own work is waited for
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def staged(film: tuple[Manifest, list[bytes]] = FILM, **named: Any) -> AsyncIterator[Stage]:
    plane = TwinPlane()
    loop = PlaneLoop(plane)
    endpoint, _, _ = plane.bind_udp("127.0.0.1", 0)
    stage = Stage(film[0], Source(list(film[1])), plane, loop, endpoint)
    stage.open(**named)
    try:
        yield stage
    finally:
        stage.session.close()
        plane.close()


async def test_a_title_is_sent_whole_in_real_time_and_ends():
    async with staged() as at:
        started = await at.play()
        assert (started.start_us, started.end_us) == (0, 20_000_000)
        await at.advance(10)
        assert 245 <= len(at.shown()) <= 252
        assert at.session.state is PlayState.PLAYING
        await at.advance(11)
        assert at.shown() == list(range(500))
        assert at.shown(1) == list(range(1000))
        assert at.session.state is PlayState.ENDED
        assert at.byes == 2
        assert at.source.asked == list(range(20))
        video = [one.sequence for one in at.sent if one.track == 0]
        assert video == [(video[0] + n) & 0xFFFF for n in range(1000)]
        assert at.session.stats().underruns == 0


async def test_rtp_info_names_the_first_packet_and_the_time_of_the_range():
    async with staged() as at:
        await at.play(start_us=5_500_000)
        await at.advance(0.5)
        started = await at.play(start_us=12_345_678)
        at.sent.clear()
        await at.advance(1)
        # What is shown at 12.35 s has its key unit at 12 s.
        assert started.start_us == 12_000_000
        for track, clock in ((0, 90_000), (1, 8_000)):
            first = next(one for one in at.sent if one.track == track)
            number, time = started.starts[track]
            assert first.sequence == number
            shown = 12_040_000 if track == 0 else 12_000_000
            expected = time + (shown - started.start_us) * clock // 1_000_000
            assert abs(((first.timestamp - expected + 2**31) & 0xFFFFFFFF) - 2**31) <= 1
        assert at.shown()[0] == 300


async def test_reading_is_ahead_of_sending_by_a_few_seconds_and_not_more():
    async with staged() as at:
        await at.play()
        await at.advance(0.1)
        assert len(at.source.asked) <= 5
        for second in range(1, 15):
            await at.advance(1)
            assert second + 3 <= len(at.source.asked) <= second + 5


async def test_slow_reads_are_begun_earlier():
    async with staged(make_film(60)) as at:
        await at.play()
        at.session._feeder.window.observe(1.5)
        await at.advance(1)
        assert 7 <= len(at.source.asked) <= 12


async def test_a_block_is_wanted_before_it_is_due():
    async with staged() as at:
        await at.play()
        now = asyncio.get_running_loop().time()
        await at.advance(0.1)
        wanted = [deadline - now for deadline in at.source.deadlines]
        assert wanted[0] <= 0.1
        assert wanted[1:] == pytest.approx([0.75, 1.75, 2.75], abs=0.3)


async def test_a_pause_stops_and_nothing_is_lost_or_read_again():
    async with staged() as at:
        await at.play()
        await at.advance(3)
        position = at.session.pause()
        assert 2_800_000 <= position <= 3_050_000
        before = len(at.sent)
        await at.advance(30)
        assert len(at.sent) == before
        assert at.session.state is PlayState.PAUSED
        started = await at.play()
        assert started.start_us == position
        await at.advance(18)
        assert at.shown() == list(range(500))
        assert at.source.asked == list(range(20))


async def test_a_pause_while_blocks_are_read_loses_none():
    async with staged() as at:
        at.source.gates[2] = asyncio.Event()
        await at.play()
        await at.advance(0.2)
        at.session.pause()
        at.source.gates.pop(2).set()
        await at.advance(0.2)
        await at.play()
        await at.advance(21)
        assert at.shown() == list(range(500))


async def test_a_title_is_paused_at_a_point():
    async with staged() as at:
        await at.play()
        await at.advance(1)
        at.session.pause(1_000_100)
        await asyncio.sleep(0.05)
        await at.advance(0.1)
        await at.until(lambda: at.session.state is PlayState.PAUSED)
        await at.play()
        await at.advance(0.2)
        with pytest.raises(WrongStateError) as refused:
            at.session.pause(500_000)
        assert refused.value.subject == "range"


async def test_a_range_ends_where_it_says_and_play_goes_on_from_there():
    async with staged() as at:
        started = await at.play(start_us=4_040_000, end_us=6_000_000)
        assert started.end_us == 6_000_000
        await at.advance(4)
        assert at.shown() == list(range(100, 150))
        assert at.session.state is PlayState.ENDED
        at.sent.clear()
        assert (await at.play()).start_us <= 6_000_000
        await at.advance(1)
        assert at.shown()[0] == 125  # what is shown at 6 s belongs to the key unit at 5 s
        assert at.session.state is PlayState.PLAYING


async def test_what_was_to_end_soon_can_go_on_to_the_end_of_the_title():
    async with staged() as at:
        await at.play(end_us=2_000_000)
        await at.advance(0.5)  # all up to there is with the plane by now
        at.session.pause()
        await at.play()
        await at.advance(21)
        assert at.shown() == list(range(500))
        assert at.session.counters.lost == 0


async def test_after_the_end_it_plays_again_from_the_start():
    async with staged(make_film(3)) as at:
        await at.play()
        await at.advance(4)
        assert at.session.state is PlayState.ENDED
        at.sent.clear()
        assert (await at.play()).start_us == 0
        await at.advance(4)
        assert at.shown() == list(range(75))
        assert at.session.state is PlayState.ENDED


async def test_an_end_told_before_a_new_start_does_not_end_that():
    async with staged(make_film(3)) as at:
        await at.play()
        await at.advance(2)
        at.plane.advance(2)  # ended, and nobody heard it yet
        await at.play(start_us=0)
        at.loop.pump()
        assert at.session.state is PlayState.PLAYING


async def test_fast_forward_shows_key_units_only_and_reads_no_more_than_was_promised():
    admission = Admission(lambda: Budgets(streams=1, packets=101), lambda manifest: {})
    film = make_film(200)
    promise = admission.promise(film[0], [0, 1])
    async with staged(film, promise=promise) as at:
        started = await at.play(scale=8.0)
        assert started.scale == 8.0
        await at.advance(10)
        shown = at.shown()
        assert at.shown(1) == []
        assert all(unit % 25 == 0 for unit in shown)
        assert shown[-1] >= 25 * 70  # 80 s of the title passed
        assert len(at.source.asked) <= 10 + 5  # as at the usual scale
        video = [one for one in at.sent if one.track == 0]
        clocks = (video[-1].timestamp - video[0].timestamp) & 0xFFFFFFFF
        passed = (video[-1].at - video[0].at) * 9 // 100
        assert abs(clocks - passed) < 9000  # shown as fast as they come
        started = await at.play(scale=1.0)
        assert started.scale == 1.0
        at.sent.clear()
        await at.advance(1)
        assert len(at.shown(1)) > 40


async def test_fast_forward_shows_every_key_unit_where_more_can_be_promised():
    async with staged(make_film(60)) as at:
        await at.play(scale=4.0)
        await at.advance(8)
        assert at.shown()[:30] == list(range(0, 750, 25))


async def test_slow_motion_shows_every_picture_and_no_sound():
    async with staged() as at:
        await at.play(scale=0.5)
        await at.advance(4)
        assert 48 <= len(at.shown()) <= 52
        assert at.shown(1) == []


async def test_speed_sends_faster_without_other_timestamps():
    async with staged() as at:
        started = await at.play(speed=2.0)
        assert started.speed == 2.0
        await at.advance(5)
        assert 245 <= len(at.shown()) <= 255
        video = [one for one in at.sent if one.track == 0]
        passed = (video[-1].timestamp - video[0].timestamp) & 0xFFFFFFFF
        assert passed == pytest.approx(10 * 90_000, rel=0.02)


@pytest.mark.parametrize(
    ("wanted", "pictures", "chosen"),
    [
        (1, True, 1),
        (-1, True, 1),
        (0, True, 1),
        (4, False, 1),
        (100, True, 32),
        (0.01, True, 0.125),
    ],
)
def test_the_scale_is_one_that_can_be_had(wanted, pictures, chosen):
    assert choose_scale(wanted, pictures) == chosen


async def test_a_lost_block_is_left_out_and_sound_goes_on_before_pictures_do():
    async with staged(make_film(20, group=50)) as at:  # two blocks to a group of pictures
        at.source.faults[4] = [GoneError("lost")]
        await at.play()
        await at.advance(21)
        assert at.shown() == [*range(100), *range(150, 500)]
        assert at.shown(1) == [*range(200), *range(250, 1000)]
        assert at.session.counters.lost == 1
        assert at.session.state is PlayState.ENDED
        # What comes behind the gap is on time.
        first = next(one for one in at.sent if one.name == "v150")
        assert abs(first.at - at.sent[0].at - 6_000_000) < 50_000


@pytest.mark.parametrize("error", [ResourceError("I/O error"), UnreachableError("node is away")])
async def test_a_block_that_cannot_be_read_is_asked_for_again(error, monkeypatch):
    monkeypatch.setattr(block_reader, "RETRY", 0.0)
    async with staged() as at:
        at.source.faults[3] = [error, error, at.source.blocks[3]]
        await at.play()
        await at.advance(21)
        assert at.shown() == list(range(500))
        assert (at.session.counters.errors, at.session.counters.lost) == (2, 0)


async def test_nonsense_in_place_of_a_block_is_left_out():
    async with staged() as at:
        at.source.faults[3] = [b"x" * 100]
        await at.play()
        await at.advance(21)
        assert at.shown() == [*range(75), *range(100, 500)]
        assert at.session.counters.lost == 1


async def test_a_block_that_never_comes_is_left_out(monkeypatch):
    monkeypatch.setattr(feeding, "PATIENCE", 0.05)
    async with staged() as at:
        at.source.gates[1] = asyncio.Event()
        await at.play()
        await at.advance(0.2)
        await at.until(lambda: at.session.counters.lost)
        await at.advance(3)
        assert at.shown()[:50] == [*range(25), *range(50, 75)]


async def test_a_start_at_a_lost_block_begins_behind_it():
    async with staged() as at:
        at.source.faults[7] = [GoneError("lost")]
        started = await at.play(start_us=7_500_000)
        assert started.start_us == 8_000_000


@pytest.mark.parametrize(
    "error", [GoneError("lost"), ResourceError("I/O error"), NotFoundError("no such block")]
)
async def test_where_nothing_can_be_read_play_says_why_and_the_session_stays(error, monkeypatch):
    monkeypatch.setattr(block_reader, "RETRY", 0.0)
    async with staged() as at:
        for number in range(20):
            at.source.faults[number] = [error]
        with pytest.raises(HelioError) as refused:
            await at.play()
        assert refused.value is error
        at.source.faults.clear()
        await at.play()
        await at.advance(1)
        assert len(at.shown()) > 20


async def test_a_seek_while_playing_begins_there_at_once():
    async with staged() as at:
        await at.play()
        await at.advance(2)
        at.sent.clear()
        assert (await at.play(start_us=15_040_000)).start_us == 15_000_000
        await at.advance(1)
        assert at.shown()[0] == 375
        assert at.shown(1)[0] == 750


async def test_whoever_seeks_all_the_time_waits_for_it(monkeypatch):
    monkeypatch.setattr(playing, "SEEKS", 2)
    monkeypatch.setattr(playing, "SEEKS_A_SECOND", 20.0)
    async with staged() as at:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(6):
            await at.play(start_us=5_000_000)
        assert loop.time() - began >= 4 / 20 - 0.01


def test_seeks_are_counted_by_time():
    turns = Turns()
    assert [turns.take(100.0) for _ in range(8)] == pytest.approx([0] * 6 + [1 / 1.5, 2 / 1.5])
    assert turns.take(104.0) == 0
    assert [turns.take(1000.0) for _ in range(6)] == [0] * 6


async def test_a_source_that_breaks_ends_this_session_and_says_so():
    async with staged() as at:

        def fail(number: int) -> None:
            if number == 2:
                raise RuntimeError("a bug")

        at.source.before = fail
        await at.play()
        await at.advance(0.5)
        assert at.closed == ["failed"]
        assert at.session.state is PlayState.CLOSED


async def test_the_end_of_a_session_ends_reads_and_releases_what_was_promised():
    released: list[str] = []

    class Told(Promise):
        def __init__(self) -> None:
            """Of nothing."""

        def change(self, rate: float) -> None:
            """Any."""

        def release(self) -> None:
            released.append("released")

    async with staged(promise=Told()) as at:
        at.source.gates[1] = asyncio.Event()
        await at.play()
        await at.advance(0.5)
        at.session.close("left")
        at.session.close("again")
        await at.until(lambda: at.session._feeder._task.done())
        assert released == ["released"]
        assert [(event.kind, event.reason) for event in at.events] == [
            ("session-joined", ""),
            ("session-left", "left"),
        ]
        assert at.session.stats().packets > 0
        assert not at.plane.senders
        assert at.closed == []
        with pytest.raises(WrongStateError):
            await at.play()


async def test_a_session_whose_sender_is_gone_ends():
    async with staged() as at:
        await at.play()
        at.plane.close_sender(at.session._sender)
        at.session.resync()
        assert at.closed == ["closed"]


async def test_an_end_that_has_passed_is_refused_and_play_goes_on_afterwards():
    async with staged() as at:
        await at.play()
        await at.advance(3)
        with pytest.raises(WrongStateError) as refused:
            await at.play(end_us=2_000_000)
        assert refused.value.subject == "range"
        await at.play()
        await at.advance(2)
        assert at.shown()[:120] == list(range(120))


async def test_a_session_that_ends_while_its_first_block_is_read_asks_for_nothing_more():
    async with staged() as at:
        at.source.gates[0] = asyncio.Event()
        playing = asyncio.create_task(at.play())
        await at.until(lambda: at.source.asked)
        at.session.close()
        await asyncio.wait([playing])
        assert playing.cancelled()
        assert at.source.asked == [0]


async def test_a_title_without_pictures_begins_anywhere():
    async with staged(make_film(10, pictures=False)) as at:
        started = await at.play(start_us=3_333_000)
        assert started.start_us == 3_333_000
        await at.advance(1)
        assert at.shown(1)[0] in (166, 167)


async def test_a_title_that_is_being_recorded_goes_on_as_it_grows():
    whole, blocks = make_film(12)
    part = replace(whole, live=True, duration_us=6_000_000, blocks=whole.blocks[:6])
    shelf = [part]
    async with staged((part, blocks), renew=lambda: shelf[0]) as at:
        await at.play()
        await at.advance(5)
        assert max(at.source.asked) == 5
        shelf[0] = replace(whole, live=True)
        assert (await at.play(start_us=11_100_000)).start_us == 11_000_000
        await at.play(start_us=5_040_000)
        at.sent.clear()
        shelf[0] = whole
        await at.advance(9)
        assert at.shown() == list(range(125, 300))
        assert at.session.state is PlayState.ENDED
