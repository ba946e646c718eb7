"""When units go out, in a time of its own."""

import itertools

import pytest

from heliograph.cli.publishing.pacing import CATCH_UP, MAX_BEHIND, Backoff, Pacer


def play(pacer, dues, now, stalls=()):
    """Send units as a loop would; ``stalls``: {index: seconds the world stands still before}."""
    sent = []
    for index, due in enumerate(dues):
        now += dict(stalls).get(index, 0)
        while (wait := pacer.wait(due, now)) > 0:
            now += wait
        pacer.sent(due, now)
        sent.append(now)
    return sent


def frames(count):
    return [n / 25 for n in range(count)]


def test_units_go_out_when_they_are_due():
    sent = play(Pacer(origin=100.0), frames(50), 100.0)
    assert sent == pytest.approx([100 + n / 25 for n in range(50)], abs=0.002)


def test_a_short_stall_is_caught_up_with_at_a_bounded_rate():
    sent = play(Pacer(origin=0.0), frames(100), 0.0, {10: 0.4})
    gaps = [b - a for a, b in itertools.pairwise(sent)]
    assert min(gaps) >= 0.04 / CATCH_UP - 0.0021
    assert sent[-1] == pytest.approx(99 / 25, abs=0.002)


def test_a_long_stall_moves_what_follows():
    pacer = Pacer(origin=0.0)
    sent = play(pacer, frames(100), 0.0, {10: 7.0})
    assert pacer.stalls == 1
    assert pacer.shifted == pytest.approx(7.0 - 0.04, abs=0.01)
    gaps = [b - a for a, b in itertools.pairwise(sent[10:])]
    assert gaps == pytest.approx([0.04] * 89, abs=0.002)


def test_timestamps_and_clock_agree_over_a_stall():
    pacer = Pacer(origin=50.0)
    before = pacer.media_time(60.0) - 60.0
    pacer.wait(1.0, 60.0)
    assert pacer.shifted > MAX_BEHIND
    assert pacer.media_time(60.0) - 60.0 == pytest.approx(before)


def test_the_slower_of_two_tracks_does_not_reset_the_pace():
    pacer = Pacer(origin=0.0)
    for due in (1.0, 0.98):
        pacer.sent(due, 1.3)
    assert pacer.wait(1.04, 1.301) == pytest.approx(0.009, abs=0.0005)


def test_back_off_doubles_up_to_its_limit_and_begins_anew():
    backoff = Backoff()
    assert [backoff.next(0) for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    backoff.succeeded()
    assert backoff.next(1.0) == pytest.approx(0.375)


def test_back_off_stays_bounded_for_days():
    backoff = Backoff(failures=100_000)
    assert backoff.next(0) == 10
