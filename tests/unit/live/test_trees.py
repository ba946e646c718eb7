"""Trees of channels, from what nodes say of themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.live.trees import Branch, Place, grow
from heliograph.model.errors import MalformedError


def place(node: str, *path: str, viewers: int = 0) -> Place:
    return Place(node, node, (*path, node), viewers)


def test_nodes_hang_from_where_they_get_the_channel():
    (root,) = grow([place("c", "a", "b", viewers=2), place("a"), place("b", "a", viewers=1)])
    assert root == Branch(
        place("a"),
        (Branch(place("b", "a", viewers=1), (Branch(place("c", "a", "b", viewers=2)),)),),
    )
    assert root.viewers == 3


def test_what_hangs_from_a_silent_node_is_a_tree_of_its_own():
    assert [
        one.place.node for one in grow([place("a"), place("b", "a"), place("d", "a", "c")])
    ] == [
        "a",
        "d",
    ]


def test_nodes_without_the_channel_are_left_out():
    assert grow([Place("a", "a", ())]) == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4, unique=True)
        ),
        max_size=8,
    )
)
def test_whatever_nodes_say_each_that_has_the_channel_stands_once(said):
    places = {node: place(node, *(one for one in path if one != node)) for node, path in said}
    trees = grow(places.values())

    def names(branch: Branch) -> list[str]:
        return [branch.place.node, *(name for one in branch.branches for name in names(one))]

    standing = [name for tree in trees for name in names(tree)]
    assert len(standing) == len(set(standing))
    assert set(standing) <= set(places)


@pytest.mark.parametrize("value", [None, {}, {"name": "a", "path": 7, "viewers": 0, "media": True}])
def test_nonsense_is_malformed(value):
    with pytest.raises(MalformedError):
        Place.read("a", value)
