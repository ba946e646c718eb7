"""What a packetizer cuts, the depacketizer of the same codec puts together again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError, TooLargeError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import payload
from heliograph.protocols.payload import AccessUnit, aac, av1, base, nal
from heliograph.protocols.rtp import RtpPacket

FMTP = {Codec.AAC: aac.fmtp_for(bytes.fromhex("1190"))}


def track(codec: Codec, channels: int = 0) -> Track:
    kind = Kind.VIDEO if codec in (Codec.H264, Codec.VP8) else Kind.AUDIO
    return Track(0, kind, codec, 90_000, 96, channels, fmtp=FMTP.get(codec, {}))


def through(
    codec: Codec, units: list[AccessUnit], max_size: int, channels: int = 1
) -> list[AccessUnit]:
    packetizer = payload.packetizer(codec, channels=channels, max_size=max_size)
    depacketizer = payload.depacketizer(track(codec, channels))
    sequence = 65_530
    came = []
    for unit in units:
        for made in packetizer.packetize(unit):
            assert codec is Codec.OPUS or 0 < len(made.data) <= max_size
            stamp = (unit.timestamp + made.timestamp_offset) & 0xFFFFFFFF
            came += depacketizer.push(RtpPacket(96, sequence, stamp, 1, made.data, made.marker))
            sequence = (sequence + 1) & 0xFFFF
    return came + depacketizer.flush()


def body(min_size: int = 1) -> st.SearchStrategy[bytes]:
    # Without zeros no start code is in the way, and none is a trailing zero.
    return st.lists(st.integers(1, 255), min_size=min_size, max_size=400).map(bytes)


h264_slice = st.builds(lambda rest: b"\x41\x9a" + rest, body())
h264_other = st.builds(
    lambda head, rest: bytes((head,)) + rest, st.sampled_from([6, 9, 12]), body()
)
h265_slice = st.builds(lambda rest: b"\x02\x01\xd0" + rest, body())
h265_other = st.builds(lambda rest: b"\x4e\x01" + rest, body())


def nal_units(
    slice_: st.SearchStrategy[bytes], other: st.SearchStrategy[bytes]
) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda before, first, after: nal.join_annexb([*before, first, *after]),
        st.lists(other, max_size=4),
        slice_,
        st.lists(st.one_of(slice_, other), max_size=4),
    )


def obu(kind: int, data: bytes) -> bytes:
    return av1.Obu(kind, bytes((kind << 3,)), data).sized()


temporal_unit = st.lists(
    # 0x30 in front: no frame is a keyframe, which would be given a sequence header.
    st.builds(lambda kind, data: obu(kind, b"\x30" + data), st.sampled_from([1, 4, 5, 6]), body()),
    min_size=1,
    max_size=5,
).map(b"".join)
vp9_frame = st.builds(lambda rest: b"\x86" + rest, body())
mpeg2_picture = st.builds(
    lambda slices: (
        b"\x00\x00\x01\x00\x00\x10\xff\xf8"
        + b"".join(b"\x00\x00\x01" + bytes((1 + at,)) + one for at, one in enumerate(slices))
    ),
    st.lists(body(), min_size=1, max_size=6),
)
SIZES = st.sampled_from([64, 65, 100, 333, 1200])
STAMPS = st.integers(0, 0xFFFFFFFF)

VIDEO = {
    Codec.H264: nal_units(h264_slice, h264_other),
    Codec.H265: nal_units(h265_slice, h265_other),
    Codec.VP8: st.builds(lambda rest: b"\x01" + rest, body()),
    Codec.VP9: vp9_frame,
    Codec.AV1: temporal_unit,
    Codec.MPEG2: mpeg2_picture,
}


@pytest.mark.parametrize("codec", list(VIDEO))
def test_video_comes_out_as_it_went_in(codec: Codec) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(VIDEO[codec], min_size=1, max_size=3), SIZES, STAMPS)
    def check(frames: list[bytes], max_size: int, start: int) -> None:
        units = [
            AccessUnit(frame, (start + 3000 * at) & 0xFFFFFFFF, at == 0)
            for at, frame in enumerate(frames)
        ]
        came = through(codec, units, max_size)
        assert [(unit.data, unit.timestamp) for unit in came] == [
            (unit.data, unit.timestamp) for unit in units
        ]
        assert not any(unit.after_loss for unit in came)

    check()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=4), SIZES)
def test_aac_comes_out_as_it_went_in(frames: list[bytes], max_size: int) -> None:
    units = [AccessUnit(frame, 1024 * at, True) for at, frame in enumerate(frames)]
    assert through(Codec.AAC, units, max_size) == units


@given(st.lists(st.binary(min_size=1, max_size=1500), min_size=1, max_size=4))
def test_opus_is_never_cut(packets: list[bytes]) -> None:
    units = [AccessUnit(packet, 960 * at, True) for at, packet in enumerate(packets)]
    assert through(Codec.OPUS, units, 64) == units


@pytest.mark.parametrize(("codec", "width"), [("pcmu", 1), ("pcma", 1), ("l16", 2), ("l24", 3)])
@given(st.binary(min_size=1, max_size=300), st.integers(1, 6), SIZES)
def test_samples_are_cut_between_frames_and_keep_their_time(
    codec: str, width: int, samples: bytes, channels: int, max_size: int
) -> None:
    data = samples * width * channels
    came = through(Codec(codec), [AccessUnit(data, 0xFFFFFFF0, True)], max_size, channels)
    assert b"".join(unit.data for unit in came) == data
    at = 0xFFFFFFF0
    for unit in came:
        assert unit.timestamp == at
        at = (at + len(unit.data) // (width * channels)) & 0xFFFFFFFF


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265, Codec.VP8, Codec.VP9, Codec.AV1])
def test_nothing_makes_no_packets(codec: Codec) -> None:
    assert payload.packetizer(codec).packetize(AccessUnit(b"", 0, False)) == []


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (Codec.H264, b"\x00\x00\x01\x18abc"),
        (Codec.H265, b"\x00\x00\x01\x62\x01abc"),
        (Codec.AV1, b"\x80"),
        (Codec.AV1, b"\x0a\x09abc"),
        (Codec.MPEG2, b"no picture"),
        (Codec.AAC, bytes(8192)),
        (Codec.L16, b"abc"),
        (Codec.OPUS, bytes(64_001)),
    ],
)
def test_what_is_not_of_the_codec_is_refused(codec: Codec, data: bytes) -> None:
    with pytest.raises(MalformedError):
        payload.packetizer(codec).packetize(AccessUnit(data, 0, False))


def test_a_payload_size_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="64 to 65"):
        payload.packetizer(Codec.VP8, max_size=10)


def test_a_unit_without_an_end_is_given_up_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_UNIT_SIZE", 5000)
    depacketizer = payload.depacketizer(track(Codec.VP8))
    depacketizer.push(RtpPacket(96, 0, 7, 1, b"\x10\x00" + bytes(3000)))
    with pytest.raises(TooLargeError):
        depacketizer.push(RtpPacket(96, 1, 7, 1, b"\x00" + bytes(3000)))
    assert depacketizer.push(RtpPacket(96, 2, 7, 1, b"\x00" + bytes(3000), marker=True)) == []
    (unit,) = depacketizer.push(RtpPacket(96, 3, 8, 1, b"\x10\x00a", marker=True))
    assert unit == AccessUnit(b"\x00a", 8, True, after_loss=True)


def test_padding_alone_leaves_no_gap() -> None:
    depacketizer = payload.depacketizer(track(Codec.VP8))
    depacketizer.push(RtpPacket(96, 0, 7, 1, b"\x10\x00a"))
    assert depacketizer.push(RtpPacket(96, 1, 7, 1, b"", padding_size=100)) == []
    (unit,) = depacketizer.push(RtpPacket(96, 2, 7, 1, b"\x00b", marker=True))
    assert unit == AccessUnit(b"\x00ab", 7, True)


def test_without_markers_the_next_timestamp_ends_a_unit() -> None:
    depacketizer = payload.depacketizer(track(Codec.VP8))
    assert depacketizer.push(RtpPacket(96, 0, 7, 1, b"\x10\x00a")) == []
    assert depacketizer.push(RtpPacket(96, 1, 8, 1, b"\x10\x01b")) == [
        AccessUnit(b"\x00a", 7, True)
    ]
    assert depacketizer.flush() == [AccessUnit(b"\x01b", 8, False)]


def test_another_sender_is_a_loss_and_not_a_late_packet() -> None:
    depacketizer = payload.depacketizer(track(Codec.VP8))
    depacketizer.push(RtpPacket(96, 50, 7, 1, b"\x10\x00a", marker=True))
    (unit,) = depacketizer.push(RtpPacket(96, 49, 9, 2, b"\x10\x00b", marker=True))
    assert unit.after_loss


@pytest.mark.parametrize(
    "unknown",
    [
        Track(0, Kind.DATA, Codec.UNKNOWN, 90_000, 96),
        Track(0, Kind.VIDEO, Codec.H264, 90_000, 96, fmtp={"packetization-mode": "2"}),
        Track(0, Kind.VIDEO, Codec.H265, 90_000, 96, fmtp={"sprop-max-don-diff": "3"}),
    ],
)
def test_what_cannot_be_rebuilt_is_said_at_once(unknown: Track) -> None:
    with pytest.raises(UnsupportedError):
        payload.depacketizer(unknown)


def test_padding_behind_a_gap_does_not_hide_it() -> None:
    depacketizer = payload.depacketizer(track(Codec.H264))
    depacketizer.push(RtpPacket(96, 0, 7, 1, b"\x65\x88one", marker=True))
    depacketizer.push(RtpPacket(96, 2, 9, 1, b"", padding_size=100))  # 1: a slice of 9
    second_slice = b"\x41\x4a" + b"two"
    assert depacketizer.push(RtpPacket(96, 3, 9, 1, second_slice, marker=True)) == []
    (unit,) = depacketizer.push(RtpPacket(96, 4, 11, 1, b"\x41\x9athree", marker=True))
    assert unit.after_loss
