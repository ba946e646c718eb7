"""Takes decisions and plays, and has a thread of its own write them into the journal."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime

import structlog

from heliograph.catalogue.contents.batches import Addresses, Batch
from heliograph.catalogue.contents.statistics import Decision, Play
from heliograph.dispatcher.statistics.journal import FRAME_ENTRIES, Frame, Run

log = structlog.get_logger(__name__)

#: Seconds between two writes: what a kill of the process costs at most, and a little.
PERIOD = 0.25
#: Decisions that wait for the thread: two seconds' worth at the fastest. More are counted as lost.
MAX_WAITING = 100_000
#: Words of plays that wait for it: one of each that is followed.
MAX_PLAYS = 100_000
#: Decisions counted in one go, while nothing else runs: less than a millisecond.
CHUNK = 1000
#: Entries that are kept in memory beside the journal, so that it need not be read again; a hundred
#: thousand titles asked for evenly from everywhere have 400 000, about 120 MB. With more the
#: journal is read.
MAX_KEPT = 500_000
#: Entries that are kept in memory while the disk takes none, about 20 MB.
MAX_HELD = 50_000


class Recorder:
    """Made for one run; ``record``, and what ``Notes`` are told, is called by one thread, that of
    the loop. None of it ever waits."""

    def __init__(
        self, run: Run, *, addresses: Addresses = Addresses.NETWORK, period: float = PERIOD
    ) -> None:
        """``addresses``: what is kept of them. ``period``: seconds between two writes."""
        self._run = run
        self._addresses = addresses
        self._period = period
        self._made = run.made
        self._waiting: deque[Decision] = deque()
        self._plays: deque[Play] = deque()
        self._queued = 0
        """Words of plays that ever were in there."""
        self._under_way = 0
        """Plays whose end was not told yet, and counts as made."""
        self._unnoted = 0
        self._refused = 0
        """Records that found no room; only the loop's thread counts them."""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        # What follows is the writing thread's.
        self._taken = 0
        """Words of plays that were taken out of there to be written."""
        self._turn = threading.Lock()
        """Who writes: the thread, or whoever seals what it wrote."""
        self._edge = run.made[0]
        """Records up to here are in the journal, or lost."""
        self._held = Batch()
        """Counts that are not in it yet."""
        self._kept: Batch | None = Batch()
        """Counts that were written since the last segment was closed; None: too many."""
        self._kept_from = self._edge
        self._seen_refused = 0
        self._span = 0
        """Records that the held ones stand for, with those lost."""
        self._dropped = 0
        self._failures = 0
        self._failing = False

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._work, name="statistics", daemon=True)
        self._thread.start()

    def record(self, decision: Decision) -> None:
        """Count a decision."""
        self._made[0] += 1
        waiting = self._waiting
        if len(waiting) < MAX_WAITING:
            waiting.append(decision)
        else:
            self._refused += 1

    # what ``Notes`` are told

    def begun(self) -> None:
        """A play begins: its end is a record to come."""
        self._made[0] += 1
        self._under_way += 1

    def played(self, play: Play) -> None:
        """What became of a play so far; ``client`` is as it is to be kept."""
        self._made[0] += 1
        self._queue(play)
        try:
            self._run.plays.put(play)
        except OSError as error:
            if not self._unnoted:
                log.error("play not noted", play=play.id, error=str(error))
            self._unnoted += 1

    def noted(self, id: str, sent_bytes: int, stalls: int) -> None:
        """What a play that was told of got until now."""
        self._run.plays.note(id, sent_bytes, stalls)

    def alive(self, at: datetime) -> None:
        """All plays that did not end play at this time."""
        self._run.plays.alive(at)

    def ended(self, play: Play | None) -> None:
        """A play is over; None: nothing was played after all."""
        self._under_way -= 1
        if play is None:
            self._made[0] -= 1
            return
        self._queue(play)
        self._run.plays.end(play, self._queued)

    def _queue(self, play: Play) -> None:
        if len(self._plays) < MAX_PLAYS:
            self._plays.append(play)
            self._queued += 1
        else:
            self._refused += 1

    def flush(self) -> Frame | None:
        """Write what waits, and close the segment; for a worker thread, as the disk may be slow.

        Gives what was written since the last time, which may be more than a frame can hold; None
        where that is nothing, or too much to be kept.
        """
        with self._turn:
            self._write()
            self._run.seal()
            first, self._kept_from = self._kept_from, self._edge
            kept, self._kept = self._kept, Batch()
            return Frame(first, self._edge, kept) if kept else None

    @property
    def full(self) -> bool:
        """Whether much was written that is not flushed yet."""
        kept = self._kept
        return kept is None or len(kept) > 0.8 * MAX_KEPT

    def close(self) -> None:
        """Write what waits and stop; nothing may be recorded any more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def counters(self) -> Mapping[str, int]:
        """Since the start: ``records`` made, ``refused`` and ``dropped`` of them, by a thread that
        lags and by a disk that takes none; ``unnoted`` words of plays, which a kill may cost a
        minute; ``write_failures``; and how many are ``waiting``."""
        return {
            "records": self._made[0] - self._under_way,
            "unnoted": self._unnoted,
            "refused": self._refused,
            "dropped": self._dropped,
            "write_failures": self._failures,
            "waiting": len(self._waiting) + len(self._plays) + self._held.records,
        }

    def _work(self) -> None:
        while not self._over.wait(self._period):
            with self._turn:
                try:
                    self._write()
                except Exception:  # the next turn may find it mended
                    log.exception("statistics not written")

    def _write(self) -> None:
        self._take()
        while len(self._held):
            parts = [*self._held.parts(FRAME_ENTRIES)]
            try:
                for index, part in enumerate(parts):
                    # What was lost meanwhile counts with the last.
                    to = self._edge + (part.records if index < len(parts) - 1 else self._span)
                    self._run.write(Frame(self._edge, to, part))
                    self._span -= to - self._edge
                    self._edge = to
                    if self._kept is not None:
                        self._kept.add(part)
                    time.sleep(0)  # let the loop have its turn
            except OSError as error:
                self._failed(parts[index:], error)
                return
            self._held = Batch()
            self._run.plays.written(self._taken)
            if self._kept is not None and len(self._kept) > MAX_KEPT:
                self._kept = None
            if self._failing:
                self._failing = False
                log.info("statistics are written again")

    def _take(self) -> None:
        """Count what waits."""
        refused = self._refused
        self._span += refused - self._seen_refused
        self._seen_refused = refused
        for _ in range(-(-len(self._waiting) // CHUNK)):
            waiting = self._waiting
            chunk = [waiting.popleft() for _ in range(min(CHUNK, len(waiting)))]
            self._span += len(chunk)
            self._held.count(chunk, self._addresses)
            time.sleep(0)
        plays = [self._plays.popleft() for _ in range(len(self._plays))]
        self._taken += len(plays)
        self._held.add_plays(plays)
        self._held.records += len(plays)
        self._span += len(plays)

    def _failed(self, left: list[Batch], error: OSError) -> None:
        self._failures += 1
        self._held = Batch()
        for part in left:
            self._held.add(part)
        if not self._failing:
            self._failing = True
            log.error("statistics cannot be written", error=str(error))
        if len(self._held) > MAX_HELD:
            self._dropped += self._held.records
            self._held = Batch()
