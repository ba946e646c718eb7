"""Playlists as players read them, and answers to requests that come too early."""

from __future__ import annotations

import io
import re

import av
import pytest
from tests.unit.protocols.rtmp.client import capture, replay

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.hls import (
    Answer,
    Audio,
    Directives,
    MediaPlaylist,
    Part,
    Rendition,
    Report,
    Targets,
    Variant,
    answer_part,
    answer_playlist,
    multivariant,
    parse_directives,
)
from heliograph.protocols.mp4 import TimedUnit
from heliograph.protocols.rtmp import events

WALL = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z


def filled(segments: int, more: int = 0, **options: float) -> MediaPlaylist:
    """A playlist of 2 s segments in ten parts, and some parts of the next."""
    playlist = MediaPlaylist(Targets(part=0.2), **options)  # type: ignore[arg-type]
    for number in range(segments * 10 + more):
        msn, index = divmod(number, 10)
        part = Part(msn, index, 0.2, 0.0, index == 0, index == 9, False, (), {})
        playlist.add(part, wall=WALL + number * 200_000, init=0)
    return playlist


def test_a_playlist_says_what_is_there_and_what_comes() -> None:
    text = filled(2, 1).render(reports=[Report("../low/index.m3u8", 2, 0)])
    assert text.startswith(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,CAN-SKIP-UNTIL=24\n"
        "#EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        '#EXT-X-MAP:URI="init0.mp4"\n#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:00.000Z\n'
        '#EXT-X-PART:DURATION=0.2,URI="p0.0.m4s",INDEPENDENT=YES\n'
    )
    assert text.endswith(
        "#EXTINF:2,\ns1.m4s\n#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:04.000Z\n"
        '#EXT-X-PART:DURATION=0.2,URI="p2.0.m4s",INDEPENDENT=YES\n'
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p2.1.m4s"\n'
        '#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=2,LAST-PART=0\n'
    )
    assert 'URI="p2.0.m4s"' in filled(2).render().splitlines()[-1]


def test_old_segments_go_and_old_parts_are_not_listed() -> None:
    playlist = filled(40, 3)
    text = playlist.render()
    assert "#EXT-X-MEDIA-SEQUENCE:25\n" in text
    assert len(re.findall("#EXTINF", text)) == 15
    parts = re.findall(r'URI="p(\d+)', text)
    assert min(map(int, parts)) == 38


def test_a_delta_replaces_what_is_older_than_the_boundary() -> None:
    playlist = filled(40, 3)
    delta = playlist.render(skip=True)
    assert "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n" in delta
    assert "s28.m4s" in delta
    assert "s27.m4s" not in delta
    assert "EXT-X-MAP" not in delta  # unchanged behind what is skipped
    assert filled(5).render(skip=True) == filled(5).render()


def test_discontinuities_are_told_and_counted_when_gone() -> None:
    playlist = MediaPlaylist(Targets(part=0.2), window=12)
    for msn in range(20):
        for index in range(10):
            part = Part(msn, index, 0.2, 0.0, True, index == 9, msn == 1 and index == 0, (), {})
            playlist.add(part, wall=WALL, init=0 if msn < 15 else 1)
    text = playlist.render()
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in text
    assert '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="init1.mp4"' in text
    playlist.end()
    assert playlist.render().endswith("#EXT-X-ENDLIST\n")


def test_parts_come_in_order() -> None:
    playlist = filled(1)
    with pytest.raises(ValueError, match="part 5"):
        playlist.add(Part(1, 5, 0.2, 0.0, True, False, False, (), {}), wall=0, init=0)


@pytest.mark.parametrize(
    ("msn", "part", "expected"),
    [
        (None, None, Answer.NOW),
        (1, None, Answer.NOW),
        (2, None, Answer.WAIT),  # growing, not whole
        (2, 2, Answer.NOW),
        (2, 3, Answer.WAIT),
        (1, 9, Answer.NOW),
        (1, 30, Answer.NOW),  # is part 0 of segment 2
        (2, 17, Answer.WAIT),
        (2, 18, Answer.BAD),
        (3, 0, Answer.WAIT),
        (4, None, Answer.WAIT),
        (5, None, Answer.BAD),
        (10**17, 0, Answer.BAD),
    ],
)
def test_blocking_reloads(msn: int | None, part: int | None, expected: Answer) -> None:
    playlist = filled(2, 3)
    asked = Directives(msn, part)
    assert answer_playlist(playlist, asked) is expected
    if expected is Answer.WAIT:
        assert answer_playlist(playlist, asked, 11.9) is Answer.WAIT
        assert answer_playlist(playlist, asked, 12.0) is Answer.BUSY
        playlist.end()
        assert answer_playlist(playlist, asked) is Answer.NOW


def test_a_part_beyond_the_last_of_a_whole_segment_waits_for_the_next() -> None:
    playlist = filled(2)
    assert answer_playlist(playlist, Directives(1, 10)) is Answer.WAIT
    assert answer_playlist(playlist, Directives(2, 0)) is Answer.WAIT
    playlist.add(Part(2, 0, 0.2, 0.0, True, False, False, (), {}), wall=0, init=0)
    assert answer_playlist(playlist, Directives(1, 10)) is Answer.NOW


def test_an_empty_playlist_waits_for_its_first_part() -> None:
    assert answer_playlist(filled(0), Directives()) is Answer.WAIT
    assert answer_playlist(filled(0), Directives(), 12) is Answer.BUSY
    assert answer_playlist(filled(0, 1), Directives()) is Answer.NOW


def test_the_part_hinted_at_is_waited_for() -> None:
    playlist = filled(2, 3)
    asked = [answer_part(playlist, 2, index) for index in (2, 3, 4)]
    assert asked == [Answer.NOW, Answer.WAIT, Answer.GONE]
    assert answer_part(playlist, 2, 3, 12) is Answer.BUSY


def test_directives() -> None:
    assert parse_directives({"_HLS_msn": "7", "_HLS_part": "2", "x": "y"}) == Directives(7, 2)
    assert parse_directives({"_HLS_skip": "YES"}).skip
    assert parse_directives({"_HLS_skip": "v2"}).skip
    for bad in ({"_HLS_part": "1"}, {"_HLS_msn": "-1"}, {"_HLS_msn": "²"}, {"_HLS_msn": "9" * 30}):
        with pytest.raises(MalformedError):
            parse_directives(bad)


def test_a_multivariant_playlist() -> None:
    text = multivariant.render(
        [Variant("v/index.m3u8", 2_000_000, ["avc1.64001f", "mp4a.40.2"], 0, 1280, 720, 30, "a")],
        [Audio("a/index.m3u8", 'Q"\n', "a", "en", 2)],
    )
    assert 'NAME="Q  "' in text
    assert (
        '#EXT-X-STREAM-INF:BANDWIDTH=2000000,CODECS="avc1.64001f,mp4a.40.2",'
        'RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO="a"\nv/index.m3u8\n'
    ) in text


def units_of(name: str, times: int) -> tuple[tuple[Track, ...], list[TimedUnit]]:
    """A capture's tracks, and its units over and over, as one long stream."""
    found = replay(capture(name))
    (told,) = [event for event in found if isinstance(event, events.TracksChanged)]
    once = [event.unit for event in found if isinstance(event, events.UnitReceived)]
    units = []
    for turn in range(times):
        for unit in once:
            ahead = turn * (138_000 if unit.track == 0 else 138_000 * 441 // 900)
            units.append(
                TimedUnit(unit.track, unit.dts + ahead, unit.pts + ahead, unit.key, unit.data)
            )
    return told.tracks, units


def test_a_rendition_serves_what_its_playlist_lists() -> None:
    tracks, units = units_of("ffmpeg-h264-aac", 10)
    rendition = Rendition(tracks, Targets(part=0.335))
    made = [name for unit in units for name in rendition.push(unit, WALL + unit.dts * 100 // 9)]
    made += rendition.end()
    assert len(made) == len(set(made)) > 40
    text = rendition.playlist.render()
    assert text.count("EXT-X-DISCONTINUITY") == 0
    assert "PROGRAM-DATE-TIME:2027-01-15T08:00:00.000Z" in text
    names = re.findall(r"^[^#\n].*$", text, re.M)
    data = b"".join(rendition.resource(name) or b"" for name in ["init0.mp4", *names])
    with av.open(io.BytesIO(data)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 230
    parts = re.findall(r'PART:[^\n]*URI="([^"]+)"', text)
    assert all(rendition.resource(name) for name in parts)
    for name in ("init1.mp4", "s99.m4s", "p0.99.m4s", "../s0.m4s", "s00.m4s", "p0.m4s", ""):
        assert rendition.resource(name) is None


def test_times_that_go_below_zero_are_moved_and_go_on() -> None:
    tracks, units = units_of("ffmpeg-h264-aac", 4)
    rendition = Rendition(tracks, Targets(part=0.335))
    for back in (0, 1000):
        for unit in units:
            less = back * tracks[unit.track].clock_rate
            rendition.push(
                TimedUnit(unit.track, unit.dts - less, unit.pts - less, unit.key, unit.data), WALL
            )
    rendition.end()
    assert rendition.playlist.render().count("#EXT-X-DISCONTINUITY\n") == 1
    assert rendition.malformed <= 10  # sounds that came before the first picture of the new time
    data = (rendition.init(0) or b"") + (rendition.segment(4) or b"")
    with av.open(io.BytesIO(data)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def test_codecs_without_mp4_are_refused() -> None:
    with pytest.raises(UnsupportedError):
        Rendition([Track(0, Kind.VIDEO, Codec.VP8, 90_000, 96)], Targets())


def test_a_new_format_gets_its_own_initialization() -> None:
    tracks, units = units_of("ffmpeg-h264-aac", 2)
    rendition = Rendition(tracks, Targets(part=0.335))
    half = len(units) // 2
    for unit in units[:half]:
        rendition.push(unit, WALL)
    for unit in units[half:]:
        other = unit.data.replace(b"\x67\x64\0\x0b", b"\x67\x64\0\x0c", 1)
        rendition.push(TimedUnit(unit.track, unit.dts, unit.pts, unit.key, other), WALL)
    rendition.end()
    text = rendition.playlist.render()
    assert '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="init1.mp4"' in text
    assert rendition.init(0) != rendition.init(1)


def test_memory_is_bounded_by_time_and_bytes() -> None:
    tracks, units = units_of("ffmpeg-h264-aac", 100)
    rendition = Rendition(tracks, Targets(part=0.335), window=12)
    small = Rendition(tracks, Targets(part=0.335), window=12, max_bytes=100_000)
    for unit in units:
        rendition.push(unit, WALL)
        small.push(unit, WALL)
    listed = rendition.playlist.first_msn
    assert rendition.segment(listed) is not None
    assert rendition.segment(listed - 3) is not None  # for slow readers
    assert rendition.segment(0) is None
    assert rendition.kept < 1_500_000
    assert small.kept < 150_000
    assert all(
        small.segment(n) for n in range(small.playlist.first_msn, small.playlist.next_part[0])
    )
