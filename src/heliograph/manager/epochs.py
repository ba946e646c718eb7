"""The highest epoch of a manager's lease that a unit has heard of, kept over its next start."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from pathlib import Path

import structlog

from heliograph.model.files import write_private

log = structlog.get_logger(__name__)

#: What is kept beside the node's key.
EPOCH_FILE = "unit.json"
#: Seconds that the end of a unit waits for its disk: longer than one that is only busy takes.
LAST_SAVE = 5.0


class KnownEpoch:
    """Of one unit.

    An epoch counts from the moment it is heard of. Its file follows in a task of its own, one
    write at a time, so that a slow disk keeps nobody waiting. A unit that dies before that starts
    with the older epoch, and would obey the older manager until it hears of the newer one, which
    it does with its first report. Nothing is ordered in that moment: a manager orders nothing once
    its lease has run out by its own clock, which is before another one has it. The file is for
    orders that were on their way then, and those do not outlive the connection to a unit that died.
    """

    def __init__(self, directory: Path) -> None:
        """``directory``: where the node keeps what has to outlive it."""
        self.value = 0
        self.counters: Counter[str] = Counter(epochs_unsaved=0)
        self._file = directory / EPOCH_FILE
        self._settled = 0
        """The last one that was written, or could not be."""
        self._saving: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Begin with what was known when this unit ran last."""
        self.value = self._settled = await asyncio.to_thread(self._read)

    def learn(self, epoch: int) -> None:
        """Know a higher one from now on."""
        self.value = epoch
        if self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save(), name="epoch")

    async def close(self) -> None:
        """Let what is being written be written, unless the disk is stuck."""
        if self._saving is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._saving, LAST_SAVE)

    async def _save(self) -> None:
        try:
            while self._settled != self.value:
                epoch = self.value
                text = json.dumps({"epoch": epoch}) + "\n"
                try:
                    await asyncio.to_thread(write_private, self._file, text)
                except OSError as error:
                    # A manager that cannot order is worse than one known until the next start.
                    self.counters["epochs_unsaved"] += 1
                    log.warning("epoch not kept", file=str(self._file), error=str(error))
                self._settled = epoch
        finally:
            self._saving = None

    def _read(self) -> int:
        try:
            epoch = json.loads(self._file.read_text("utf-8"))["epoch"]
            if type(epoch) is int and epoch >= 0:
                return epoch
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("epoch not known", file=str(self._file), error=str(error))
            return 0
        log.warning("epoch not known", file=str(self._file), error=f"{epoch!r}"[:80])
        return 0
