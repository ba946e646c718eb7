"""Counting decisions: what is counted, by what, and what is kept of addresses."""

from __future__ import annotations

import json
import random

import pytest
from tests.unit.dispatcher.traffic import decisions, play

from heliograph.catalogue.contents import batches
from heliograph.catalogue.contents.batches import Addresses, Batch, network_of, shown
from heliograph.model.errors import MalformedError


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("10.1.2.3", "10.1.2.0/24"),
        ("10.1.2.0/24", "10.1.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::ffff:10.1.2.3", "10.1.2.0/24"),
        ("", ""),
        ("not an address", ""),
        ("300.1.2.3", ""),
        ("1.2.3.x", ""),
    ],
)
def test_clients_are_counted_by_their_networks(client: str, network: str) -> None:
    assert network_of(client) == network


def test_addresses_are_kept_as_far_as_wanted() -> None:
    assert shown("10.1.2.3", Addresses.FULL) == "10.1.2.3"
    assert shown("10.1.2.3", Addresses.NETWORK) == "10.1.2.0/24"
    assert shown("10.1.2.3", Addresses.NONE) == ""
    batch = Batch()
    batch.count(decisions(100), Addresses.NONE)
    assert batch.clients == {}
    assert batch.records == 100


def test_names_that_there_are_not_are_counted_together() -> None:
    batch = Batch()
    some = decisions(500)
    for _ in range(2):
        batch.count(some, Addresses.NETWORK)
    unknown = sum(one.status == 404 for one in some)
    names = {key: n for of_hour in batch.requests.values() for key, n in of_hour.items()}
    assert not [key for key in names if key[0].startswith("nothing")]
    total = sum(of_hour["", 0, 0, 404] for of_hour in batch.requests.values())
    assert total == 2 * unknown


def test_parts_of_an_ordered_batch_have_few_titles_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SORTED", 70)
    batch = Batch()
    batch.count(decisions(2000), Addresses.NETWORK)
    ordered = batch.ordered()
    assert ordered == batch
    for hour, requests in ordered.requests.items():
        assert [*requests] == sorted(batch.requests[hour])
    assert any([*requests] != sorted(requests) for requests in batch.requests.values())


def test_batches_pass_json_and_parts_unchanged() -> None:
    batch = Batch()
    batch.count(decisions(2000), Addresses.NETWORK)
    batch.add_plays(play(number, number, 5.5) for number in range(50))
    batch.records += 50
    parts = [*batch.parts(37)]
    assert all(0 < len(part) <= 37 and part.records > 0 for part in parts)
    assert sum(part.records for part in parts) == batch.records
    random.Random(7).shuffle(parts)
    again = Batch()
    for part in parts:
        again.add(Batch.from_json(json.loads(json.dumps(part.to_json()))))
    assert again == batch


def test_the_newest_word_of_a_play_counts() -> None:
    batch = Batch()
    batch.add_plays([play(1, 0, 60), play(1, 0, 120), play(1, 0, 30)])
    assert [one.sent_bytes for one in batch.plays.values()] == [120_000]


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        {},
        {"records": -1, "requests": [], "clients": [], "plays": []},
        {"records": 1, "requests": [[1, ["a"], [1], [1], [302]]], "clients": [], "plays": []},
        {
            "records": 1,
            "requests": [[1, ["a"], [1], [True], [302], [1]]],
            "clients": [],
            "plays": [],
        },
        {
            "records": 1,
            "requests": [[1, ["a"], [1], [1], [302], [1, 2]]],
            "clients": [],
            "plays": [],
        },
        {"records": 1, "requests": [[1, ["a"], [1], [1], [302], [0]]], "clients": [], "plays": []},
        {"records": 1, "requests": [[1, "a", 1, 1, 302, 1]], "clients": [], "plays": []},
        {"records": 1, "requests": [[1, [1], [1], [1], [302], [1]]], "clients": [], "plays": []},
        {
            "records": 1,
            "requests": [[1, ["a", "b"], [1, 1], [1, 1], [302, 302], [2, 0]]],
            "clients": [],
            "plays": [],
        },
        {"records": 1, "requests": [], "clients": [[1, "10.0.0.0/24", 0]], "plays": []},
        {"records": 1, "requests": [], "clients": [[1, 2, 3]], "plays": []},
        {"records": 1, "requests": [], "clients": [], "plays": [["x"] * 9]},
        {"records": 1, "requests": 7, "clients": [], "plays": []},
    ],
)
def test_what_is_no_batch_is_refused(spoilt: object) -> None:
    with pytest.raises(MalformedError):
        Batch.from_json(spoilt)


def test_an_hour_that_ends_parts_the_count() -> None:
    some = decisions(10, hours=0.5)
    late = [one._replace(at=one.at + 3600) for one in some]
    batch = Batch()
    batch.count([*some, *late], Addresses.NETWORK)
    assert [sum(found.values()) for found in batch.requests.values()] == [10, 10]
