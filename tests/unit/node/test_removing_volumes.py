"""A volume can be removed once it has no titles, whatever a killed server had begun in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.node.storage_site import BY, Database, Site

from heliograph.catalogue.catalogue import Catalogue
from heliograph.model.errors import ConflictError


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    catalogue = await Catalogue.open(f"sqlite:///{tmp_path}/catalogue.db")
    yield Site(tmp_path, Database(catalogue.volumes))
    await catalogue.close()


async def test_what_a_killed_server_had_only_claimed_does_not_keep_its_volume(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "disk")
        writer = storage.volume("films").writer()
        await writer.claim()
        with pytest.raises(ConflictError, match="imported"):
            await storage.remove_volume("films", BY)
    async with site.run() as storage:
        async with asyncio.timeout(10):
            while any(  # noqa: ASYNC110 - of a pass of the reconciler
                serial == 0 for serial in (await storage.volume("films").catalogue())[0].values()
            ):
                await asyncio.sleep(0.02)
        await storage.remove_volume("films", BY)
    assert await site.database.load() == []


async def test_a_volume_with_titles_stays(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "disk")
        writer = storage.volume("films").writer()
        await writer.claim()
        await writer.finish(b"")
        with pytest.raises(ConflictError, match="has titles"):
            await storage.remove_volume("films", BY)
