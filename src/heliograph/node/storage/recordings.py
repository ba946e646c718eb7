"""Channels of this node that are recorded into titles of its volumes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from heliograph.bus import Registration
from heliograph.live.channel import Channel
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.registry import Channels
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    WrongStateError,
)
from heliograph.model.media import Track
from heliograph.node.storage.abandoned import finish_title
from heliograph.node.storage.leftovers import Leftovers, channel_of
from heliograph.node.storage.shelf import GUARDED, RECORDED
from heliograph.plane.types import TapItem
from heliograph.storage.values import ObjectId
from heliograph.vod.encoding import decode_manifest
from heliograph.vod.importing import check_wish
from heliograph.vod.recording import Journal, Recording, RecordOptions, put_aside, recordable
from heliograph.vod.recording.recorder import Recorder, Replay

if TYPE_CHECKING:
    from heliograph.storage.volume.heads import Head
    from heliograph.storage.volume.volume import Volume
    from heliograph.storage.volume.writing import GrowingWriter

log = structlog.get_logger(__name__)

#: Recordings under way at once.
MAX_RECORDINGS = 64
#: Recordings that ended and are still told of.
MAX_TOLD = 100
#: Access units that may wait between the plane and us: some ten seconds of pictures and sound.
CAPACITY = 4096
#: Seconds that the last of a recording has to reach its volume when the server stops; what does
#: not is in the journal.
STOP = 3.0
#: Seconds of media from which on a recording is not given up as another title has its name: nodes
#: that see each other know of that before. It gets another name (``shelf.by_name``).
WORTH = 10.0
#: File in a damaged journal that names the copy that was put aside.
COPIED = "copied"


@dataclass(slots=True)
class _Entry:
    """A recording, and what came of it."""

    name: str
    channel: str
    volume: str
    held: Registration
    """The name is the recording's until this is closed."""
    remarks: tuple[str, ...] = ()
    began: float = field(default_factory=time.time)
    ended: float | None = None
    error: str = ""
    recording: Recording | None = None
    sink: _Sink | None = None
    tap: _Tap | None = None

    def to_json(self) -> dict[str, Any]:
        """For the API."""
        found: dict[str, Any] = {
            "name": self.name,
            "channel": self.channel,
            "volume": self.volume,
            "remarks": list(self.remarks),
            "began": self.began,
            "ended": self.ended,
            "error": self.error,
            "waiting": False,
        }
        if self.recording is not None:
            status = asdict(self.recording.status)
            found |= {name: status[name] for name in ("seconds", "bytes", "blocks", "lost_units")}
            found |= {"reason": status["ended"], "unsafe": status["unsafe"]}
            found["losses"] = status["losses"]
        return found


class Recordings:
    """Started once channels and volumes are there."""

    def __init__(
        self,
        root: Path,
        channels: Channels,
        volume: Callable[[str], Volume],
        claim: Callable[[str], Registration],
        hold: Callable[[str, float], Registration],
        confirm: Callable[[str, ObjectId], Awaitable[None]],
        wrote: Callable[[str], None],
    ) -> None:
        """``root``: where journals are kept. ``volume`` gives a volume by its name. ``claim`` takes
        a name, ``hold`` takes it back for what was recorded since a time, ``confirm`` sees that it
        is still the title's before that exists: the first and the last raise ``ConflictError``
        where there is a title of a name or one comes. ``wrote`` is told the volume with a title
        that grew."""
        self._root = root
        self._channels = channels
        self._volume = volume
        self._claim = claim
        self._hold = hold
        self._confirm = confirm
        self._wrote = wrote
        self._all: dict[str, _Entry] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beginning: set[str] = set()
        self._left = Leftovers(root, self._recover, self._finish, hold)
        self.counters: Counter[str] = Counter(journals_aside=0)

    def start(self) -> None:
        """Finish, in the background, what a server that died had recorded."""
        self._left.start()

    async def begin(
        self,
        channel: str,
        name: str,
        *,
        title: str = "",
        volume: str = "",
        max_seconds: float = 0.0,
        max_bytes: int = 0,
    ) -> dict[str, Any]:
        """Record a channel of this node. ``NotFoundError``, ``ConflictError``, ``BusyError``,
        ``WrongStateError`` (nothing is on air), ``UnsupportedError`` (nothing can be recorded)."""
        check_wish(name, title, 0)
        await self._left.known()
        found = self._channels.get(channel)
        writes = self._volume(volume)
        held = self._claim(name)
        self._beginning.add(name)
        try:
            if len(self._tasks) >= MAX_RECORDINGS:
                raise BusyError(f"{MAX_RECORDINGS} channels are recorded", subject=name)
            if not found.tracks:
                raise WrongStateError(f"channel {channel} is not on air", subject=channel)
            options = RecordOptions(
                name,
                title=title or found.options.title or channel,
                source=f"{RECORDED if found.open_to_all else GUARDED}{channel}",
                block=writes.state.scheme.block,
                volume=writes.state.name,
                max_seconds=max_seconds,
                max_bytes=max_bytes,
            )
            entry = await self._record(found, writes, options, held)
        except BaseException:
            held.close()
            raise
        finally:
            self._beginning.discard(name)
        self._follow(entry)
        log.info("recording", channel=channel, title=name, volume=entry.volume)
        return entry.to_json()

    async def _record(
        self, channel: Channel, volume: Volume, options: RecordOptions, held: Registration
    ) -> _Entry:
        """Have what comes on a channel go into a journal, which is left only if that works."""
        from heliograph.storage.volume.writing import GrowingWriter

        tracks, remarks = recordable(channel.tracks)
        sink = _Sink(
            GrowingWriter(volume.writer(options.object)),
            lambda: self._wrote(options.volume),
            lambda: self._check_name(options.name, options.object, recording),
        )
        recording = await Recording.begin(options, tracks, self._root, sink)
        try:
            tap = _Tap(channel, tracks, recording)
        except BaseException:
            await asyncio.shield(recording.discard())
            raise
        return _Entry(
            options.name,
            channel.name,
            options.volume,
            held,
            remarks,
            recording=recording,
            sink=sink,
            tap=tap,
        )

    def coming(self, name: str) -> bool:
        """Whether something is recorded into a title of that name, or will be."""
        return name in self._tasks or name in self._beginning or self._left.has(name)

    async def stop(
        self, name: str, object: ObjectId | None = None, *, drop: bool = False
    ) -> dict[str, Any]:
        """End a recording: the title is finished. ``NotFoundError``; ``WrongStateError``: it waits
        for its volume since the server died.

        ``name``: under which it began, or which its title has by now; ``object``: of that title.
        ``drop``: of one that waits, forget what is not in its volume; what is there is finished.
        """
        name = self._begun_as(object) or name
        if drop:
            return await self._left.drop(name)
        if self._left.has(name):
            raise WrongStateError(f"what is left of {name} waits for its volume", subject=name)
        entry, task = self._all.get(name), self._tasks.get(name)
        if entry is None:
            raise NotFoundError(f"{name} is not being recorded", subject=name)
        if task is not None and entry.recording is not None:
            entry.recording.stop("stopped")
            await asyncio.wait([task], timeout=STOP)
        return entry.to_json()

    def _begun_as(self, object: ObjectId | None) -> str:
        """The name under which a title began to be recorded here; empty: it did not."""
        if object is None:
            return ""
        for entry in self._all.values():
            if entry.recording is not None and entry.recording.manifest.object == object:
                return entry.name
        return self._left.name_of(object)

    def list(self) -> list[dict[str, Any]]:
        """All that wait for their volumes since the server died, all under way, and the last that
        ended, the newest first."""
        return self._left.list() + [one.to_json() for one in reversed([*self._all.values()])]

    async def close(self) -> None:
        """End all; what does not reach its volume in time is finished at the next start."""
        await self._left.close()
        for entry in self._all.values():
            if entry.recording is not None:
                entry.recording.stop("server stopping")
        tasks = [*self._tasks.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, entry: _Entry) -> None:
        self._all.pop(entry.name, None)
        self._all[entry.name] = entry
        for name in [*self._all][: max(0, len(self._all) - MAX_TOLD - len(self._tasks))]:
            if name not in self._tasks:
                del self._all[name]

        def over(done: asyncio.Task[None]) -> None:
            if self._tasks.get(entry.name) is done:
                del self._tasks[entry.name]

        task = asyncio.create_task(self._run(entry), name=f"recording {entry.name}")
        self._tasks[entry.name] = task
        task.add_done_callback(over)

    async def _run(self, entry: _Entry) -> None:
        assert entry.recording is not None
        try:
            await entry.recording.run()
        except HelioError as error:
            entry.error = error.message
            say = log.warning if entry.recording.empty else log.error
            say("recording failed", title=entry.name, error=error.message)
        except Exception:
            entry.error = "internal error"
            log.exception("recording failed unexpectedly", title=entry.name)
        finally:
            if entry.tap is not None:
                entry.tap.close()
            try:
                if entry.sink is not None and (entry.sink.refused or entry.recording.empty):
                    await entry.recording.discard()
                    await entry.sink.abort()
            finally:
                entry.ended = time.time()
                entry.held.close()
                self._wrote(entry.volume)

    async def _recover(self, journal: Journal) -> None:
        """Finish what a server that died had recorded; errors as of ``Volume.reopen`` and
        ``Recording.recover``, ``BusyError``: another of its name is being recorded,
        ``ConflictError``: there is another title of its name by now."""
        from heliograph.storage.volume.writing import GrowingWriter

        replay = await asyncio.to_thread(journal.replay)
        title, name = replay.title, replay.volume
        if title.name in self._tasks or title.name in self._beginning:
            raise BusyError(f"another {title.name} is being recorded", subject=title.name)
        volume = self._volume(name)
        manifest = None
        remarks: tuple[str, ...] = ()
        try:
            head = await volume.newest(title.object, certain=True)
        except NotFoundError:  # killed before its first head
            writer = volume.writer(title.object)
        else:
            if await self._over(journal, replay, head):
                return
            writer = await volume.reopen(title.object)
            manifest = await asyncio.to_thread(decode_manifest, head.document)
            remarks = tuple(f"block {one} is lost with its disk" for one in writer.lost)
        sink = _Sink(GrowingWriter(writer), lambda: self._wrote(name))
        try:
            recording = await Recording.recover(journal, sink, manifest)
        except MalformedError as error:
            if manifest is None:
                raise
            if await finish_title(volume, title.object):
                self._wrote(name)
            await self._put_aside(journal, title.name, error.message)
            return
        if manifest is None and recording.manifest.blocks:
            await self._check_name(title.name, title.object, recording)
        if journal.unread:
            remarks += (await self._keep_copy(journal, title.name),)
        if manifest is None and not recording.manifest.blocks:  # killed before anything came
            await recording.discard()
            return
        held = self._hold(title.name, title.created)
        entry = _Entry(title.name, channel_of(title), name, held, remarks, recording=recording)
        self._follow(entry)
        log.info("recording is finished from its journal", title=entry.name, volume=name)

    async def _check_name(self, name: str, object: ObjectId, recording: Recording) -> None:
        """``ConflictError``: there is a title of a name, or one comes, and not much is lost."""
        try:
            await self._confirm(name, object)
        except ConflictError as error:
            if recording.status.seconds < WORTH:
                raise
            log.warning(
                "recording kept that has not its name alone", title=name, error=error.message
            )

    async def _over(self, journal: Journal, replay: Replay, head: Head) -> bool:
        """Whether a title is finished, here or by others who saw this node away for long, or
        erased: its journal is left no longer then."""
        from heliograph.storage.volume.heads import DELETED

        why = ""
        if not head.serial & DELETED:
            if head.open:
                return False
            why = await asyncio.to_thread(_beyond, journal, replay, head.document)
        if why:
            await self._put_aside(journal, replay.title.name, why)
        else:
            await asyncio.to_thread(journal.delete)
        return True

    async def _keep_copy(self, journal: Journal, name: str) -> str:
        """Keep a damaged journal besides, once over all starts; what to remark of it."""
        why = f"{journal.unread} bytes cannot be read, as what is before them is damaged"
        remark, told = "a part of the journal could not be read", journal.path / COPIED
        try:
            if await asyncio.to_thread(told.exists):
                return f"{remark}; a copy is {await asyncio.to_thread(told.read_text)}"
            place = await self._put_aside(journal, name, why, copy=True)
            await asyncio.to_thread(told.write_text, str(place))
        except (HelioError, OSError) as error:
            # On a full disk, say; what can be read is worth more than what cannot.
            log.warning("damaged journal not copied", title=name, error=str(error))
            return f"{remark}, and no copy of it was kept"
        return f"{remark}; a copy is {place}"

    async def _put_aside(
        self, journal: Journal, name: str, why: str, *, copy: bool = False
    ) -> Path:
        """Keep what may have more of a recording than its title."""
        place, gone = await asyncio.to_thread(put_aside, journal, f"{name}: {why}", copy=copy)
        self.counters["journals_aside"] += 1
        log.warning("journal put aside", title=name, path=str(place), error=why)
        for one in gone:
            log.warning("old journal removed that was put aside", path=str(one))
        return place

    async def _finish(self, name: str, object: ObjectId) -> None:
        """Finish a title of a volume as it is, if it grows still."""
        with contextlib.suppress(NotFoundError):  # it has not begun to exist
            if await finish_title(self._volume(name), object):
                self._wrote(name)


def _beyond(journal: Journal, replay: Replay, head: bytes) -> str:
    """What a journal may have that a finished title has not; empty: nothing. Blocking."""
    try:
        manifest = decode_manifest(head)
        again, _ = Recorder.again(replay, manifest)
    except MalformedError as error:
        return error.message
    again.finish()
    more = again.number - len(manifest.blocks)
    if more > 0:
        return f"the title was finished without the last {more} blocks"
    return f"{journal.unread} bytes cannot be read" if journal.unread else ""


class _Sink:
    """A ``recording.GrowingSink``: an object of a volume, of whose growth others are told."""

    def __init__(
        self,
        writer: GrowingWriter,
        grew: Callable[[], None],
        confirm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``confirm`` is asked before the title exists; None: it does, or was asked."""
        self._writer = writer
        self._grew = grew
        self._confirm = confirm
        self.refused = False
        """Whether ``confirm`` raised: the title is not to be."""
        self.put = writer.put

    async def grow(self, head: bytes) -> None:
        await self._begin()
        await self._writer.grow(head)
        self._grew()

    async def finish(self, head: bytes) -> None:
        await self._begin()
        await self._writer.finish(head)
        self._grew()

    async def abort(self) -> None:
        """Remove what was written of a title that is not to be."""
        with contextlib.suppress(HelioError):  # what has no head is removed in the end
            await self._writer.writer.abort()

    async def _begin(self) -> None:
        if self._confirm is None:
            return
        try:
            await self._confirm()
        except ConflictError:
            self.refused = True
            raise
        self._confirm = None


class _Tap(ReaderHooks):
    """What comes on a channel, on its way to a recording; the channel's ``ReaderHooks``."""

    def __init__(self, channel: Channel, tracks: tuple[Track, ...], recording: Recording) -> None:
        self._channel = channel
        self._recording = recording
        self._tap: Reader = channel.audience.add_tap(
            hooks=self, frames=True, capacity=CAPACITY, of=lambda: tracks
        )
        self._tap.start()

    def ready(self) -> None:
        while not self._tap.closed:
            items, lost = self._channel.plane.read_tap(self._tap.plane_reader)
            if not items and not lost:
                return
            self._recording.push([TapItem(*item) for item in items], lost)

    def closed(self, reason: str) -> None:
        self._recording.stop(reason)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self._recording.stop("format changed")

    def close(self) -> None:
        if not self._tap.closed:
            self._tap.remove()
