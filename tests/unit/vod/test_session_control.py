"""A session that another node goes on with: what is told of it, and what its viewer gets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from heliograph.model.errors import MalformedError, NotFoundError
from heliograph.vod.control import GAP, Control, decode, lanes_at, packets_between
from heliograph.vod.playing import PlayState
from heliograph.vod.sessions import PlaySession

from .staged_film import Source, make_film
from .test_play_sessions import FILM, Stage, staged

MANIFEST, BLOCKS = FILM


async def adopted(at: Stage, control: Control) -> PlaySession:
    """The same session at another node, which sends by the same stage's plane."""
    at.session.close("its node died")
    at.sent.clear()
    tracks = [lane.track for lane in control.lanes]
    to = [(track, "10.0.0.1", 6000 + 2 * track, 6001 + 2 * track) for track in tracks]
    at.session = await PlaySession.adopt(
        control,
        MANIFEST,
        Source(list(BLOCKS)),
        at.loop,
        lambda sender: at.plane.sender_to_udp(sender, at.endpoint, to),
        clock_us=lambda: at.plane.now,
    )
    return at.session


def near(one: int, other: int, most: int) -> bool:
    return abs(((one - other + 2**31) & 0xFFFFFFFF) - 2**31) <= most


async def test_every_change_is_told_and_comes_through_encoding():
    told: list[Control] = []
    async with staged(publish=told.append) as at:
        await at.play()
        await at.advance(1)
        at.session.pause()
        await at.play(start_us=5_000_000, end_us=6_000_000, scale=2.0)
        await at.advance(2)
        at.session.close()
        assert [one.state for one in told] == ["playing", "paused", "playing", "ended", "closed"]
        assert [one.version for one in told] == [1, 2, 3, 4, 5]
        assert len({one.id for one in told}) == 1
        assert (told[2].end_us, told[2].scale) == (6_000_000, 2.0)
        assert [decode(one.encode()) for one in told] == told


async def test_another_node_goes_on_where_the_viewer_is():
    async with staged() as at:
        await at.play()
        await at.advance(6.6)
        before = {track: [one for one in at.sent if one.track == track] for track in (0, 1)}
        control = decode(at.session.control.encode())
        at.session.close("its node died")
        at.plane.advance(0.3)
        session = await adopted(at, control)
        assert session.playing
        await at.advance(0.5)
        # From the key unit on, which was due before: at once, so that the viewer's buffer is as
        # full as it was.
        assert at.shown()[0] in (150, 175)
        assert max(at.shown()) >= 25 * 6.9
        for track, clock in ((0, 90_000), (1, 8_000)):
            last, first = before[track][-1], next(o for o in at.sent if o.track == track)
            # The same place of the title has the same timestamp.
            unit = 3600 if track == 0 else 160
            apart = int(first.name[1:]) - int(last.name[1:])
            assert near(first.timestamp, last.timestamp + apart * unit, clock // 100)
            ahead = (first.sequence - last.sequence) & 0xFFFF
            assert 0 < ahead < GAP + 100
        await at.advance(15)
        assert at.shown()[-1] == 499
        assert session.state is PlayState.ENDED


async def test_another_node_knows_where_it_was_paused():
    async with staged() as at:
        await at.play()
        await at.advance(3.3)
        position = at.session.pause()
        control = at.session.control
        assert control.media_us == position
        at.plane.advance(60)
        session = await adopted(at, control)
        assert session.state is PlayState.PAUSED
        await at.advance(1)
        assert at.sent == []
        assert (await at.play()).start_us == 3_000_000
        await at.advance(1)
        assert at.shown()[0] == 75


async def test_what_cannot_be_read_there_is_not_gone_on_with():
    async with staged() as at:
        await at.play()
        control = replace(at.session.control, object="0" * 32)
        with pytest.raises(NotFoundError):
            await adopted(at, control)


def test_packets_are_counted_between_times():
    for begin, end in ((0, 20_000_000), (0, 500_000), (3_300_000, 9_900_000)):
        pictures = (end - begin) / 40_000 * 2
        assert packets_between(MANIFEST, 0, begin, end) == pytest.approx(pictures, abs=4)
    assert packets_between(MANIFEST, 0, 9_000_000, 1_000_000) == 0
    assert packets_between(MANIFEST, 1, 0, 99_000_000) == 1000


async def test_media_time_follows_the_clock_and_numbers_the_title():
    async with staged(clock_us=lambda: 1_000_000) as at:
        await at.play(scale=0.5)
        control = at.session.control
        assert control.position_us(control.at_us + 4_000_000) == 2_000_000
        assert control.position_us(0) == 0
        (pictures, _) = lanes_at(control, MANIFEST, 2_000_000, 2_000_000)
        lane = control.lanes[0]
        assert (pictures.sequence - lane.sequence) & 0xFFFF == 100 + GAP
        assert near(pictures.timestamp, lane.timestamp + 4 * 90_000, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"version": -1},
        {"object": "../x"},
        {"state": "dancing"},
        {"media_us": 1 << 60},
        {"scale": 0},
        {"speed": float("nan")},
        {"lanes": []},
        {"lanes": [{"track": 0}]},
        {"lanes": [{"track": 0, "ssrc": 0, "sequence": 1 << 16, "timestamp": 0}]},
        {"lanes": [{"track": 0, "ssrc": 0, "sequence": 0, "timestamp": 0}] * 2},
        {"lanes": 7},
        {"title": 7},
        {"title": "x" * 9000},
        {"more": 1},
    ],
)
async def test_what_is_no_control_is_refused(change):
    async with staged() as at:
        raw = json.loads(at.session.control.encode()) | change
        with pytest.raises(MalformedError):
            decode(json.dumps(raw).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 5000, b"x" * 9000])
def test_what_is_no_document_is_refused(data):
    with pytest.raises(MalformedError):
        decode(data)


def test_a_title_of_one_block_is_counted():
    manifest, _ = make_film(0.5)
    assert packets_between(manifest, 0, 0, 500_000) == 26
