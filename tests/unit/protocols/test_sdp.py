"""Descriptions: what real peers write is read, bounded, and written back."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError, TooLargeError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import sdp

DATA = Path(__file__).parents[2] / "data" / "sdp"
FIXTURES = sorted(DATA.glob("*.sdp"))


def track_of(*lines: str) -> Track:
    text = "v=0\r\n" + "".join(f"{line}\r\n" for line in lines)
    return sdp.tracks_from_sdp(sdp.parse_sdp(text))[0]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_what_a_peer_wrote_is_written_back_identically(path):
    raw = path.read_bytes()
    assert sdp.serialize_sdp(sdp.parse_sdp(raw)).encode() == raw


def test_ffmpeg_publishes_h264_and_aac():
    video, audio = sdp.tracks_from_sdp(sdp.parse_sdp((DATA / "ffmpeg_h264_aac.sdp").read_bytes()))
    assert (video.kind, video.codec, video.clock_rate) == (Kind.VIDEO, Codec.H264, 90000)
    assert [unit[0] & 0x1F for unit in sdp.parameter_sets(video)] == [7, 8]
    assert (audio.codec, audio.clock_rate, audio.channels) == (Codec.AAC, 44100, 1)
    assert sdp.aac_lengths(audio) == (13, 3, 3)


def test_missing_lines_bare_line_feeds_and_junk_are_tolerated():
    text = "s=x\nnonsense\nm=video 0 RTP/AVP 96\na=rtpmap:96 h264/90000\na=x-unknown:1"
    description = sdp.parse_sdp(text)
    assert description.origin is None
    assert description.media[0].attribute("x-unknown") == "1"
    assert sdp.tracks_from_sdp(description)[0].codec is Codec.H264


@pytest.mark.parametrize(
    ("payload_type", "codec", "clock", "channels"),
    [
        (0, Codec.PCMU, 8000, 1),
        (8, Codec.PCMA, 8000, 1),
        (10, Codec.L16, 44100, 2),
        (11, Codec.L16, 44100, 1),
        (14, Codec.UNKNOWN, 90000, 0),
    ],
)
def test_static_audio_types_need_no_rtpmap(payload_type, codec, clock, channels):
    track = track_of(f"m=audio 0 RTP/AVP {payload_type}")
    assert (track.codec, track.clock_rate, track.channels) == (codec, clock, channels)


@pytest.mark.parametrize(
    ("payload_type", "codec"), [(26, Codec.UNKNOWN), (32, Codec.MPEG2), (33, Codec.UNKNOWN)]
)
def test_static_video_types_need_no_rtpmap(payload_type, codec):
    assert track_of(f"m=video 0 RTP/AVP {payload_type}").codec is codec


def test_encoding_names_are_compared_without_case():
    assert track_of("m=audio 0 RTP/AVP 97", "a=rtpmap:97 MPEG4-Generic/8000").codec is Codec.AAC
    assert track_of("m=audio 0 RTP/AVP 97", "a=rtpmap:97 mp4a-latm/90000").codec is Codec.AAC_LATM


def test_unknown_codecs_are_carried_blindly():
    track = track_of("m=video 0 RTP/AVP 98", "a=rtpmap:98 VC1/90000")
    assert (track.codec, track.encoding) == (Codec.UNKNOWN, "VC1")


def test_a_known_format_is_preferred_to_companions_and_strangers():
    track = track_of(
        "m=video 0 RTP/AVP 97 98 99",
        "a=rtpmap:97 rtx/90000",
        "a=rtpmap:98 X-NEW/90000",
        "a=rtpmap:99 VP8/90000",
    )
    assert track.payload_type == 99


@pytest.mark.parametrize(
    "text",
    [
        "v=0\r\ns=-\r\n",
        "m=video 0 RTP/AVP 96\r\n",
        "m=video 0 RTP/SAVP 32\r\n",
        "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n",
        "m=video 0 udp 33\r\n",
    ],
)
def test_a_description_without_playable_track_is_unsupported(text):
    with pytest.raises(UnsupportedError):
        sdp.tracks_from_sdp(sdp.parse_sdp(text))


@pytest.mark.parametrize(
    "text", ["", "<html>", "m=video x RTP/AVP 96", "m=video 70000 RTP/AVP 96", "m=video", "a=\0x"]
)
def test_what_is_no_description_is_malformed(text):
    with pytest.raises(MalformedError):
        sdp.parse_sdp(text)


def test_size_media_and_lines_are_bounded():
    with pytest.raises(TooLargeError):
        sdp.parse_sdp("v=0\n" * sdp.MAX_SDP)
    with pytest.raises(MalformedError):
        sdp.parse_sdp("m=video 0 RTP/AVP 96\n" * (sdp.MAX_MEDIA + 1))
    with pytest.raises(MalformedError):
        sdp.parse_sdp("a=x\n" * 2000)


def test_parameter_sets_of_h265_come_in_order_of_use():
    sets = [bytes([0x40, 1]), bytes([0x42, 1]), bytes([0x44, 1])]
    vps, sps, pps = (base64.b64encode(unit).decode().rstrip("=") for unit in sets)
    track = track_of(
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H265/90000",
        f"a=fmtp:96 sprop-pps={pps}; sprop-sps={sps}; sprop-vps={vps}",
    )
    assert sdp.parameter_sets(track) == sets


def test_unreadable_parameter_sets_are_left_out():
    track = track_of(
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 sprop-parameter-sets=!!!!,AAAAAWdCAB4=,",
    )
    assert sdp.parameter_sets(track) == [b"\x67\x42\x00\x1e"]


@pytest.mark.parametrize(
    ("fmtp", "lengths"),
    [
        ("mode=AAC-hbr", (13, 3, 3)),
        ("mode=AAC-lbr", (6, 2, 2)),
        ("SizeLength=16", (16, 0, 0)),
        ("sizelength=x", (13, 3, 3)),
        ("sizelength=99", (13, 3, 3)),
    ],
)
def test_aac_lengths(fmtp, lengths):
    track = track_of(
        "m=audio 0 RTP/AVP 97", "a=rtpmap:97 mpeg4-generic/48000/2", f"a=fmtp:97 {fmtp}"
    )
    assert sdp.aac_lengths(track) == lengths


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://h/demo/", "trackID=0", "rtsp://h/demo/trackID=0"),
        ("rtsp://h/demo", "trackID=0", "rtsp://h/demo/trackID=0"),
        ("rtsp://h/demo", "*", "rtsp://h/demo"),
        ("rtsp://h/demo", None, "rtsp://h/demo"),
        ("rtsp://h/demo", "rtsp://other/x", "rtsp://other/x"),
        ("rtsp://h/a/b", "/c", "rtsp://h/c"),
        ("rtsp://h/a?x=1", "?y=2", "rtsp://h/a?y=2"),
        ("rtsp://h/s?channel=1/", "trackID=0", "rtsp://h/s?channel=1/trackID=0"),
        ("rtsp://h/s?channel=1", "trackID=0", "rtsp://h/s?channel=1/trackID=0"),
    ],
)
def test_control_urls_resolve_as_servers_expect(base, control, url):
    assert sdp.resolve_control(base, control) == url


def test_base_is_content_base_then_content_location_then_the_url():
    assert sdp.base_url("rtsp://h/a", "rtsp://h/b/", "rtsp://h/c") == "rtsp://h/b/"
    assert sdp.base_url("rtsp://h/a", None, "rtsp://h/c") == "rtsp://h/c"
    assert sdp.base_url("rtsp://h/a", " ", None) == "rtsp://h/a"


def test_an_absolute_session_control_is_the_base_of_relative_media():
    d = sdp.parse_sdp("a=control:rtsp://h/x/\nm=audio 0 RTP/AVP 0\na=control:t=1\n")
    assert sdp.media_urls(d, "rtsp://h/y/") == ("rtsp://h/x/t=1",)
    assert sdp.aggregate_url(d, "rtsp://h/y/") == "rtsp://h/x/"


def test_attributes_of_plain_rtp_descriptions():
    d = sdp.parse_sdp(
        "c=IN IP4 232.1.2.3/16/2\na=source-filter: incl IN IP4 * 10.0.0.1\na=recvonly\n"
        "m=video 5004/2 RTP/AVP 33\na=rtcp:6000 IN IP4 10.0.0.2\na=rtcp-mux\na=framerate:29.97\n"
        "a=ssrc:1234 cname:x\na=ssrc:1234 msid:y\na=ssrc:99999999999 cname:z\n"
    )
    media = d.media[0]
    assert d.connection == sdp.Connection("232.1.2.3", ttl=16, count=2)
    assert (media.port, media.port_count) == (5004, 2)
    assert sdp.rtcp_of(media) == sdp.RtcpPort(6000, "10.0.0.2")
    assert sdp.rtcp_mux_of(media)
    assert sdp.framerate_of(media) == pytest.approx(29.97)
    assert sdp.ssrcs_of(media) == (1234,)
    assert sdp.direction_of(media, d) is sdp.Direction.RECVONLY
    assert sdp.source_filters_of(media, d) == (sdp.SourceFilter(True, "*", ("10.0.0.1",)),)


def test_a_channel_is_described_so_that_it_reads_back():
    tracks = (
        Track(0, Kind.VIDEO, Codec.H264, 90000, 96, fmtp={"packetization-mode": "1"}),
        Track(1, Kind.AUDIO, Codec.OPUS, 48000, 97, channels=2),
    )
    text = sdp.sdp_for_channel("demo", "A title\r\na=evil", tracks, 7)
    d = sdp.parse_sdp(text)
    read = sdp.tracks_from_sdp(d)
    assert [t.codec for t in read] == [Codec.H264, Codec.OPUS]
    assert read[0].fmtp == tracks[0].fmtp
    assert d.name == "A title a=evil"
    assert [m.attribute("control") for m in d.media] == ["trackID=0", "trackID=1"]
    assert "sendonly" not in text  # rtspsrc takes it for an ONVIF back channel


def test_a_multicast_channel_names_group_ports_and_hops():
    tracks = (
        Track(0, Kind.VIDEO, Codec.MPEG2, 90000, 32),
        Track(1, Kind.AUDIO, Codec.PCMU, 8000, 0, 1),
    )
    text = sdp.sdp_for_channel(
        "demo", "", tracks, 1, control="", multicast=sdp.Multicast("239.1.1.1", 5000, 3)
    )
    d = sdp.parse_sdp(text)
    assert d.connection == sdp.Connection("239.1.1.1", ttl=3)
    assert [m.port for m in d.media] == [5000, 5002]
    assert d.name == "demo"


@given(st.text(max_size=400))
def test_any_text_is_a_description_or_malformed(text):
    try:
        d = sdp.parse_sdp(text)
    except MalformedError:
        return
    once = sdp.serialize_sdp(d)
    assert sdp.serialize_sdp(sdp.parse_sdp(once)) == once
