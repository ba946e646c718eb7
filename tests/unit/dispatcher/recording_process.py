"""Processes that record as fast as told until they are killed; run by ``test_statistics_killed``.

For each line read, one process is forked, and its id printed. One that records decisions
keeps a count of its own beside the recorder: a page of numbers that is a file, with how many it
made, and how many it had made at each tenth of a second.
"""

from __future__ import annotations

import asyncio
import itertools
import mmap
import os
import sys
import time
from pathlib import Path

from tests.unit.dispatcher import playing_process
from tests.unit.dispatcher.traffic import decisions, play

TICK = 0.1
BURST, PAUSE = 40, 0.004


async def record(url: str, directory: Path, page: mmap.mmap) -> None:
    told = memoryview(page).cast("Q")
    _, recorder = await playing_process.recording(url, directory)
    some = itertools.cycle(decisions(2000, hours=3))
    began, made = time.monotonic(), 0
    while True:
        for one in itertools.islice(some, BURST):
            if made % 50 == 49:
                recorder.begun()
                recorder.ended(play(made + os.getpid() * 10**6, made / 100, 3))
            else:
                recorder.record(one)
            made += 1
            told[0] = made
        told[1 + int((time.monotonic() - began) / TICK)] = made
        await asyncio.sleep(PAUSE)


def main(url: str, directory: Path, what: str) -> None:
    size = mmap.PAGESIZE if what == "decisions" else playing_process.SIZE
    print("ready", flush=True)
    for line in sys.stdin:
        with (directory / line.strip()).open("w+b") as file:
            file.truncate(size)
            page = mmap.mmap(file.fileno(), size)
        child = os.fork()
        if child == 0:
            journal = directory / "journal"
            if what == "decisions":
                asyncio.run(record(url, journal, page))
            else:
                asyncio.run(playing_process.play(url, journal, line.strip(), page))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
