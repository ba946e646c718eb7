"""What one monitor finds of its servers, without clock, input or output.

A server is judged by its application probes (TCP, RTSP, HTTP): each of them has to answer. ICMP
only measures beside them, as it may be blocked where media pass; it judges servers that have no
other probe. ::

    UNKNOWN ── every probe answered ──→ UP
    UNKNOWN, UP, STARTING ── ``misses`` in a row of one probe ──→ DOWN
    DOWN ── ``successes`` in a row of every probe ──→ STARTING ── ``slow_start`` s ──→ UP

When almost all servers fall silent at once it is more likely that this monitor is cut off: it
*doubts* itself, keeps what it knew before, and takes back what it said in the last moments. A
server that refuses (a closed port, an error of the application) does answer, and raises no doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple

from heliograph.catalogue.contents.values import Condition, Probe, ProbeKind, Server, ServerState

#: What is shown of a server while its monitor doubts itself.
DOUBT = "almost all servers fell silent at once: the monitor doubts itself and keeps what it knew"
#: Share of its interval that a probe has at most, after which it is made again: of a server that
#: dies right after an answer, and says nothing, two probes each 300 ms know it in 0.84 s.
ROUND = 0.9
#: Whose response time is that of the server: the nearest to what a viewer waits for.
_TELLING = (ProbeKind.HTTP, ProbeKind.RTSP, ProbeKind.TCP, ProbeKind.ICMP)
#: Seconds beyond two rounds of its probe within which a death is one of those "at once".
_AT_ONCE = 2.0


class Aim(NamedTuple):
    """A probe but for how often it is made."""

    kind: ProbeKind
    port: int
    path: str


def aim_of(probe: Probe) -> Aim:
    """What a probe aims at."""
    return Aim(probe.kind, probe.port, probe.path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one probe found."""

    ms: float | None
    """Milliseconds until the answer; None: a miss."""
    bps: float | None = None
    """Bits a second at which media came; None: not measured."""
    reason: str = ""
    """Why it is a miss, for people."""
    silent: bool = False
    """Whether nothing was heard at all, so that the fault may be this side's."""


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """How much it takes."""

    misses: int = 2
    """In a row until a server is down."""
    successes: int = 3
    """In a row until a server that was down takes part again."""
    slow_start: float = 30.0
    """Seconds for which it is STARTING then; 0: it is up at once."""
    smoothing: float = 0.25
    """Weight of a new measurement in the average (EWMA), above 0, at most 1."""
    doubt_share: float = 0.8
    """Share of the servers whose silence at once is doubted; above 1: none is."""
    doubt_servers: int = 3
    """Fewer servers than that raise no doubt."""
    recheck: float = 1.0
    """Seconds after a miss until the next probe, where its interval is longer."""
    timeout: float = 2.0
    """Seconds that a probe has; never more than ``ROUND`` of its interval."""
    young: float = 60.0
    """Seconds for which a saved state is worth something after a restart."""


@dataclass(slots=True)
class _Gauge:
    """What one probe of a server measured."""

    probe: Probe
    ms: float | None = None
    bps: float | None = None
    misses: int = 0
    successes: int = 0
    silent: bool = False
    reason: str = ""
    at: float = -inf
    """When the last measurement ended."""
    missed: float = 0.0
    """When the first of the misses in a row did."""

    def take(self, outcome: Outcome, weight: float, now: float) -> None:
        self.at, self.silent, self.reason = now, outcome.silent, outcome.reason
        if outcome.ms is None:
            if not self.misses:
                self.missed = now
            self.misses, self.successes = self.misses + 1, 0
            return
        self.misses, self.successes = 0, self.successes + 1
        self.ms = _smooth(self.ms, outcome.ms, weight)
        if outcome.bps is not None:
            self.bps = _smooth(self.bps, outcome.bps, weight)


def _smooth(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)


@dataclass(slots=True)
class _Health:
    """One server."""

    server: Server
    condition: Condition
    since: float
    measured: float
    reason: str = ""
    gauges: dict[Aim, _Gauge] = field(default_factory=dict)
    before: tuple[Condition, float] | None = None
    """What it was before it went down in silence; None: it did not, or that is long ago."""
    silent: bool = False
    """As of ``is_silent`` at the last measurement."""

    def deciding(self) -> list[_Gauge]:
        told = [one for aim, one in self.gauges.items() if aim.kind is not ProbeKind.ICMP]
        return told or [*self.gauges.values()]

    def is_silent(self) -> bool:
        """Whether nothing at all was heard of it since what decides began to miss."""
        missed = [one.missed for one in self.deciding() if one.misses]
        if not missed:
            return False
        began = min(missed)
        return not any(one.at >= began and not one.silent for one in self.gauges.values())

    def span(self, options: HealthOptions) -> float:
        """Seconds in which the deaths of servers like it are noticed one after the other."""
        longest = max((one.probe.interval for one in self.gauges.values()), default=0.0)
        return 2 * longest + options.misses * options.recheck + _AT_ONCE


class Taken(NamedTuple):
    """What a measurement made of the fleet."""

    changed: frozenset[int]
    """Ids of servers whose condition changed."""
    hurry: bool
    """Whether the same probe should be made again soon: it missed, and that decides nothing yet."""


_NOTHING: frozenset[int] = frozenset()


class Fleet:
    """All servers of one monitor. Times are of one clock in seconds that does not jump."""

    def __init__(self, options: HealthOptions | None = None, *, epoch: float = 0.0) -> None:
        """``epoch``: Unix time at which the clock was 0; what states tell is in UTC."""
        self.options = options or HealthOptions()
        self.doubt = False
        """Whether the monitor doubts itself."""
        self.doubts = 0
        """How often it began to."""
        self.epoch = epoch
        self._servers: dict[int, _Health] = {}
        self._saved: dict[int, ServerState] = {}

    def __len__(self) -> int:
        return len(self._servers)

    def remember(self, saved: Mapping[int, ServerState]) -> None:
        """States from before a restart: servers that come soon begin with them while young."""
        self._saved = dict(saved)

    def replace_servers(self, servers: Iterable[Server], now: float) -> frozenset[int]:
        """Watch these and no others; ids of those that came, went, or begin anew.

        One that has another host is another server; other probes measure anew, and it stays what
        it is until they have found something.
        """
        wanted = {one.id: one for one in servers if one.enabled}
        changed = set(self._servers) ^ set(wanted)
        for id in set(self._servers) - set(wanted):
            del self._servers[id]
        for id, server in wanted.items():
            known = self._servers.get(id)
            if known is None or known.server.host != server.host:
                changed.add(id)
                known = self._servers[id] = self._new(server, now)
            known.server = server
            known.gauges = {
                aim_of(probe): replace(known.gauges.get(aim_of(probe), _Gauge(probe)), probe=probe)
                for probe in server.probes
            }
            known.silent = known.is_silent()
            if not server.probes:
                changed.add(id)
                self._turn(known, Condition.UNKNOWN, now, "it has no probes")
        return frozenset(changed) | self._consider(now)

    def _new(self, server: Server, now: float) -> _Health:
        saved = self._saved.pop(server.id, None)
        if saved is None:
            return _Health(server, Condition.UNKNOWN, now, now)
        measured = saved.measured.timestamp() - self.epoch
        if not -self.options.young <= now - measured <= self.options.young:
            return _Health(server, Condition.UNKNOWN, now, now)
        since = min(now, saved.since.timestamp() - self.epoch)
        fresh = _Health(server, saved.condition, since, measured, saved.reason)
        for probe in server.probes:
            # Of several probes of one kind the slowest was saved; they find their own soon.
            fresh.gauges[aim_of(probe)] = _Gauge(probe, ms=saved.responses.get(probe.kind))
        return fresh

    def take(self, id: int, aim: Aim, outcome: Outcome, now: float) -> Taken:
        """A probe came to its end. Of a server or probe that is no more it is worth nothing."""
        health = self._servers.get(id)
        gauge = None if health is None else health.gauges.get(aim)
        if health is None or gauge is None:
            return Taken(_NOTHING, False)
        gauge.take(outcome, self.options.smoothing, now)
        health.measured = now
        was_silent, health.silent = health.silent, health.is_silent()
        changed = set(self._decide(health, now))
        if health.silent != was_silent or changed:
            changed ^= self._consider(now)
        return Taken(frozenset(changed), 0 < gauge.misses < self.options.misses)

    def look(self, now: float) -> frozenset[int]:
        """Let time pass: slow starts end, doubts too. Ids of servers that changed."""
        changed = set()
        for id, health in self._servers.items():
            slow = self.options.slow_start
            if health.condition is Condition.STARTING and now - health.since >= slow:
                self._turn(health, Condition.UP, now)
                changed.add(id)
            if health.before is not None and now - health.since > health.span(self.options):
                health.before = None
        return frozenset(changed) | self._consider(now)

    def timeout(self, probe: Probe) -> float:
        """Seconds that a probe has."""
        return min(self.options.timeout, ROUND * probe.interval)

    def state(self, id: int) -> ServerState | None:
        """What is known of one server; None: it is not watched."""
        health = self._servers.get(id)
        return None if health is None else self._state(health)

    def states(self) -> dict[int, ServerState]:
        """What is known of all."""
        return {id: self._state(health) for id, health in self._servers.items()}

    # --- conditions -----------------------------------------------------------------------------

    def _decide(self, health: _Health, now: float) -> Iterable[int]:
        """Change the condition of one server if its probes say so."""
        options, found = self.options, health.deciding()
        missed = next((one for one in found if one.misses >= options.misses), None)
        if missed is not None:
            return self._fail(health, missed, now)
        if health.condition is Condition.UNKNOWN and all(one.successes for one in found):
            self._turn(health, Condition.UP, now)
            return (health.server.id,)
        needed = options.successes
        if health.condition is Condition.DOWN and all(one.successes >= needed for one in found):
            back = Condition.STARTING if options.slow_start > 0 else Condition.UP
            self._turn(health, back, now)
            return (health.server.id,)
        return ()

    def _fail(self, health: _Health, missed: _Gauge, now: float) -> Iterable[int]:
        reason = f"{missed.probe.kind.upper()}: {missed.reason}"
        if health.condition is Condition.DOWN:
            health.reason = reason
            return ()
        if self.doubt and health.silent:
            return ()
        before = (health.condition, health.since) if health.silent else None
        self._turn(health, Condition.DOWN, now, reason)
        health.before = before
        return (health.server.id,)

    def _turn(self, health: _Health, condition: Condition, now: float, reason: str = "") -> None:
        health.condition, health.since, health.reason = condition, now, reason
        health.before = None

    # --- doubt ----------------------------------------------------------------------------------

    def _consider(self, now: float) -> frozenset[int]:
        """Begin to doubt, or end it; ids of servers whose condition changed by that."""
        options = self.options
        counted = silent = known = known_silent = 0
        for health in self._servers.values():
            if not health.gauges:
                continue
            if health.condition is Condition.DOWN and health.before is None:
                continue  # it is known to be down, whatever happens to the others
            counted += 1
            silent += health.silent
            was = health.condition if health.before is None else health.before[0]
            if was is not Condition.UNKNOWN:
                known += 1
                known_silent += health.silent
        # Who never answered did not fall silent: it raises doubt only where nobody else is known.
        doubt = (
            counted >= options.doubt_servers
            and silent >= options.doubt_share * counted
            and known_silent >= options.doubt_share * known
        )
        if doubt == self.doubt:
            return _NOTHING
        self.doubt = doubt
        if not doubt:
            # What was missed in the meantime says nothing; whoever is silent still is found anew.
            for health in self._servers.values():
                if health.silent:
                    health.silent = False
                    for gauge in health.gauges.values():
                        gauge.misses = 0
            return _NOTHING
        self.doubts += 1
        return frozenset(self._take_back())

    def _take_back(self) -> Iterable[int]:
        """Let servers that went down in the last moments, in silence, be what they were."""
        for id, health in self._servers.items():
            if health.before is not None and health.silent:
                health.condition, health.since = health.before
                health.before, health.reason = None, ""
                yield id

    # --- telling --------------------------------------------------------------------------------

    def _state(self, health: _Health) -> ServerState:
        by_kind: dict[ProbeKind, float] = {}
        for aim, gauge in health.gauges.items():
            if gauge.ms is not None:
                by_kind[aim.kind] = max(gauge.ms, by_kind.get(aim.kind, 0.0))
        rates = [one.bps for one in health.gauges.values() if one.bps is not None]
        reason = health.reason
        if self.doubt and health.silent and health.condition is not Condition.DOWN:
            reason = DOUBT
        elif not reason and health.condition is Condition.UNKNOWN:
            reason = next((one.reason for one in health.deciding() if one.reason), "")
        return ServerState(
            health.server.id,
            health.condition,
            next((by_kind[kind] for kind in _TELLING if kind in by_kind), None),
            self._utc(health.since),
            self._utc(health.measured),
            by_kind,
            min(rates, default=None),
            reason,
        )

    def _utc(self, at: float) -> datetime:
        return datetime.fromtimestamp(round(self.epoch + at, 3), UTC)
