"""Who sends which block of a title."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from heliograph.vod.bipartite.order import Member
from heliograph.vod.bipartite.sharing import Share, sender_of

from .staged_film import make_film
from .test_bipartite_order import ORDER, member

OBJECT = ORDER.object
SECOND = 1_000_000
NODES = "abcde"


def naive(block: int, end: int, home: str | None, members: list[Member]) -> set[int]:
    """A second way to say who may send: everybody who is not dead by then, or the home alone."""
    alive = {one.number: one.node for one in members}
    for one in members:
        if one.until_us is not None and one.until_us < end:
            del alive[one.number]
    at_home = {number for number, node in alive.items() if node == home}
    return at_home or set(alive)


_MEMBERS = st.lists(
    st.tuples(st.sampled_from(NODES), st.none() | st.integers(0, 40 * SECOND)),
    min_size=1,
    max_size=8,
)


@given(_MEMBERS, st.integers(0, 39), st.none() | st.sampled_from(NODES + "x"))
def test_each_block_has_one_sender_that_is_there(
    found: list[tuple[str, int | None]], block: int, home: str | None
) -> None:
    members = [member(number, node, until) for number, (node, until) in enumerate(found)]
    end = (block + 1) * SECOND
    chosen = sender_of(OBJECT, block, end, home, members)
    allowed = naive(block, end, home, members)
    assert (chosen in allowed) if allowed else chosen is None
    # Whatever the order in which they are told, all find the same.
    if sum(one.node == home for one in members) < 2:
        shuffled = [*members]
        random.Random(block).shuffle(shuffled)
        assert sender_of(OBJECT, block, end, home, shuffled) == chosen


def test_what_a_dead_node_leaves_is_shared_by_all_others_and_nothing_else_moves() -> None:
    lots = random.Random(7)
    homes = [lots.choice(NODES) for _ in range(2000)]
    members = [member(number, node) for number, node in enumerate(NODES)]

    def all_senders(members: list[Member]) -> list[int | None]:
        return [
            sender_of(OBJECT, block, (block + 1) * SECOND, home, members)
            for block, home in enumerate(homes)
        ]

    before = all_senders(members)
    until = 600 * SECOND
    after = all_senders(
        [replace(one, until_us=until) if one.node == "b" else one for one in members]
    )
    moved = [n for n in range(2000) if before[n] != after[n]]
    assert moved == [n for n, home in enumerate(homes) if home == "b" and n >= 600]
    shares = Counter(after[n] for n in moved)
    assert set(shares) == {0, 2, 3, 4}
    assert max(shares.values()) < 1.5 * min(shares.values())


def test_shares_of_all_members_are_the_title_each_block_once() -> None:
    manifest, _ = make_film(20)
    homes = ["a", "b", "c", None]

    def home(block: int) -> str | None:
        return homes[block % 4]

    for order in (ORDER, ORDER.without("b", ORDER.at_us + 6 * SECOND, 1.0)):
        shares = [Share(order, manifest, home, one.number) for one in order.members]
        for block in range(len(manifest.blocks)):
            assert sum(share.has(block) for share in shares) == 1
