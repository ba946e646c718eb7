"""How the servers that hold titles are, in the REST API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from heliograph.bus import Registration
from heliograph.catalogue.contents.values import Server, ServerState
from heliograph.dispatcher.monitor.agreement import View
from heliograph.model.errors import BusyError
from heliograph.web.access import Administrator, Context, still_administrator
from heliograph.web.errors import answers
from heliograph.web.streams import EventStream, Hub, Pace

router = APIRouter(prefix="/api/v1", tags=["servers"], dependencies=[Administrator])

#: Seconds between two states that are pushed: people read no faster.
PERIOD = 0.25
#: The name under which who follows is found among the streams.
HUB = "servers"


class MonitoringFace(Protocol):
    """What the API needs of the node's monitor."""

    @property
    def states(self) -> Mapping[int, ServerState]: ...
    @property
    def servers(self) -> Mapping[int, Server]: ...
    @property
    def doubt(self) -> bool: ...
    def views(self) -> list[View]: ...
    def counts(self) -> Mapping[str, int]: ...
    def follow(self, listener: Callable[[Mapping[int, ServerState]], None]) -> Registration: ...


class StateAnswer(BaseModel):
    """How one server is, as all monitors say together."""

    server: str = Field(description="Its name.")
    id: int
    host: str
    condition: str = Field(description="`unknown`, `up`, `starting` or `down`.")
    reason: str = Field(description="Why it is not up; also where some monitors say otherwise.")
    since: datetime = Field(description="Since when it is in that condition.")
    measured: datetime = Field(description="When it was last measured.")
    response_ms: float | None = Field(description="Smoothed; null: it never answered.")
    responses: dict[str, float] = Field(description="Smoothed milliseconds by kind of probe.")
    throughput_bps: float | None = Field(description="By the probe that fetches media.")
    drained: bool = Field(description="Whether it gets nobody new by an operator's wish.")
    monitors: dict[str, str] = Field(description="What each monitor says, by id of its node.")


class MonitorAnswer(BaseModel):
    id: str = Field(description="The node's.")
    doubt: bool = Field(description="Whether it doubts itself, and has no voice.")


class StatesAnswer(BaseModel):
    states: list[StateAnswer] = Field(
        description="By name; servers that are switched off have none."
    )
    monitors: list[MonitorAnswer] = Field(description="Those that are heard.")


def _monitoring(context: Context) -> MonitoringFace:
    if context.monitoring is None:
        raise BusyError("this node watches no servers", subject="monitor")
    return context.monitoring


Found: TypeAlias = Annotated[MonitoringFace, Depends(_monitoring)]


@router.get("/monitor/states", response_model=StatesAnswer, responses=answers(401, 403, 503))
async def get_states(monitoring: Found) -> dict[str, Any]:
    """How all servers are: condition, reason, response times."""
    return described(monitoring)


@router.get(
    "/monitor/states/events",
    status_code=200,
    response_class=EventStream,
    responses=answers(401, 403, 503),
)
async def follow_states(request: Request, monitoring: Found, context: Context) -> EventStream:
    """The same, pushed at each change: events `states`."""
    hub = context.streams.hub(HUB, lambda hub: _News(hub, monitoring))
    return EventStream(hub.join(), still_administrator(request, context))


class _News:
    """Pushes the states while somebody listens."""

    def __init__(self, hub: Hub, monitoring: MonitoringFace) -> None:
        self._pace = Pace(
            PERIOD, lambda _: hub.tell("states", described(monitoring), "states", keep=True)
        )
        self._followed = monitoring.follow(self._pace.put)
        self._pace.put(None)  # where there is nothing to tell, that is told

    def close(self) -> None:
        """Push nothing more."""
        self._followed.close()
        self._pace.close()


def described(monitoring: MonitoringFace) -> dict[str, Any]:
    """All states as JSON has them."""
    views = monitoring.views()
    servers = sorted(monitoring.servers.values(), key=lambda one: one.name)
    states = monitoring.states
    return {
        "states": [
            _described(server, states[server.id], views)
            for server in servers
            if server.id in states
        ],
        "monitors": [{"id": view.node, "doubt": view.doubt} for view in views],
    }


def _described(server: Server, state: ServerState, views: list[View]) -> dict[str, Any]:
    return {
        "server": server.name,
        "id": server.id,
        "host": server.host,
        "condition": state.condition.value,
        "reason": state.reason,
        "since": state.since.isoformat(),
        "measured": state.measured.isoformat(),
        "response_ms": _rounded(state.response_ms),
        "responses": {kind.value: _rounded(ms) for kind, ms in state.responses.items()},
        "throughput_bps": _rounded(state.throughput_bps),
        "drained": server.drained,
        "monitors": {
            view.node: view.states[server.id].condition.value
            for view in views
            if server.id in view.states
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
