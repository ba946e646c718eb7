"""A process full of viewers: ``python -m heliograph.cli.benching.worker``.

Told by lines of JSON on standard input: ``{"viewers": 50}`` how many there are to be, ``{}`` to
report. Each report is a line on standard output. Ends with its standard input, so it never
outlives the one who started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import statistics
import sys
import time
from dataclasses import asdict
from typing import Any

from heliograph.cli.benching.tally import STARVED_S, Delays, Totals
from heliograph.cli.benching.viewer import PATIENCE, Viewer
from heliograph.model.errors import HelioError

#: Viewers that set up at the same time: more would measure the set-up, not the stream.
MAX_AT_ONCE = 8
#: Seconds between two looks at the clock that tell how late this process is.
BEAT = 0.02
#: Different reasons of failures that are kept.
MAX_REASONS = 8


class Worker:
    """The viewers of one process."""

    def __init__(self, url: str, key: str, *, udp: bool) -> None:
        self._url, self._key, self._udp = url, key, udp
        self._loop = asyncio.get_running_loop()
        self._delays = Delays()
        self._viewers: dict[int, Viewer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MAX_AT_ONCE)
        self._wanted = self._failed = 0
        self._reasons: dict[str, int] = {}
        self._gone = Totals()
        self._late = 0.0

    async def run(self, commands: asyncio.StreamReader) -> None:
        """Do what is asked until there is nobody to ask."""
        beating = asyncio.create_task(self._beat())
        try:
            while line := await commands.readline():
                asked = json.loads(line)
                if "viewers" in asked:
                    self._add(int(asked["viewers"]))
                else:
                    print(json.dumps(asdict(self.totals())), flush=True)
        finally:
            beating.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(beating, *self._tasks, return_exceptions=True)

    def _add(self, wanted: int) -> None:
        for number in range(self._wanted, wanted):
            task = asyncio.create_task(self._view(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._wanted = max(wanted, self._wanted)

    async def _view(self, number: int) -> None:
        viewer = Viewer(self._url, self._key, self._delays)
        try:
            async with self._room, asyncio.timeout(PATIENCE):
                await viewer.watch(udp=self._udp)
            self._viewers[number] = viewer
            error = await viewer.failure
            self._fail(error.message)
        except (HelioError, OSError) as error:
            self._fail(str(error) or f"no answer within {PATIENCE:.0f} s")
        finally:
            self._viewers.pop(number, None)
            self._keep(viewer)
            await viewer.close(timeout=0.5)

    def _fail(self, reason: str) -> None:
        self._failed += 1
        if reason in self._reasons or len(self._reasons) < MAX_REASONS:
            self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def _keep(self, viewer: Viewer) -> None:
        """Totals only grow: what a viewer counted stays when it has gone."""
        gone, own = self._gone, list(viewer.tallies.values())
        self._gone = Totals(
            expected=gone.expected + sum(t.expected for t in own),
            received=gone.received + sum(t.received for t in own),
            bytes=gone.bytes + sum(t.bytes for t in own),
            dropped=gone.dropped + viewer.dropped,
        )

    async def _beat(self) -> None:
        while True:
            due = self._loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self._late = max(self._late, self._loop.time() - due)

    def totals(self) -> Totals:
        """Everything counted so far."""
        viewers = list(self._viewers.values())
        tallies = [tally for viewer in viewers for tally in viewer.tallies.values()]
        now, gone = self._loop.time(), self._gone
        late, self._late = self._late, 0.0
        jitters = [tally.jitter_ms for tally in tallies if tally.received > 1]
        return Totals(
            playing=len(viewers),
            failed=self._failed,
            starved=sum(_is_starved(viewer, now) for viewer in viewers),
            expected=gone.expected + sum(t.expected for t in tallies),
            received=gone.received + sum(t.received for t in tallies),
            bytes=gone.bytes + sum(t.bytes for t in tallies),
            dropped=gone.dropped + sum(viewer.dropped for viewer in viewers),
            cpu_s=(time.process_time(),),
            late_ms=round(1000 * late, 1),
            jitter_ms=round(statistics.median(jitters), 3) if jitters else 0.0,
            delays={number: count for number, count in enumerate(self._delays.counts) if count},
            reasons=dict(self._reasons),
        )


def _is_starved(viewer: Viewer, now: float) -> bool:
    last = max((tally.last for tally in viewer.tallies.values()), default=0.0)
    return now - max(last, viewer.began) > STARVED_S


async def _main(settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    pipe = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), pipe)
    await Worker(settings["url"], settings["key"], udp=settings["udp"]).run(commands)


def main() -> None:
    """Run until standard input ends. The first line has the URL, the key and the transport."""
    import uvloop

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):  # a viewer by UDP has five descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = json.loads(_first_line())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings))


def _first_line() -> bytes:
    """Read one line and not a byte more: the rest is for the event loop."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            sys.exit(0)
        line += byte
    return line


if __name__ == "__main__":
    main()
