"""The messages of the chat's WebSocket format ``helio.chat.v1`` (docs/wire/chat.md): JSON texts.

Nothing is escaped but by JSON: texts and names are plain, and a page must not take them for HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from heliograph.catalogue.names import MAX_DISPLAY_NAME
from heliograph.live.chat import NONCE
from heliograph.live.chat_entries import (
    Backlog,
    ChatLimits,
    Cleared,
    Deleted,
    Entry,
    Member,
    Message,
    Muted,
    Slow,
)
from heliograph.model.errors import BusyError, HelioError, MalformedError

SUBPROTOCOL: Final = "helio.chat.v1"
VERSION: Final = 1
#: Bytes of a client's message: a text of ``ChatLimits.max_text`` characters of four bytes, escaped
#: or not, with what is around it.
MAX_MESSAGE: Final = 8192


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message: who comes, and what it has seen."""

    guest: str
    """The guest's token as the server gave it; empty for a new one."""
    name: str
    """Name that a guest wants; empty: it reads only."""
    cursor: str


@dataclass(frozen=True, slots=True)
class Say:
    nonce: str
    text: str


@dataclass(frozen=True, slots=True)
class Name:
    nonce: str
    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    nonce: str
    message: int


@dataclass(frozen=True, slots=True)
class Mute:
    nonce: str
    author: str
    seconds: float | None
    """None: until unmuted."""


@dataclass(frozen=True, slots=True)
class Unmute:
    nonce: str
    author: str


@dataclass(frozen=True, slots=True)
class SetSlow:
    nonce: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Clear:
    nonce: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Is to be answered, to show that the connection lives."""


Request: TypeAlias = Hello | Say | Name | Delete | Mute | Unmute | SetSlow | Clear | Ping


def parse(data: bytes) -> Request | None:
    """A client's message; None for a type that is not known, ``MalformedError`` for nonsense."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedError("chat", "not JSON") from None
    if not isinstance(message, dict):
        raise MalformedError("chat", "not an object")
    kind = message.get("type")
    if not isinstance(kind, str):
        raise MalformedError("chat", "no type")
    known = _REQUESTS.get(kind)
    return None if known is None else known(_Fields(message))


class _Fields:
    """Takes values of the right type out of an object."""

    def __init__(self, message: dict[str, Any]) -> None:
        self._message = message

    def text(self, name: str) -> str:
        """A text; a missing one is empty. Half a surrogate pair cannot be stored or sent."""
        value = self._message.get(name, "")
        if not isinstance(value, str):
            raise MalformedError("chat", f"{name} is not a text")
        return value.encode("utf-8", "replace").decode()

    def nonce(self) -> str:
        value = self.text("nonce")
        if not NONCE.fullmatch(value):
            raise MalformedError("chat", "the nonce is missing or malformed")
        return value

    def whole(self, name: str) -> int:
        value = self._message.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedError("chat", f"{name} is not a whole number")
        return value

    def seconds_or_none(self) -> float | None:
        return None if self._message.get("seconds") is None else self.seconds()

    def seconds(self) -> float:
        value = self._message.get("seconds")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
            raise MalformedError("chat", "seconds is not a number of seconds")
        return float(value)


_REQUESTS: Mapping[str, Callable[[_Fields], Request]] = {
    "hello": lambda of: Hello(of.text("guest"), of.text("name"), of.text("cursor")),
    "say": lambda of: Say(of.nonce(), of.text("text")),
    "name": lambda of: Name(of.nonce(), of.text("name")),
    "delete": lambda of: Delete(of.nonce(), of.whole("message")),
    "mute": lambda of: Mute(of.nonce(), of.text("author"), of.seconds_or_none()),
    "unmute": lambda of: Unmute(of.nonce(), of.text("author")),
    "slow": lambda of: SetSlow(of.nonce(), of.seconds()),
    "clear": lambda of: Clear(of.nonce()),
    "ping": lambda of: Ping(),
}


# ── what the server says


def welcome(guest: str, limits: ChatLimits) -> bytes:
    """The first message. ``guest``: the token to show next time; empty with an account."""
    return _text(
        type="welcome",
        version=VERSION,
        guest=guest,
        max_text=limits.max_text,
        max_name=MAX_DISPLAY_NAME,
    )


def you(member: Member, write: str) -> bytes:
    """Who the client is. ``write``: ``yes``, ``name`` (choose one first), ``sign_in``, ``no``."""
    return _text(
        type="you",
        author=member.author,
        name=member.name,
        badge=member.badge.value,
        moderator=member.moderator,
        write=write,
    )


def history(backlog: Backlog) -> bytes:
    """What was missed, and how things stand."""
    muted = backlog.muted_until
    return _text(
        type="history",
        entries=[entry_json(entry) for entry in backlog.entries],
        cursor=backlog.cursor,
        whole=backlog.whole,
        slow=backlog.slow,
        muted=None if muted is None else {"until": muted if math.isfinite(muted) else None},
    )


def entry(entry: Entry) -> bytes:
    """Something that happened."""
    return _text(**entry_json(entry))


def entry_json(entry: Entry) -> dict[str, Any]:
    """As it stands in the message of its own and in ``history``."""
    match entry:
        case Message():
            return {
                "type": "message",
                "id": entry.id,
                "author": entry.author,
                "name": entry.name,
                "text": entry.text,
                "at": round(entry.at, 3),
                "nonce": entry.nonce,
                "badge": entry.badge.value,
            }
        case Deleted():
            return {"type": "deleted", "id": entry.id, "message": entry.message}
        case Cleared():
            return {"type": "cleared", "id": entry.id}
        case Muted():
            return {"type": "muted", "id": entry.id, "author": entry.author, "until": entry.until}
        case Slow():
            return {"type": "slow", "id": entry.id, "seconds": entry.seconds}
    return {"type": "unmuted", "id": entry.id, "author": entry.author}


def done(nonce: str, id: int | None = None) -> bytes:
    """What was asked for is done and safe. ``id``: the entry's; None where there is none."""
    return _text(type="done", nonce=nonce, id=id)


def refused(nonce: str, error: HelioError) -> bytes:
    """What was asked for is not done."""
    return _text(
        type="refused",
        nonce=nonce,
        reason=reason(error),
        message=error.message,
        retry_after=error.retry_after if isinstance(error, BusyError) else None,
    )


def pong() -> bytes:
    return _text(type="pong")


def end(error: HelioError) -> bytes:
    """Nothing more comes, and why."""
    return _text(
        type="end",
        status=error.status,
        reason=reason(error),
        message=error.message,
        retry_after=error.retry_after if isinstance(error, BusyError) else None,
    )


_REASONS = {400: "malformed", 401: "sign_in", 403: "forbidden", 404: "unknown", 413: "too_large"}
_SUBJECTS = frozenset(
    {"muted", "rate", "slow", "moderate", "moderator", "account"}
    | {"sign_in", "places", "windows", "flood"}
)


def reason(error: HelioError) -> str:
    """A word for programs."""
    if error.subject in _SUBJECTS:
        return error.subject
    if error.subject == "name":
        return {409: "name_taken", 403: "name"}.get(error.status, "name_bad")
    return _REASONS.get(error.status, "busy")


def _text(**values: Any) -> bytes:  # noqa: ANN401 - whatever JSON has
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
