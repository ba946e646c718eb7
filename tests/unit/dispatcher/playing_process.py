"""Plays that begin, go on and end until their process is killed; see ``recording_process``.

Each play gets a byte with each look at plays. Beside the recorder numbers are kept that are a file:
how many plays began; then of each when it began and until when it played, in microseconds since
1970, at which look it began, its bytes, and whether it ended.
"""

from __future__ import annotations

import asyncio
import mmap
import random
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.unit.catalogue.conftest import quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.batches import micros
from heliograph.catalogue.contents.following import LOOK, Following, OpenPlay, Sent
from heliograph.dispatcher.statistics.delivery import Delivery
from heliograph.dispatcher.statistics.journal import Run
from heliograph.dispatcher.statistics.recorder import Recorder

PLAYS = 1500
HEAD, EACH = 1, 5
SIZE = 8 * (HEAD + EACH * PLAYS)
PAUSE = 0.005


class Looks:
    """How often plays were looked at."""

    count = 0

    def since(self, begun: int) -> Sent:
        sent = self.count - begun
        return Sent(sent, sent, 0)


async def recording(url: str, directory: Path) -> tuple[Run, Recorder]:
    """A run whose recorder works, and is delivered from as often as it can be."""
    catalogue = await Catalogue.open(url, passwords=quick_passwords())
    run = Run.begin(directory)
    recorder = Recorder(run)
    recorder.start()
    Delivery(directory, run, recorder, catalogue.recording, period=0.15).start()
    return run, recorder


async def play(url: str, directory: Path, child: str, page: mmap.mmap) -> None:
    told = memoryview(page).cast("Q")
    run, recorder = await recording(url, directory)
    following = Following("unit-a", recorder)
    rng = random.Random(run.id)
    playing: dict[int, OpenPlay] = {}
    looks, begun, due = Looks(), 0, 0.0
    while True:
        if time.monotonic() >= due:
            following.look()
            looks.count += 1
            due = time.monotonic() + LOOK
        now = datetime.now(UTC)
        for number in playing:
            at = HEAD + EACH * number
            told[at + 1], told[at + 3] = micros(now), looks.count - told[at + 2]
        for _ in range(min(4, PLAYS - begun)):
            at, since = HEAD + EACH * begun, looks.count
            told[at], told[at + 1], told[at + 2] = micros(now), micros(now), since
            name = f"{child}-{begun}"
            found = following.begin(name, "10.0.0.7", "hls", partial(looks.since, since), now)
            assert found is not None
            playing[begun] = found
            begun += 1
            told[0] = begun
        if begun > 200 and rng.random() < 0.3:
            number = rng.choice([*playing])
            following.end(playing.pop(number))
            told[HEAD + EACH * number + 4] = 1
        await asyncio.sleep(PAUSE)
