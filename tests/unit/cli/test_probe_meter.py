"""What the probe makes of packets, and how it judges."""

import pytest

from heliograph.cli.probing.meter import TrackMeter
from heliograph.cli.probing.verdicts import Verdict, judge, judge_track
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import rtcp
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.rtp_stream import Numbers, RtpStream

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)
NOON = 1_767_614_400_000_000
KEY = b"\x00\x00\x00\x01\x65\x88" + b"\x11" * 900
DELTA = b"\x00\x00\x00\x01\x41\x9a" + b"\x22" * 500


def packets(count, sequence=65_500, ssrc=7, first=0):
    """``count`` frames at 25 a second, a key each tenth; one packet each."""
    stream = RtpStream(VIDEO, Numbers(ssrc, sequence, 0xFFFFF000), "x")
    made = []
    for n in range(first, first + count):
        data = KEY if n % 10 == 0 else DELTA
        made += stream.packetize(AccessUnit(data, n * 3600, n % 10 == 0))
    return made


def feed(meter, datagrams, delay=0.0):
    for n, data in datagrams:
        now = n / 25 + delay
        meter.take_rtp(data, 100 + now, NOON + round(now * 1e6))


def metered(datagrams, **options):
    meter = TrackMeter(VIDEO, 99.9)
    feed(meter, datagrams, **options)
    return meter.report()


def test_a_whole_stream_is_counted_over_the_wrap():
    report = metered(enumerate(packets(101)))
    assert (report.packets, report.expected, report.lost, report.late) == (101, 101, 0, 0)
    assert report.first_packet_ms == pytest.approx(100, abs=0.1)
    assert (report.units, report.broken) == (101, 0)
    assert report.rate == pytest.approx(25)
    assert report.keyframes == 11
    assert report.keyframe_interval == report.keyframe_interval_max == pytest.approx(0.4)
    assert report.bitrate == pytest.approx(8 * report.bytes / 4, abs=2)
    assert report.jitter_ms < 0.1


@pytest.mark.parametrize("missing", [{5}, {5, 6, 7}, {36, 40}])
def test_loss_is_counted(missing):
    report = metered((n, p) for n, p in enumerate(packets(101)) if n not in missing)
    assert report.lost == len(missing)
    assert report.loss == pytest.approx(len(missing) / 101, abs=1e-6)
    assert report.broken >= 1


def test_late_is_not_lost_and_repeated_is_not_received_twice():
    datagrams = list(enumerate(packets(50)))
    datagrams[10], datagrams[11] = datagrams[11], datagrams[10]
    datagrams.insert(21, datagrams[20])
    report = metered(datagrams)
    assert (report.lost, report.late, report.repeated, report.packets) == (0, 1, 1, 50)


def test_a_repeated_packet_does_not_hide_a_lost_one():
    datagrams = list(enumerate(packets(50)))
    datagrams[30] = datagrams[29]
    report = metered(datagrams)
    assert (report.lost, report.repeated) == (1, 1)


def test_a_new_source_begins_a_new_count():
    first, second = packets(50), packets(50, sequence=9, ssrc=8, first=50)
    report = metered(enumerate(first[:20] + first[21:] + second))
    assert (report.restarts, report.expected, report.lost) == (1, 100, 1)


def test_what_is_not_rtp_or_of_another_kind_is_not_counted_as_media():
    meter = TrackMeter(VIDEO, 0.0)
    meter.take_rtp(b"\x00", 0.0, NOON)
    other = bytearray(packets(1)[0])
    other[1] = 13
    meter.take_rtp(bytes(other), 0.0, NOON)
    report = meter.report()
    assert (report.packets, report.malformed) == (0, 1)
    assert report.first_packet_ms is None
    assert judge_track(report) is Verdict.BAD


def test_the_delay_is_told_from_the_senders_clock():
    meter = TrackMeter(VIDEO, 0.0)
    stream = RtpStream(VIDEO, Numbers(7, 0, 0xFFFFF000), "x")
    feed(meter, enumerate(packets(50, sequence=0)), delay=0.123)
    assert meter.report().delay_ms is None
    assert meter.take_rtcp(stream.report(NOON + 1_000_000, 1.0), NOON + 1_050_000)
    report = meter.report()
    assert report.same_clock
    assert report.delay_ms == pytest.approx(123, abs=1)


def test_another_machines_clock_gives_no_delay():
    meter = TrackMeter(VIDEO, 0.0)
    stream = RtpStream(VIDEO, Numbers(7, 0, 0xFFFFF000), "x")
    feed(meter, enumerate(packets(10, sequence=0)))
    meter.take_rtcp(stream.report(NOON - 90_000_000, 0.0), NOON)
    report = meter.report()
    assert not report.same_clock
    assert report.delay_ms is None
    assert meter.delay() == pytest.approx(90, abs=0.5)


def test_the_sender_is_told_of_its_loss():
    meter = TrackMeter(VIDEO, 0.0)
    feed(meter, ((n, p) for n, p in enumerate(packets(101, sequence=1)) if n % 4))
    (report,) = rtcp.parse(meter.receiver_report(99, NOON))
    (block,) = report.reports
    assert (report.ssrc, block.ssrc, block.highest_sequence) == (99, 7, 100)
    assert block.fraction_lost == pytest.approx(64, abs=2)


def test_a_codec_not_understood_is_counted_all_the_same():
    meter = TrackMeter(Track(0, Kind.VIDEO, Codec.UNKNOWN, 90_000, 96), 0.0)
    feed(meter, enumerate(packets(10)))
    report = meter.report()
    assert (report.packets, report.units, report.rate) == (10, 0, None)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("loss", 0.0, Verdict.GOOD),
        ("loss", 0.001, Verdict.FAIR),
        ("loss", 0.02, Verdict.BAD),
        ("av_offset_ms", -300.0, Verdict.BAD),
        ("late", 3, Verdict.FAIR),
        ("delay_ms", None, Verdict.NONE),
        ("packets", 5, Verdict.NONE),
    ],
)
def test_figures_are_judged(name, value, verdict):
    assert judge(name, value) is verdict


def test_a_good_stream_is_judged_good():
    assert judge_track(metered(enumerate(packets(101)))) is Verdict.GOOD
