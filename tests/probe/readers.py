"""Many players of titles in one process, who know when each packet is due and what it has to be."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.peers.network import PREFIX

#: Seconds beyond its window that the load may take: players come one after another.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Second:
    """What came in a second, of all players together."""

    at: float
    """Its end, on the clock of ``time.monotonic``."""
    packets: int
    late: int
    """More than 20 ms."""
    p999: float
    """Lateness, ms."""
    most: float


class Readers:
    """``helio-load rtsp-readers --due``, from the test's own network."""

    def __init__(self, load: Path, urls: Sequence[str], count: int, seconds: float, **more: Any):
        """``more``: its further options."""
        options = {"count": count, "seconds": seconds, "settle": 0, "client": f"{PREFIX}.2", **more}
        line = [str(load), "rtsp-readers", "--due", "--url", ",".join(urls)]
        for name, value in options.items():
            line += [f"--{name.replace('_', '-')}", str(value)]
        self.seconds: list[Second] = []
        self.result: dict[str, Any] = {}
        self._playing = threading.Event()
        self._limit = seconds + PATIENCE
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                match said.get("event"):
                    case None:
                        self.result = said
                    case "playing":
                        self._playing.set()
                    case "second":
                        found = said["lateness"]
                        p999 = (found["p999_us"] or 0.0) / 1000
                        self.seconds.append(
                            Second(
                                said["at_us"] / 1e6,
                                found["count"],
                                said["late"],
                                p999,
                                found["max_us"] / 1000,
                            )
                        )
                    case _:
                        pass
        self._playing.set()

    def wait_playing(self) -> None:
        """Until all play."""
        assert self._playing.wait(PATIENCE), "players do not play"

    def wait(self) -> dict[str, Any]:
        """What they say at the end."""
        try:
            self.process.wait(self._limit)
        finally:
            self.stop()
        assert self.result, "the load said nothing"
        return self.result

    def stop(self) -> None:
        """End them, if they have not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._thread.join(5)

    def between(self, since: float, until: float) -> list[Second]:
        """What came in that time."""
        return [one for one in self.seconds if since < one.at <= until]


def told(what: str, seconds: Sequence[Second]) -> str:
    """For people."""
    packets = sum(one.packets for one in seconds)
    late = sum(one.late for one in seconds)
    worst = max((one.p999 for one in seconds), default=0.0)
    most = max((one.most for one in seconds), default=0.0)
    return (
        f"{what}: {packets} packets, {late} above 20 ms, p99.9 of the worst second {worst:.1f} ms, "
        f"most {most:.1f} ms"
    )
