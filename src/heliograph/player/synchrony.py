"""Several streams, stored apart and sent by different nodes, shown as one. Pure.

Three levels, as Yima has them. *Blocks*: all streams are asked for from the same media time and
begin together, once each has enough (``CommonStart``). *Flow control*: each server's rate keeps
its buffer at the level of all (``common_target``). *Frames*: what each renderer shows is compared
with the common clock; its drift is estimated and its speed changed a little, and where it is off
by more than half a frame, frames are left out or shown again (``Synchroniser``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

#: Streams played together: eight videos and 24 channels of sound, each by itself.
MAX_STREAMS = 64
#: Reports of a renderer from which its drift is estimated: a minute of one a second.
DRIFT_SAMPLES = 60
#: No drift is told from fewer reports, or from less than these seconds.
MIN_SAMPLES, MIN_SPAN = 5, 4.0
#: Crystals differ by at most ± 100 ppm each; more is a wrong measurement.
MAX_DRIFT = 500e-6
#: Seconds in which an offset below half a frame is worked off by a change of speed.
WORK_OFF = 10.0
#: Highest change of speed of one renderer: see ``clock.MAX_SLEW``.
MAX_CHANGE = 0.005
#: Skews kept for the statistics.
MAX_SKEWS = 4096


class CommonStart:
    """Decides when playout begins: as soon as all streams have enough, or the wait is over."""

    def __init__(self, streams: Iterable[int], *, level: float, patience: float) -> None:
        """``level``: seconds each buffer is to hold; ``patience``: seconds from the first packet
        after which it begins with what there is."""
        self._levels = dict.fromkeys(streams, 0.0)
        if not 1 <= len(self._levels) <= MAX_STREAMS:
            raise ValueError(f"{len(self._levels)} streams")
        self._level = level
        self._patience = patience
        self._first: float | None = None

    def report(self, stream: int, level: float | None, now: float) -> None:
        """A buffer holds so many seconds that can be played; ``None``: nothing has come."""
        if level is not None and self._first is None:
            self._first = now
        self._levels[stream] = level or 0.0

    def ready(self, now: float) -> bool:
        """Whether to begin now."""
        if all(level >= self._level for level in self._levels.values()):
            return True
        return self._first is not None and now - self._first >= self._patience

    @property
    def waiting_for(self) -> tuple[int, ...]:
        """Streams that have not enough."""
        return tuple(s for s, level in self._levels.items() if level < self._level)


def common_target(levels: Sequence[float], least: float, most: float) -> float:
    """The level all buffers are steered to: the median of theirs, within bounds.

    One stream that runs away does not draw the others after it.
    """
    ordered = sorted(levels)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return max(least, min(most, median))


class Drift:
    """How much faster one clock runs than another: slope of a line through the last reports."""

    def __init__(self, samples: int = DRIFT_SAMPLES) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=samples)

    def update(self, now: float, offset: float) -> None:
        """At ``now`` the other clock was ``offset`` seconds ahead."""
        self._samples.append((now, offset))

    @property
    def rate(self) -> float | None:
        """Seconds a second (100 ppm is 0.0001); ``None`` before enough is known."""
        count = len(self._samples)
        if count < MIN_SAMPLES or self._samples[-1][0] - self._samples[0][0] < MIN_SPAN:
            return None
        mean_x = sum(x for x, _ in self._samples) / count
        mean_y = sum(y for _, y in self._samples) / count
        over = sum((x - mean_x) * (y - mean_y) for x, y in self._samples)
        under = sum((x - mean_x) ** 2 for x, _ in self._samples)
        return max(-MAX_DRIFT, min(MAX_DRIFT, over / under))

    def shift(self, seconds: float) -> None:
        """The other clock was set forward on purpose: no drift."""
        self._samples = deque(
            ((x, y + seconds) for x, y in self._samples), maxlen=self._samples.maxlen
        )

    def clear(self) -> None:
        """Begin anew: after a pause or a seek."""
        self._samples.clear()


@dataclass(frozen=True, slots=True)
class Correction:
    """What one renderer is to do until the next report."""

    speed: float = 1.0
    """How fast it is to run by its own clock."""
    frames: int = 0
    """Frames to leave out (positive) or to show again (negative), now."""


@dataclass(frozen=True, slots=True)
class SkewStatistics:
    """Skew: between the stream that is furthest and the one furthest behind; seconds."""

    samples: int
    median: float
    p99: float
    worst: float


class Skews:
    """Statistics of skews; median and p99 of the latest ``MAX_SKEWS``."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=MAX_SKEWS)
        self._worst = 0.0
        self._samples = 0

    def add(self, positions: Iterable[float]) -> float:
        """Media times that are shown together; their skew."""
        shown = list(positions)
        skew = max(shown) - min(shown) if shown else 0.0
        self._latest.append(skew)
        self._worst = max(self._worst, skew)
        self._samples += 1
        return skew

    def statistics(self) -> SkewStatistics:
        """Of what was added so far."""
        ordered = sorted(self._latest)
        if not ordered:
            return SkewStatistics(0, 0.0, 0.0, 0.0)
        at = max(0, ceil(0.99 * len(ordered)) - 1)
        return SkewStatistics(self._samples, ordered[len(ordered) // 2], ordered[at], self._worst)


class Synchroniser:
    """Keeps renderers, each with a clock of its own, at the common media time."""

    def __init__(self, frames: Mapping[int, float]) -> None:
        """``frames``: by stream, how long a frame (or a piece of sound) is shown, in seconds."""
        if not 1 <= len(frames) <= MAX_STREAMS:
            raise ValueError(f"{len(frames)} streams")
        self._frames = dict(frames)
        self._drifts = {stream: Drift() for stream in frames}
        self._speeds = dict.fromkeys(frames, 1.0)
        self._last: dict[int, float] = {}
        self._applied = dict.fromkeys(frames, 0.0)  # seconds corrected so far
        self.left_out = 0
        """Frames left out so far."""
        self.repeated = 0
        """Frames shown again so far."""

    def report(self, stream: int, now: float, rendered: float, common: float) -> Correction:
        """Stream shows media time ``rendered`` where ``common`` is right; what it is to do."""
        offset = rendered - common
        drift = self._drifts[stream]
        passed = now - self._last.get(stream, now)
        self._last[stream] = now
        # What was ordered is taken out of the offset, so that the drift alone is left.
        self._applied[stream] += passed * (self._speeds[stream] - 1.0)
        drift.update(now, offset - self._applied[stream])
        frame = self._frames[stream]
        frames = 0
        if abs(offset) > frame / 2:
            frames = -round(offset / frame)
            self._applied[stream] += frames * frame
            offset += frames * frame
            self.left_out += max(0, frames)
            self.repeated += max(0, -frames)
        change = -offset / WORK_OFF - (drift.rate or 0.0)
        self._speeds[stream] = 1.0 + max(-MAX_CHANGE, min(MAX_CHANGE, change))
        return Correction(self._speeds[stream], frames)

    def drift_ppm(self, stream: int) -> float | None:
        """Estimated drift of a renderer's clock, in parts per million."""
        rate = self._drifts[stream].rate
        return None if rate is None else 1e6 * rate

    def clear(self) -> None:
        """Begin anew: after a pause or a seek."""
        for stream, drift in self._drifts.items():
            drift.clear()
            self._speeds[stream] = 1.0
            self._applied[stream] = 0.0
        self._last.clear()
