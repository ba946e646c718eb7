"""Messages as bytes: JSON in UTF-8, bounded, and checked when they are read.

What comes from other nodes is authenticated, but may be of another version: whatever is not
understood is a ``MalformedError``, never anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from heliograph.model import errors
from heliograph.model.errors import HelioError, MalformedError, RemoteError, TooLargeError

#: Anything that JSON can say.
Json: TypeAlias = Any

#: Bytes of one message: a report of a unit with a thousand channels takes a tenth.
MAX_MESSAGE = 1 << 20
#: Characters of an error's text on the wire: what people read, and no dump of anything.
MAX_TEXT = 1000
#: Seconds a request may have: what takes longer reports its progress by other means.
MAX_TIMEOUT = 60.0

_PROTOCOL = "bus message"

#: What an error has beside its text and subject, and what it must be.
_EXTRAS: Mapping[str, type] = {
    "status": int,
    "retry_after": int,
    "protocol": str,
    "reason": str,
    "offset": int,
}
#: Set where the other side left it out, so that every error has the members of its class.
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "MalformedError": {"protocol": "", "reason": "", "offset": None},
    "BusyError": {"retry_after": None},
    "TooManyError": {"retry_after": None},
}
#: Errors by their kind, the name of their class.
KINDS: Mapping[str, type[HelioError]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, HelioError)
}


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
    if not isinstance(error, HelioError):
        error = RemoteError("the node failed to do it")
    body: dict[str, Json] = {
        "kind": _kind(type(error)),
        "message": error.message[:MAX_TEXT],
        "subject": None if error.subject is None else error.subject[:MAX_TEXT],
    }
    for name, kind in _EXTRAS.items():
        value = vars(error).get(name)
        if type(value) is kind:
            body[name] = value[:MAX_TEXT] if isinstance(value, str) else value
    return encode({"error": body})


def decode_answer(data: bytes) -> Json:
    """The value of an answer; raises the error that it tells."""
    found = _object(decode(data))
    if "error" in found:
        raise _error(_object(found["error"]))
    if "value" not in found:
        raise MalformedError(_PROTOCOL, "an answer without a value")
    return found["value"]


def _kind(found: type[HelioError]) -> str:
    """The nearest class that every node knows: others derive their own from those."""
    return next(kind.__name__ for kind in found.__mro__ if KINDS.get(kind.__name__) is kind)


def _error(body: dict[str, Json]) -> HelioError:
    message, subject = body.get("message"), body.get("subject")
    if not isinstance(message, str):
        raise MalformedError(_PROTOCOL, "an error without a text")
    kind = KINDS.get(str(body.get("kind")), RemoteError)
    error = kind.__new__(kind)
    # Their initialisers make the text of other things; what they made once is given as it is.
    HelioError.__init__(error, message, subject=subject if isinstance(subject, str) else None)
    for name, default in _DEFAULTS.get(kind.__name__, {}).items():
        setattr(error, name, default)
    for name, wanted in _EXTRAS.items():
        if type(body.get(name)) is wanted:
            setattr(error, name, body[name])
    return error


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise MalformedError(_PROTOCOL, "not an object")
    return value
