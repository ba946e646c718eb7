"""What a killed server was recording is finished where it was to go."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from heliograph.bus import Registration
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    MalformedError,
    NotFoundError,
    UnreachableError,
    WrongStateError,
)
from heliograph.model.media import Codec, Kind, Track
from heliograph.node.storage import leftovers, recordings
from heliograph.node.storage.recordings import Recordings
from heliograph.storage.values import ObjectId, new_object
from heliograph.storage.volume.heads import DELETED, Head
from heliograph.vod.encoding import decode_manifest, encode_manifest
from heliograph.vod.recording import Journal, Recording, RecordOptions, journals, put_aside
from heliograph.vod.recording.aside import KEPT
from heliograph.vod.recording.journal import encode_unit
from heliograph.vod.recording.recorder import Recorder, State
from heliograph.vod.recording.values import RecordedUnit

TRACKS = [Track(0, Kind.AUDIO, Codec.PCMU, 8000, 0, 1, "PCMU")]


class Volume:
    """Says what is finished in it."""

    def __init__(self, name: str) -> None:
        self.state = SimpleNamespace(name=name, scheme=SimpleNamespace(block=4096))
        self.finished: dict[ObjectId, str] = {}
        self.documents: dict[ObjectId, bytes] = {}
        """Manifests of what is finished."""
        self.counts: dict[ObjectId, int] = {}
        """Blocks of what is finished."""

        self.growing: dict[ObjectId, bytes] = {}
        self.erased: set[ObjectId] = set()
        self.lost: tuple[int, ...] = ()
        self.blocks: dict[int, bytes] = {}
        """What was written of the last object."""
        self.aborted = False
        """Whether what was written was removed."""
        self.open = asyncio.Event()
        self.open.set()
        """Whether it takes what is written."""

    async def newest(self, object: ObjectId, certain: bool = False) -> Head:
        assert certain
        if object in self.erased:
            return Head(DELETED | 1, 0, 0, False, b"")
        if object in self.finished:
            return Head(2, 1, 1, False, self.documents[object])
        if object not in self.growing:
            raise NotFoundError(f"no object {object}", subject=object)
        document = self.growing[object]
        return Head(1, len(decode_manifest(document).blocks), 1, True, document)

    async def reopen(self, object: ObjectId) -> Any:
        writer = _Writer(self, object)
        writer.blocks, writer.lost = len(decode_manifest(self.growing[object]).blocks), self.lost
        return writer

    def writer(self, object: ObjectId) -> Any:
        return _Writer(self, object)


class _Writer:
    def __init__(self, volume: Volume, object: ObjectId) -> None:
        self.object = object
        self.blocks = 0
        self.lost: tuple[int, ...] = ()
        self._volume = volume

    async def put(self, block: bytes) -> None:
        await self._volume.open.wait()
        self._volume.blocks[self.blocks] = block
        self.blocks += 1

    async def grow(self, head: bytes) -> None:
        assert decode_manifest(head).object == self.object

    async def finish(self, head: bytes) -> None:
        manifest = decode_manifest(head)
        assert not manifest.live
        self._volume.finished[self.object] = manifest.name
        self._volume.counts[self.object] = len(manifest.blocks)
        self._volume.documents[self.object] = head

    async def abort(self) -> None:
        self._volume.blocks.clear()
        self._volume.aborted = True


def journal(root: Path, volume: str) -> ObjectId:
    """What is left of a recording that was killed in its first second."""
    options = RecordOptions(
        "night", source="channel demo", object=new_object(), block=4096, volume=volume
    )
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
        channel = SimpleNamespace(
            name="demo", tracks=TRACKS, options=SimpleNamespace(title=""), open_to_all=True
        )
        channels: Any = SimpleNamespace(get=lambda name: channel)
        volume: Any = self.find
        self.held: Counter[str] = Counter()
        """Names, and how many have them."""
        self.refuses = ""
        """Why no title may begin to exist; empty: it may."""
        self.recordings = Recordings(
            root, channels, volume, self.claim, self.hold, self.confirm, lambda name: None
        )

    def claim(self, name: str) -> Registration:
        if self.recordings.coming(name):
            raise ConflictError(f"there is a title {name} already", subject=name)
        return self.hold(name)

    def hold(self, name: str, since: float | None = None) -> Registration:
        self.held[name] += 1
        return Registration(lambda: self.held.subtract([name]))

    async def confirm(self, name: str, object: ObjectId) -> None:
        assert self.held[name]
        if self.refuses:
            raise ConflictError(self.refuses)

    def find(self, name: str) -> Volume:
        self.asked += 1
        if name not in self.volumes:
            raise NotFoundError(f"there is no volume {name}", subject=name)
        return self.volumes[name]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.01)

    def told(self, word: str) -> bool:
        return any(word in one["error"] for one in self.recordings.list())

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
    assert (told["volume"], told["channel"], told["waiting"]) == ("b", "demo", False)


async def test_it_waits_for_its_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "RECOVER", 0.01)
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


async def test_what_waits_keeps_its_name_until_it_is_dropped(tmp_path: Path) -> None:
    object = journal(tmp_path, "b")
    (left,) = journals(tmp_path)
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        with pytest.raises(ConflictError, match="night"):
            await desk.recordings.begin("demo", "night", volume="a")
        await desk.until(lambda: desk.recordings.list()[0]["error"])
        (told,) = desk.recordings.list()
        assert told == {
            "name": "night",
            "channel": "demo",
            "volume": "b",
            "remarks": [],
            "began": 0.0,
            "ended": None,
            "error": "there is no volume b",
            "waiting": True,
        }
        with pytest.raises(WrongStateError):
            await desk.recordings.stop("night")
        assert left.path.is_dir()
        with pytest.raises(NotFoundError):
            await desk.recordings.stop("day", drop=True)
        # Its title has made way for an older one of that name.
        given = f"night-{object[:8]}"
        assert (await desk.recordings.stop(given, object, drop=True))["volume"] == "b"
        assert not left.path.exists()
        assert not desk.recordings.coming("night")
        assert desk.recordings.list() == []
    finally:
        await desk.recordings.close()


async def test_a_name_that_is_being_finished_is_not_free_when_another_ends(tmp_path: Path) -> None:
    first, second = journal(tmp_path, "a"), journal(tmp_path, "b")
    desk = Desk(tmp_path, a=Volume("a"), b=Volume("b"))
    desk.volumes["a"].open.clear()
    desk.volumes["b"].open.clear()
    desk.recordings.start()
    try:
        await desk.until(lambda: len(desk.recordings.list()) == 2 and desk.told("is being"))
        (waiting,) = (one["volume"] for one in desk.recordings.list() if one["waiting"])
        assert desk.recordings.coming("night")
        running = "b" if waiting == "a" else "a"
        desk.volumes[running].open.set()
        await desk.until(lambda: len(journals(tmp_path)) == 1)
        assert desk.recordings.coming("night")
    finally:
        await desk.recordings.close()
    assert [*desk.volumes[running].finished] == [first if running == "a" else second]
    assert desk.volumes[waiting].finished == {}


async def test_it_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    again = asyncio.Event()
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            again.set()
        await (real(0) if len(pauses) < 7 else asyncio.Event().wait())

    monkeypatch.setattr(leftovers, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    journal(tmp_path, "b")
    desk = Desk(tmp_path)
    desk.recordings.start()
    try:
        async with asyncio.timeout(10):
            await again.wait()
    finally:
        await desk.recordings.close()
    assert pauses == [10, 20, 40, 80, 160, 160, 160]


async def test_what_cannot_be_read_can_be_dropped(tmp_path: Path) -> None:
    object = journal(tmp_path, "a")
    (left,) = journals(tmp_path)
    (left.path / "title").write_bytes(b"torn")
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        await desk.until(desk.recordings.list)
        (told,) = desk.recordings.list()
        assert told["name"] == object
        assert "not readable" in told["error"]
        await desk.recordings.stop(object, drop=True)
        assert journals(tmp_path) == []
    finally:
        await desk.recordings.close()
    assert desk.asked == 0


async def test_a_title_with_a_lost_block_is_finished(tmp_path: Path) -> None:
    """A disk went while the server was down; nothing protects the last group of what grows."""
    volume = Volume("a")
    object = journal(tmp_path, "a")
    (left,) = journals(tmp_path)
    recorder, _ = Recorder.again(left.replay(), None)
    recorder.finish()
    volume.growing[object] = encode_manifest(recorder.manifest(live=True))
    volume.lost = (0,)
    left.delete()
    state = recorder.state
    left = Journal.create(tmp_path, recorder.base, 4096, "a")
    left.begin(state)
    later = RecordedUnit(0, state.due_us, 20 * 160, True, b"later" * 32)
    left.append(encode_unit(later))
    left.close()
    desk = Desk(tmp_path, a=volume)
    desk.recordings.start()
    try:
        await desk.done()
    finally:
        await desk.recordings.close()
    (told,) = desk.recordings.list()
    assert (told["error"], told["remarks"]) == ("", ["block 0 is lost with its disk"])
    assert volume.finished == {object: "night"}
    assert [*volume.blocks] == [1]
    assert b"later" in volume.blocks[1]


async def test_what_is_away_is_not_taken_for_lost(tmp_path: Path) -> None:
    object = journal(tmp_path, "a")
    volume = Volume("a")

    async def newest(object: ObjectId, certain: bool = False) -> Head:
        raise UnreachableError("a node is away")

    volume.newest = newest  # type: ignore[method-assign]
    desk = Desk(tmp_path, a=volume)
    desk.recordings.start()
    try:
        await desk.until(lambda: desk.told("a node is away"))
    finally:
        await desk.recordings.close()
    assert [one.path.name for one in journals(tmp_path)] == [object]
    assert volume.finished == {}


@pytest.mark.parametrize("how", ["finished", "erased"])
async def test_a_journal_of_a_finished_title_is_removed(tmp_path: Path, how: str) -> None:
    object = journal(tmp_path, "a")
    desk = Desk(tmp_path, a=Volume("a"))
    if how == "finished":  # by itself, and killed before it let go of its journal
        finished(desk.volumes["a"], Journal(tmp_path / object))
    else:
        desk.volumes["a"].erased.add(object)
    desk.recordings.start()
    try:
        await desk.done()
        await desk.until(lambda: not desk.recordings.list())
    finally:
        await desk.recordings.close()
    assert aside(tmp_path) == []
    assert desk.recordings.counters["journals_aside"] == 0


def names(root: Path) -> list[str]:
    """Of all that lies there."""
    return sorted(one.name for one in root.iterdir())


def aside(root: Path) -> list[str]:
    """Names of journals put aside."""
    return sorted(one.name for one in root.glob("unusable/*"))


def finished(volume: Volume, left: Journal) -> None:
    """Have a title that ends with what a journal has."""
    recorder, _ = Recorder.again(left.replay(), None)
    recorder.finish()
    manifest = recorder.manifest(live=False)
    volume.finished[manifest.object] = manifest.name
    volume.documents[manifest.object] = encode_manifest(manifest)


async def test_what_a_title_was_finished_without_by_others_is_put_aside(tmp_path: Path) -> None:
    """They saw this node away for a quarter of an hour."""
    volume = Volume("a")
    object = grown(tmp_path, volume, 1)
    before = (tmp_path / object / "00000001.units").read_bytes()
    known = replace(decode_manifest(volume.growing.pop(object)), live=False)
    volume.finished[object], volume.documents[object] = "night", encode_manifest(known)
    desk = Desk(tmp_path, a=volume)
    with capture_logs() as logs:
        desk.recordings.start()
        try:
            await desk.done()
            await desk.until(lambda: not desk.recordings.list())
        finally:
            await desk.recordings.close()
    assert aside(tmp_path) == [object]
    kept = tmp_path / "unusable" / object
    assert (kept / "00000001.units").read_bytes() == before
    assert "without the last 16 blocks" in (kept / "why").read_text()
    assert desk.recordings.counters["journals_aside"] == 1
    (told,) = (one for one in logs if one["event"] == "journal put aside")
    assert (told["log_level"], told["path"]) == ("warning", str(kept))
    assert "without the last" in told["error"]


def damaged(root: Path) -> tuple[ObjectId, bytes]:
    """A journal with a wrong bit in the middle: its object, and its units."""
    object = journal(root, "a")
    units = root / object / "00000000.units"
    data = bytearray(units.read_bytes())
    data[len(data) // 2] ^= 1
    units.write_bytes(data)
    return object, bytes(data)


async def recovered(root: Path) -> Desk:
    """What became of the journals of a server that starts, with one volume."""
    desk = Desk(root, a=Volume("a"))
    desk.recordings.start()
    try:
        await desk.done()
    finally:
        await desk.recordings.close()
    return desk


async def test_a_damaged_journal_is_copied_once_however_often_a_server_starts(
    tmp_path: Path,
) -> None:
    object, _ = damaged(tmp_path)
    told = set()
    for _ in range(3):  # and each time it is killed before the title is finished
        recordings = Desk(tmp_path, a=Volume("a")).recordings
        told.add(await recordings._keep_copy(Journal(tmp_path / object), "night"))
    assert len(told) == 1
    assert aside(tmp_path) == [object]


async def test_what_follows_damage_in_a_journal_is_put_aside(tmp_path: Path) -> None:
    """What is before it gets into the title."""
    object, data = damaged(tmp_path)
    desk = await recovered(tmp_path)
    assert desk.volumes["a"].finished == {object: "night"}
    assert aside(tmp_path) == [object]
    assert (tmp_path / "unusable" / object / "00000000.units").read_bytes() == data
    (told,) = desk.recordings.list()
    assert told["remarks"] == [
        f"a part of the journal could not be read; a copy is {tmp_path}/unusable/{object}"
    ]


async def test_what_can_be_read_is_finished_where_a_disk_has_no_room_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object, _ = damaged(tmp_path)

    def full(source: Path, target: Path) -> None:
        target.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    desk = await recovered(tmp_path)
    assert desk.volumes["a"].finished == {object: "night"}
    (told,) = desk.recordings.list()
    assert told["remarks"] == [
        "a part of the journal could not be read, and no copy of it was kept"
    ]
    assert [*(tmp_path / "unusable").iterdir()] == []


async def test_of_journals_put_aside_the_newest_are_kept(tmp_path: Path) -> None:
    objects = []
    for number in range(KEPT + 3):
        object = journal(tmp_path, "a")
        place, gone = put_aside(Journal(tmp_path / object), "damaged")
        assert [one.name for one in gone] == ([] if number < KEPT else [objects[number - KEPT]])
        os.utime(place / "why", (number, number))
        objects.append(object)
    assert aside(tmp_path) == sorted(objects[-KEPT:])
    assert journals(tmp_path) == []


async def test_one_recording_may_have_several_journals_put_aside(tmp_path: Path) -> None:
    object = journal(tmp_path, "a")
    for copy in (True, True, False):
        put_aside(Journal(tmp_path / object), "damaged", copy=copy)
    assert aside(tmp_path) == [object, f"{object}-2", f"{object}-3"]
    assert journals(tmp_path) == []


async def test_units_whose_title_is_gone_stay(tmp_path: Path) -> None:
    object = journal(tmp_path, "a")
    (tmp_path / object / "title").unlink()
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        await desk.until(lambda: desk.told("its title is gone"))
    finally:
        await desk.recordings.close()
    assert (tmp_path / object / "00000000.units").exists()


async def test_of_a_recording_killed_before_anything_came_nothing_is_left(tmp_path: Path) -> None:
    """Also where its first file was begun, or torn over its first unit."""
    for begun, units in ((False, b""), (True, b""), (True, b"torn")):
        volume = Volume("a")
        options = RecordOptions("night", source="channel demo", block=4096, volume="a")
        recorder = Recorder.begin(options, TRACKS, 0.0)
        left = Journal.create(tmp_path, recorder.base, options.block, options.volume)
        if begun:
            left.begin(State(0, 0, 0, recorder.written))
            left.append(units)
        left.close()
        desk = Desk(tmp_path, a=volume)
        desk.recordings.start()
        try:
            await desk.done()
            await desk.until(lambda: not desk.recordings.coming("night"))  # noqa: B023
        finally:
            await desk.recordings.close()
        assert (volume.finished, volume.blocks) == ({}, {})
        assert desk.recordings.list() == []
        assert desk.held["night"] == 0


def grown(root: Path, volume: Volume, begin: int = 5) -> ObjectId:
    """A title with two blocks in its volume, whose journal begins with another one."""
    options = RecordOptions("night", source="channel demo", block=4096, volume="a")
    recorder = Recorder.begin(options, TRACKS, 0.0)
    left = Journal.create(root, recorder.base, options.block, options.volume)
    for number in range(400):
        unit = RecordedUnit(0, number * 20_000, number * 160, True, bytes([number % 256]) * 160)
        recorder.add(unit)
        if recorder.fresh is not None and recorder.fresh.number == 2:
            volume.growing[options.object] = encode_manifest(recorder.manifest(live=True))
        if recorder.fresh is not None and recorder.fresh.number == begin:
            left.begin(recorder.fresh)
        if recorder.number >= begin:
            left.append(encode_unit(unit))
    left.close()
    return options.object


async def test_a_title_that_its_journal_does_not_fit_ends_with_what_it_has(tmp_path: Path) -> None:
    volume = Volume("a")
    object = grown(tmp_path, volume)
    desk = Desk(tmp_path, a=volume)
    desk.recordings.start()
    try:
        await desk.done()
        await desk.until(lambda: not desk.recordings.coming("night"))
    finally:
        await desk.recordings.close()
    assert volume.counts == {object: 2}
    assert desk.held["night"] == 0
    assert aside(tmp_path) == [object]
    assert (
        "begins with block 5, the volume has 2"
        in (tmp_path / "unusable" / object / "why").read_text()
    )


async def test_what_is_dropped_ends_with_what_its_volume_has(tmp_path: Path) -> None:
    volume = Volume("a")
    object = grown(tmp_path, volume)
    desk = Desk(tmp_path)
    desk.recordings.start()
    try:
        await desk.until(lambda: desk.told("no volume a"))
        assert desk.held["night"] == 1
        desk.volumes["a"] = volume
        await desk.recordings.stop("night", drop=True)
    finally:
        await desk.recordings.close()
    assert volume.counts == {object: 2}
    assert journals(tmp_path) == []
    assert desk.held["night"] == 0


@types.coroutine
def cancelled_at(work: Coroutine[Any, Any, Any], at: int) -> Generator[Any, Any, bool]:
    """Run something until it waits for the so-manieth time, which is cancelled; whether it was."""
    for count in itertools.count():
        try:
            future = work.send(None)
        except StopIteration:
            return False
        if count == at:
            with pytest.raises(asyncio.CancelledError):
                work.throw(asyncio.CancelledError())
            return True
        yield future
    raise AssertionError


@pytest.mark.parametrize("then", ["again", "start"])
async def test_what_was_dropped_half_is_dropped_the_next_time(tmp_path: Path, then: str) -> None:
    """Whichever step was cut short."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    for at in itertools.count():
        volume = Volume("a")
        object = grown(tmp_path, volume)
        desk = Desk(tmp_path)
        desk.recordings.start()
        await desk.until(lambda: desk.told("no volume a"))  # noqa: B023
        desk.volumes["a"] = volume
        cut = await cancelled_at(desk.recordings.stop("night", drop=True), at)
        await asyncio.to_thread(int)  # what was under way in the one thread is done
        if cut and then == "again" and desk.recordings.coming("night"):
            await desk.recordings.stop("night", drop=True)
        await desk.recordings.close()
        if then == "start":
            desk = Desk(tmp_path, a=volume)
            desk.recordings.start()
            try:
                await desk.done()
                await desk.until(lambda: not desk.recordings.coming("night"))  # noqa: B023
            finally:
                await desk.recordings.close()
        assert names(tmp_path) == []  # nothing of it is put aside either
        assert volume.counts == {object: 2}
        assert desk.held["night"] == 0
        if not cut:
            assert at > 2
            return


async def test_a_journal_whose_name_another_title_has_by_now_is_told_of(tmp_path: Path) -> None:
    journal(tmp_path, "a")
    desk = Desk(tmp_path, a=Volume("a"))
    desk.refuses = "there is a title night already"
    desk.recordings.start()
    try:
        await desk.until(lambda: desk.told("there is a title night already"))
        assert len(journals(tmp_path)) == 1
        await desk.recordings.stop("night", drop=True)
    finally:
        await desk.recordings.close()
    assert desk.volumes["a"].finished == {}
    assert journals(tmp_path) == []


class _Tap:
    """Gives less than a second."""

    units = 40

    def __init__(self, channel: Any, tracks: Any, recording: Recording) -> None:
        for number in range(self.units):
            recording._take(RecordedUnit(0, number * 20_000, number * 160, True, b"unit" * 40))

    def close(self) -> None:
        pass


async def test_a_recording_whose_name_another_had_first_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "_Tap", _Tap)
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        await desk.recordings.begin("demo", "day", volume="a")
        await desk.recordings.stop("day")
        assert [*desk.volumes["a"].finished.values()] == ["day"]  # it would have been one
        desk.refuses = "there is a title night already"
        await desk.recordings.begin("demo", "night", volume="a")
        told = await desk.recordings.stop("night")
        assert told["error"] == "there is a title night already"
    finally:
        await desk.recordings.close()
    assert [*desk.volumes["a"].finished.values()] == ["day"]
    assert desk.volumes["a"].blocks == {}
    assert journals(tmp_path) == []
    assert desk.held["night"] == 0


async def test_a_recording_is_stopped_by_the_name_its_title_has_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "_Tap", _Tap)
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        for name in ("day", "night"):
            await desk.recordings.begin("demo", name, volume="a")
        (object,) = (
            one.recording.manifest.object
            for one in desk.recordings._all.values()
            if one.name == "day" and one.recording is not None
        )
        with pytest.raises(NotFoundError):
            await desk.recordings.stop("day-12345678", new_object())
        told = await desk.recordings.stop(f"day-{object[:8]}", object)
        assert (told["name"], told["reason"], told["error"]) == ("day", "stopped", "")
        assert desk.volumes["a"].finished == {object: "day"}
        # One that another node records has a name that begins alike.
        assert desk.recordings.coming("night")
    finally:
        await desk.recordings.close()


@pytest.mark.parametrize("way", ["stopped", "server stops"])
async def test_a_recording_that_ends_before_anything_came_makes_no_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(recordings, "_Tap", _Tap)
    monkeypatch.setattr(_Tap, "units", 0)
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        await desk.recordings.begin("demo", "night", volume="a")
        if way == "stopped":
            told = await desk.recordings.stop("night")
            assert told["error"] == "nothing came: there is no title night"
            assert not desk.recordings.coming("night")
    finally:
        await desk.recordings.close()
    assert desk.volumes["a"].finished == {}
    assert desk.volumes["a"].aborted
    assert journals(tmp_path) == []
    assert desk.held["night"] == 0


async def test_what_was_recorded_for_long_is_kept_though_another_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two nodes that were parted both record, and see that when they meet again."""
    monkeypatch.setattr(recordings, "_Tap", _Tap)
    monkeypatch.setattr(_Tap, "units", 600)
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        desk.refuses = "there is a title night already"
        await desk.recordings.begin("demo", "night", volume="a")
        told = await desk.recordings.stop("night")
        assert (told["error"], told["seconds"]) == ("", 12.0)
    finally:
        await desk.recordings.close()
    assert [*desk.volumes["a"].finished.values()] == ["night"]


async def test_so_is_what_a_killed_server_had_recorded_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "WORTH", 0.3)
    object = journal(tmp_path, "a")
    desk = Desk(tmp_path, a=Volume("a"))
    desk.refuses = "there is a title night already"
    desk.recordings.start()
    try:
        await desk.done()
    finally:
        await desk.recordings.close()
    assert desk.volumes["a"].finished == {object: "night"}


async def test_a_recording_that_cannot_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tap(*_: Any) -> None:
        raise BusyError("too many readers")

    monkeypatch.setattr(recordings, "_Tap", tap)
    desk = Desk(tmp_path, a=Volume("a"))
    desk.recordings.start()
    try:
        with pytest.raises(BusyError):
            await desk.recordings.begin("demo", "night", volume="a")
        assert not desk.recordings.coming("night")
    finally:
        await desk.recordings.close()
    assert journals(tmp_path) == []
    assert desk.held["night"] == 0


def test_a_journal_without_its_volume_is_none(tmp_path: Path) -> None:
    journal(tmp_path, "a")
    (left,) = journals(tmp_path)
    assert left.replay().volume == "a"
    title = left.path / "title"
    title.write_bytes(title.read_bytes().replace(b'"volume": "a"', b'"volume": 7'))
    with pytest.raises(MalformedError, match="volume"):
        left.replay()
