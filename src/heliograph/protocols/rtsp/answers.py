"""What a server's answers look like, whatever they say. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from heliograph.model.errors import BusyError, HelioError, PeerError
from heliograph.protocols.rtsp.messages import Headers, Request, Response
from heliograph.protocols.rtsp.states import METHODS, REASONS, TRANSITIONS, State

#: Characters of an error that go onto the status line.
MAX_DETAIL = 120


def answer(
    request: Request,
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes = b"",
    detail: str = "",
) -> Response:
    """The answer to a request, in its version; ``detail`` is shown behind the status' reason."""
    reason = REASONS.get(status, "Error")
    if detail := "".join(c for c in detail if c.isprintable())[:MAX_DETAIL]:
        reason = f"{reason}: {detail}"
    version = "2.0" if request.version.startswith("2") else "1.0"
    cseq = ("CSeq", request.headers.get("cseq") or "0")
    return Response(status, reason, Headers([cseq, *headers]), body, version)


def allow(state: State) -> tuple[str, str]:
    """The header that tells what a session's state allows (RFC 2326 §12.4)."""
    return "Allow", ", ".join(method for method in METHODS if (state, method) in TRANSITIONS)


def retry_after(error: HelioError) -> list[tuple[str, str]]:
    """When to come again, where an error says so (RFC 2326 §12.31)."""
    if not isinstance(error, BusyError) or error.retry_after is None:
        return []
    return [("Retry-After", str(math.ceil(error.retry_after)))]


def detail_of(error: HelioError) -> str:
    """What people are told of an error: players show the reason, so it says more than the status;
    nothing of our own faults."""
    return error.message if isinstance(error, PeerError) else ""
