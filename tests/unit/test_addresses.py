"""Addresses of peers, and what counts as one peer."""

from __future__ import annotations

import pytest

from heliograph.model.addresses import address_of, household_of, stranger_of


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert household_of(address) == counted


def test_a_mapped_address_is_its_ipv4_address() -> None:
    assert str(address_of("::ffff:192.0.2.1")) == "192.0.2.1"
    assert address_of("192.0.2.1:80") is None


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("", ""),
    ],
)
def test_the_machines_own_addresses_are_no_strangers(peer: str, network: str) -> None:
    assert stranger_of(peer) == network
