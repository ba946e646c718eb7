"""Titles made of several files: each is received, and nothing stays of those that are given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.vod import film

from heliograph.bus import Registration
from heliograph.model.errors import ConflictError, MalformedError, NotFoundError, WrongStateError
from heliograph.node.storage import imports
from heliograph.node.storage.imports import Imports
from heliograph.storage.values import DEFAULT_BLOCK, ObjectId, new_object
from heliograph.vod.encoding import decode_manifest
from heliograph.vod.manifest import Manifest


class Writer:
    """What a volume has of one title."""

    def __init__(self) -> None:
        self.object: ObjectId = new_object()
        self.blocks = 0
        self.manifest: Manifest | None = None

    async def claim(self) -> None:
        assert self.blocks == 0

    async def put(self, block: bytes) -> None:
        self.blocks += 1

    async def finish(self, head: bytes) -> None:
        self.manifest = decode_manifest(head)

    async def abort(self) -> None:
        self.blocks = 0


class Desk:
    """Imports of a node whose volume is ``written``."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.written: list[Writer] = []
        scheme = SimpleNamespace(block=DEFAULT_BLOCK)
        volume: Any = SimpleNamespace(writer=self._writer, state=SimpleNamespace(scheme=scheme))
        self.refuses = ""
        """Why no title may begin to exist; empty: it may."""
        self.free = 0
        """How often the name was let go of."""
        self.imports = Imports(
            spool,
            1 << 30,
            lambda _: volume,
            lambda _: Registration(self._let_go),
            self._confirm,
            lambda _: None,
        )

    def _let_go(self) -> None:
        self.free += 1

    async def _confirm(self, name: str, object: ObjectId) -> None:
        assert (name, object) == ("film", self.written[-1].object)
        if self.refuses:
            raise ConflictError(self.refuses)

    def _writer(self) -> Writer:
        self.written.append(Writer())
        return self.written[-1]

    async def send(self, upload: imports.Upload, data: bytes) -> dict[str, Any]:
        async with upload:
            await upload.write(data)
            return await upload.finish()

    def begin(self, size: int | None, renditions: int) -> imports.Upload:
        return self.imports.begin(
            "film",
            title="",
            volume="main",
            file="film.mp4",
            size=size,
            renditions=renditions,
        )

    async def ended(self, id: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                (found,) = [one for one in self.imports.list() if one["id"] == id]
                if found["ended"] is not None:
                    return found
                await asyncio.sleep(0.02)

    async def left(self) -> list[Path]:
        """What stays in the spool when all has settled."""
        async with asyncio.timeout(60):
            while self.imports._tasks:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.02)
        return list(self.spool.iterdir())


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "spool")
    yield made
    await made.imports.close()


async def test_renditions_that_come_one_after_the_other_are_one_title(desk: Desk) -> None:
    best, small = film.mp4(4.0, heights=(180,)), film.mp4(4.0, heights=(96,))
    begun = await desk.send(desk.begin(len(best), 1), best)
    assert (begun["state"], begun["renditions"], begun["came"]) == ("receiving", 1, 0)
    assert desk.written == []
    more = desk.imports.rendition(begun["id"], file="small.mp4", size=len(small))
    sent = await desk.send(more, small)
    assert sent["total"] == len(best) + len(small)
    found = await desk.ended(begun["id"])
    assert (found["state"], found["error"], found["came"]) == ("done", "", 1)
    (writer,) = desk.written
    assert writer.manifest is not None
    kinds = [(one.track.kind.value, one.rendition) for one in writer.manifest.tracks]
    assert kinds == [("video", 0), ("video", 1), ("audio", 0)]
    assert writer.manifest.source == "film.mp4"
    assert await desk.left() == []


async def test_a_rendition_is_taken_only_when_its_turn_has_come(desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        desk.imports.rendition("none", file="", size=None)
    with pytest.raises(MalformedError):
        desk.begin(1, 99)
    first = desk.begin(None, 2)
    async with first:
        with pytest.raises(WrongStateError):  # the first file is still coming
            desk.imports.rendition(first.found.id, file="", size=None)
        await first.write(b"x")
        await first.finish()
    async with desk.imports.rendition(first.found.id, file="", size=None):
        with pytest.raises(WrongStateError):
            desk.imports.rendition(first.found.id, file="", size=None)
    assert (await desk.ended(first.found.id))["state"] == "failed"  # the second broke off
    assert await desk.left() == []


async def test_a_file_that_is_none_is_named_and_nothing_stays(desk: Desk) -> None:
    best = film.mp4(2.0)
    begun = await desk.send(desk.begin(len(best), 1), best)
    more = desk.imports.rendition(begun["id"], file="broken.mp4", size=None)
    await desk.send(more, b"no film at all " * 999)
    found = await desk.ended(begun["id"])
    assert found["state"] == "failed"
    assert "broken.mp4" in found["error"]
    assert await desk.left() == []


@pytest.mark.parametrize("cancelled", [True, False])
async def test_what_does_not_come_is_not_waited_for_for_ever(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    monkeypatch.setattr(imports, "NEXT_WAIT", 60.0 if cancelled else 0.05)
    begun = await desk.send(desk.begin(1, 1), b"x")
    if cancelled:
        await desk.imports.cancel(begun["id"])
    found = await desk.ended(begun["id"])
    assert found["state"] == ("cancelled" if cancelled else "failed")
    assert cancelled or "rendition 1 did not come" in found["error"]
    assert await desk.left() == []
    desk.begin(1, 0)  # its name is free again


async def test_a_title_that_came_meanwhile_stays_and_nothing_is_left_of_this_one(
    desk: Desk,
) -> None:
    desk.refuses = "there is a title film already"
    data = film.mp4(2.0)
    told = await desk.send(desk.begin(len(data), 0), data)
    found = await desk.ended(told["id"])
    assert (found["state"], found["error"]) == ("failed", "there is a title film already")
    (writer,) = desk.written
    assert (writer.manifest, writer.blocks) == (None, 0)
    assert desk.free == 1
    assert await desk.left() == []
