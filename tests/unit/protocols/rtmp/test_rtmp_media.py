"""Captures of real publishers give tracks and units that decode; bad media hurts nobody else."""

from __future__ import annotations

from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.rtmp.client import AVC, capture, replay

from heliograph.model.media import Codec, Kind
from heliograph.protocols import payload
from heliograph.protocols.mp4.units import TimedUnit
from heliograph.protocols.payload import av1, nal
from heliograph.protocols.rtmp import events, flv
from heliograph.protocols.rtmp.media import MediaReader

CAPTURES = {
    "ffmpeg-h264-aac": (Codec.H264, Codec.AAC, 23, 44_100),
    "pyav-h264-aac": (Codec.H264, Codec.AAC, 22, 48_000),
    "pyav-hevc-aac": (Codec.H265, Codec.AAC, 22, 48_000),
    "pyav-av1-opus": (Codec.AV1, Codec.OPUS, 22, 48_000),
    "pyav-vp9-opus": (Codec.VP9, Codec.OPUS, 22, 48_000),
}
DECODERS = {
    Codec.H264: "h264",
    Codec.H265: "hevc",
    Codec.AV1: "libdav1d",
    Codec.VP9: "vp9",
    Codec.AAC: "aac",
    Codec.OPUS: "opus",
}


def decoded(codec: Codec, units: list[TimedUnit], extradata: bytes | None) -> int:
    """How many frames a decoder gives; errors raise."""
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    decoder.thread_count = 1
    if extradata:
        decoder.extradata = extradata
    if codec is Codec.OPUS:
        decoder.sample_rate, decoder.layout = 48_000, "stereo"
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(unit.data))]
    return len(frames) + len(decoder.decode(None))


@pytest.mark.parametrize("name", CAPTURES)
def test_every_unit_of_a_capture_decodes(name: str) -> None:
    video, audio, frames, rate = CAPTURES[name]
    found = replay(capture(name))
    (told,) = [e for e in found if isinstance(e, events.TracksChanged)]
    assert [(t.id, t.codec, t.clock_rate) for t in told.tracks] == [
        (0, video, 90_000),
        (1, audio, rate),
    ]
    assert isinstance(found[-1], events.Ended)
    assert found[-1].reason == "unpublished"
    for track in told.tracks:
        units = [e.unit for e in found if isinstance(e, events.UnitReceived)]
        units = [unit for unit in units if unit.track == track.id]
        expected = frames if track.id == 0 else len(units)
        assert len(units) == expected
        # An audio decoder keeps back or gives away one frame at the ends.
        count = decoded(track.codec, units, payload.description(track))
        assert abs(count - expected) <= (0 if track.id == 0 else 1)
        assert units[0].key
        assert [u.dts for u in units] == sorted({u.dts for u in units})
        if track.kind is Kind.VIDEO:
            assert sum(u.key for u in units) == 2  # one a second
            stamps = sorted(u.pts for u in units)
            steps = {b - a for a, b in pairwise(stamps)}
            assert all(abs(step - 6000) <= 90 for step in steps)  # 15 a second, in milliseconds
        else:
            lasts = 1024 if audio is Codec.AAC else 960
            assert {b.dts - a.dts for a, b in pairwise(units)} == {lasts}


@pytest.mark.parametrize("name", CAPTURES)
def test_key_units_bring_what_a_decoder_needs(name: str) -> None:
    found = replay(capture(name))
    for event in found:
        if isinstance(event, events.UnitReceived) and event.unit.key and event.unit.track == 0:
            codec, data = CAPTURES[name][0], event.unit.data
            if codec in (Codec.H264, Codec.H265):
                types = {
                    unit[0] & 31 if codec is Codec.H264 else unit[0] >> 1 & 63
                    for unit in nal.split_annexb(data)
                }
                assert types >= ({7, 8} if codec is Codec.H264 else {32, 33, 34})
            elif codec is Codec.AV1:
                assert av1.SEQUENCE_HEADER in [obu.type for obu in av1.split_stream(data)]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(CAPTURES)), st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_the_same_bytes_in_any_pieces_give_the_same_events(name: str, sizes: list[int]) -> None:
    assert replay(capture(name), sizes) == replay(capture(name))


def test_a_slice_whose_length_looks_like_a_start_code() -> None:
    reader = reader_with_avc()
    slices = b"\0\0\x01\x04" + b"\x41" + bytes(0x103) + b"\0\0\0\x03\x41\x9a\x02"
    (event,) = reader.push(Kind.VIDEO, b"\x27\x01\0\0\0" + slices, 40)
    assert isinstance(event, events.UnitReceived)
    assert event.unit.data.count(nal.START_CODE + b"\x41") == 2
    assert reader.malformed == 0
    # and start codes where lengths belong, as some hardware sends them
    (event,) = reader.push(Kind.VIDEO, b"\x27\x01\0\0\0" + b"\0\0\0\x01\x41\x9a\x02", 80)
    assert event.unit.data == b"\0\0\0\x01\x41\x9a\x02"  # type: ignore[union-attr]


def reader_with_avc() -> MediaReader:
    """A reader that knows one H.264 track and has told it."""
    reader = MediaReader()
    reader.metadata({"videocodecid": 7.0})
    told = reader.push(Kind.VIDEO, AVC, 0)
    assert isinstance(told[0], events.TracksChanged)
    return reader


def test_timestamps_go_on_over_the_wrap_and_composition_may_be_negative() -> None:
    frame = b"\0\0\0\x03\x41\x9a\x02"
    reader = MediaReader()
    reader.metadata({"videocodecid": 7.0})
    reader.push(Kind.VIDEO, AVC, 0xFFFFFFF0)
    times = []
    for stamp, offset in ((0xFFFFFFF0, b"\0\0\x28"), (24, b"\xff\xff\xf6")):
        (event,) = reader.push(Kind.VIDEO, b"\x27\x01" + offset + frame, stamp)
        times.append((event.unit.dts, event.unit.pts))  # type: ignore[union-attr]
    assert times == [(0, 3600), (3600, 2700)]


def test_a_new_configuration_is_told() -> None:
    reader = reader_with_avc()
    assert reader.push(Kind.VIDEO, AVC, 10) == []
    other = AVC.replace(b"\x64\0\x0c", b"\x64\0\x0d")
    (event,) = reader.push(Kind.VIDEO, other, 20)
    assert isinstance(event, events.TracksChanged)
    assert event.tracks[0].fmtp["profile-level-id"] == "64000d"


def test_what_cannot_be_relayed_is_told_once() -> None:
    reader = reader_with_avc()
    told = [e for _ in range(3) for e in reader.push(Kind.AUDIO, b"\x2f\xff\xfb", 0)]
    assert [type(e) for e in told] == [events.TrackRefused]
    assert "MP3" in told[0].error.message  # type: ignore[union-attr]
    (refused,) = reader.push(Kind.VIDEO, b"\x96\x01avc1\x01" + bytes(9), 0)
    assert "track 1" in refused.error.message  # type: ignore[union-attr]
    assert reader.dropped == 4


def test_ill_formed_media_is_counted_and_dropped() -> None:
    reader = reader_with_avc()
    for body in (b"\x17", b"\x27\x07\0\0\0", b"\x27\x01\0\0\0\0\0\xff\xff\x41", b"\x90av"):
        assert reader.push(Kind.VIDEO, body, 0) == []
    assert reader.push(Kind.VIDEO, b"", 0) == []
    assert reader.malformed == 4


def test_heads_with_nanoseconds_and_the_form_without_composition() -> None:
    body = b"\x97" + b"\x02" + (500_000).to_bytes(3, "big") + b"\x03" + b"hvc1" + b"frame"
    (tag,) = flv.parse_video(body)
    assert (tag.nanoseconds, tag.composition, tag.data) == (500_000, 0, b"frame")
    (tag,) = flv.parse_video(b"\xa1hvc1\xff\xff\xfeframe")
    assert (tag.composition, tag.key, tag.data) == (-2, False, b"frame")


def test_tracks_in_one_message_are_told_apart() -> None:
    def share(track: int, data: bytes) -> bytes:
        return bytes((track,)) + len(data).to_bytes(3, "big") + data

    body = b"\x95" + b"\x11" + b"Opus" + share(0, b"a") + share(3, b"bc")
    tags = flv.parse_audio(body)
    assert [(t.track, t.data) for t in tags] == [(0, b"a"), (3, b"bc")]
