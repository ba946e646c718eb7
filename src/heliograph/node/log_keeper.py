"""What all nodes logged, kept by the managers: a node that was killed tells nothing any more.

Each manager, active or not, follows the others' log events and keeps the newest in memory: so many
of each node, and so many bytes together. When room is short, the node that has most gives its
oldest: one that is noisy does not push out the last words of another.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.node import logs
from heliograph.node.log_feed import KEPT, LogFeed, matches

#: Characters kept of all nodes together, a byte each: 80 000 events as they usually are, of a
#: hundred units the last 800 each.
ROOM = 16 << 20
#: Nodes of which something is kept, those heard last: far more than a cluster has.
MAX_NODES = 1000
#: Earlier processes of a node that are told from the one that runs: their last words may come late.
MAX_RUNS = 8
#: Entries and characters of an answer: as many as the API gives out, and half of what a message of
#: the bus may have.
MAX_ANSWER, MAX_ANSWER_BYTES = 1000, 512 << 10


@dataclass(frozen=True, slots=True)
class _Line:
    """An entry, as text: a tenth of the memory that it takes as values."""

    number: int
    level: int
    text: str

    def entry(self) -> logs.Entry:
        return logs.Entry(self.number, **json.loads(self.text), index=0)


@dataclass(slots=True)
class _Kept:
    """Of one node."""

    name: str
    run: int
    """Of its process."""
    last: int = 0
    """Number of the newest entry of that: some come again."""
    size: int = 0
    """Characters of all lines."""
    lines: deque[_Line] = field(default_factory=deque)
    left: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_RUNS))
    """Runs of before."""

    def begin(self, run: int, number: int) -> None:
        """The node was started anew, and says its first entry. Where its clock went back meanwhile
        the entries of before are put before that one: they are older."""
        self.left.append(self.run)
        self.run, self.last = run, 0
        for index in range(len(self.lines) - 1, -1, -1):
            if self.lines[index].number < number:
                break
            number -= 1
            self.lines[index] = replace(self.lines[index], number=number)

    def drop(self) -> None:
        self.size -= len(self.lines.popleft().text)


class LogKeeper:
    """One manager's part."""

    def __init__(self, bus: Bus, feed: LogFeed, *, room: int = ROOM) -> None:
        """``feed``: of this node; ``room``: characters kept."""
        self.counters: Counter[str] = Counter(missed=0, dropped=0)
        """Entries that nodes left out of what they published; entries that there was no more room
        for here."""
        self._bus, self._feed, self._room = bus, feed, room
        self._kept: dict[str, _Kept] = {}
        """By node, the one heard last at the end."""
        self._size = 0
        self._registrations: list[Registration] = []

    def start(self) -> None:
        """Listen, and answer."""
        self._registrations = [
            self._feed.follow(self._heard),
            self._bus.serve(KEPT, self._asked),
        ]

    def close(self) -> None:
        """Stop both."""
        for one in self._registrations:
            one.close()

    def _heard(self, batch: Mapping[str, Any]) -> None:
        kept = self._kept.pop(batch["node"], None) or _Kept(batch["name"], batch["run"])
        self._kept[batch["node"]] = kept
        kept.name = batch["name"]
        self.counters["missed"] += max(0, batch["missed"])
        if batch["run"] in kept.left:
            return  # on its way for longer than the node was away: most of it is here
        before = kept.size
        if kept.run != batch["run"] and batch["entries"]:
            kept.begin(batch["run"], batch["entries"][0]["number"])
        for entry in batch["entries"]:
            if entry["number"] > kept.last:
                kept.last = entry["number"]
                said = {name: entry[name] for name in ("at", "level", "event", "fields")}
                text, level = json.dumps(said), logs.LEVELS.get(entry["level"], 20)
                kept.lines.append(_Line(kept.last, level, text))
                kept.size += len(text)
        while len(kept.lines) > logs.RING_EVENTS:
            self._drop(kept)
        self._size += kept.size - before
        while len(self._kept) > MAX_NODES:
            gone = self._kept.pop(next(iter(self._kept)))
            self.counters["dropped"] += len(gone.lines)
            self._size -= gone.size
        while self._size > self._room:
            self._make_room()

    def _drop(self, kept: _Kept) -> None:
        kept.drop()
        self.counters["dropped"] += 1

    def _make_room(self) -> None:
        """Take an eighth of what the node has that has most: looking for it costs once then."""
        most = max(self._kept.values(), key=lambda kept: kept.size)
        before = most.size
        while most.size > before * 7 // 8:
            self._drop(most)
        self._size -= before - most.size

    async def _asked(self, request: Request) -> Json:
        asked = request.value if isinstance(request.value, dict) else {}
        wanted, text = str(asked.get("node", "")), str(asked.get("text", "")).lower()
        level, limit = logs.LEVELS.get(str(asked.get("level")), 0), asked.get("limit")
        limit = min(limit, MAX_ANSWER) if isinstance(limit, int) else MAX_ANSWER
        chosen = {
            node: (kept.name, [*kept.lines])
            for node, kept in self._kept.items()
            if wanted in ("", node, kept.name)
        }
        # Where a text is looked for, all have to be read: not on the loop.
        return await asyncio.to_thread(_found, chosen, level, text, limit)


def _found(
    chosen: Mapping[str, tuple[str, list[_Line]]], level: int, text: str, limit: int
) -> dict[str, Json]:
    """The newest that match."""

    def lines(node: str) -> Iterable[tuple[int, str, _Line]]:
        return ((line.number, node, line) for line in reversed(chosen[node][1]))

    newest = heapq.merge(*map(lines, chosen), key=lambda one: one[0], reverse=True)
    found: dict[str, list[Json]] = {}
    room = MAX_ANSWER_BYTES
    for number, node, line in newest:
        if line.level < level or (text and not matches(line.entry(), level, text)):
            continue
        room -= len(line.text) + 32  # the number
        limit -= 1
        if limit < 0 or room < 0:
            break
        found.setdefault(node, []).append({"number": number, **json.loads(line.text)})
    return {
        "nodes": {
            node: {"name": chosen[node][0], "entries": entries[::-1]}
            for node, entries in found.items()
        }
    }
