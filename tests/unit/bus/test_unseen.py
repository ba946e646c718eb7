"""From whom a node is parted, by what others tell."""

from __future__ import annotations

import itertools

from heliograph.bus.unseen import MAX_UNSEEN, PARTED, PAUSE_FIRST, STALE, Session, Unseen
from heliograph.model.nodes import NodeId

A, B, C = ((NodeId(name * 16), "01") for name in "abc")


def test_the_lower_name_acts_first_and_the_other_later() -> None:
    lower, higher = Unseen(A[0]), Unseen(B[0])
    for unseen, mine, other, waits in ((lower, A, B, PARTED), (higher, B, A, 2 * PARTED)):
        assert unseen.told({A, B, C}, {mine, C}, 0.0) is None
        assert unseen.told({A, B, C}, {mine, C}, waits - 0.1) is None
        assert unseen.told({A, B, C}, {mine, C}, waits) == other


def test_who_is_seen_meanwhile_or_told_of_no_more_is_not_parted() -> None:
    unseen = Unseen(A[0])
    assert unseen.told({A, B, C}, {A, C}, 0.0) is None
    assert unseen.told({A, B, C}, {A, B, C}, PARTED - 1) is None
    assert unseen.told({A, B, C}, {A, C}, PARTED) is None  # gone again since just now
    assert unseen.told({A, C}, {A, C}, PARTED + STALE + 1) is None  # it has ended for all
    assert unseen.told({A, B, C}, {A, C}, PARTED + STALE + 2) is None


def test_a_session_whose_node_has_started_again_is_nobody() -> None:
    unseen = Unseen(A[0])
    again: Session = (B[0], "02")
    for now in (0.0, PARTED, 3 * PARTED):
        assert unseen.told({A, B}, {A, again}, now) is None


def test_where_it_does_not_help_it_is_done_less_and_less_often() -> None:
    unseen = Unseen(A[0])
    done = [
        now for now in map(float, range(400)) if unseen.told({A, B, C}, {A, C}, now) is not None
    ]
    pauses = [later - before for before, later in itertools.pairwise(done)]
    assert pauses == [PAUSE_FIRST, 2 * PAUSE_FIRST, 4 * PAUSE_FIRST]
    # Once all is well it begins anew.
    assert unseen.told({A, B, C}, {A, B, C}, 2000.0) is None
    assert unseen.told({A, B, C}, {A, C}, 2001.0) is None
    assert unseen.told({A, B, C}, {A, C}, 2001.0 + PARTED) == B
    assert unseen.told({A, B, C}, {A, C}, 2001.0 + PARTED + PAUSE_FIRST - 1) is None


def test_what_is_remembered_is_bounded() -> None:
    unseen = Unseen(A[0])
    many = {(NodeId(f"{number:016d}"), "01") for number in range(2 * MAX_UNSEEN)}
    assert unseen.told(many, {A}, 0.0) is None
    assert len(unseen._told) == MAX_UNSEEN
