"""Log events of all nodes, in the REST API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from heliograph.bus import Registration
from heliograph.model.errors import BusyError
from heliograph.web.access import Administrator, Context, still_administrator
from heliograph.web.errors import answers
from heliograph.web.streams import EventStream

router = APIRouter(prefix="/api/v1", tags=["logs"], dependencies=[Administrator])

#: Entries of one answer: what a person looks through.
MAX_ENTRIES = 1000
#: The name under which who follows is found among the streams.
HUB = "logs"

#: Told of new entries of one node: ``node``, ``name``, ``entries``, ``missed``.
Listener = Callable[[Mapping[str, Any]], None]
Level = Literal["debug", "info", "warning", "error", "critical"]


class LogsFace(Protocol):
    """What the API needs of the log events of all nodes."""

    def newest(
        self, *, node: str = "", level: str = "debug", text: str = "", limit: int = 200
    ) -> Awaitable[list[dict[str, Any]]]:
        """The newest, the oldest of them first."""
        ...

    def follow(self, listener: Listener) -> Registration:
        """Be told of new ones."""
        ...


class LogEntry(BaseModel):
    """An event that a node logged; keys and passwords are masked."""

    node: str = Field(description="The node's id.")
    name: str = Field(description="How the node calls itself.")
    number: int = Field(
        description="Orders those of one node: a greater one is later. In µs since 1970."
    )
    at: str = Field(description="ISO 8601.")
    level: str = Field(description="`debug`, `info`, `warning`, `error` or `critical`.")
    event: str
    fields: dict[str, Any]


class LogAnswer(BaseModel):
    entries: list[LogEntry] = Field(description="The newest last.")


def _logs(context: Context) -> LogsFace:
    if context.logs is None:
        raise BusyError("this server keeps no log events", subject="logs")
    return context.logs


Found = Annotated[LogsFace, Depends(_logs)]


@router.get("/logs", response_model=LogAnswer, responses=answers(400, 401, 403, 503))
async def get_logs(
    logs: Found,
    node: Annotated[str, Query(max_length=64, description="Id or name; empty: all.")] = "",
    level: Annotated[Level, Query(description="This one and above.")] = "debug",
    text: Annotated[str, Query(max_length=200, description="In the event or a field.")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES)] = 200,
) -> dict[str, Any]:
    """The newest events that the nodes of the cluster logged."""
    return {"entries": await logs.newest(node=node, level=level, text=text, limit=limit)}


@router.get(
    "/logs/events", status_code=200, response_class=EventStream, responses=answers(401, 403, 503)
)
async def follow_logs(request: Request, logs: Found, context: Context) -> EventStream:
    """New ones as they come: events `log`, of one node each, and `missed` where some were left out.

    Those of the last seconds may come again after a reconnection: `number` tells.
    """
    hub = context.streams.hub(HUB, lambda hub: logs.follow(lambda batch: hub.tell("log", batch)))
    return EventStream(hub.join(), still_administrator(request, context))
