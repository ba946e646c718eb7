"""The life of a channel as a table, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from heliograph.live.readers import Reader


class State(StrEnum):
    """Life of a channel."""

    IDLE = "idle"
    """Never had a source."""
    ON_AIR = "on_air"
    WAITING = "waiting"
    """The source is gone; readers are kept."""


class Trigger(StrEnum):
    """What moves a channel from state to state."""

    SOURCE_ACTIVE = "source active"
    SILENT = "silent"


#: A pair that is missing leaves the state as it is.
TRANSITIONS: Mapping[tuple[State, Trigger], State] = {
    (State.IDLE, Trigger.SOURCE_ACTIVE): State.ON_AIR,
    (State.WAITING, Trigger.SOURCE_ACTIVE): State.ON_AIR,
    (State.ON_AIR, Trigger.SILENT): State.WAITING,
}


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something happened to a channel; for the log, pages and metrics."""

    kind: str
    """``state``, ``source`` (another publisher is relayed), ``epoch`` (the same one, its packets
    being numbered anew), ``tracks``, ``publisher-joined``,
    ``publisher-left``, ``reader-joined``, ``reader-left``, ``channel-opened``, ``channel-closed``,
    ``changed`` (title, options, owner or who may view)."""
    channel: str
    """The channel's name."""
    detail: str = ""
    """The new state, or why somebody left."""
    reader: Reader | None = None
    """Who joined or left."""


Observer: TypeAlias = Callable[[LiveEvent], None]
