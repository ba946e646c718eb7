"""One measurement: viewers are added, counted over a window, judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from heliograph.cli.benching import machine
from heliograph.cli.benching.processes import Workers
from heliograph.cli.benching.tally import Totals, add_counts, percentile
from heliograph.model.errors import RemoteError

#: Share of packets lost above which viewers see it: one in a thousand, a spoilt picture every few
#: seconds at a usual rate.
MAX_LOSS = 0.001
#: Share of a core above which a worker is too busy to be trusted with the clock.
SATURATED_CPU = 0.85
#: A worker whose timers are later than this, in ms, adds to the delays it measures.
SATURATED_LATE_MS = 100.0
#: Each step of a ramp has so many times the viewers of the one before.
GROWTH = 1.5
#: Seconds after all play that are not counted: a new viewer is sent the ring's contents in a burst.
SETTLE = 1.0
#: Seconds to wait for a first sender report, without which delays are not known: RFC 3550 §6.2 has
#: one every 5 s.
CLOCK = 6.0
#: Seconds in which a viewer more has to play or fail, on top of the workers' own patience.
SETUP_EACH = 0.1
SETUP = 30.0
#: Seconds between two looks.
LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What was found with one number of viewers."""

    viewers: int
    """Asked for."""
    playing: int
    """That played at the end."""
    failed: int
    """Refused, or ended by the server."""
    starved: int
    """That played and had nothing for two seconds."""
    seconds: float
    """How long was counted."""
    packets: int
    """RTP packets that all viewers had."""
    lost: int
    """RTP packets they should have had besides, the next figure left out."""
    own_drops: int
    """RTP packets dropped by this machine since a viewer's socket was full."""
    loss: float
    """``lost`` as a share, 0–1."""
    bitrate: int
    """Bits a second of RTP to all viewers."""
    delay_p50_ms: float | None
    """From the publisher's clock to the viewer, median; None where no sender report tells."""
    delay_p95_ms: float | None
    """That 95 of 100 frames did not exceed."""
    delay_p99_ms: float | None
    """That 99 of 100 frames did not exceed."""
    jitter_ms: float
    """Interarrival jitter, the median viewer's."""
    server_cpu: float | None
    """Cores the server used; None where its process cannot be seen."""
    generator_cpu: float
    """Share of its core that the busiest worker used."""
    generator_late_ms: float
    """How late a worker's timers were at worst."""
    reason: str = ""
    """Why viewers failed, the commonest."""

    @property
    def saturated(self) -> bool:
        """Whether the load generator was at its own limit, so that figures tell of it."""
        busy = self.generator_cpu > SATURATED_CPU or self.generator_late_ms > SATURATED_LATE_MS
        return busy or self.own_drops > MAX_LOSS * self.packets

    @property
    def carried(self) -> bool:
        """Whether every viewer had what it should have."""
        everybody = self.playing >= self.viewers and not self.failed and not self.starved
        return everybody and self.loss <= MAX_LOSS

    @property
    def cpu_per_viewer(self) -> float | None:
        """Share of a core that the server used for each viewer."""
        if self.server_cpu is None or not self.playing:
            return None
        return self.server_cpu / self.playing

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            **asdict(self),
            "server_cpu_per_viewer": self.cpu_per_viewer,
            "saturated": self.saturated,
            "carried": self.carried,
        }


@dataclass(frozen=True, slots=True)
class Moment:
    """Totals with the time they were taken at."""

    at: float
    """Seconds."""
    totals: Totals
    server_cpu_s: float | None
    """CPU seconds of the server."""


def compare(viewers: int, before: Moment, after: Moment) -> Step:
    """What happened between two moments."""
    seconds = max(after.at - before.at, 1e-6)
    old, new = before.totals, after.totals
    delays = add_counts(new.delays, old.delays, -1)
    packets, expected = new.received - old.received, new.expected - old.expected
    missing = max(0, expected - packets)
    own = min(new.dropped - old.dropped, missing)
    lost = missing - own
    cpu = None
    if before.server_cpu_s is not None and after.server_cpu_s is not None:
        cpu = round((after.server_cpu_s - before.server_cpu_s) / seconds, 4)
    busiest = max((b - a for a, b in zip(old.cpu_s, new.cpu_s, strict=True)), default=0.0)
    shares = [percentile(delays, share) for share in (0.5, 0.95, 0.99)]
    p50, p95, p99 = (None if share is None else round(share, 2) for share in shares)
    return Step(
        viewers=viewers,
        playing=new.playing,
        failed=new.failed,
        starved=new.starved,
        seconds=round(seconds, 2),
        packets=packets,
        lost=lost,
        own_drops=own,
        loss=round(lost / expected, 6) if expected > 0 else 0.0,
        bitrate=round(8 * (new.bytes - old.bytes) / seconds),
        delay_p50_ms=p50,
        delay_p95_ms=p95,
        delay_p99_ms=p99,
        jitter_ms=round(new.jitter_ms, 2),
        server_cpu=cpu,
        generator_cpu=round(busiest / seconds, 3),
        generator_late_ms=new.late_ms,
        reason=max(new.reasons, key=lambda reason: new.reasons[reason], default=""),
    )


def ramp(first: int, most: int) -> Iterator[int]:
    """Numbers of viewers, each ``GROWTH`` times the one before; the last is ``most``."""
    number = min(first, most)
    while number < most:
        yield number
        number = max(number + 1, int(number * GROWTH))
    yield most


class Bench:
    """A run over several numbers of viewers."""

    def __init__(
        self,
        workers: Workers,
        *,
        server: int | None,
        seconds: float,
        on_look: Callable[[Step], None] = lambda step: None,
    ) -> None:
        """``server``: process id, where it is on this machine. ``seconds``: of each step.

        ``on_look`` is told once a second how it goes.
        """
        self.steps: list[Step] = []
        """What was found so far."""
        self._workers, self._server, self._seconds = workers, server, seconds
        self._on_look = on_look
        self._loop = asyncio.get_running_loop()

    async def run(self, plan: Iterator[int]) -> None:
        """Measure each number of viewers until one is not carried or cannot be measured."""
        for viewers in plan:
            step = await self._step(viewers)
            if not step.packets and not step.playing:
                raise RemoteError(step.reason or "nothing came")
            self.steps.append(step)
            if step.saturated or not step.carried:
                return

    async def _step(self, viewers: int) -> Step:
        self._workers.want(viewers)
        before = await self._all_play(viewers)
        end = before.at + self._seconds
        late, last = 0.0, before
        while (left := end - self._loop.time()) > 0:
            await asyncio.sleep(min(LOOK, left))
            now = await self._moment()
            late = max(late, now.totals.late_ms)
            self._on_look(compare(viewers, last, now))
            last = now
        step = compare(viewers, before, last)
        # Each report has the worst since the one before it.
        return replace(step, generator_late_ms=late)

    async def _all_play(self, viewers: int) -> Moment:
        """Wait until every viewer plays or has failed, and the first burst is over."""
        deadline = self._loop.time() + SETUP + SETUP_EACH * viewers
        last = await self._moment()
        while last.totals.playing + last.totals.failed < viewers:
            if self._loop.time() > deadline:
                break
            await asyncio.sleep(LOOK / 4)
            now = await self._moment()
            self._on_look(compare(viewers, last, now))
            last = now
        await asyncio.sleep(SETTLE)
        deadline = self._loop.time() + CLOCK
        while not self.steps and not (last := await self._moment()).totals.delays:
            if self._loop.time() > deadline or not last.totals.playing:
                break
            await asyncio.sleep(LOOK / 4)
        return await self._moment()

    async def _moment(self) -> Moment:
        totals = await self._workers.totals()
        used = None if self._server is None else machine.cpu_seconds(self._server)
        return Moment(self._loop.time(), totals, used)


def verdict(steps: list[Step]) -> str:
    """In a sentence, what the run says about the server."""
    if not steps:
        return "nothing was measured"
    last = steps[-1]
    best = max((s.viewers for s in steps if s.carried and not s.saturated), default=0)
    if last.saturated:
        least = f"it carries at least {best} viewers; " if best else ""
        return (
            f"{least}with {last.viewers} the load generator itself was at its limit "
            f"({_limit(last)}), so this says nothing about the server"
        )
    if last.carried:
        return f"carried {best} viewers without loss that shows; its limit was not reached"
    return f"{_fault(last)} with {last.viewers} viewers; carried {best}"


def _limit(step: Step) -> str:
    if step.generator_cpu > SATURATED_CPU:
        return f"{step.generator_cpu:.0%} of a core"
    if step.generator_late_ms > SATURATED_LATE_MS:
        return f"{step.generator_late_ms:.0f} ms late"
    return f"{step.own_drops} packets dropped at its own sockets"


def _fault(step: Step) -> str:
    if step.failed:
        return f"{step.failed} viewers were refused or ended ({step.reason})"
    if step.playing < step.viewers:
        return f"{step.viewers - step.playing} viewers did not come to play in time"
    if step.starved:
        return f"{step.starved} viewers had nothing"
    return f"{step.loss:.2%} of packets were lost"
