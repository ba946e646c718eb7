"""When playout begins, or goes on after a seek or a famine, and from which media time. Pure but
for what it asks of decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heliograph.player.network import Feed
from heliograph.player.pipeline import DECODE_LEAD, Pipeline
from heliograph.player.synchrony import CommonStart

#: Seconds waited for the slowest stream before it begins without it.
PATIENCE = 5.0
#: Seconds waited for sender reports once there is enough to begin.
RELATE_PATIENCE = 1.0
#: Seconds waited for the first picture of every stream to be decoded.
PRIME_PATIENCE = 1.0


class Beginning:
    """One start of all streams at the same instant."""

    def __init__(
        self,
        pipelines: Mapping[int, Pipeline],
        feeds: Sequence[Feed],
        *,
        level: float,
        at: float | None,
        latency: float | None = None,
    ) -> None:
        """``level``: seconds each stream is to have from there on. ``at``: media time to begin at,
        or later if there is nothing before; ``None``: where media begin. ``latency``: for channels,
        how far behind the newest packet at most."""
        self._pipelines, self._feeds = pipelines, feeds
        self._start = CommonStart(pipelines, level=level, patience=PATIENCE)
        self._at, self._latency = at, latency
        self._enough_since: float | None = None
        self._priming_since: float | None = None

    @property
    def waiting_for(self) -> tuple[int, ...]:
        """Streams that have not enough."""
        return self._start.waiting_for

    def lack(self, stream: int) -> str:
        """What people should know of a stream that is waited for no longer."""
        pipeline = self._pipelines[stream]
        name, buffer = f"stream {stream} ({pipeline.track.codec.value})", pipeline.buffer
        if len(buffer) and buffer.whole_time != buffer.newest_time:
            return f"a part of {name} does not come in time: it is left out"
        return f"{name} does not come in time: playing without it"

    def enough(self, now: float) -> bool:
        """Whether there is enough, and it is known how the streams lie to each other."""
        for stream, pipeline in self._pipelines.items():
            self._start.report(stream, self._level(pipeline), now)
        if not self._start.ready(now):
            return False
        if self._enough_since is None:
            self._enough_since = now
        # Channels' streams are laid on one axis by sender reports; these come soon, if at all.
        related = all(feed.incoming.related for feed in self._feeds)
        return related or now - self._enough_since >= RELATE_PATIENCE

    def _level(self, pipeline: Pipeline) -> float | None:
        """Seconds that a stream has from there on; ``None``: nothing of it has come."""
        first, whole = pipeline.buffer.first_time, pipeline.buffer.whole_time
        if pipeline.buffer.ended:
            return float("inf")
        if first is None or whole is None:  # or not what it begins with
            return None if first is None else 0.0
        # What leads up to the point sought is decoded, and not shown.
        return whole - (first if self._at is None else max(first, self._at))

    def position(self) -> float:
        """Media time at which to begin."""
        present = [p for p in self._pipelines.values() if p.buffer.first_time is not None]
        if not present:
            return self._at or 0.0
        begin = min(p.buffer.first_time or 0.0 for p in present)
        if self._at is not None:
            begin = max(begin, self._at)
        if self._latency is not None:
            begin = max(begin, min(p.newest for p in present) - self._latency)
        return begin

    def primed(self, now: float, position: float) -> bool:
        """Whether every decoder has something to show: so that all begin at one instant.

        Meanwhile packets are to be handed to decoders, and what is before the position taken away.
        """
        if self._priming_since is None:
            self._priming_since = now
        if now - self._priming_since >= PRIME_PATIENCE:
            return True
        return all(self._shows(pipeline, position) for pipeline in self._pipelines.values())

    def _shows(self, pipeline: Pipeline, position: float) -> bool:
        decoder = pipeline.decoder
        if decoder is None or decoder.next_media() is not None:
            return True
        # Nothing is due yet: streams need not begin at the same time.
        first = pipeline.buffer.first_time
        return not decoder.busy and (first is None or first > position + DECODE_LEAD)
