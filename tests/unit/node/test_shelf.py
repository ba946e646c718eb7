"""Which channel's rules a title has: what not everybody might watch stays so in its recording."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.model.nodes import NodeId
from heliograph.node.storage.shelf import GUARDED, RECORDED, Shelf
from heliograph.storage.values import new_object
from heliograph.vod.manifest import Manifest

TITLE = Manifest("monday", new_object(), "Monday", 0, (), (), (), 0)


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
