"""Log events of all nodes, followed over the bus.

Each node keeps its newest events (``logs.recent``), answers who asks for them, and publishes new
ones on the topic ``log`` while a node announces that somebody there follows: at most five messages
a second, so that a flood of lines is no flood on the bus. What the ring held no longer when its
turn came is counted and said. Managers follow all the time, and keep what nodes said that died
(``log_keeper``).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from heliograph.bus import Announcement, Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.model.errors import HelioError
from heliograph.node import logs

log = structlog.get_logger(__name__)

#: Announced by a node where somebody follows.
FOLLOWER = "log-follower"
#: Where events are published.
TOPIC = "log"
#: Asked of each node: its newest events.
NEWEST = "logs.newest"
#: Asked of each node that keeps what all said: as ``NEWEST``, with the ``node`` that is wanted.
KEPT = "logs.kept"
#: Seconds between two messages.
PERIOD = 0.2
#: Bytes of a message's entries; the rest of the 64 KiB is for what is around them.
MAX_BATCH = 63 << 10
#: Entries and bytes of one node's answer to ``NEWEST``.
MAX_NEWEST, MAX_NEWEST_BYTES = 500, 256 << 10
#: Share of a processor that hearing others may take, and seconds of it at once: a full message
#: costs four milliseconds, and a hundred nodes send five hundred a second. The rest is left out.
SHARE, BURST = 0.1, 0.25
#: Microseconds that a node goes back at least when the first follower comes: until its announcement
#: is everywhere, others may have been asked already for what they had.
GO_BACK = 5_000_000

#: ``{"node", "name", "run", "entries", "missed"}``: see ``LogFeed.follow``.
Listener = Callable[[Mapping[str, Any]], None]


class LogFeed:
    """One node's part."""

    def __init__(self, bus: Bus, name: str, ring: logs.Ring = logs.recent) -> None:
        """``name``: how this node calls itself."""
        self.counters: Counter[str] = Counter(unpublished=0, left_out=0)
        """Entries that the bus took not; those of others that were not heard, as there were too
        many at once."""
        self._bus = bus
        self._name = name
        self._ring = ring
        self._sent = 0
        """Number of the last entry that was published."""
        self._next: int | None = None
        """Index of the entry that follows it; None: any."""
        self._listeners: dict[int, Listener] = {}
        self._count = 0
        self._announcement: Announcement | None = None
        self._subscription: Registration | None = None
        self._registrations: list[Registration] = []
        self._spent = self._heard_last = 0.0
        """Seconds of the processor that hearing took of late, beyond its share."""
        self._left_out = 0
        self._untold = 0
        """Entries that were not published, and of which nobody who follows knows yet."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer, and publish while somebody follows."""
        self._registrations = [
            self._bus.serve(NEWEST, self._asked),
            self._bus.watch(FOLLOWER, lambda event: self._look()),
        ]
        self._look()

    async def close(self) -> None:
        """Stop both; followers of this node hear no more."""
        for one in self._registrations:
            one.close()
        self._listeners.clear()
        self._unfollow()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    # for who asks here

    async def newest(
        self, *, node: str = "", level: str = "debug", text: str = "", limit: int = 200
    ) -> list[dict[str, Any]]:
        """The newest entries of all nodes, the oldest first, each with ``node`` and ``name``.

        ``node``: of one only, by id or name; ``level``: and above; ``text``: that have it in them.
        Of a node that does not answer within the bus's time there is what managers kept.
        """
        asked: dict[str, Json] = {"level": level, "text": text, "limit": limit}
        answers, kept = await asyncio.gather(
            self._bus.ask(NEWEST, asked), self._bus.ask(KEPT, {**asked, "node": node})
        )
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for one, answer in (*answers, *(part for _, all_ in kept for part in parts(all_))):
            batch = _checked(one, answer)
            if node in ("", one, batch["name"]):
                about = {"node": one, "name": batch["name"]}
                for entry in batch["entries"]:
                    found.setdefault((one, entry["number"]), {**about, **entry})
        return sorted(found.values(), key=lambda entry: entry["number"])[-limit:]

    def follow(self, listener: Listener) -> Registration:
        """Be told of new entries, ``number``, ``at``, ``level``, ``event``, ``fields``; ``missed``
        counts those that were left out before. Entries may come again: see ``number``, which grows
        within a ``run`` of the node's process."""
        self._count += 1
        count = self._count
        self._listeners[count] = listener
        if self._announcement is None:
            self._subscription = self._bus.subscribe(TOPIC, self._heard)
            self._announcement = self._bus.announce(FOLLOWER, self._bus.node)
        return Registration(lambda: self._left(count))

    def _left(self, count: int) -> None:
        self._listeners.pop(count, None)
        if not self._listeners:
            self._unfollow()

    def _unfollow(self) -> None:
        for one in (self._announcement, self._subscription):
            if one is not None:
                one.close()
        self._announcement = self._subscription = None

    def _heard(self, node: str, topic: str, value: object) -> None:
        now, began = time.monotonic(), time.thread_time()
        self._spent = max(0.0, self._spent - (now - self._heard_last) * SHARE)
        self._heard_last = now
        if self._spent > BURST:  # nodes that say much must not keep a manager from its lease
            given = value.get("entries") if isinstance(value, dict) else None
            count = len(given) if isinstance(given, list) else 0
            self._left_out += count
            self.counters["left_out"] += count
            return
        batch = _checked(node, value)
        batch["missed"] += self._left_out
        self._left_out = 0
        for listener in [*self._listeners.values()]:
            listener(batch)
        self._spent += time.thread_time() - began

    # for who follows

    async def _asked(self, request: Request) -> dict[str, Any]:
        asked = request.value if isinstance(request.value, dict) else {}
        level = logs.LEVELS.get(str(asked.get("level")), 0)
        text = str(asked.get("text", ""))
        limit = asked.get("limit")
        limit = min(limit, MAX_NEWEST) if isinstance(limit, int) else MAX_NEWEST
        entries = reversed(self._ring.after(0))
        wanted = (one for one in entries if matches(one, level, text.lower()))
        found = [*map(_value, _fitting(wanted, MAX_NEWEST_BYTES, limit))]
        return {"name": self._name, "entries": found[::-1]}

    def _look(self) -> None:
        """Whether somebody follows."""
        followed = bool(self._bus.present(FOLLOWER))
        if followed and self._task is None:
            # What was said while nobody listened is wanted, too, by who keeps it.
            self._sent = min(self._sent, int(time.time() * 1e6) - GO_BACK)
            self._next = None
            self._task = asyncio.get_running_loop().create_task(self._publish(), name="log feed")
        elif not followed and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _publish(self) -> None:
        while True:
            entries = _fitting(self._ring.after(self._sent), MAX_BATCH)
            if entries:
                missed = 0 if self._next is None else entries[0].index - self._next
                self._sent, self._next = entries[-1].number, entries[-1].index + 1
                said = {
                    "name": self._name,
                    "run": self._ring.run,
                    "entries": [*map(_value, entries)],
                    "missed": missed + self._untold,
                }
                try:
                    self._bus.publish(TOPIC, said)
                    self._untold = 0
                except HelioError as error:
                    self._untold += missed + len(entries)
                    self.counters["unpublished"] += len(entries)
                    log.debug("log entries not published", error=error.message)
            await asyncio.sleep(PERIOD)


def matches(entry: logs.Entry, level: int, text: str) -> bool:
    """Whether an entry is of that level or above, and has the text, in lower case, in it."""
    if logs.LEVELS.get(entry.level, 20) < level:
        return False
    if not text or text in entry.event.lower():
        return True
    return any(text in f"{key}={value}".lower() for key, value in entry.fields.items())


def _fitting(entries: Iterable[logs.Entry], room: int, limit: int = MAX_NEWEST) -> list[logs.Entry]:
    """The first of them, as many as have room in so many bytes, one at least."""
    found: list[logs.Entry] = []
    for one in entries:
        room -= len(json.dumps(_value(one), ensure_ascii=False).encode()) + 1
        if found and (room < 0 or len(found) >= limit):
            break
        found.append(one)
    return found


def _value(entry: logs.Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at,
        "level": entry.level,
        "event": entry.event,
        "fields": dict(entry.fields),
    }


def parts(answer: object) -> list[tuple[str, object]]:
    """What a node kept of each that it heard, by id."""
    given = answer.get("nodes") if isinstance(answer, dict) else None
    return [*given.items()] if isinstance(given, dict) else []


def _checked(node: str, value: object) -> dict[str, Any]:
    """What a node sent, in the form of ``follow``; a node of another version may send anything."""
    given = value if isinstance(value, dict) else {}
    entries, missed, run = given.get("entries"), given.get("missed", 0), given.get("run", 0)
    return {
        "node": node,
        "name": str(given.get("name", node))[:64],
        "run": run if isinstance(run, int) else 0,
        "missed": missed if isinstance(missed, int) else 0,
        "entries": [
            {
                "number": one["number"],
                "at": str(one.get("at", "")),
                "level": str(one.get("level", "")),
                "event": str(one.get("event", "")),
                "fields": one["fields"] if isinstance(one.get("fields"), dict) else {},
            }
            for one in (entries if isinstance(entries, list) else ())
            if isinstance(one, dict) and isinstance(one.get("number"), int)
        ],
    }
