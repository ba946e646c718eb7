"""Networks of clients, licences, regions."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.contents.values import Network
from heliograph.dispatcher import conditions
from heliograph.dispatcher.conditions import Locality, Networks, closeness, licensed, within

_FOUR = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))
_SIX = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128))


def naive(networks: list[Network], client: str) -> Locality:
    """The longest of those that hold the address, one after the other; the later of two alike."""
    best, length = Locality(), -1
    for one in networks:
        network = ip_network(one.cidr)
        if ip_address(client) in network and network.prefixlen >= length:
            best, length = Locality(one.region, one.refused), network.prefixlen
    return best


@given(st.lists(_FOUR, max_size=20), st.lists(_SIX, max_size=20), st.data())
def test_the_longest_network_counts(four, six, data):
    networks = []
    for bits, several in ((32, four), (128, six)):
        for number, length in several:
            begin = number >> (bits - length) << (bits - length)
            address = ip_address(begin.to_bytes(bits // 8))
            networks.append(Network(f"{address}/{length}", f"r{len(networks)}", number % 5 == 0))
    found = Networks(networks)
    for one in networks:
        network = ip_network(one.cidr)
        inside = data.draw(st.integers(0, min(network.num_addresses - 1, 1000)))
        client = str(network[inside])
        assert found.find(client) == naive(networks, client)
        assert found.find(client) == naive(networks, client)  # remembered
    for client in ("203.0.113.7", "2001:db8::7"):
        assert found.find(client) == naive(networks, client)


def test_an_address_of_ipv4_in_ipv6_is_that_address():
    networks = Networks([Network("192.0.2.0/24", "here")])
    assert networks.find("::ffff:192.0.2.9").region == "here"
    assert networks.find("no address").region == ""


def test_what_is_remembered_of_clients_is_bounded(monkeypatch):
    monkeypatch.setattr(conditions, "MAX_REMEMBERED", 100)
    networks = Networks([Network("10.0.0.0/8", "ten")])
    for number in range(1000):
        assert networks.find(f"10.0.{number // 250}.{number % 250}").region == "ten"
        assert len(networks._remembered) <= 100


@pytest.mark.parametrize(
    ("regions", "client", "allowed"),
    [
        ((), "", True),
        ((), "eu/de", True),
        (("eu",), "eu", True),
        (("eu",), "eu/de/berlin", True),
        (("eu",), "europe", False),
        (("eu/de",), "eu", False),
        (("us", "eu/fr"), "eu/fr", True),
        (("us",), "", False),
    ],
)
def test_licences_are_for_regions_and_their_parts(regions, client, allowed):
    assert licensed(regions, client) is allowed


def test_regions_are_near_by_what_they_have_in_common():
    assert closeness("eu/de/berlin", "eu/de/ulm") == 2
    assert closeness("eu/de", "eu/de") == 2
    assert closeness("eu", "us") == 0
    assert closeness("", "") == 0
    assert within("eu/de", "eu/de")
    assert not within("eu/de", "eu/d")
