"""How `helio bench` counts, compares and judges."""

import dataclasses
import struct

import pytest

from heliograph.cli.benching import machine
from heliograph.cli.benching.run import Moment, compare, ramp, verdict
from heliograph.cli.benching.tally import (
    CLASSES,
    Delays,
    Totals,
    TrackTally,
    delay_class,
    percentile,
    together,
)
from heliograph.cli.benching.viewer import _message_end
from heliograph.protocols import rtcp

CLOCK = 90_000
SENT_US = 1_700_000_000_000_000


def rtp(number, stamp, ssrc=7):
    return struct.pack("!BBHII", 0x80, 96, number & 0xFFFF, stamp, ssrc) + b"x" * 88


def report(unix_us, stamp, ssrc=7):
    ntp = rtcp.ntp_from_unix_us(unix_us)
    return rtcp.serialize((rtcp.SenderReport(ssrc, ntp, stamp, 1, 1),))


class TestTally:
    def test_a_gap_is_expected_and_not_received_over_the_wrap(self):
        tally = TrackTally(CLOCK, Delays())
        for number in (65_534, 65_535, 2, 1, 3):
            tally.take_rtp(rtp(number, 0), 1.0, SENT_US)
        assert (tally.expected, tally.received) == (6, 5)
        assert tally.bytes == 500

    def test_a_new_source_begins_anew(self):
        tally = TrackTally(CLOCK, Delays())
        tally.take_rtp(rtp(10, 0), 1.0, SENT_US)
        tally.take_rtp(rtp(40_000, 0, ssrc=8), 1.0, SENT_US)
        assert (tally.expected, tally.received) == (2, 2)

    def test_one_viewers_sender_report_tells_the_delay_of_all(self):
        delays = Delays()
        one, other = TrackTally(CLOCK, delays), TrackTally(CLOCK, delays)
        one.take_rtcp(report(SENT_US, 1000), SENT_US)
        other.take_rtp(rtp(1, 1000 + CLOCK), 1.0, SENT_US + 1_020_000)
        found = percentile({n: c for n, c in enumerate(delays.counts) if c}, 0.5)
        assert found == pytest.approx(20, rel=0.03)

    def test_another_machines_clock_tells_nothing(self):
        delays = Delays()
        tally = TrackTally(CLOCK, delays)
        tally.take_rtcp(report(SENT_US, 0), SENT_US + 5_000_000)
        tally.take_rtp(rtp(1, 0), 1.0, SENT_US)
        assert not any(delays.counts)

    @pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11])
    def test_rubbish_is_left_out(self, data):
        tally = TrackTally(CLOCK, Delays())
        tally.take_rtp(data, 1.0, SENT_US)
        tally.take_rtcp(data, SENT_US)
        assert tally.received == 0


class TestDelays:
    @pytest.mark.parametrize("ms", [0.2, 1, 7.7, 40, 1500, 60_000])
    def test_classes_are_good_to_a_few_percent(self, ms):
        assert percentile({delay_class(ms): 1}, 0.5) == pytest.approx(ms, rel=0.03)

    def test_bounds(self):
        assert delay_class(-5) == 0
        assert delay_class(1e12) == CLASSES - 1
        assert percentile({}, 0.5) is None

    def test_percentiles_of_many(self):
        counts = {delay_class(10): 95, delay_class(100): 5}
        assert percentile(counts, 0.95) == pytest.approx(10, rel=0.03)
        assert percentile(counts, 0.99) == pytest.approx(100, rel=0.03)


def test_workers_are_added():
    both = together(
        [
            Totals(playing=2, received=5, cpu_s=(1.0,), late_ms=3, reasons={"full": 1}),
            Totals(playing=1, received=7, cpu_s=(2.0,), late_ms=9, reasons={"full": 2}),
        ]
    )
    assert (both.playing, both.received, both.cpu_s, both.late_ms) == (3, 12, (1.0, 2.0), 9)
    assert both.reasons == {"full": 3}


def step(**changes):
    before = Totals(playing=10, expected=1000, received=1000, cpu_s=(1.0,))
    after = Totals(playing=10, expected=11_000, received=11_000, bytes=10_000, cpu_s=(2.0,))
    after = dataclasses.replace(after, **changes)
    return compare(10, Moment(100.0, before, 50.0), Moment(110.0, after, 51.0))


class TestStep:
    def test_figures_are_those_of_the_window(self):
        found = step()
        assert (found.packets, found.lost, found.bitrate) == (10_000, 0, 8000)
        assert found.server_cpu == 0.1
        assert found.cpu_per_viewer == pytest.approx(0.01)
        assert found.generator_cpu == 0.1
        assert found.carried
        assert not found.saturated

    def test_what_our_own_sockets_dropped_is_not_the_servers_loss(self):
        found = step(received=10_900, dropped=60)
        assert (found.lost, found.own_drops) == (40, 60)
        assert found.loss == 0.004
        assert found.saturated

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"received": 10_900}, "1.00% of packets were lost"),
            (
                {"playing": 8, "failed": 2, "reasons": {"no place": 2}},
                "refused or ended (no place)",
            ),
            ({"playing": 9}, "did not come to play"),
            ({"starved": 1}, "1 viewers had nothing"),
        ],
    )
    def test_what_viewers_would_notice_is_not_carried(self, changes, words):
        found = step(**changes)
        assert not found.carried
        assert words in verdict([found])

    @pytest.mark.parametrize("changes", [{"cpu_s": (10.0,)}, {"late_ms": 150}])
    def test_a_generator_at_its_limit_is_said_and_not_blamed_on_the_server(self, changes):
        found = step(**changes)
        assert found.saturated
        assert "at least 10 viewers; with 10 the load generator itself" in verdict([step(), found])

    def test_a_limit_not_reached_is_said(self):
        assert verdict([step()]).endswith("its limit was not reached")


def test_a_ramp_grows_and_ends():
    assert list(ramp(10, 40)) == [10, 15, 22, 33, 40]
    assert list(ramp(1, 3)) == [1, 2, 3]
    assert list(ramp(7, 7)) == [7]


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n$", 28),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody$", 42),
        (b"RTSP/1.0 200 OK\r\nCSeq", 22),
    ],
)
def test_an_answer_between_packets_is_parted(data, end):
    assert _message_end(data, 0) == end


class TestMachine:
    def test_cpu_of_a_process_with_a_name_full_of_traps(self):
        fields = " ".join(str(number) for number in range(4, 53))
        assert machine.parse_cpu_ticks(f"12 (a) b 3) S {fields}") == 14 + 15

    def test_listeners_of_a_port(self):
        rest = "00000000:00000000 00:00000000 00000000 0 0"
        text = (
            "  sl  local_address rem_address st queue tr retrnsmt uid t inode\n"
            f"   0: 0100007F:216A 00000000:0000 0A {rest} 4711 1\n"
            f"   1: 0100007F:216A 0100007F:9999 01 {rest} 4712 1\n"
            f"   2: 0100007F:0050 00000000:0000 0A {rest} 4713 1\n"
        )
        assert machine.parse_listeners(text, 0x216A) == {"4711"}

    def test_cores_are_shared(self):
        assert machine.share_cores({0, 1}) == ({0}, (1,))
        assert machine.share_cores({3, 4, 5, 8}) == ({3, 4}, (5, 8))
        assert machine.share_cores({2}) == ({2}, (2,))
