"""Offers of WebRTC by address: rate, number of sessions, memory."""

import pytest

from heliograph.live import offers
from heliograph.live.offers import OfferLimits, Offers
from heliograph.model.errors import TooManyError


def accepted(table: Offers, peer: str, now: float, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            table.asked(peer, now)
        except TooManyError:
            continue
        count += 1
    return count


def test_a_burst_is_taken_and_then_the_rate() -> None:
    table = Offers(OfferLimits(per_minute=60))
    assert accepted(table, "192.0.2.1", 0, 100) == 30
    assert accepted(table, "192.0.2.1", 10, 100) == 10
    assert accepted(table, "192.0.2.1", 1e6, 100) == 30
    assert table.counters["offers_too_often"] == 230


def test_who_waits_as_told_is_taken() -> None:
    table = Offers(OfferLimits(per_minute=7))
    now = 100.0
    accepted(table, "192.0.2.1", now, 50)
    for _ in range(20):
        with pytest.raises(TooManyError) as refused:
            table.asked("192.0.2.1", now)
        assert refused.value.status == 429
        wait = refused.value.retry_after
        assert wait is not None
        assert 1 <= wait <= 9
        now += wait
        table.asked("192.0.2.1", now)


def test_others_are_not_concerned() -> None:
    table = Offers(OfferLimits(per_minute=1))
    for last in range(1, 200):
        assert accepted(table, f"192.0.2.{last}", 0, 5) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_what_is_one_address(one: str, other: str, same: bool) -> None:
    table = Offers(OfferLimits(sessions=1))
    table.opened(one)
    if not same:
        table.check(other)
        return
    with pytest.raises(TooManyError, match="sessions already"):
        table.check(other)
    table.closed(one)
    table.check(other)


def test_a_flood_of_addresses_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "MAX_ADDRESSES", 100)
    table = Offers(OfferLimits(per_minute=2))
    for n in range(10_000):
        table.asked(f"10.0.{n // 256}.{n % 256}", 0)
    assert len(table._buckets) == 100
    # Who asked last is still known.
    assert accepted(table, "10.0.39.15", 0, 3) == 0
