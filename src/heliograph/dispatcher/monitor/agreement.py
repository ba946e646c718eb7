"""What several monitors say together, without clock, input or output.

Each monitor tells its *view*: the states it found, and whether it doubts itself. The agreed
condition of a server is that of the majority of the views that are fresh and without doubt. Where
as many say it is down as say it is not, it is down: half of what can see it cannot reach it, and
sending nobody there costs less than sending somebody into the void. As many STARTING as UP is
STARTING, for the same reason. Who has not measured a server yet has no voice on it.

Where all doubt, all have their voice with what they knew before. Every node that has the same views
comes to the same condition; only response times are a node's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from heliograph.catalogue.contents.values import Condition, ProbeKind, ServerState


@dataclass(frozen=True, slots=True)
class View:
    """What one monitor says."""

    node: str
    """Its node's id."""
    doubt: bool = False
    """Whether it doubts itself."""
    states: Mapping[int, ServerState] = field(default_factory=dict)
    """By server."""


def agree(
    views: Collection[View], own: str = "", servers: Iterable[int] | None = None
) -> dict[int, ServerState]:
    """The agreed state of each server.

    ``views``: the fresh ones, the own among them. ``own``: this node, whose response times come
    first. ``servers``: ids to look at; None: all that any view has.
    """
    ordered = sorted(views, key=lambda view: view.node)
    if len(ordered) == 1:  # as all that follows would have it
        (only,) = ordered
        wanted = only.states if servers is None else servers
        return {id: only.states[id] for id in wanted if id in only.states}
    clear = [view for view in ordered if not view.doubt]
    wanted = {id for view in ordered for id in view.states} if servers is None else servers
    found = {}
    for id in wanted:
        # Monitors without doubt that know nothing yet are no reason to forget what others knew.
        votes = _votes(clear, id) or _votes(ordered, id)
        state = _agreed(votes, own) if votes else _unmeasured(ordered, id)
        if state is not None:
            found[id] = _timed(state, [(view, view.states.get(id)) for view in ordered], own)
    return found


def _votes(views: Iterable[View], id: int) -> list[tuple[str, ServerState]]:
    return [
        (view.node, state)
        for view in views
        if (state := view.states.get(id)) is not None and state.condition is not Condition.UNKNOWN
    ]


def _unmeasured(views: Iterable[View], id: int) -> ServerState | None:
    """A server that nobody has measured; None: nobody knows it."""
    return next((view.states[id] for view in views if id in view.states), None)


def _agreed(votes: list[tuple[str, ServerState]], own: str) -> ServerState:
    down = [vote for vote in votes if vote[1].condition is Condition.DOWN]
    starting = [vote for vote in votes if vote[1].condition is Condition.STARTING]
    alive = len(votes) - len(down)
    if 2 * len(down) >= len(votes):
        since = min(state.since for _, state in down)
        return replace(_first(down, own), since=since, reason=_why(down, len(votes), own))
    reason = _why(down, len(votes), own) if down else ""
    if 2 * len(starting) >= alive:
        since = max(state.since for _, state in starting)
        return replace(_first(starting, own), since=since, reason=reason)
    up = [vote for vote in votes if vote[1].condition is Condition.UP]
    since = min(state.since for _, state in up)
    state = _first(up, own)
    return replace(state, since=since, reason=reason or state.reason)


def _first(votes: list[tuple[str, ServerState]], own: str) -> ServerState:
    """The own where it is among them, else that of the least node id."""
    return next((state for node, state in votes if node == own), votes[0][1])


def _why(down: list[tuple[str, ServerState]], voices: int, own: str) -> str:
    reason = _first(down, own).reason
    return reason if voices == 1 else f"{reason} ({len(down)} of {voices} monitors)"


def _timed(
    state: ServerState, told: list[tuple[View, ServerState | None]], own: str
) -> ServerState:
    """With the own response times where this node measures and does not doubt, else the median."""
    heard = [(view, one) for view, one in told if one is not None]
    mine = next((one for view, one in heard if view.node == own and not view.doubt), None)
    if mine is not None and mine.response_ms is not None:
        return replace(
            state,
            response_ms=mine.response_ms,
            responses=mine.responses,
            throughput_bps=mine.throughput_bps,
            measured=mine.measured,
        )
    others = [one for view, one in heard if not view.doubt and view.node != own]
    others = others or [one for _, one in heard]
    responses: dict[ProbeKind, float] = {}
    for kind in ProbeKind:
        middle = _middle(one.responses.get(kind) for one in others)
        if middle is not None:
            responses[kind] = middle
    return replace(
        state,
        response_ms=_middle(one.response_ms for one in others),
        responses=responses,
        throughput_bps=_middle(one.throughput_bps for one in others),
        measured=max(one.measured for one in others),
    )


def _middle(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None
