"""What a killed server was recording is finished where it was to go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heliograph.model.errors import ConflictError, MalformedError, NotFoundError
from heliograph.model.media import Codec, Kind, Track
from heliograph.node.storage import recordings
from heliograph.node.storage.recordings import Recordings
from heliograph.storage.values import ObjectId, new_object
from heliograph.vod.encoding import decode_manifest
from heliograph.vod.recording import Journal, RecordOptions, journals
from heliograph.vod.recording.journal import encode_unit
from heliograph.vod.recording.recorder import Recorder, State
from heliograph.vod.recording.values import RecordedUnit

TRACKS = [Track(0, Kind.AUDIO, Codec.PCMU, 8000, 0, 1, "PCMU")]


class Volume:
    """Says what is finished in it."""

    def __init__(self, name: str) -> None:
        self.state = SimpleNamespace(name=name)
        self.finished: dict[ObjectId, str] = {}

    async def head(self, object: ObjectId) -> Any:
        if object not in self.finished:
            raise NotFoundError(f"no object {object}", subject=object)
        return SimpleNamespace(document=b"")

    async def reopen(self, object: ObjectId) -> Any:
        raise ConflictError(f"object {object} is finished", subject=object)

    def writer(self, object: ObjectId) -> Any:
        return _Writer(self, object)


class _Writer:
    def __init__(self, volume: Volume, object: ObjectId) -> None:
        self.object = object
        self.blocks = 0
        self._volume = volume

    async def put(self, block: bytes) -> None:
        self.blocks += 1

    async def grow(self, head: bytes) -> None:
        assert decode_manifest(head).object == self.object

    async def finish(self, head: bytes) -> None:
        self._volume.finished[self.object] = decode_manifest(head).name


def journal(root: Path, volume: str) -> ObjectId:
    """What is left of a recording that was killed in its first second."""
    options = RecordOptions("night", object=new_object(), block=4096, volume=volume)
    recorder = Recorder.begin(options, TRACKS, 0.0)
    left = Journal.create(root, recorder.base, options.block, options.volume)
    left.begin(State(0, 0, 0, recorder.written))
    units = [RecordedUnit(0, n * 20_000, n * 160, True, bytes([n]) * 160) for n in range(20)]
    left.append(b"".join(map(encode_unit, units)))
    left.close()
    return options.object


class Desk:
    """Recordings of a node."""

    def __init__(self, root: Path, **volumes: Volume) -> None:
        self.root, self.volumes = root, volumes
        self.asked = 0
        channels: Any = None
        volume: Any = self.find
        self.recordings = Recordings(root, channels, volume, lambda name: None, lambda name: None)

    def find(self, name: str) -> Volume:
        self.asked += 1
        if name not in self.volumes:
            raise NotFoundError(f"there is no volume {name}", subject=name)
        return self.volumes[name]

    async def done(self) -> None:
        """Wait until no journal is left."""
        async with asyncio.timeout(10):
            while journals(self.root):  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.01)


async def test_a_recording_killed_before_its_first_head_goes_to_its_volume(tmp_path: Path) -> None:
    first, second = Volume("a"), Volume("b")
    object = journal(tmp_path, "b")
    desk = Desk(tmp_path, a=first, b=second)
    desk.recordings.start()
    try:
        await desk.done()
    finally:
        await desk.recordings.close()
    assert second.finished == {object: "night"}
    assert first.finished == {}
    (told,) = desk.recordings.list()
    assert told["volume"] == "b"


async def test_it_waits_for_its_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "RECOVER", 0.01)
    object = journal(tmp_path, "b")
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        async with asyncio.timeout(10):
            while desk.asked < 3:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.01)
        assert len(journals(tmp_path)) == 1
        desk.volumes["b"] = Volume("b")
        await desk.done()
    finally:
        await desk.recordings.close()
    assert [*desk.volumes["b"].finished] == [object]
    assert desk.volumes["a"].finished == {}


async def test_a_journal_of_a_finished_title_is_removed(tmp_path: Path) -> None:
    object = journal(tmp_path, "a")
    desk = Desk(tmp_path, a=Volume("a"))
    desk.volumes["a"].finished[object] = "night"
    desk.recordings.start()
    try:
        await desk.done()
    finally:
        await desk.recordings.close()
    assert desk.recordings.list() == []


def test_a_journal_without_its_volume_is_none(tmp_path: Path) -> None:
    journal(tmp_path, "a")
    (left,) = journals(tmp_path)
    assert left.replay().volume == "a"
    title = left.path / "title"
    title.write_bytes(title.read_bytes().replace(b'"volume": "a"', b'"volume": 7'))
    with pytest.raises(MalformedError, match="volume"):
        left.replay()
