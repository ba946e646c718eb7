"""Errors as JSON: ``{"error": {"status", "message", "subject"}}``, whatever went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from heliograph.model.errors import (
    BusyError,
    ForbiddenError,
    HelioError,
    PeerError,
    UnauthorizedError,
)
from heliograph.web.identity import peer_of

log = structlog.get_logger(__name__)

#: 455 is RTSP's; the nearest of HTTP's is Conflict.
_STATUS = {455: 409}


class ErrorDetail(BaseModel):
    status: int = Field(description="The HTTP status, again.")
    message: str = Field(description="What went wrong, for people.")
    subject: str | None = Field(description="What it went wrong with: a channel, a field.")


class ErrorAnswer(BaseModel):
    """How every error of the API looks."""

    error: ErrorDetail


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI description says of the errors of an endpoint."""
    return {status: {"model": ErrorAnswer} for status in statuses}


def error_response(
    status: int,
    message: str,
    subject: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = {"error": {"status": status, "message": message, "subject": subject}}
    return JSONResponse(body, status, dict(headers or {}))


def helio_response(error: HelioError) -> JSONResponse:
    """An error of ours: the peer's fault is told in full, a fault of the server by its message."""
    headers = {}
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BusyError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return error_response(
        _STATUS.get(error.status, error.status), error.message, error.subject, headers
    )


def install(app: FastAPI) -> None:
    """Let ``app`` answer every error in the one form."""

    async def on_helio(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HelioError)
        if not isinstance(error, PeerError):
            log.error("request failed", path=request.url.path, error=error.message)
        elif isinstance(error, UnauthorizedError | ForbiddenError):
            peer = peer_of(request)
            log.info("request refused", path=request.url.path, peer=peer, error=error.message)
        return helio_response(error)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        # The first word says only where: body, path, query.
        field = ".".join(str(word) for word in first["loc"][1:] if isinstance(word, str))
        if first["type"] == "json_invalid":
            return error_response(400, "the body is not JSON", "body")
        return error_response(400, f"{field or 'body'}: {first['msg']}", field or "body")

    app.add_exception_handler(HelioError, on_helio)
    app.add_exception_handler(RequestValidationError, on_validation)
