"""The rooms of all channels, and their memory in the catalogue.

What happens is written down in batches, one at a time for each room. Whoever said something is told
so once it is safe; the others see it at once. A database that fails does not end the chat: after
``SAVE_TRIES`` it goes on in memory, which is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import structlog

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.history import KEEP_MESSAGES
from heliograph.catalogue.values import ChatEntry, ChatMute
from heliograph.live.chat import Room
from heliograph.live.chat_entries import (
    Badge,
    ChatLimits,
    Cleared,
    Deleted,
    Entry,
    Message,
    Muted,
    Unmuted,
)
from heliograph.model.errors import HelioError, NotFoundError, ResourceError

log = structlog.get_logger(__name__)

#: Seconds to read a room's memory: the database answers in milliseconds, or is stuck.
LOAD_PATIENCE = 5.0
#: Seconds for one try to write, and tries; who wrote waits meanwhile for the confirmation.
SAVE_PATIENCE = 3.0
SAVE_TRIES = 2
#: Number under which a message is stored that is in memory only.
NOWHERE = -1
#: Seconds that a room without members is kept: pages are loaded anew, and connections break.
KEEP_EMPTY_S = 300.0


class OpenRoom:
    """A room with its memory; made by ``Chats.open``."""

    def __init__(self, channel: str, chats: Chats) -> None:
        self.channel = channel
        self.room: Room
        self.empty_since: float | None = None
        """When its last member went, by the steady clock; None: it has members, or never had."""
        self.closed = False
        self.moved: dict[int, int] = {}
        """Messages that are stored under another number than the room's own: another node that
        shares the database had written meanwhile."""
        self._chats = chats
        self._writer: asyncio.Task[None] | None = None
        self._safe: asyncio.Future[None] | None = None  # of what waits
        self._writing: asyncio.Future[None] | None = None  # of what is written now

    def note_moved(self, moved: Mapping[int, int]) -> None:
        """Messages are stored under other numbers than the room's own."""
        self.moved |= moved
        for number in list(self.moved)[:-KEEP_MESSAGES]:
            del self.moved[number]

    def safe(self) -> asyncio.Future[None] | None:
        """Done when all that happened is written down or given up; None: it is already."""
        return self._safe or self._writing

    @property
    def writer(self) -> asyncio.Task[None] | None:
        """What writes now."""
        return self._writer

    def news(self) -> None:
        """Something happened: write it down, with whatever happens until that begins."""
        loop = asyncio.get_running_loop()
        if self._safe is None:
            self._safe = loop.create_future()
        if self._writer is None:
            self._writer = loop.create_task(self._write())
        self._chats.on_news(self)

    async def _write(self) -> None:
        try:
            while self._safe is not None:
                self._writing, self._safe = self._safe, None
                try:
                    await self._chats.save(self, self.room.take_unsaved())
                finally:
                    self._writing.set_result(None)
                    self._writing = None
        finally:
            self._writer = None


class Chats:
    """Opens rooms, writes down what happens in them, and forgets those that are empty."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        limits: ChatLimits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``now``: seconds since 1970."""
        self.limits = limits or ChatLimits()
        self.now = now
        self.connections = 0
        """Kept by who serves them, for the metrics."""
        self.on_news: Callable[[OpenRoom], None] = lambda room: None
        """Called after each entry of a room."""
        self.counters: Counter[str] = Counter(
            chat_messages=0,
            # Messages refused, for whatever reason.
            chat_messages_refused=0,
            # Connections closed because they sent more than anybody may.
            chat_floods=0,
            # Members that fell too far behind and were given the history anew.
            chat_resyncs=0,
            # Tries to write that failed.
            chat_save_failures=0,
            # What is in memory only.
            chat_unsaved=0,
        )
        self.on_saved: Callable[[OpenRoom, tuple[Entry, ...]], None] = lambda room, entries: None
        """Called with what was written down, or given up."""
        self._catalogue = catalogue
        self._rooms: dict[str, OpenRoom] = {}
        self._loading: dict[str, asyncio.Task[OpenRoom]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    async def open(self, channel: str) -> OpenRoom:
        """The channel's room, read from the catalogue if it is not open; ``HelioError`` where that
        cannot be read."""
        room = self._rooms.get(channel)
        if room is not None:
            return room
        task = self._loading.get(channel)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(channel))
            self._loading[channel] = task
            task.add_done_callback(lambda _: self._loading.pop(channel, None))
        return await asyncio.shield(task)

    async def _load(self, channel: str) -> OpenRoom:
        opened = OpenRoom(channel, self)
        try:
            async with asyncio.timeout(LOAD_PATIENCE):
                past = await self._catalogue.history.load(channel)
                try:
                    slow = (await self._catalogue.channels.get(channel)).slow_mode
                except NotFoundError:
                    slow = 0.0
        except TimeoutError:
            raise ResourceError("the chat's memory does not answer", subject="database") from None
        opened.room = Room(
            self.limits,
            past=map(_message, past.messages),
            mutes=map(_mute, past.mutes),
            slow=slow,
            news=opened.news,
        )
        opened.empty_since = time.monotonic()
        self._rooms[channel] = opened
        return opened

    async def save(self, opened: OpenRoom, entries: tuple[Entry, ...]) -> None:
        """Write down; never fails, but counts."""
        if not entries:  # what others write down
            return
        await self._save(opened, entries)
        self.on_saved(opened, entries)

    async def _save(self, opened: OpenRoom, entries: tuple[Entry, ...]) -> None:
        batch = _Batch(entries)
        for _ in range(SAVE_TRIES):
            try:
                async with asyncio.timeout(SAVE_PATIENCE):
                    moved = await self._catalogue.history.save(
                        opened.channel,
                        said=batch.said,
                        deleted=batch.deleted,
                        cleared=batch.cleared,
                        muted=batch.muted,
                        unmuted=batch.unmuted,
                        moved=opened.moved,
                    )
                opened.note_moved(moved)
                return
            except NotFoundError:  # a channel that is not kept, or just deleted
                break
            except (HelioError, TimeoutError) as error:
                self.counters["chat_save_failures"] += 1
                log.error(
                    "chat not written down",
                    channel=opened.channel,
                    error=str(error) or "time-out",
                    limit="chat not written down",
                )
        self.counters["chat_unsaved"] += len(entries)
        opened.note_moved({one.id: NOWHERE for one in entries if isinstance(one, Message)})

    def find(self, channel: str) -> OpenRoom | None:
        """The channel's room, if it is open."""
        return self._rooms.get(channel)

    def close_room(self, channel: str) -> OpenRoom | None:
        """Forget a room: its channel is no more. The members are the caller's to send away."""
        opened = self._rooms.pop(channel, None)
        if opened is not None:
            opened.closed = True
        return opened

    def forget_empty(self, now: float) -> None:
        """Forget rooms that nobody was in for a while; ``now`` by the steady clock."""
        for channel, opened in list(self._rooms.items()):
            idle = opened.empty_since is not None and now - opened.empty_since > KEEP_EMPTY_S
            if idle and not opened.room.members and opened.writer is None:
                del self._rooms[channel]

    async def close(self) -> None:
        """Write what is left, and close all rooms."""
        for task in list(self._loading.values()):
            task.cancel()
        for channel in list(self._rooms):
            opened = self.close_room(channel)
            if opened is not None and opened.writer is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await opened.writer


def _message(entry: ChatEntry) -> Message:
    return Message(
        entry.seq,
        entry.author,
        entry.name,
        "" if entry.deleted else entry.text,
        entry.at.timestamp(),
        entry.nonce,
        Badge(entry.badge) if entry.badge in set(Badge) else Badge.NONE,
    )


def _mute(mute: ChatMute) -> tuple[str, str, float | None]:
    author, _, net = mute.author.partition("@")
    return author, net, None if mute.until is None else mute.until.timestamp()


def _key(entry: Muted | Unmuted) -> str:
    """An author and the network muted with it, as they are stored."""
    return f"{entry.author}@{entry.net}" if entry.net else entry.author


class _Batch:
    """Entries as the catalogue takes them: the last state of each author."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.said: list[ChatEntry] = []
        self.deleted: list[int] = []
        self.cleared = 0
        self._mutes: dict[str, ChatMute | None] = {}
        for entry in entries:
            self._add(entry)

    @property
    def muted(self) -> list[ChatMute]:
        return [mute for mute in self._mutes.values() if mute is not None]

    @property
    def unmuted(self) -> list[str]:
        return [key for key, mute in self._mutes.items() if mute is None]

    def _add(self, entry: Entry) -> None:
        match entry:
            case Message(id, author, name, text, at, nonce, badge):
                when = datetime.fromtimestamp(at, UTC)
                self.said.append(ChatEntry(id, author, name, text, nonce, when, badge.value))
            case Deleted():
                self.deleted.append(entry.message)
            case Cleared():
                self.cleared = entry.id
            case Muted():
                until = None if entry.until is None else datetime.fromtimestamp(entry.until, UTC)
                self._mutes[_key(entry)] = ChatMute(_key(entry), until)
            case Unmuted():
                self._mutes[_key(entry)] = None
