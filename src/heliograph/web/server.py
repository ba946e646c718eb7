"""The server itself in the REST API: identity, totals, health and readiness."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from heliograph.web.access import Context
from heliograph.web.answers import ServerAnswer, TotalsAnswer

router = APIRouter(tags=["server"])


@router.get("/api/v1/server", response_model=ServerAnswer)
async def get_server(context: Context) -> dict[str, Any]:
    """Who answers here, and since when."""
    uptime = (datetime.now(UTC) - context.started_at).total_seconds()
    return {"name": context.name, "version": context.version, "uptime": max(0.0, round(uptime, 3))}


@router.get("/api/v1/stats", response_model=TotalsAnswer)
async def get_stats(context: Context) -> dict[str, Any]:
    """Counters of all channels together since the start."""
    return asdict(context.channels.totals()) | {
        "channels": len(context.channels),
        "channels_on_air": len(context.channels.on_air()),
    }


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """200 while the server answers at all: restart it otherwise."""
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})


@router.get(
    "/readyz",
    responses={503: {"description": "Starting or stopping."}},
)
async def readyz(context: Context) -> JSONResponse:
    """200 while the server can do its work, otherwise 503: send nobody here."""
    ready = context.ready()
    return JSONResponse({"ready": ready}, 200 if ready else 503, {"cache-control": "no-store"})
