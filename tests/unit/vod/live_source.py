"""A channel as its tap shows it, out of a file's units.

Run as a program it records in real time until it is killed: ``live_source.py FILE FOLDER`` prints
the media time of what it has pushed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.unit.vod.imports import Title, titled

from heliograph.model.media import Kind, Track
from heliograph.plane.types import TapFlag, TapItem
from heliograph.storage.values import ObjectId
from heliograph.vod.folder import FolderRecording
from heliograph.vod.recording import Recording, RecordOptions

#: Any time since 1970, µs.
START = 1_700_000_000_000_000
OBJECT = ObjectId("feed" * 8)


class Channel:
    """What a source sends, over and over."""

    def __init__(self, title: Title) -> None:
        # as a channel has them: with ids of their own
        self.tracks = tuple(
            replace(one.track, id=3 + 2 * place) for place, one in enumerate(title.manifest.tracks)
        )
        self._ahead = 0
        self._units: list[tuple[int, Track, int, bool, bytes]] = []
        for place, track in enumerate(self.tracks):
            for unit in title.units(place):
                shown = unit.timestamp * 1_000_000 // track.clock_rate
                self._units.append((shown, track, place, unit.key, unit.data))
        firsts = [
            [r.due_us for r in title.records(place) if r.flags & 2]
            for place in range(len(self.tracks))
        ]
        order = [[unit for unit in self._units if unit[2] == place] for place in range(len(firsts))]
        # in the order in which they are sent
        merged = sorted(
            (due, unit)
            for dues, units in zip(firsts, order, strict=True)
            for due, unit in zip(dues, units, strict=True)
        )
        self._sent = merged
        self.length = 2_000_000
        self.numbers = {track.id: 0 for track in self.tracks}

    def items(
        self, seconds: float, *, start: int = START, epoch: int = 1, skew: int = 0
    ) -> Iterator[TapItem]:
        """``seconds`` of it; ``skew``: µs by which the source's clock is another one than ours."""
        for turn in range(10_000):
            for due, (shown, track, _, key, data) in self._sent:
                at = due + turn * self.length
                if at >= seconds * 1e6:
                    return
                self.numbers[track.id] += 1
                flags = TapFlag.KEYFRAME if key and track.kind is Kind.VIDEO else 0
                yield TapItem(
                    track.id,
                    epoch,
                    self.numbers[track.id],
                    start + skew + shown + turn * self.length,
                    start + at,
                    int(flags),
                    data,
                )


def of_file(path: Path) -> Channel:
    """A channel that sends what is in a file of two seconds."""
    return Channel(titled(path))


def tracks_of(channel: Channel, *ids: int) -> Sequence[Track]:
    return [track for track in channel.tracks if track.id in ids]


async def _record(path: Path, folder: Path) -> None:
    channel = of_file(path)
    sink = FolderRecording(folder / "titles", "film")
    options = RecordOptions("film", object=OBJECT, block=16384)
    recording = await Recording.begin(options, channel.tracks, folder / "journal", sink)
    task = asyncio.create_task(recording.run())
    began = time.monotonic()
    for item in channel.items(3600):
        wait = (item.arrival - START) / 1e6 - (time.monotonic() - began)
        if wait > 0:
            await asyncio.sleep(wait)
        recording.push([item])
        print((item.arrival - START) / 1e6, flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(_record(Path(sys.argv[1]), Path(sys.argv[2])))
