"""Plays under way, in memory that is a file as well: what a killed process had noted of them.

The journal has words that are written down each minute; here is what came since. A play has a slot
that is used again when its end is in the journal, so the file has room for as many plays as there
were at a time, 320 bytes each, and to note what one got costs two stores.

The file: a head with ``MAGIC``, the time at which all open plays played, and how many words of
plays are in the journal (each 8 bytes, as the machine has them; times are microseconds since 1970);
then chunks: of all their slots the length of the play's text, or 0, when it ended, or 0, its bytes
and stalls, and which word told its end; then of all slots the text.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections import deque
from datetime import datetime
from pathlib import Path

import structlog

from heliograph.catalogue.contents.batches import micros, play_of, play_row
from heliograph.catalogue.contents.statistics import Play

log = structlog.get_logger(__name__)

#: Says what the file is, in this version.
MAGIC = int.from_bytes(b"helplay1", "little")
#: Bytes before the first chunk: files are mapped from multiples of this on, whatever the machine.
HEAD = 65_536
#: Slots of a chunk, and bytes of each: numbers, and text; no text has more, see ``MAX_NAME``.
SLOTS, NUMBERS, TEXT = 1024, 40, 280
CHUNK = SLOTS * (NUMBERS + TEXT)
_MAGIC, _ALIVE, _WRITTEN = range(3)
_LENGTH, _ENDED, _BYTES, _STALLS, _LAST = _WORDS = range(5)
_SLOT = struct.Struct("=5Q")
_HEADER = struct.Struct("=3Q")


class OpenPlays:
    """The slots of one run. Made on a path; the file comes with the first play."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._maps: list[mmap.mmap] = []
        self._head: memoryview | None = None
        self._numbers: list[memoryview] = []
        self._slots: dict[str, tuple[int, int]] = {}
        """Chunk, and slot in it, of a play by its id."""
        self._free: list[tuple[int, int]] = []
        self._ending: deque[tuple[int, str]] = deque()
        """Plays that ended, and which word said so."""
        self._written = 0

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, play: Play) -> None:
        """Note a play, known already or not; ``OSError`` where there is no room for it."""
        if play.id not in self._slots:
            text = json.dumps(play_row(play)[:6], ensure_ascii=False, separators=(",", ":"))
            data = text.encode("utf-8", "replace")
            if len(data) > TEXT:
                raise OSError(f"{len(data)} bytes about a play")
            if not self._free:
                self._grow()
            chunk, slot = place = self._free.pop()
            start = SLOTS * NUMBERS + slot * TEXT
            self._maps[chunk][start : start + len(data)] = data
            self._slots[play.id] = place
            numbers, at = self._numbers[chunk], slot * len(_WORDS)
            numbers[at + _ENDED] = 0
            self.note(play.id, play.sent_bytes, play.stalls)
            numbers[at + _LENGTH] = len(data)  # the last: it is there with all of it, or not
        else:
            self.note(play.id, play.sent_bytes, play.stalls)

    def note(self, id: str, sent_bytes: int, stalls: int) -> None:
        """What a play got until now."""
        found = self._slots.get(id)
        if found is not None:
            numbers, at = self._numbers[found[0]], found[1] * len(_WORDS)
            numbers[at + _BYTES] = sent_bytes
            numbers[at + _STALLS] = stalls

    def alive(self, at: datetime) -> None:
        """All that did not end play at this time."""
        if self._head is not None:
            self._head[_ALIVE] = micros(at)
        while self._ending and self._ending[0][0] <= self._written:
            chunk, slot = place = self._slots.pop(self._ending.popleft()[1])
            self._numbers[chunk][slot * len(_WORDS) + _LENGTH] = 0
            self._free.append(place)

    def end(self, play: Play, word: int) -> None:
        """It is over, as that word of all says, and stays until this is in the journal."""
        found = self._slots.get(play.id)
        if found is not None:
            self.note(play.id, play.sent_bytes, play.stalls)
            numbers, at = self._numbers[found[0]], found[1] * len(_WORDS)
            numbers[at + _LAST] = word
            numbers[at + _ENDED] = micros(play.ended)
            self._ending.append((word, play.id))

    def written(self, words: int) -> None:
        """So many are in the journal; called by the thread that writes it."""
        self._written = words
        if self._head is not None:
            self._head[_WRITTEN] = words

    def left(self) -> list[tuple[Play, bool]]:
        """Plays whose end is not in the journal, and whether they ended; first those that did."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        if len(data) < HEAD or _HEADER.unpack_from(data)[0] != MAGIC:
            log.error("open plays not understood", file=str(self._path))
            return []
        _, alive, written = _HEADER.unpack_from(data)
        found: list[tuple[Play, bool]] = []
        for chunk in range(HEAD, len(data) - CHUNK + 1, CHUNK):
            for slot in range(SLOTS):
                length, end, *sent, last = _SLOT.unpack_from(data, chunk + slot * NUMBERS)
                if not 0 < length <= TEXT or (end and last <= written):
                    continue
                start = chunk + SLOTS * NUMBERS + slot * TEXT
                try:
                    row = json.loads(data[start : start + length])
                    play = play_of([*row, end or max(alive, row[-1]), *sent])
                except (TypeError, ValueError, LookupError) as error:
                    log.error("open play not understood", error=str(error)[:200])
                    continue
                found.append((play, end > 0))
        return sorted(found, key=lambda one: not one[1])

    def close(self) -> None:
        """Let the file be; nothing is noted any more."""
        self._slots.clear()
        self._free.clear()
        self._ending.clear()
        for numbers in self._numbers:
            numbers.release()
        if self._head is not None:
            self._head.release()
            self._head = None
        for one in self._maps:
            one.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._numbers, self._maps, self._descriptor = [], [], None

    def _grow(self) -> None:
        """Another chunk."""
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        chunk = len(self._maps)
        end = HEAD + (chunk + 1) * CHUNK
        os.posix_fallocate(self._descriptor, 0, end)  # a full disk is told now, not by a signal
        if self._head is None:
            self._head = memoryview(mmap.mmap(self._descriptor, HEAD)).cast("Q")
            self._head[_WRITTEN] = self._written
            self._head[_MAGIC] = MAGIC
        self._maps.append(mmap.mmap(self._descriptor, CHUNK, offset=end - CHUNK))
        numbers = memoryview(self._maps[-1])[: SLOTS * NUMBERS].cast("Q")
        self._numbers.append(numbers)
        self._free += [(chunk, slot) for slot in reversed(range(SLOTS))]
