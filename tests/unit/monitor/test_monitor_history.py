"""Measurements on their way to the database."""

from __future__ import annotations

from heliograph.catalogue.contents.values import ProbeKind
from heliograph.dispatcher.monitor import history
from heliograph.dispatcher.monitor.history import History

TCP, ICMP = ProbeKind.TCP, ProbeKind.ICMP


def test_one_row_of_the_mean_and_one_of_misses() -> None:
    kept = History()
    for ms in (10.0, None, 20.0, None):
        kept.add(1, TCP, ms)
    kept.add(1, ICMP, 1.0)
    rows = kept.take(5.0)
    assert sorted(rows, key=str) == [
        (1, ICMP, 5.0, 1.0),
        (1, TCP, 5.0, 15.0),
        (1, TCP, 5.0, None),
    ]
    assert not kept.take(6.0)


def test_what_could_not_be_saved_comes_again_in_order() -> None:
    kept = History()
    for at in (1.0, 2.0):
        kept.add(1, TCP, at)
        rows = kept.take(at)
        kept.give_back(rows)
    kept.add(1, TCP, 3.0)
    assert [row[2] for row in kept.take(3.0)] == [1.0, 2.0, 3.0]


def test_oldest_go_when_the_database_is_away_for_long() -> None:
    kept = History(most=3)
    for at in range(5):
        kept.add(1, TCP, 1.0)
        kept.give_back(kept.take(float(at)))
    assert kept.lost == 2
    assert [row[2] for row in kept.take(9.0)] == [2.0, 3.0, 4.0]


def test_one_saving_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(history, "MAX_TAKEN", 2)
    kept = History()
    for server in range(5):
        kept.add(server, TCP, 1.0)
    assert [len(kept.take(0.0)) for _ in range(4)] == [2, 2, 1, 0]
