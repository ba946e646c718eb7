"""Which channel's rules a title has: what not everybody might watch stays so in its recording."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.model.media import check_channel_name
from heliograph.model.nodes import NodeId
from heliograph.node.storage.shelf import GUARDED, RECORDED, Placed, Shelf, by_name
from heliograph.storage.values import ObjectId, new_object
from heliograph.vod.manifest import Manifest

TITLE = Manifest("monday", new_object(), "Monday", 0, (), (), (), 0)


def placed(name: str, created: float, object: str = "") -> Placed:
    made = ObjectId(object) if object else new_object()
    return Placed(replace(TITLE, name=name, object=made, created=created), "main", 1)


def names(*all: Placed) -> dict[str, float]:
    """What each is called, and when it was made."""
    found = by_name(all)
    assert {name: one.manifest.name for name, one in found.items()} == {one: one for one in found}
    return {name: one.manifest.created for name, one in found.items()}


def test_of_two_titles_of_one_name_the_older_has_it_and_none_is_lost() -> None:
    first, second, third = (placed("film", at, f"{at:032x}") for at in (1, 2, 3))
    wanted = {"film": 1, "film-00000000": 2, f"{3:032x}": 3, "other": 0}
    for order in itertools.permutations((first, second, third, placed("other", 0))):
        assert names(*order) == wanted
    assert by_name([first, second])["film-00000000"].given == "film"
    assert by_name([first, second])["film"].given == ""
    assert names(second, third) == {"film": 2, "film-00000000": 3}


def test_such_a_name_is_one_that_titles_may_have_and_nobody_elses() -> None:
    long = "x" * 64
    first, second = placed(long, 1), placed(long, 2)
    (other,) = names(first, second).keys() - {long}
    assert check_channel_name(other) == f"{'x' * 55}-{second.manifest.object[:8]}"
    squatter = placed(other, 3)
    assert names(first, second, squatter) == {long: 1, other: 3, str(second.manifest.object): 2}


@pytest.fixture
async def shelf() -> Shelf:
    made = Shelf(await MemoryNetwork().bus(NodeId("a" * 16)), {})
    made.carries = lambda channel: channel == "yard"
    return made


@pytest.mark.parametrize(
    ("source", "digest", "channel"),
    [
        ("film.mp4", "ab", ""),
        (f"{GUARDED}yard", "ab", ""),  # a file may be called anything
        (f"{RECORDED}yard", "", "yard"),
        (f"{RECORDED}gone", "", ""),
        (f"{GUARDED}yard", "", "yard"),
        (f"{GUARDED}gone", "", "gone"),
        ("", "", ""),
    ],
)
async def test_a_recording_has_the_rules_of_its_channel(
    shelf: Shelf, source: str, digest: str, channel: str
) -> None:
    assert shelf.channel(replace(TITLE, source=source, source_digest=digest)) == channel
