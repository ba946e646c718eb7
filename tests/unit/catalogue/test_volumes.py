"""States of volumes: of two who change one at once, one is told."""

from __future__ import annotations

import asyncio

import pytest

from heliograph.catalogue import volumes
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord
from heliograph.model.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
    TooManyError,
)

ANNA = Actor("anna", "192.0.2.1")


async def test_a_state_is_written_once_for_each_version(catalogue: Catalogue) -> None:
    states = catalogue.volumes
    assert await states.load() == []
    await states.put(VolumeRecord("main", 1, "{}"), 0, "volume.create", ANNA)
    with pytest.raises(ConflictError, match="main already"):
        await states.put(VolumeRecord("main", 1, "{}"), 0, "volume.create", ANNA)
    outcomes = await asyncio.gather(
        *(
            states.put(VolumeRecord("main", 2, f"[{number}]"), 1, "disk.add", ANNA)
            for number in range(5)
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in outcomes) == [
        *["NoneType"],
        *["PreconditionError"] * 4,
    ]
    assert await states.get("main") == VolumeRecord("main", 2, f"[{outcomes.index(None)}]")
    with pytest.raises(PreconditionError, match="2, not 1"):
        await states.put(VolumeRecord("main", 2, "{}"), 1, "disk.add", ANNA)
    lines = await catalogue.audit.read()
    assert [(line.action, line.subject, line.detail["version"]) for line in lines] == [
        ("disk.add", "main", 2),
        ("volume.create", "main", 1),
    ]


async def test_volumes_come_and_go(catalogue: Catalogue) -> None:
    states = catalogue.volumes
    for name in ("zoo", "ark"):
        await states.put(VolumeRecord(name, 1, "{}"), 0, "volume.create", ANNA)
    assert [one.name for one in await states.load()] == ["ark", "zoo"]
    await states.remove("ark", "ark-id", ANNA)
    with pytest.raises(NotFoundError, match="no volume ark"):
        await states.get("ark")
    with pytest.raises(NotFoundError):
        await states.remove("ark", "ark-id", ANNA)
    with pytest.raises(NotFoundError):
        await states.put(VolumeRecord("ark", 2, "{}"), 1, "disk.add", ANNA)


async def test_a_removed_volume_leaves_a_mark(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = catalogue.volumes
    monkeypatch.setattr(volumes, "MAX_ERASED", 2)
    monkeypatch.setattr(volumes, "MAX_VOLUMES", 1)
    for id in ("first", "second", "third"):  # marks are no volumes
        await states.put(VolumeRecord("ark", 1, "{}"), 0, "volume.create", ANNA)
        assert not await states.erased(id)
        await states.remove("ark", id, ANNA)
        assert await states.erased(id)
        assert await states.load() == []
    kept = [id for id in ("first", "second", "third") if await states.erased(id)]
    assert len(kept) == 2  # the oldest are forgotten
    assert kept[-1] == "third"
    with pytest.raises(NotFoundError):
        await states.get("!third")
    with pytest.raises(NotFoundError):
        await states.remove("!third", "fourth", ANNA)


async def test_names_and_sizes_are_bounded(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = catalogue.volumes
    with pytest.raises(MalformedError):
        await states.put(VolumeRecord("a b", 1, "{}"), 0, "volume.create", ANNA)
    monkeypatch.setattr(volumes, "MAX_DOCUMENT", 3)
    with pytest.raises(TooLargeError):
        await states.put(VolumeRecord("main", 1, "long"), 0, "volume.create", ANNA)
    monkeypatch.setattr(volumes, "MAX_VOLUMES", 1)
    await states.put(VolumeRecord("main", 1, "{}"), 0, "volume.create", ANNA)
    with pytest.raises(TooManyError):
        await states.put(VolumeRecord("other", 1, "{}"), 0, "volume.create", ANNA)
