"""What a viewer saw and heard, told by the numbers in the pictures."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np

from .clip import PICTURE_BYTES, Clip, make
from .program import Program, wait_until

SAMPLE_RATE = 48_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture that came out of a viewer."""

    number: int | None
    """Read from the picture; None where it is too damaged."""
    exact: bool
    """Whether it is the source's picture bit by bit."""
    at: float
    """When, in seconds of the monotonic clock."""


class Record:
    """Pictures and samples in the order a viewer gave them; filled by threads."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._lock = threading.Lock()
        self.seen: list[Seen] = []
        self._samples: list[Any] = []

    def picture(self, data: bytes) -> None:
        number = self._clip.number(data)
        exact = number is not None and self._clip.is_exact(data, number)
        with self._lock:
            self.seen.append(Seen(number, exact, time.monotonic()))

    def samples(self, data: bytes) -> None:
        with self._lock:
            self._samples.append(np.frombuffer(data[: len(data) // 2 * 2], np.int16))

    @property
    def pictures(self) -> int:
        return len(self.seen)

    def mark(self) -> int:
        """Give a point in the record, for ``gaps`` and ``damaged``."""
        return len(self.seen)

    def mark_sound(self) -> int:
        """Give a point in the record, for ``heard``."""
        return len(self._samples)

    def gaps(self, since: int = 0) -> list[tuple[int | None, int | None]]:
        """Find neighbours whose numbers do not follow each other (the last is before the first)."""
        numbers = [seen.number for seen in self.seen[since:]]
        return [
            (one, other)
            for one, other in itertools.pairwise(numbers)
            if one is None or other != (one + 1) % make.FRAMES
        ]

    def damaged(self, since: int = 0) -> list[int | None]:
        return [seen.number for seen in self.seen[since:] if not seen.exact]

    def heard(self, since: int = 0) -> tuple[float, float, float]:
        """Seconds of sound, its frequency (Hz) and its level (RMS, full scale 1)."""
        with self._lock:
            parts = self._samples[since:]
        if not parts:
            return 0.0, 0.0, 0.0
        samples = np.concatenate(parts).astype(float) / 32768
        middle = samples[SAMPLE_RATE // 2 :]  # the decoder's first moments are not to be judged
        if not len(middle):
            return len(samples) / SAMPLE_RATE, 0.0, 0.0
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        frequency = float(np.argmax(spectrum)) * SAMPLE_RATE / len(middle)
        return len(samples) / SAMPLE_RATE, frequency, float(np.sqrt(np.mean(middle**2)))


class Viewer(Program):
    """A program that gives I420 pictures and 16 bit mono samples: in two pipes or as one NUT."""

    def __init__(self, clip: Clip, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.record = Record(clip)
        if "nut" in self.pipes:
            jobs = [threading.Thread(target=self._read_nut, args=(self.pipes["nut"],))]
        else:
            jobs = [
                threading.Thread(target=self._read_pictures, args=(self.pipes["video"],)),
                threading.Thread(target=self._read_samples, args=(self.pipes["audio"],)),
            ]
        self._jobs = jobs
        for job in jobs:
            job.daemon = True
            job.start()

    def _read_pictures(self, pipe: BinaryIO) -> None:
        for picture in _pieces(pipe, PICTURE_BYTES):
            self.record.picture(picture)

    def _read_samples(self, pipe: BinaryIO) -> None:
        while data := pipe.read(1 << 16):
            self.record.samples(data)

    def _read_nut(self, pipe: BinaryIO) -> None:
        try:
            with av.open(pipe, format="nut") as container:
                for packet in container.demux():
                    if packet.stream.type == "video" and packet.size == PICTURE_BYTES:
                        self.record.picture(bytes(packet))
                    elif packet.stream.type == "audio" and packet.size:
                        self.record.samples(bytes(packet))
        except av.FFmpegError:
            return  # the viewer ended, perhaps before it wrote anything

    def wait_pictures(self, count: int, seconds: float, since: int = 0) -> None:
        """Wait until ``count`` pictures came after the mark ``since``."""

        def look() -> bool:
            assert self.running or self.record.pictures - since >= count, (
                f"{self.name} ended with {self.process.returncode}:\n{self.log[-2000:]}"
            )
            return self.record.pictures - since >= count

        try:
            wait_until(look, seconds, f"{self.name}: {count} pictures")
        except AssertionError as error:
            raise AssertionError(
                f"{error}; it has {self.record.pictures - since}\n{self.log[-2000:]}"
            ) from None

    def stop(self) -> int:
        """End the program and read what it still says."""
        if self.running:
            self.process.terminate()
        try:
            self.process.wait(5)
        except Exception:
            self.process.kill()
        for job in self._jobs:
            job.join(5)
        return super().stop()

    def judge(self, count: int, since: int = 0, sound_since: int = 0) -> list[str]:
        """Say what was wrong with at least ``count`` pictures and their sound, from marks on."""
        wrong = []
        record = self.record
        if (pictures := record.pictures - since) < count:
            wrong.append(f"{self.name}: {pictures} pictures instead of {count}")
        if gaps := record.gaps(since):
            wrong.append(f"{self.name}: pictures are missing, {gaps[:5]}, {len(gaps)} times")
        if damaged := record.damaged(since):
            wrong.append(f"{self.name}: pictures differ, {damaged[:5]}, {len(damaged)} in all")
        seconds, frequency, level = record.heard(sound_since)
        if seconds < 0.8 * count / make.RATE:
            wrong.append(f"{self.name}: {seconds:.1f} s of sound to {count} pictures")
        elif abs(frequency - make.TONE_HZ) > 5 or level < 0.02:
            wrong.append(f"{self.name}: sound is {frequency:.0f} Hz at {level:.3f}")
        return wrong


def _pieces(pipe: BinaryIO, size: int) -> Iterator[bytes]:
    """Cut a pipe into pieces of ``size`` bytes."""
    piece = bytearray()
    while data := pipe.read(size - len(piece)):
        piece += data
        if len(piece) == size:
            yield bytes(piece)
            piece.clear()
