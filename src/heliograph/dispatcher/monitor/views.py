"""Views of the other monitors as messages, and those that were heard, without input or output.

A change is told at once, with the servers that it is about. Each second a part of the view follows,
one after the other, so that what was lost on its way is made up for; a view of so many servers as
one part has is told as a whole. A view of which nothing is heard any more is worth nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from heliograph.bus.wire import Json
from heliograph.catalogue.contents.values import Condition, ProbeKind, ServerState
from heliograph.dispatcher.monitor.agreement import View
from heliograph.model.errors import MalformedError

#: Servers of one view: what a monitor watches at most.
MAX_SERVERS = 1000
#: Monitors whose views are kept: one a portal, and a cluster with more portals gains nothing.
MAX_MONITORS = 64
#: Characters of a reason on the bus.
MAX_REASON = 200
#: Seconds after which a view counts no more; it is told at least each second.
FRESH = 3.0

_PROTOCOL = "monitor's view"


@dataclass(frozen=True, slots=True)
class Told:
    """One message."""

    start: int
    """When the monitor started, in ms of Unix time: numbers begin anew then."""
    seq: int
    """Number of the message since."""
    doubt: bool
    part: tuple[int, int] | None
    """First and last id of the servers of which ``states`` are all that are watched; None: they are
    those that changed."""
    states: Mapping[int, ServerState]
    gone: tuple[int, ...] = ()
    """Servers that are watched no more."""

    def to_json(self) -> Json:
        return {
            "start": self.start,
            "seq": self.seq,
            "doubt": self.doubt,
            "part": None if self.part is None else list(self.part),
            "states": [_row(state) for state in self.states.values()],
            "gone": list(self.gone),
        }

    @classmethod
    def from_json(cls, value: Json) -> Told:
        """``MalformedError`` for anything that ``to_json`` does not give."""
        found: dict[str, Any] = value if isinstance(value, dict) else {}
        rows, gone = found.get("states"), found.get("gone")
        if not isinstance(rows, list) or not isinstance(gone, list):
            raise MalformedError(_PROTOCOL, "no view")
        if len(rows) > MAX_SERVERS or len(gone) > MAX_SERVERS:
            raise MalformedError(_PROTOCOL, f"more than {MAX_SERVERS} servers")
        start, seq, doubt = (found.get(name) for name in ("start", "seq", "doubt"))
        if type(start) is not int or type(seq) is not int or type(doubt) is not bool:
            raise MalformedError(_PROTOCOL, "no number")
        states = {one.server: one for one in map(_state, rows)}
        part = _part(found.get("part"))
        return cls(start, seq, doubt, part, states, tuple(map(_id, gone)))


def _row(state: ServerState) -> Json:
    return [
        state.server,
        state.condition.value,
        round(state.since.timestamp(), 3),
        round(state.measured.timestamp(), 3),
        _rounded(state.response_ms),
        {kind.value: round(ms, 3) for kind, ms in state.responses.items()},
        _rounded(state.throughput_bps),
        state.reason[:MAX_REASON],
    ]


def _part(value: Json) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise MalformedError(_PROTOCOL, "no part")
    return _id(value[0]), _id(value[1])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _state(row: Json) -> ServerState:
    if not isinstance(row, list) or len(row) != 8 or not isinstance(row[5], dict):
        raise MalformedError(_PROTOCOL, "no state")
    server, condition, since, measured, ms, responses, bps, reason = row
    if not isinstance(reason, str):
        raise MalformedError(_PROTOCOL, "no reason")
    try:
        return ServerState(
            _id(server),
            Condition(condition),
            _amount(ms),
            _time(since),
            _time(measured),
            {ProbeKind(kind): _number(value) for kind, value in responses.items()},
            _amount(bps),
            reason[:MAX_REASON],
        )
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedError(_PROTOCOL, str(error)[:200]) from None


def _id(value: Json) -> int:
    if type(value) is not int:
        raise MalformedError(_PROTOCOL, "no id of a server")
    return value


def _number(value: Json) -> float:
    if type(value) not in (int, float) or not isfinite(value) or value < 0:
        raise MalformedError(_PROTOCOL, "no number")
    return float(value)


def _amount(value: Json) -> float | None:
    return None if value is None else _number(value)


def _time(value: Json) -> datetime:
    return datetime.fromtimestamp(_number(value), UTC)


@dataclass(slots=True)
class _Heard:
    start: int
    seq: int
    at: float
    doubt: bool
    states: dict[int, ServerState] = field(default_factory=dict)


class Views:
    """Those that were heard of others."""

    def __init__(self, fresh: float = FRESH) -> None:
        """``fresh``: seconds after which a view of which nothing is heard counts no more."""
        self.missed = 0
        """Messages that never came, as their numbers tell."""
        self.refused = 0
        """Views beyond ``MAX_MONITORS``."""
        self._fresh = fresh
        self._heard: dict[str, _Heard] = {}

    def hear(self, node: str, told: Told, now: float) -> frozenset[int]:
        """A message came; ids of servers of which the view says something else by now."""
        known = self._heard.get(node)
        if known is not None and (told.start, told.seq) <= (known.start, known.seq):
            if now - known.at <= self._fresh:
                return frozenset()  # twice, or late
            known = None
        if known is None:
            if node not in self._heard and len(self._heard) >= MAX_MONITORS:
                self.forget(now)
                if len(self._heard) >= MAX_MONITORS:
                    self.refused += 1
                    return frozenset()
            known = self._heard[node] = _Heard(told.start, told.seq, now, told.doubt)
        elif told.start == known.start:
            self.missed += told.seq - known.seq - 1
        before, doubted = known.states, known.doubt
        states = _changed(before, told)
        known.start, known.seq, known.at = told.start, told.seq, now
        known.doubt, known.states = told.doubt, states
        if doubted != known.doubt:
            return frozenset(before) | frozenset(states)
        return frozenset(
            id for id in before.keys() | states.keys() if _says(before.get(id), states.get(id))
        )

    def drop(self, node: str) -> frozenset[int]:
        """A monitor is gone; ids of the servers it had something to say of."""
        known = self._heard.pop(node, None)
        return frozenset() if known is None else frozenset(known.states)

    def wait(self, seconds: float) -> None:
        """For so long nobody could be heard here: that says nothing of those who were to be."""
        for one in self._heard.values():
            one.at += seconds

    def forget(self, now: float) -> frozenset[int]:
        """Drop views that are not fresh any more; ids of servers they spoke of."""
        stale = [node for node, one in self._heard.items() if now - one.at > self._fresh]
        return frozenset().union(*(self.drop(node) for node in stale))

    def fresh(self, now: float) -> list[View]:
        """The views that count."""
        return [
            View(node, one.doubt, one.states)
            for node, one in sorted(self._heard.items())
            if now - one.at <= self._fresh
        ]


def _changed(before: Mapping[int, ServerState], told: Told) -> dict[int, ServerState]:
    """What a view says after a message."""
    states = {**before, **told.states}
    if told.part is not None:
        first, last = told.part
        for id in before.keys() - told.states.keys():
            if first <= id <= last:
                del states[id]
    for id in told.gone:
        states.pop(id, None)
    if len(states) > MAX_SERVERS:
        states = dict(list(states.items())[:MAX_SERVERS])
    return states


def _says(before: ServerState | None, after: ServerState | None) -> bool:
    """Whether two states differ in more than how long an answer takes."""
    if before is None or after is None:
        return before is not after
    return (before.condition, before.since) != (after.condition, after.since)
