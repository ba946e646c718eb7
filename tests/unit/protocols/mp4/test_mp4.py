"""Fragments of real publishers' units: other people's demuxers find what was put in."""

from __future__ import annotations

import io
import json
import subprocess
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocols.rtmp.client import capture, replay

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.mp4 import Entry, Muxer, TimedUnit, describe, headers
from heliograph.protocols.mp4.boxes import walk
from heliograph.protocols.rtmp import events

#: What is in the captures: codec strings, frames of video.
CAPTURES = {
    "ffmpeg-h264-aac": ("avc1.64000b", "mp4a.40.2", 23),
    "pyav-hevc-aac": ("hvc1.1.6.L30.90", "mp4a.40.2", 22),
    "pyav-av1-opus": ("av01.0.00M.08", "opus", 22),
    "pyav-vp9-opus": ("vp09.00.10.08", "opus", 22),
}


def material(name: str) -> tuple[list[Entry], list[TimedUnit]]:
    """Entries and units of a capture."""
    found = replay(capture(name))
    units = [event.unit for event in found if isinstance(event, events.UnitReceived)]
    (told,) = [event for event in found if isinstance(event, events.TracksChanged)]
    keys = {track.id: next(u.data for u in units if u.track == track.id) for track in told.tracks}
    return [describe(track, keys[track.id]) for track in told.tracks], units


def fragments(entries: list[Entry], units: list[TimedUnit], each: int, offset: int = 0) -> bytes:
    """A whole file: fragments of so many units."""
    muxer = Muxer(entries)
    units = [TimedUnit(u.track, u.dts + offset, u.pts + offset, u.key, u.data) for u in units]
    out = muxer.init()
    for number, at in enumerate(range(0, len(units), each)):
        rest = units[at + each :]
        following = {
            entry.track.id: next(u.dts for u in rest if u.track == entry.track.id)
            for entry in entries
            if any(u.track == entry.track.id for u in rest)
        }
        out += muxer.fragment(number + 1, units[at : at + each], following)
    return out


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("each", [7, 1000])
def test_a_demuxer_finds_every_unit_with_its_times(name: str, each: int) -> None:
    entries, units = material(name)
    with av.open(io.BytesIO(fragments(entries, units, each))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (160, 90)
        found = [p for p in container.demux() if p.size]
        for entry in entries:
            own = [u for u in units if u.track == entry.track.id]
            stream = container.streams[entry.track.id]
            mine = [p for p in found if p.stream_index == stream.index]
            assert [(p.dts, p.pts) for p in mine] == [(u.dts, u.pts) for u in own]
            assert [p.is_keyframe for p in mine] == [u.key for u in own]
            if entry.track.codec is not Codec.VP9:  # libavformat's parser says 0
                assert [p.duration for p in mine[:-1]] == [b.dts - a.dts for a, b in pairwise(own)]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_picture_decodes(name: str) -> None:
    video, audio, frames = CAPTURES[name]
    entries, units = material(name)
    assert [entry.codec for entry in entries] == [video, audio]
    data = fragments(entries, units, 11)
    with av.open(io.BytesIO(data)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == frames
    with av.open(io.BytesIO(data)) as container:
        sounds = sum(1 for _ in container.decode(audio=0))
    assert abs(sounds - sum(u.track == 1 for u in units)) <= 1


@pytest.mark.parametrize("name", CAPTURES)
def test_ffprobe_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    entries, units = material(name)
    path = tmp_path / "file.mp4"
    path.write_bytes(fragments(entries, units, 9))
    run = subprocess.run(
        ["ffprobe", "-v", "warning", "-of", "json", "-show_streams", "-count_packets", str(path)],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert run.stderr == b""
    streams = json.loads(run.stdout)["streams"]
    counts = [int(stream["nb_read_packets"]) for stream in streams]
    assert counts == [sum(u.track == track for u in units) for track in (0, 1)]


def test_times_beyond_32_bits_and_the_same_bytes_again() -> None:
    entries, units = material("ffmpeg-h264-aac")
    far = 1 << 40
    data = fragments(entries, units, 10, far)
    assert data == fragments(entries, units, 10, far)
    with av.open(io.BytesIO(data)) as container:
        first = next(p for p in container.demux(video=0) if p.size)
        assert first.dts == far
    # A muxer that begins in the middle writes what one writes that has been there all along.
    part = units[20:30]
    assert Muxer(entries).fragment(3, part, {}) == Muxer(entries).fragment(3, part, {})


def test_boxes_are_where_players_look_for_them() -> None:
    entries, units = material("pyav-av1-opus")
    boxes = [kind for kind, _ in walk(fragments(entries, units, 30))]
    assert boxes[:2] == ["ftyp", "moov"]
    assert set(boxes[2:]) == {"moof", "mdat"}
    only = Muxer(entries).fragment(1, [u for u in units if u.track == 1], {})
    (moof,) = [body for kind, body in walk(only) if kind == "moof"]
    assert [kind for kind, _ in walk(moof)] == ["mfhd", "traf"]


def test_another_resolution_is_another_entry() -> None:
    entries, units = material("ffmpeg-h264-aac")
    track = entries[0].track
    assert describe(track, units[0].data) == entries[0]
    other = units[0].data.replace(b"\x67\x64\0\x0b", b"\x67\x64\0\x0c", 1)
    assert other != units[0].data
    assert describe(track, other) != entries[0]


def test_what_cannot_be_described_is_refused() -> None:
    with pytest.raises(UnsupportedError):
        describe(Track(0, Kind.VIDEO, Codec.VP8, 90_000, 96))
    for codec in (Codec.H264, Codec.H265, Codec.AV1, Codec.VP9):
        with pytest.raises(MalformedError):
            describe(Track(0, Kind.VIDEO, codec, 90_000, 96), b"\0\0\0\x01\x67")
    entries, units = material("ffmpeg-h264-aac")
    early = TimedUnit(0, -1, 0, True, units[0].data)
    with pytest.raises(MalformedError):
        Muxer(entries).fragment(1, [early], {})


@given(st.binary(max_size=80))
def test_headers_give_pictures_or_are_malformed(data: bytes) -> None:
    readers = (headers.h264_picture, headers.h265_picture, headers.av1_header, headers.vp9_picture)
    for read in readers:
        try:
            found = read(data)
        except MalformedError:
            continue
        picture = found[1] if isinstance(found, tuple) else getattr(found, "picture", found)
        assert 0 < picture.width <= headers.MAX_SIDE
