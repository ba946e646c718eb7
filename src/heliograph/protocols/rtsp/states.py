"""RTSP session states and status codes, as tables (RFC 2326 §A.2, §7.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from heliograph.model.errors import HelioError


class State(StrEnum):
    """State of an RTSP session, the same at server and client."""

    INIT = "init"
    READY = "ready"
    PLAYING = "playing"
    RECORDING = "recording"


#: What a method that succeeds does to the state; a pair that is missing is 455.
#: Methods that leave every state as it is (OPTIONS, DESCRIBE, parameters) are not listed.
TRANSITIONS: Mapping[tuple[State, str], State] = {
    (State.INIT, "ANNOUNCE"): State.INIT,
    (State.INIT, "SETUP"): State.READY,
    (State.READY, "SETUP"): State.READY,
    (State.READY, "PLAY"): State.PLAYING,
    (State.READY, "RECORD"): State.RECORDING,
    (State.READY, "PAUSE"): State.READY,  # RFC 7826 §13.6; harmless
    (State.READY, "TEARDOWN"): State.INIT,
    (State.PLAYING, "SETUP"): State.PLAYING,
    (State.PLAYING, "PLAY"): State.PLAYING,
    (State.PLAYING, "PAUSE"): State.READY,
    (State.PLAYING, "TEARDOWN"): State.INIT,
    (State.RECORDING, "RECORD"): State.RECORDING,
    (State.RECORDING, "PAUSE"): State.READY,
    (State.RECORDING, "TEARDOWN"): State.INIT,
}

#: Methods the server knows, as in its Public header.
METHODS = (
    "OPTIONS",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "PLAY",
    "RECORD",
    "PAUSE",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
)

REASONS: Mapping[int, str] = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    451: "Parameter Not Understood",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    457: "Invalid Range",
    459: "Aggregate Operation Not Allowed",
    460: "Only Aggregate Operation Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}

#: Subject of a ``BusyError`` that means bandwidth rather than places: 453 instead of 503.
BANDWIDTH = "bandwidth"
#: Subject of an error that means what was asked for of a title: 457.
RANGE = "range"


def status_of(error: HelioError, method: str) -> int:
    """The RTSP status for an error that refuses ``method``."""
    if error.status == 503 and error.subject == BANDWIDTH:
        return 453
    if error.subject == RANGE:
        return 457
    if error.status == 429:
        return 503  # RTSP has no such status; Retry-After says when to come again
    if error.status == 415 and method == "SETUP":
        return 461  # what is not supported of a SETUP is its transport
    return error.status if error.status in REASONS else 500
