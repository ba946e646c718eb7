"""Recordings: what was on air is in the title, whatever sources, networks and servers do."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import pytest
from tests.unit.live.mesh_site import until
from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import Title
from tests.unit.vod.live_source import OBJECT, START, Channel, of_file
from tests.unit.vod.made_files import Made

from heliograph.model.errors import (
    MalformedError,
    NotFoundError,
    ResourceError,
    UnsupportedError,
)
from heliograph.model.media import Codec, Kind, Track
from heliograph.plane.types import TapFlag, TapItem
from heliograph.vod import blocks
from heliograph.vod.encoding import decode_manifest, encode_manifest
from heliograph.vod.export import export_mp4
from heliograph.vod.folder import FolderRecording, FolderSource
from heliograph.vod.manifest import Manifest
from heliograph.vod.recording import Journal, Recording, RecordOptions, journals, recordable, values
from heliograph.vod.recording.recorder import Recorder
from heliograph.vod.verify import verify_title

PATIENCE = 30.0
SECOND = 1_000_000


@pytest.fixture
def channel(media: Files) -> Channel:
    return of_file(media("h264.mp4"))


@dataclass
class MemoryVolume:
    """Keeps a recording's blocks and manifests."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    heads: list[Manifest] = field(default_factory=list)
    again: int = 0
    refusals: int = 0
    """Puts that fail before one succeeds."""
    forever: bool = False

    async def put(self, number: int, block: bytes) -> None:
        if self.forever or self.refusals > 0:
            self.refusals -= 1
            raise ResourceError("disk full")
        if number in self.blocks:
            assert self.blocks[number] == block
            self.again += 1
        else:
            assert number == len(self.blocks)
        self.blocks[number] = block

    async def grow(self, head: bytes) -> None:
        self.heads.append(decode_manifest(head))

    finish = grow

    @property
    def title(self) -> Title:
        return Title(self.heads[-1], [self.blocks[n] for n in sorted(self.blocks)])


async def recorded(
    channel: Channel,
    items: list[TapItem],
    folder: Path,
    volume: MemoryVolume | None = None,
    **options: float,
) -> tuple[Title, values.Status]:
    volume = MemoryVolume() if volume is None else volume
    wanted = RecordOptions("film", object=OBJECT, block=16384, **options)  # type: ignore[arg-type]
    recording = await Recording.begin(wanted, channel.tracks, folder, volume)
    recording.push(items)
    recording.stop("done")
    async with asyncio.timeout(PATIENCE):
        manifest = await recording.run()
    assert manifest == volume.heads[-1]
    assert not manifest.live
    assert journals(folder) == []
    return volume.title, recording.status


def stamps(title: Title, track: int) -> list[float]:
    clock = title.manifest.tracks[track].track.clock_rate
    first = [r for r in title.records(track) if r.flags & blocks.FIRST]
    return [r.timestamp / clock for r in first]


async def test_all_that_was_on_air_is_in_the_title(channel: Channel, tmp_path: Path) -> None:
    items = list(channel.items(8))
    title, status = await recorded(channel, items, tmp_path)
    assert (await verify_title(title.manifest, title)).faults == ()
    for place, track in enumerate(channel.tracks):
        sent = [item.data for item in items if item.track == track.id]
        got = [unit.data for unit in title.units(place)]
        assert got == sent
        shown = [(item.time - items[0].time) / 1e6 for item in items if item.track == track.id]
        offset = stamps(title, place)[0] - shown[0]
        assert [one + offset for one in shown] == pytest.approx(stamps(title, place), abs=2e-5)
    assert title.manifest.duration_us == pytest.approx(8 * SECOND, abs=200_000)
    assert len(title.manifest.keys) == 8
    assert status.lost_units == 0
    assert status.losses == ()
    assert status.ended == "done"


async def test_sound_and_picture_keep_together(channel: Channel, tmp_path: Path) -> None:
    items = list(channel.items(4))
    title, _ = await recorded(channel, items, tmp_path)
    offsets = []
    for place, track in enumerate(channel.tracks):
        first = next(item.time for item in items if item.track == track.id)
        offsets.append(first / 1e6 - stamps(title, place)[0])
    assert offsets[0] == pytest.approx(offsets[1], abs=1e-4)


async def test_pictures_are_due_before_they_are_shown_though_reordered(
    channel: Channel, tmp_path: Path
) -> None:
    title, _ = await recorded(channel, list(channel.items(4)), tmp_path)
    first = [r for r in title.records(0) if r.flags & blocks.FIRST]
    ahead = [r.timestamp / 90_000 - r.due_us / 1e6 for r in first]
    assert -1e-5 <= min(ahead) <= max(ahead) < 0.2
    dues = [r.due_us for r in first]
    steps = {b - a for a, b in itertools.pairwise(dues)}
    assert all(39_990 <= step <= 40_010 for step in steps)


async def test_another_source_goes_on_where_the_first_ended(
    channel: Channel, tmp_path: Path
) -> None:
    first = list(channel.items(3))
    # ten minutes later, and with a clock that is an hour off
    later = START + 603 * SECOND
    second = list(channel.items(3, start=later, epoch=2, skew=3600 * SECOND))
    title, status = await recorded(channel, first + second, tmp_path)
    assert (await verify_title(title.manifest, title)).faults == ()
    assert len(title.units(0)) == len(title.units(1)) - (
        len([i for i in first + second if i.track == channel.tracks[1].id])
        - len([i for i in first + second if i.track == channel.tracks[0].id])
    )
    for track in (0, 1):
        steps = [b - a for a, b in itertools.pairwise(sorted(stamps(title, track)))]
        assert max(steps) == pytest.approx(1.05, abs=0.1)
        assert min(steps) > 0
    assert title.manifest.duration_us == pytest.approx(7 * SECOND, abs=300_000)
    (loss,) = status.losses
    assert loss.reason == "source"
    assert loss.seconds == pytest.approx(600, abs=1)
    assert loss.at_us == pytest.approx(4 * SECOND, abs=150_000)


async def test_a_source_that_takes_over_at_once_leaves_no_gap(
    channel: Channel, tmp_path: Path
) -> None:
    first = list(channel.items(2))
    second = list(channel.items(2, start=START + 2 * SECOND, epoch=2, skew=-5 * SECOND))
    title, status = await recorded(channel, first + second, tmp_path)
    pictures = sorted(stamps(title, 0))
    steps = [b - a for a, b in itertools.pairwise(pictures)]
    assert max(steps) < 0.13
    assert [one.reason for one in status.losses] == ["source"]


async def test_a_long_silence_is_cut_short_and_named(channel: Channel, tmp_path: Path) -> None:
    items = list(channel.items(3))
    rest = [
        item._replace(time=item.time + 63 * SECOND, arrival=item.arrival + 63 * SECOND)
        for item in channel.items(2)
    ]
    title, status = await recorded(channel, items + rest, tmp_path)
    assert title.manifest.duration_us == pytest.approx(6 * SECOND, abs=300_000)
    (loss,) = status.losses
    assert (loss.reason, loss.track) == ("gap", None)
    assert loss.seconds == pytest.approx(60, abs=0.2)


async def test_units_that_did_not_come_are_counted_and_named(
    channel: Channel, tmp_path: Path
) -> None:
    items = list(channel.items(4))
    sound = channel.tracks[1].id
    kept = [item for item in items if not (item.track == sound and item.number in (50, 51, 90))]
    volume = MemoryVolume()
    recording = await Recording.begin(
        RecordOptions("film", object=OBJECT), channel.tracks, tmp_path, volume
    )
    recording.push(kept, lost=0)
    recording.push([], lost=4)
    recording.stop("done")
    await recording.run()
    status = recording.status
    assert status.lost_units == 7
    assert [(one.track, one.units, one.reason) for one in status.losses] == [
        (1, 2, "loss"),
        (1, 1, "loss"),
        (None, 4, "slow"),
    ]
    assert status.losses[0].at_us == pytest.approx(50 * 1024 / 48_000 * SECOND, abs=200_000)


async def test_it_stops_at_the_limit_of_time(channel: Channel, tmp_path: Path) -> None:
    title, status = await recorded(channel, list(channel.items(8)), tmp_path, max_seconds=3)
    assert status.ended == "limit of time"
    assert 2.9 * SECOND < title.manifest.duration_us < 3.2 * SECOND
    assert (await verify_title(title.manifest, title)).faults == ()


async def test_it_stops_at_the_limit_of_size(channel: Channel, tmp_path: Path) -> None:
    title, status = await recorded(channel, list(channel.items(60)), tmp_path, max_bytes=200_000)
    assert status.ended == "limit of size"
    assert 150_000 < sum(len(one) for one in title.blocks) <= 210_000
    assert (await verify_title(title.manifest, title)).faults == ()


async def told(volume: MemoryVolume, recording: Recording) -> None:
    """Until the volume's manifest tells of all blocks there are."""
    await until(
        lambda: (
            len(recording.manifest.blocks) <= (len(volume.heads[-1].blocks) if volume.heads else 0)
        )
    )


async def written(recording: Recording) -> None:
    """Until all that came is with the volume or in the journal."""
    await until(lambda: not recording.status.pending and not recording._writes)


async def test_a_recording_can_be_watched_while_it_grows(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.vod.recording.recording.GROW", 0.01)
    monkeypatch.setattr("heliograph.vod.recording.recording.GROW_SHARE", 1.0)
    volume = MemoryVolume()
    options = RecordOptions("film", object=OBJECT, block=8192)
    recording = await Recording.begin(options, channel.tracks, tmp_path, volume)
    task = asyncio.create_task(recording.run())
    items = list(channel.items(12))
    async with asyncio.timeout(PATIENCE):
        for at in range(0, len(items), 100):
            recording.push(items[at : at + 100])
            await told(volume, recording)
        recording.stop("done")
        await task
    assert all(head.live for head in volume.heads[:-1])
    assert len(volume.heads) > 5
    for head in volume.heads:
        growing = Title(head, volume.title.blocks)
        assert (await verify_title(head, growing)).faults == ()
    lengths = [head.duration_us for head in volume.heads]
    assert lengths == sorted(lengths)
    assert volume.heads[2].key_before(lengths[2], 0) is not None


async def test_a_volume_that_fails_for_a_while_loses_nothing(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.vod.recording.recording.AGAIN", 0.01)
    volume = MemoryVolume(refusals=3)
    title, status = await recorded(channel, list(channel.items(4)), tmp_path, volume)
    assert status.retries == 3
    assert (await verify_title(title.manifest, title)).faults == ()


async def test_a_volume_that_does_not_keep_up_ends_it_and_the_journal_has_all(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.vod.recording.recording.AGAIN", 0.01)
    monkeypatch.setattr("heliograph.vod.recording.recording.MAX_PENDING", 100_000)
    volume = MemoryVolume(forever=True)
    options = RecordOptions("film", object=OBJECT, block=16384)
    recording = await Recording.begin(options, channel.tracks, tmp_path, volume)
    recording.push(channel.items(30))
    with pytest.raises(ResourceError, match="does not keep up with film"):
        async with asyncio.timeout(PATIENCE):
            await recording.run()
    assert recording.status.ended == "volume too slow"
    (journal,) = journals(tmp_path)
    better = MemoryVolume()
    again = await Recording.recover(journal, better, None)
    manifest = await again.run()
    assert sum(len(one) for one in better.blocks.values()) > 100_000
    assert manifest.duration_us == pytest.approx(recording.status.seconds * SECOND, abs=50_000)
    assert (await verify_title(manifest, better.title)).faults == ()


async def test_a_recording_of_two_sources_is_exported_whole(
    channel: Channel, tmp_path: Path
) -> None:
    first = list(channel.items(3))
    second = list(channel.items(3, start=START + 600 * SECOND, epoch=2))
    title, _ = await recorded(channel, first + second, tmp_path)
    out = tmp_path / "out.mp4"
    await export_mp4(title.manifest, title, out)
    with av.open(str(out)) as file:
        pictures = list(file.decode(video=0))
    # the third second of each run ends within a group of reordered pictures
    assert len(pictures) == len(title.units(0))
    times = [float(frame.time or 0) for frame in pictures]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(7.0, abs=0.3)


# --- kills ------------------------------------------------------------------------------------


async def interrupted(
    channel: Channel, folder: Path, seconds: float, *, block: int = 16384, grow: float = 0.0
) -> tuple[MemoryVolume, Recording]:
    """A recording that was cancelled after everything was journalized."""
    volume = MemoryVolume()
    options = RecordOptions("film", object=OBJECT, block=block)
    recording = await Recording.begin(options, channel.tracks, folder, volume)
    recording._grow_every = grow
    task = asyncio.create_task(recording.run())
    items = list(channel.items(seconds))
    async with asyncio.timeout(PATIENCE):
        for at in range(0, len(items), 100):
            recording.push(items[at : at + 100])
            await (told(volume, recording) if grow else asyncio.sleep(0))
    await written(recording)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return volume, recording


async def test_an_interrupted_recording_is_finished_out_of_the_journal(
    channel: Channel, tmp_path: Path
) -> None:
    volume, before = await interrupted(channel, tmp_path, 6)
    head = volume.heads[-1] if volume.heads else None
    known = len(volume.blocks)
    (journal,) = journals(tmp_path)
    recording = await Recording.recover(journal, volume, head)
    manifest = await recording.run()
    assert not manifest.live
    assert len(volume.blocks) > known
    assert manifest.duration_us == pytest.approx(before.status.seconds * SECOND, abs=1000)
    assert manifest.duration_us > 5.6 * SECOND
    assert (await verify_title(manifest, volume.title)).faults == ()
    assert journals(tmp_path) == []


async def test_the_channel_is_recorded_on_after_a_restart(channel: Channel, tmp_path: Path) -> None:
    volume, _ = await interrupted(channel, tmp_path, 6)
    for turn in range(3):
        head = volume.heads[-1] if volume.heads else None
        (journal,) = journals(tmp_path)
        recording = await Recording.recover(journal, volume, head, tracks=channel.tracks, away=45.0)
        recording.push(channel.items(3, start=START + (turn + 1) * 100 * SECOND, epoch=turn + 2))
        if turn < 2:  # killed again
            task = asyncio.create_task(recording.run())
            await written(recording)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert [one.reason for one in recording.status.losses] == ["restart"]
    recording.stop("done")
    manifest = await recording.run()
    assert (await verify_title(manifest, volume.title)).faults == ()
    assert manifest.duration_us == pytest.approx((6 + 3 * (3 + 1)) * SECOND, abs=SECOND)
    assert len(volume.title.units(0)) > 25 * 14


async def test_a_block_is_in_the_journal_before_it_is_with_the_volume(
    channel: Channel, tmp_path: Path
) -> None:
    """Else a kill between the two would have the block made again, and be another one."""
    journal = Journal(tmp_path / OBJECT)
    made: list[int] = []

    class Watching(MemoryVolume):
        async def put(self, number: int, block: bytes) -> None:
            await super().put(number, block)
            # as it would be found if we were killed now
            head = self.heads[-1] if self.heads else None
            again, done = Recorder.again(Journal(journal.path).replay(), head)
            assert {one.number: one.data for one in done}.get(number) == block
            assert again.number > number
            made.append(number)

    volume = Watching()
    options = RecordOptions("film", object=OBJECT, block=16384)
    recording = await Recording.begin(options, channel.tracks, tmp_path, volume)
    task = asyncio.create_task(recording.run())
    for item in channel.items(4):
        recording.push([item])
        await asyncio.sleep(0)
    recording.stop("done")
    await task
    assert len(made) > 4


async def test_a_recording_killed_while_it_ended_can_go_on(
    channel: Channel, tmp_path: Path
) -> None:
    class Dying(MemoryVolume):
        async def finish(self, head: bytes) -> None:
            raise MalformedError("volume", "killed here")

    volume = Dying()
    options = RecordOptions("film", object=OBJECT, block=16384)
    recording = await Recording.begin(options, channel.tracks, tmp_path, volume)
    recording.push(channel.items(3))
    recording.stop("done")
    with pytest.raises(MalformedError, match="killed here"):
        await recording.run()
    better = MemoryVolume(blocks=volume.blocks)
    (journal,) = journals(tmp_path)
    again = await Recording.recover(journal, better, None, tracks=channel.tracks, away=20.0)
    again.push(channel.items(2, start=START + 25 * SECOND, epoch=2))
    again.stop("done")
    manifest = await again.run()
    assert (await verify_title(manifest, better.title)).faults == ()
    assert manifest.duration_us == pytest.approx(6 * SECOND, abs=300_000)


async def test_the_journal_is_cut_back_when_the_volume_has_the_blocks(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.vod.recording.recording.GROW", 0.01)
    monkeypatch.setattr("heliograph.vod.recording.recording.GROW_SHARE", 1.0)
    volume, recording = await interrupted(channel, tmp_path, 20, grow=0.01)
    assert len(volume.heads) > 5
    (journal,) = journals(tmp_path)
    replay = journal.replay()
    assert replay.state.number >= len(volume.heads[-2].blocks) - 2
    assert len(list(replay.units)) < recording.units / 3


@pytest.mark.parametrize("cut", [1, 9, 100, 3000, 1_000_000])
async def test_a_journal_that_is_torn_is_good_up_to_there(
    channel: Channel, tmp_path: Path, cut: int
) -> None:
    volume, before = await interrupted(channel, tmp_path, 4)
    last = max((tmp_path / OBJECT).glob("*.units"))
    data = last.read_bytes()
    last.write_bytes(data[:-cut])
    (journal,) = journals(tmp_path)
    head = volume.heads[-1] if volume.heads else None
    # a block is in the journal before it is with the volume: what was torn off was not there yet
    again, _ = Recorder.again(journal.replay(), head)
    volume.blocks = {number: one for number, one in volume.blocks.items() if number < again.number}
    recording = await Recording.recover(journal, volume, head, tracks=channel.tracks, away=1.0)
    recording.push(channel.items(2, start=START + 60 * SECOND, epoch=2))
    recording.stop("done")
    manifest = await recording.run()
    assert (await verify_title(manifest, volume.title)).faults == ()
    # what is in the file is lost at most, and that is a block
    assert manifest.duration_us > (before.status.seconds + (1 if cut < 5000 else 0)) * SECOND


async def test_a_journal_of_something_else_is_refused(channel: Channel, tmp_path: Path) -> None:
    volume, _ = await interrupted(channel, tmp_path, 4)
    (journal,) = journals(tmp_path)
    other = replace(volume.heads[-1] if volume.heads else journal.replay().title, object="0" * 32)
    with pytest.raises(MalformedError, match="the volume has"):
        await Recording.recover(journal, volume, other)
    head = volume.heads[-1] if volume.heads else None
    with pytest.raises(MalformedError, match="other tracks"):
        await Recording.recover(journal, volume, head, tracks=channel.tracks[:1])
    files = sorted((tmp_path / OBJECT).glob("*.units"))
    files[0].write_bytes(b"HGJ1" + bytes(200))
    with pytest.raises(MalformedError, match="journal"):
        await Recording.recover(Journal(tmp_path / OBJECT), volume, None)
    (tmp_path / OBJECT / "title").write_bytes(b"{}\n")
    with pytest.raises(MalformedError):
        await Recording.recover(Journal(tmp_path / OBJECT), volume, None)


async def test_a_kill_loses_less_than_the_last_second(media: Files, tmp_path: Path) -> None:
    (tmp_path / "titles").mkdir()
    process = subprocess.Popen(  # noqa: ASYNC220 - it is killed from here
        [sys.executable, "-m", "tests.unit.vod.live_source", str(media("h264.mp4")), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None

    def until(seconds: float) -> float:
        for line in process.stdout or ():
            if float(line) >= seconds:
                return float(line)
        raise AssertionError("it ended by itself")

    pushed = await asyncio.to_thread(until, 3.3)
    process.send_signal(signal.SIGKILL)
    rest, _ = await asyncio.to_thread(process.communicate)
    pushed = max([pushed, *(float(line) for line in rest.splitlines()[:-1])])
    (journal,) = journals(tmp_path / "journal")
    source = FolderSource(tmp_path / "titles" / "film")
    try:
        head = await source.manifest()
    except NotFoundError:  # killed before the first one
        head = None
    sink = FolderRecording(tmp_path / "titles", "film")
    recording = await Recording.recover(journal, sink, head)
    manifest = await recording.run()
    assert await source.manifest() == manifest
    assert (await verify_title(manifest, source)).faults == ()
    assert pushed - 1.0 < manifest.duration_us / 1e6 < pushed + 0.2


# --- tracks -----------------------------------------------------------------------------------


def test_tracks_that_no_title_can_have_are_named() -> None:
    video = Track(4, Kind.VIDEO, Codec.H264, 90_000, 96, encoding="H264")
    data = Track(5, Kind.DATA, Codec.UNKNOWN, 90_000, 97)
    sound = Track(1, Kind.AUDIO, Codec.OPUS, 48_000, 98, 2, "opus")
    naked = Track(2, Kind.AUDIO, Codec.AAC, 48_000, 99, 2, "mpeg4-generic")
    taken, remarks = recordable([sound, data, naked, video])
    assert [track.id for track in taken] == [4, 1]
    assert len(remarks) == 2
    assert "track 5 is not recorded" in remarks[0]
    assert "no configuration" in remarks[1]
    with pytest.raises(UnsupportedError, match="nothing that can be recorded"):
        recordable([data])


async def test_parameter_sets_that_the_channel_did_not_tell_are_learnt(
    channel: Channel, tmp_path: Path
) -> None:
    bare = replace(channel.tracks[0], fmtp={})
    channel.tracks = (bare, channel.tracks[1])
    title, _ = await recorded(channel, list(channel.items(2)), tmp_path)
    assert "sprop-parameter-sets" in title.manifest.tracks[0].track.fmtp
    assert encode_manifest(title.manifest)


async def test_a_channel_of_sound_alone_is_recorded(media: Files, tmp_path: Path) -> None:
    channel = of_file(media("sound.mkv", Made(video=None, audio=["libopus"])))
    title, status = await recorded(channel, list(channel.items(6)), tmp_path)
    assert title.manifest.keys == ()
    assert (await verify_title(title.manifest, title)).faults == ()
    assert status.lost_units == 0
    assert title.manifest.duration_us == pytest.approx(6 * SECOND, abs=200_000)


async def test_what_is_no_media_is_passed_over(channel: Channel, tmp_path: Path) -> None:
    items = list(channel.items(2))
    strange = [
        items[0]._replace(track=99),
        items[0]._replace(flags=int(TapFlag.RTCP)),
        items[0]._replace(data=b""),
    ]
    title, _ = await recorded(channel, strange + items, tmp_path)
    assert (await verify_title(title.manifest, title)).faults == ()
