"""Each format's particulars: malformed packets, parameter sets, keyframes, descriptions."""

from __future__ import annotations

import pytest

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import payload
from heliograph.protocols.payload import (
    AccessUnit,
    aac,
    av1,
    container,
    h264,
    h265,
    latm,
    nal,
    opus,
    sampled,
    vp8,
    vp9,
)
from heliograph.protocols.payload.bits import BitReader, read_leb128, write_leb128
from heliograph.protocols.rtp import RtpPacket

SPS = bytes.fromhex("6742c014da189b0110000003001000000301e8f142aa")
PPS = bytes.fromhex("68ce3c80")
IDR = b"\x65\x88\x84slice"
HBR = {"sizelength": "13", "indexlength": "3", "indexdeltalength": "3", "config": "1190"}


def one(codec: Codec, data: bytes, fmtp: dict[str, str] | None = None) -> list[AccessUnit]:
    kind = Kind.AUDIO if codec in (Codec.AAC, Codec.AAC_LATM, Codec.L16) else Kind.VIDEO
    track = Track(0, kind, codec, 48_000, 96, 2, fmtp=fmtp or {})
    return payload.depacketizer(track).push(RtpPacket(96, 1, 2, 3, data, marker=True))


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (Codec.H264, "00"),
        (Codec.H264, "1e01"),
        (Codec.H264, "19000000"),
        (Codec.H264, "1c85"),
        (Codec.H264, "1cc588"),
        (Codec.H264, "1c9c8888"),
        (Codec.H264, "18"),
        (Codec.H264, "180000"),
        (Codec.H264, "18000565"),
        (Codec.H264, "18000218ff"),
        (Codec.H265, "02"),
        (Codec.H265, "6401ffff"),
        (Codec.H265, "620193"),
        (Codec.H265, "6201d3ff"),
        (Codec.H265, "6201b0ff"),
        (Codec.H265, "6001"),
        (Codec.H265, "6001000102"),
        (Codec.H265, "600100096001"),
        (Codec.H265, "600100026001"),
        (Codec.VP8, "10"),
        (Codec.VP8, "80"),
        (Codec.VP8, "90800a"),
        (Codec.VP8, "90f08001"),
        (Codec.VP9, "08"),
        (Codec.VP9, "8880"),
        (Codec.VP9, "580303030388"),
        (Codec.VP9, "0af0"),
        (Codec.VP9, "0a0803"),
        (Codec.AV1, "10"),
        (Codec.AV1, "0005aa"),
        (Codec.AV1, "2001aa"),
        (Codec.AV1, "00ff"),
        (Codec.AV1, "1080"),
        (Codec.AV1, "100a05aa"),
        (Codec.MPEG2, "000000"),
        (Codec.MPEG2, "0400000000000000"),
    ],
)
def test_an_ill_formed_payload_is_refused_and_the_next_one_taken(codec: Codec, text: str) -> None:
    depacketizer = payload.depacketizer(Track(0, Kind.VIDEO, codec, 90_000, 96))
    good = {
        Codec.H264: IDR,
        Codec.H265: b"\x26\x01\xafslice",
        Codec.VP8: b"\x10\x00frame",
        Codec.VP9: b"\x0c\x82frame",
        Codec.AV1: b"\x18\x32\x02\x00\x00",
        Codec.MPEG2: b"\x00\x00\x39\x00\x00\x00\x01\xb3seq\x00\x00\x01\x00\x00\x08xyz",
    }[codec]
    depacketizer.push(RtpPacket(96, 0, 0, 3, good, marker=True))
    with pytest.raises(MalformedError, match=f"malformed {codec.value}"):
        depacketizer.push(RtpPacket(96, 1, 2, 3, bytes.fromhex(text), marker=True))
    (unit,) = depacketizer.push(RtpPacket(96, 2, 4, 3, good, marker=True))
    assert unit.key
    assert unit.after_loss


@pytest.mark.parametrize(
    ("text", "fmtp"),
    [
        ("00", HBR),
        ("001000", HBR),
        ("0011000000", HBR),
        ("0020001000", HBR),
        ("002000100009aabbccdd", HBR),
        ("00200010002000ff", HBR),
        ("0010", {**HBR, "auxiliarydatasizelength": "8"}),
        ("aabbcc", {"constantsize": "2", "sizelength": "0", "auxiliarydatasizelength": "20"}),
    ],
)
def test_wrong_unit_headers_of_aac_are_refused(text: str, fmtp: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        one(Codec.AAC, bytes.fromhex(text), fmtp)


def test_aac_units_in_one_packet_are_a_frame_apart() -> None:
    units = one(Codec.AAC, bytes.fromhex("002000100018aabbccddee"), HBR)
    assert units == [
        AccessUnit(b"\xaa\xbb", 2, True),
        AccessUnit(b"\xcc\xdd\xee", 2 + 1024, True),
    ]


def test_aac_units_of_constant_size_need_no_headers() -> None:
    units = one(Codec.AAC, b"aabbcc", {"constantsize": "2", "constantduration": "160"})
    assert [(unit.data, unit.timestamp) for unit in units] == [
        (b"aa", 2),
        (b"bb", 162),
        (b"cc", 322),
    ]


def test_a_fragmented_aac_unit_that_misses_its_middle_is_dropped() -> None:
    track = Track(0, Kind.AUDIO, Codec.AAC, 48_000, 96, 2, fmtp=HBR)
    depacketizer = payload.depacketizer(track)
    parts = payload.packetizer(Codec.AAC, max_size=64).packetize(AccessUnit(bytes(150), 5, True))
    assert len(parts) == 3
    assert depacketizer.push(RtpPacket(96, 0, 5, 1, parts[0].data)) == []
    assert depacketizer.push(RtpPacket(96, 2, 5, 1, parts[2].data, marker=True)) == []
    (unit,) = depacketizer.push(RtpPacket(96, 3, 6, 1, b"\x00\x10\x00\x10ab", marker=True))
    assert unit == AccessUnit(b"ab", 6, True, after_loss=True)


@pytest.mark.parametrize("name", ["sizelength", "indexlength", "constantsize"])
@pytest.mark.parametrize("value", ["-1", "x", "99999999999", "²"])
def test_aac_parameters_that_are_no_widths_are_refused(name: str, value: str) -> None:
    with pytest.raises(MalformedError, match=name):
        aac.HeaderFields.from_fmtp({name: value})


@pytest.mark.parametrize(
    ("config", "kind", "rate", "channels"),
    [
        ("1190", 2, 48_000, 2),
        ("119056e500", 2, 48_000, 2),
        ("131056e598", 5, 24_000, 2),
        ("2b118800", 5, 24_000, 2),
        ("eb098800", 29, 24_000, 1),
        ("17800bb80800", 2, 96_000, 0),
    ],
)
def test_audio_configurations_are_read(config: str, kind: int, rate: int, channels: int) -> None:
    parsed = aac.parse_config(bytes.fromhex(config))
    assert parsed.object_type == kind
    assert aac.codec_string(bytes.fromhex(config)) == f"mp4a.40.{kind}"
    if config != "17800bb80800":
        assert (parsed.sample_rate, parsed.channels) == (rate, channels)


def test_sbr_doubles_the_frame_of_a_doubled_clock() -> None:
    assert aac.unit_duration({"config": "131056e598"}, 48_000) == 2048
    assert aac.unit_duration({"config": "1190"}, 48_000) == 1024
    assert aac.unit_duration({"config": "zz"}, 48_000) == 1024


def test_adts_is_split_and_says_the_configuration() -> None:
    def frame(data: bytes) -> bytes:
        size = len(data) + 7
        return (
            bytes((0xFF, 0xF1, 0x4C, 0x80 | size >> 11, size >> 3 & 255, (size & 7) << 5, 0)) + data
        )

    stream = frame(b"one") + frame(b"three")
    assert aac.split_adts(stream) == [b"one", b"three"]
    assert aac.config_from_adts(stream) == bytes.fromhex("1190")
    for size in range(1, len(stream)):
        if size != len(frame(b"one")):
            with pytest.raises(MalformedError):
                aac.split_adts(stream[:size])
    with pytest.raises(MalformedError):
        aac.config_from_adts(b"ID3")


def test_latm_with_its_configuration_in_band() -> None:
    # useSameStreamMux 0, StreamMuxConfig of 400023203fc0, one unit "ab": all a bit later
    bits = "0" + f"{0x400023203FC0:048b}"[:44] + f"{2:08b}" + f"{0x6162:016b}"
    bits += "0" * (-len(bits) % 8)
    element = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert one(Codec.AAC_LATM, element, {}) == [AccessUnit(b"ab", 2, True)]
    same = int("1" + f"{2:08b}" + f"{0x6162:016b}" + "0" * 7, 2).to_bytes(4, "big")
    depacketizer = payload.depacketizer(Track(0, Kind.AUDIO, Codec.AAC_LATM, 48_000, 96, 2))
    assert depacketizer.push(RtpPacket(96, 0, 0, 1, same, marker=True)) == []  # joined too late
    with pytest.raises(MalformedError, match="no configuration yet"):
        depacketizer.push(RtpPacket(96, 1, 1, 1, same, marker=True))
    depacketizer.push(RtpPacket(96, 2, 2, 1, element, marker=True))
    assert depacketizer.push(RtpPacket(96, 3, 3, 1, same, marker=True))[0].data == b"ab"


@pytest.mark.parametrize("config", ["c00023203fc0", "000023203fc0", "403023203fc0", "xyz", "40"])
def test_latm_beyond_one_layer_of_aac_is_refused(config: str) -> None:
    with pytest.raises(MalformedError):
        latm.mux_config_from_fmtp({"config": config})


def test_samples_that_are_not_whole_are_refused() -> None:
    with pytest.raises(MalformedError, match="whole samples"):
        one(Codec.L16, b"abcde")
    with pytest.raises(MalformedError, match="99 channels"):
        sampled.frame_size(Codec.L16, 99)


def test_samples_change_their_byte_order() -> None:
    assert sampled.swap_bytes(b"abcdef", 2) == b"badcfe"
    assert sampled.swap_bytes(b"abcdefg", 3) == b"cbafed"


def test_h264_parameter_sets_come_behind_the_delimiter_and_in_order() -> None:
    depacketizer = h264.H264Depacketizer([SPS, PPS])
    unit = h264.H264Packetizer().packetize(AccessUnit(nal.join_annexb([b"\x09\xf0", IDR]), 0, True))
    (came,) = depacketizer.push(RtpPacket(96, 0, 0, 1, unit[0].data, marker=True))
    assert nal.split_annexb(came.data) == [b"\x09\xf0", SPS, PPS, IDR]
    only_sps = h264.H264Packetizer().packetize(AccessUnit(nal.join_annexb([SPS, IDR]), 1, True))
    (came,) = depacketizer.push(RtpPacket(96, 1, 1, 1, only_sps[0].data, marker=True))
    assert nal.split_annexb(came.data) == [SPS, PPS, IDR]


def test_h264_parameter_sets_of_the_stream_replace_those_of_sdp() -> None:
    depacketizer = h264.H264Depacketizer([SPS, PPS])
    newer = PPS[:1] + b"\xce\x01\x02"
    assert depacketizer.push(RtpPacket(96, 0, 0, 1, newer, marker=True)) == []
    (came,) = depacketizer.push(RtpPacket(96, 1, 1, 1, IDR, marker=True))
    assert nal.split_annexb(came.data) == [SPS, newer, IDR]
    assert not came.after_loss


def test_ill_formed_parameter_sets_of_sdp_do_not_hinder_playing() -> None:
    for value in ("!!!", "AAAA", "Z0LAFNoYmwEQAAADABAAAAMB6PFCqg==,"):
        (unit,) = one(Codec.H264, IDR, {"sprop-parameter-sets": value})
        assert unit.key


def test_an_open_gop_can_be_joined_at_its_i_picture() -> None:
    i_slice, p_slice = b"\x41\x88\x84x", b"\x41\x9a\x00x"  # slice_type 7 and 5 behind first_mb 0
    for first, key in ((i_slice, True), (p_slice, False)):
        packets = h264.H264Packetizer().packetize(
            AccessUnit(nal.join_annexb([SPS, PPS, first]), 0, True)
        )
        assert one(Codec.H264, packets[0].data)[0].key is key


def test_avcc_and_its_samples_become_annex_b() -> None:
    avcc = b"\x01" + SPS[1:4] + b"\xff\xe1" + len(SPS).to_bytes(2, "big") + SPS
    avcc += b"\x01" + len(PPS).to_bytes(2, "big") + PPS
    config = h264.parse_extradata(avcc)
    assert config == (4, [SPS, PPS])
    sample = len(IDR).to_bytes(4, "big") + IDR
    assert h264.to_annexb(sample, config.length_size) == nal.START_CODE + IDR
    assert h264.parse_extradata(nal.join_annexb([SPS, PPS])) == (0, [SPS, PPS])
    assert h264.parse_extradata(b"") == (0, [])
    for size in range(1, len(avcc)):
        with pytest.raises(MalformedError):
            h264.parse_extradata(avcc[:size])
    with pytest.raises(MalformedError):
        h264.to_annexb(sample[:-1], 4)


def test_hvcc_is_read_and_truncated_ones_are_refused() -> None:
    vps, sps, pps = b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps"
    hvcc = b"\x01" + bytes(20) + b"\x03\x03"
    for kind, one_set in ((32, vps), (33, sps), (34, pps)):
        hvcc += bytes((0x80 | kind,)) + b"\x00\x01" + len(one_set).to_bytes(2, "big") + one_set
    assert h265.parse_extradata(hvcc) == (4, [vps, sps, pps])
    for size in range(1, len(hvcc)):
        with pytest.raises(MalformedError):
            h265.parse_extradata(hvcc[:size])


def test_sdp_parameters_of_h264_are_read_back() -> None:
    fmtp = h264.fmtp_for([SPS, PPS])
    assert fmtp["packetization-mode"] == "1"
    assert fmtp["profile-level-id"] == "42c014"
    assert h264.parameter_sets(fmtp) == [SPS, PPS]
    assert h264.fmtp_for([]) == {"packetization-mode": "1"}


def test_annex_b_takes_both_start_codes_and_trailing_zeros() -> None:
    stream = b"junk\x00\x00\x01\x65a\x00\x00\x00\x01\x41b\x00\x00\x00\x00\x00\x01\x41c"
    assert nal.split_annexb(stream) == [b"\x65a", b"\x41b", b"\x41c"]


@pytest.mark.parametrize(
    ("codec", "text", "starts"),
    [
        (Codec.H264, "6588", True),
        (Codec.H264, "6742", True),
        (Codec.H264, "68ce", False),
        (Codec.H264, "419a", False),
        (Codec.H264, "7c8588", True),
        (Codec.H264, "7c0588", False),
        (Codec.H264, "7c8188", False),
        (Codec.H264, "18000468ce3c8000026588", True),
        (Codec.H264, "1800ff", False),
        (Codec.H265, "2601af", True),
        (Codec.H265, "0201d0", False),
        (Codec.H265, "620193aa", True),
        (Codec.H265, "620113aa", False),
        (Codec.VP8, "100000", True),
        (Codec.VP8, "100100", False),
        (Codec.VP8, "000000", False),
        (Codec.VP8, "110000", False),
        (Codec.VP9, "0c8249", True),
        (Codec.VP9, "0c8649", False),
        (Codec.VP9, "4c8249", False),
        (Codec.AV1, "180a00", True),
        (Codec.AV1, "100a00", True),
        (Codec.AV1, "103200", False),
        (Codec.AV1, "880a00", False),
        (Codec.MPEG2, "00003900000001b3", True),
        (Codec.MPEG2, "0000190000000100", True),
        (Codec.MPEG2, "00001a0000000100", False),
        (Codec.MPEG2, "0000190000000105", False),
        (Codec.OPUS, "fc", True),
        (Codec.OPUS, "", False),
        (Codec.UNKNOWN, "ffff", False),
    ],
)
def test_the_packet_that_starts_a_keyframe_is_known(codec: Codec, text: str, starts: bool) -> None:
    assert payload.starts_keyframe(codec, bytes.fromhex(text)) is starts


def test_vp8_and_vp9_descriptors_of_every_length_are_read() -> None:
    assert vp8.parse_descriptor(bytes.fromhex("90f0812301ff00")) == (True, 0, 0x123, 6)
    assert vp8.parse_descriptor(bytes.fromhex("90800a00")) == (True, 0, 10, 3)
    assert vp9.parse_descriptor(bytes.fromhex("a881230400ff")) == (False, True, False, 2, 0x123, 5)
    assert vp9.parse_descriptor(bytes.fromhex("d88a0302ff")).size == 4
    structure = "0a" + "38" + "01000080" + "02000100" + "02" + "04" + "03" + "00" + "ff"
    assert vp9.parse_descriptor(bytes.fromhex(structure)).size == 14


def test_a_vp9_key_picture_needs_both_the_descriptor_and_the_frame_to_say_so() -> None:
    assert one(Codec.VP9, b"\x0c\x82\x49")[0].key
    assert not one(Codec.VP9, b"\x0c\x86\x49")[0].key
    assert not one(Codec.VP9, b"\x4c\x82\x49")[0].key


def test_av1_loses_delimiters_and_gets_sizes_and_the_sequence_header() -> None:
    depacketizer = av1.Av1Depacketizer()
    # W=2: a temporal delimiter of 1 byte, then a sequence header without size
    (first,) = depacketizer.push(
        RtpPacket(96, 0, 0, 1, b"\x38\x01\x10\x03\x08ab\x30\x10", marker=True)
    )
    assert first.data == b"\x0a\x02ab\x32\x01\x10"
    assert first.key
    (second,) = depacketizer.push(RtpPacket(96, 1, 1, 1, b"\x10\x30\x10", marker=True))
    assert second.data == b"\x0a\x02ab\x32\x01\x10"
    (third,) = depacketizer.push(RtpPacket(96, 2, 2, 1, b"\x10\x30\x30", marker=True))
    assert (third.data, third.key) == (b"\x32\x01\x30", False)


def test_leb128_numbers_are_read_back() -> None:
    for value in (0, 127, 128, 16_383, 1 << 31):
        assert read_leb128(write_leb128(value), 0, "av1") == (value, len(write_leb128(value)))
    with pytest.raises(MalformedError):
        read_leb128(b"\x80" * 9, 0, "av1")


def test_exp_golomb_numbers_are_bounded() -> None:
    assert [BitReader(bytes((b,)), "h264").ue() for b in (0x80, 0x40, 0x60, 0x20)] == [0, 1, 2, 3]
    with pytest.raises(MalformedError):
        BitReader(bytes(16), "h264").ue()
    with pytest.raises(MalformedError):
        BitReader(b"", "h264").ue()


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        ("", 0),
        ("fc", 960),
        ("fd", 1920),
        ("fb03", 2880),
        ("fb", 0),
        ("08", 960),
        ("60", 480),
        ("e0", 120),
    ],
)
def test_an_opus_packet_says_how_long_it_lasts(packet: str, samples: int) -> None:
    assert opus.duration(bytes.fromhex(packet)) == samples


def test_a_containers_streams_become_tracks() -> None:
    video = container.describe("h264", track_id=0, first_packet=nal.join_annexb([SPS, PPS, IDR]))
    assert video is not None
    assert (video.payload_type, video.clock_rate, video.encoding) == (96, 90_000, "H264")
    assert h264.parameter_sets(video.fmtp) == [SPS, PPS]
    sound = container.describe(
        "aac", track_id=1, extradata=b"\x11\x90", sample_rate=48_000, channels=2
    )
    assert sound is not None
    assert (sound.payload_type, sound.clock_rate, sound.fmtp["config"]) == (97, 48_000, "1190")
    phone = container.describe("pcm_mulaw", track_id=2, sample_rate=8000, channels=1)
    assert phone is not None
    assert phone.payload_type == 0
    stereo = container.describe("pcm_mulaw", track_id=2, sample_rate=8000, channels=2)
    assert stereo is not None
    assert stereo.payload_type == 98
    music = container.describe("opus", track_id=3, sample_rate=16_000, channels=1)
    assert music is not None
    assert (music.clock_rate, music.channels, music.fmtp) == (48_000, 2, {})
    assert container.describe("theora", track_id=4) is None


def test_a_containers_packets_become_units() -> None:
    assert container.framing("pcm_s16le")(b"abcd") == [b"badc"]
    assert container.framing("vp8")(b"frame") == [b"frame"]
    assert container.framing("aac", b"\x11\x90")(b"raw") == [b"raw"]
    with pytest.raises(MalformedError):
        container.framing("aac")(b"raw")
    with pytest.raises(MalformedError):
        container.framing("theora")
