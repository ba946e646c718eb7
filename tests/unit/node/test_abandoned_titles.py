"""Recorded titles whose node never comes back do not grow for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.node.test_recordings_left import Volume, grown

from heliograph.model.errors import UnreachableError
from heliograph.node.storage.abandoned import ABANDONED, Abandoned
from heliograph.node.storage.shelf import Placed
from heliograph.storage.values import ObjectId
from heliograph.vod.encoding import decode_manifest


class Site:
    """A volume with a title that grows, as the node sees it that finishes titles."""

    def __init__(self, root: Path) -> None:
        self.volume = Volume("a")
        self.object = grown(root, self.volume)
        manifest = decode_manifest(self.volume.growing[self.object])
        assert manifest.live
        self.placed = [Placed(manifest, "a", 1)]
        self.writers: set[str] = set()
        self.leads = True
        self.time = 1000.0
        self.wrote: list[str] = []
        shelf: Any = SimpleNamespace(all=lambda: self.placed)
        names: Any = SimpleNamespace(written=lambda name: name in self.writers)
        volume: Any = lambda name: {"a": self.volume}[name]  # noqa: E731
        self.abandoned = Abandoned(
            shelf, names, volume, lambda: self.leads, self.wrote.append, lambda: self.time
        )

    async def after(self, seconds: float) -> bool:
        """Whether the title is finished when a look comes so much later."""
        self.time += seconds
        await self.abandoned.look()
        return self.object in self.volume.finished


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_title_that_nobody_has_under_way_is_finished_after_a_while(site: Site) -> None:
    assert not await site.after(0)
    assert not await site.after(ABANDONED - 1)
    assert await site.after(1)
    assert site.volume.counts == {site.object: 2}
    assert site.wrote == ["a"]


async def test_one_whose_node_is_back_in_time_is_not(site: Site) -> None:
    assert not await site.after(0)
    site.writers.add("night")
    assert not await site.after(ABANDONED)
    site.writers.clear()
    assert not await site.after(1)  # as if it was never away
    assert not await site.after(ABANDONED - 1)
    assert await site.after(1)


async def test_one_that_made_way_for_an_older_one_is_known_by_the_name_that_it_was_given(
    site: Site,
) -> None:
    (placed,) = site.placed
    later = replace(placed.manifest, name="night-12345678")
    site.placed = [replace(placed, manifest=later, given="night")]
    site.writers.add("night")
    assert not await site.after(0)
    assert not await site.after(ABANDONED)


async def test_one_node_alone_finishes_it_and_another_when_that_is_gone(site: Site) -> None:
    site.leads = False
    assert not await site.after(0)
    assert not await site.after(ABANDONED)
    site.leads = True
    assert await site.after(0)


async def test_what_cannot_be_finished_now_is_finished_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reopen(object: ObjectId) -> Any:
        raise UnreachableError("a node is away")

    assert not await site.after(0)
    with monkeypatch.context() as patched:
        patched.setattr(site.volume, "reopen", reopen)
        assert not await site.after(ABANDONED)
    assert await site.after(1)
