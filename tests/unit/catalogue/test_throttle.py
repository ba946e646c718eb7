"""Guesses are slowed; people who mistype are not."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.throttle import ACCOUNT_POLICY, ADDRESS_POLICY, Policy, Throttle
from heliograph.model.errors import BusyError


def guesses(throttle: Throttle, seconds: float, **who: str) -> int:
    """How many guesses somebody gets in who obeys ``retry_after`` to the second."""
    now, count = 0.0, 0
    while now < seconds:
        try:
            throttle.begin(now, **who)
            count += 1
        except BusyError as error:
            now += error.retry_after or 0
    return count


def test_a_day_of_guessing_from_one_address() -> None:
    assert guesses(Throttle(), 86_400, address="192.0.2.1") < 130


def test_a_day_of_guessing_at_one_account_from_everywhere() -> None:
    throttle, now, count = Throttle(), 0.0, 0
    while now < 86_400:
        with contextlib.suppress(BusyError):
            throttle.begin(now, address=f"2001:db8:{count % 65536:x}::1", account="anna")
            count += 1
        now += 1.0
    assert count < 3000


def test_first_mistakes_are_free() -> None:
    throttle = Throttle()
    for _ in range(ACCOUNT_POLICY.free):
        throttle.begin(0.0, address="192.0.2.1", account="anna")
    attempt = throttle.begin(0.0, address="192.0.2.1", account="anna")
    throttle.succeeded(attempt, 0.0)
    throttle.begin(0.0, address="192.0.2.1", account="anna")


def test_owner_of_an_attacked_account_waits_half_a_minute_at_most() -> None:
    throttle = Throttle()
    guesses(throttle, 3600, address="192.0.2.66", account="anna")
    with contextlib.suppress(BusyError):
        throttle.begin(3600.0, address="192.0.2.66", account="anna")
    throttle.begin(3600.0 + ACCOUNT_POLICY.max_delay + 1, address="192.0.2.1", account="anna")


def test_guesses_sent_at_once_are_no_cheaper() -> None:
    throttle = Throttle()
    passed = 0
    for _ in range(1000):
        with contextlib.suppress(BusyError):
            throttle.begin(0.0, address="192.0.2.1")
            passed += 1
    assert passed == ADDRESS_POLICY.free + 1
    assert throttle.refused == 1000 - passed


def test_own_account_does_not_pay_for_guesses_at_another() -> None:
    throttle, now = Throttle(), 0.0
    passed = 0
    for _ in range(1000):
        with contextlib.suppress(BusyError):
            throttle.begin(now, address="192.0.2.1", account="victim")
            passed += 1
        with contextlib.suppress(BusyError):
            throttle.succeeded(throttle.begin(now, address="192.0.2.1", account="mine"), now)
    assert passed <= ACCOUNT_POLICY.free + 1


def test_signing_in_between_guesses_at_many_accounts_does_not_help() -> None:
    throttle = Throttle()
    passed = 0
    for number in range(1000):
        with contextlib.suppress(BusyError):
            throttle.begin(0.0, address="192.0.2.1", account=f"victim{number}")
            passed += 1
        with contextlib.suppress(BusyError):
            throttle.succeeded(throttle.begin(0.0, address="192.0.2.1", account="mine"), 0.0)
    assert passed <= ADDRESS_POLICY.free + 1


def test_right_password_at_the_last_free_try_makes_nobody_wait() -> None:
    throttle = Throttle()
    for _ in range(ADDRESS_POLICY.free):
        throttle.begin(0.0, address="192.0.2.1")
    for _ in range(3):
        throttle.succeeded(throttle.begin(0.0, address="192.0.2.1"), 0.0)


def test_success_leaves_no_trace() -> None:
    throttle = Throttle()
    for number in range(1000):
        throttle.succeeded(throttle.begin(0.0, address="192.0.2.1", account="anna"), 0.0)
        assert throttle.failed == 0, number
    assert len(throttle) == 0


def test_failures_are_forgotten_one_an_hour() -> None:
    throttle = Throttle()
    for _ in range(ADDRESS_POLICY.free + 1):
        throttle.begin(0.0, address="192.0.2.1")
    later = 2 * ADDRESS_POLICY.forget_after + 1
    throttle.begin(later, address="192.0.2.1")
    throttle.begin(later, address="192.0.2.1")
    with pytest.raises(BusyError):
        throttle.begin(later, address="192.0.2.1")


def test_table_is_bounded_and_forgets_the_longest_quiet() -> None:
    small = Policy(free=0, first_delay=1000.0, max_entries=3)
    throttle = Throttle(address=small)
    for number in range(5):
        throttle.begin(0.0, address=f"192.0.2.{number}")
    assert len(throttle) == 3
    assert throttle.evicted == 2
    throttle.begin(0.0, address="192.0.2.0")
    with pytest.raises(BusyError):
        throttle.begin(0.0, address="192.0.2.4")


@given(st.integers(0, 10_000))
def test_delay_grows_and_stays_in_its_bound(failures: int) -> None:
    policy = Policy()
    assert 0 <= policy.delay(failures) <= policy.delay(failures + 1) <= policy.max_delay
    assert (policy.delay(failures) == 0) == (failures <= policy.free)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 100)), max_size=60))
def test_whatever_happens_who_waits_long_enough_may_try(
    steps: list[tuple[str, bool, float]],
) -> None:
    throttle, now = Throttle(), 0.0
    for account, good, pause in steps:
        now += pause
        with contextlib.suppress(BusyError):
            attempt = throttle.begin(now, address="192.0.2.1", account=account)
            if good:
                throttle.succeeded(attempt, now)
    throttle.begin(now + ADDRESS_POLICY.max_delay + 1, address="192.0.2.1", account="a")
