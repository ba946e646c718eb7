"""Messages as bytes: JSON in UTF-8, bounded, and checked when they are read.

What comes from other nodes is authenticated, but may be of another version: whatever is not
understood is a ``MalformedError``, never anything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.model.telling import Teller

#: Anything that JSON can say.
Json: TypeAlias = Any

#: Bytes of one message: a report of a unit with a thousand channels takes a tenth.
MAX_MESSAGE = 1 << 20
#: Seconds a request may have: what takes longer reports its progress by other means.
MAX_TIMEOUT = 60.0

_PROTOCOL = "bus message"

_TELLER = Teller(_PROTOCOL)


def encode(value: Json) -> bytes:
    """A value as bytes.

    ``MalformedError`` for what JSON cannot say, ``TooLargeError`` above ``MAX_MESSAGE``.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedError("bus value", str(error)[:200]) from None
    if len(data) > MAX_MESSAGE:
        raise TooLargeError(f"{len(data)} bytes are more than the {MAX_MESSAGE} of a message")
    return data


def decode(data: bytes) -> Json:
    """The value that bytes say; ``MalformedError`` or ``TooLargeError`` otherwise."""
    if len(data) > MAX_MESSAGE:
        raise TooLargeError(f"{len(data)} bytes are more than the {MAX_MESSAGE} of a message")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedError(_PROTOCOL, str(error)[:200]) from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    caller: str
    """Id of the node that asks, by its own word."""
    timeout: float
    """Seconds it waits for the answer from now on."""
    value: Json


def encode_request(caller: str, timeout: float, value: Json) -> bytes:
    """A request; errors as of ``encode``."""
    return encode({"from": caller, "ms": round(timeout * 1000), "value": value})


def decode_request(data: bytes) -> Asked:
    """A request that came; its time is bounded by ``MAX_TIMEOUT``."""
    found = _object(decode(data))
    caller, wait = found.get("from"), found.get("ms")
    if not isinstance(caller, str) or not isinstance(wait, int) or isinstance(wait, bool):
        raise MalformedError(_PROTOCOL, "a request without its caller or its time")
    return Asked(caller[:64], max(0.0, min(wait / 1000, MAX_TIMEOUT)), found.get("value"))


def encode_answer(value: Json) -> bytes:
    """What a handler gave; errors as of ``encode``."""
    return encode({"value": value})


def encode_error(error: BaseException) -> bytes:
    """What went wrong, as the caller may know it: nothing of errors that are not ours."""
    return encode({"error": _TELLER.tell(error)})


def decode_answer(data: bytes) -> Json:
    """The value of an answer; raises the error that it tells."""
    found = _object(decode(data))
    if "error" in found:
        raise _TELLER.read(_object(found["error"]))
    if "value" not in found:
        raise MalformedError(_PROTOCOL, "an answer without a value")
    return found["value"]


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise MalformedError(_PROTOCOL, "not an object")
    return value
