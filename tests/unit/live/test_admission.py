"""Whether there is room for publishers and readers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.live.admission import (
    Access,
    Holder,
    Limits,
    Load,
    PublisherView,
    ReaderView,
    admit_publisher,
    admit_reader,
)
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    PeerError,
)

LAN = Access.of(("10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1", "::ffff:10.0.0.1", "fd00::1%eth0"])
def test_addresses_in_the_list_may_come(address: str) -> None:
    assert LAN.permits(address)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "", "nonsense"])
def test_others_may_not(address: str) -> None:
    assert not LAN.permits(address)
    assert Access().permits(address)


def test_wrong_network_is_said() -> None:
    with pytest.raises(MalformedError, match=r"10\.0\.0\.0/99"):
        Access.of(("10.0.0.0/99",))


READER = ReaderView("demo")


def test_open_channel_takes_anybody() -> None:
    admit_reader(READER, "192.0.2.1")


def test_address_outside_the_list_is_refused() -> None:
    with pytest.raises(ForbiddenError):
        admit_reader(replace(READER, access=LAN), "192.0.2.1")
    with pytest.raises(ForbiddenError):
        admit_publisher(replace(PUBLISHER, access=LAN), "192.0.2.1")


@pytest.mark.parametrize(
    ("view", "subject"),
    [
        (replace(READER, limits=Limits(max_readers=2), load=Load(2, 0)), "places"),
        (replace(READER, server_limits=Limits(max_readers=0)), "places"),
        (
            replace(READER, limits=Limits(max_bandwidth=100), load=Load(0, 60), cost=50),
            "bandwidth",
        ),
        (
            replace(READER, server_limits=Limits(None, 100), server_load=Load(9, 99), cost=2),
            "bandwidth",
        ),
    ],
)
def test_spent_budgets_say_which(view: ReaderView, subject: str) -> None:
    with pytest.raises(BusyError) as caught:
        admit_reader(view, "192.0.2.1")
    assert caught.value.subject == subject
    assert caught.value.retry_after


def test_last_place_and_last_bit_are_given() -> None:
    limits = Limits(max_readers=2, max_bandwidth=100)
    admit_reader(replace(READER, limits=limits, load=Load(1, 50), cost=50), "1.2.3.4")


PUBLISHER = PublisherView("demo")
LIVE, DEAD = Holder(1, 0, silent=False), Holder(2, 0, silent=True)


def test_channel_without_a_publisher_takes_one() -> None:
    assert admit_publisher(PUBLISHER, "192.0.2.1") == ()


def test_second_publisher_conflicts_or_replaces() -> None:
    taken = replace(PUBLISHER, holders=(LIVE,))
    with pytest.raises(ConflictError):
        admit_publisher(taken, "192.0.2.1")
    assert admit_publisher(replace(taken, replace=True), "192.0.2.1") == (1,)


def test_silent_publisher_gives_way() -> None:
    assert admit_publisher(replace(PUBLISHER, holders=(DEAD,)), "192.0.2.1") == (2,)


def test_standby_of_another_priority_stays() -> None:
    view = replace(PUBLISHER, holders=(LIVE,), priority=1)
    assert admit_publisher(view, "192.0.2.1") == ()


budget = st.none() | st.integers(0, 5)


@given(
    st.builds(
        ReaderView,
        st.just("demo"),
        access=st.sampled_from([Access(), LAN]),
        limits=st.builds(Limits, budget, budget),
        load=st.builds(Load, st.integers(0, 5), st.integers(0, 5)),
        server_limits=st.builds(Limits, budget, budget),
        server_load=st.builds(Load, st.integers(0, 5), st.integers(0, 5)),
        cost=st.integers(0, 3),
    ),
    st.sampled_from(["10.0.0.1", "192.0.2.1"]),
)
def test_nobody_comes_above_a_limit(view: ReaderView, address: str) -> None:
    try:
        admit_reader(view, address)
    except PeerError:
        return
    for limits, load in ((view.limits, view.load), (view.server_limits, view.server_load)):
        assert limits.max_readers is None or load.readers + 1 <= limits.max_readers
        assert limits.max_bandwidth is None or load.bandwidth + view.cost <= limits.max_bandwidth
    assert view.access.permits(address)
