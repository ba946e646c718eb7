"""Rooms of one channel at several nodes that share a database: what happens in one is told to all.

Each node writes down what happens in its own room, and tells it then on the bus. What gets lost on
the way is in the database all the same, and there for a room that is opened later.
"""

from __future__ import annotations

from typing import Any

import structlog

from heliograph.bus import Bus
from heliograph.bus.wire import Json
from heliograph.live.chat_entries import (
    Badge,
    Cleared,
    Deleted,
    Entry,
    Message,
    Muted,
    Unmuted,
)
from heliograph.live.chat_rooms import Chats, OpenRoom
from heliograph.live.registry import Channels
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Followed by a channel's name.
TOPIC = "chat/"
#: Entries told at a time: a message of the bus takes as many of the longest.
MOST = 100


class ChatExchange:
    """Of one node."""

    def __init__(self, bus: Bus, chats: Chats, channels: Channels, home: str) -> None:
        """``home``: id of the database whose channels are meant."""
        self._bus, self._chats, self._channels, self._home = bus, chats, channels, home
        chats.on_saved = self._tell
        self._registration = bus.subscribe(f"{TOPIC}*", self._hear)

    def close(self) -> None:
        """Tell and hear nothing more."""
        self._chats.on_saved = lambda room, entries: None
        self._registration.close()

    def _is_shared(self, channel: str) -> bool:
        found = self._channels.find(channel)
        return found is not None and found.home == self._home

    def _tell(self, opened: OpenRoom, entries: tuple[Entry, ...]) -> None:
        if not self._is_shared(opened.channel):
            return
        told = [one for one in (_write(opened, entry) for entry in entries) if one is not None]
        for start in range(0, len(told), MOST):
            value: Json = {"home": self._home, "entries": told[start : start + MOST]}
            try:
                self._bus.publish(TOPIC + opened.channel, value)
            except HelioError as error:
                log.warning("chat not told", channel=opened.channel, error=error.message)

    def _hear(self, node: str, topic: str, value: Json) -> None:
        channel = topic.removeprefix(TOPIC)
        opened = self._chats.find(channel)
        if node == self._bus.node or opened is None or not self._is_shared(channel):
            return
        if not isinstance(value, dict) or value.get("home") != self._home:
            return
        entries = value.get("entries")
        for entry in entries if isinstance(entries, list) else ():
            try:
                _apply(opened, entry)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("chat of another node not understood", node=node, error=str(error))


def _write(opened: OpenRoom, entry: Entry) -> dict[str, Any] | None:
    """None: others learn of it by the channel itself, or need not."""
    match entry:
        case Message():
            return {
                "kind": "said",
                "stored": opened.moved.get(entry.id, entry.id),
                "author": entry.author,
                "name": entry.name,
                "text": entry.text,
                "at": entry.at,
                "nonce": entry.nonce,
                "badge": entry.badge.value,
            }
        case Deleted():
            found = opened.room.known(entry.message)
            if found is None:
                return None
            return {"kind": "deleted", "author": found.author, "nonce": found.nonce}
        case Cleared():
            return {"kind": "cleared"}
        case Muted():
            return {
                "kind": "muted",
                "author": entry.author,
                "net": entry.net,
                "until": entry.until,
            }
        case Unmuted():
            return {"kind": "unmuted", "author": entry.author}
        case _:
            return None


def _apply(opened: OpenRoom, told: Any) -> None:  # noqa: ANN401 - whatever came
    room = opened.room
    match told["kind"]:
        case "said":
            message = room.heard(
                Message(
                    0,
                    str(told["author"]),
                    str(told["name"]),
                    str(told["text"])[: room.limits.max_text],
                    float(told["at"]),
                    str(told["nonce"]),
                    Badge(told["badge"]),
                )
            )
            if message is not None and message.id != told["stored"]:
                opened.note_moved({message.id: int(told["stored"])})
        case "deleted":
            room.heard_deleted(str(told["author"]), str(told["nonce"]))
        case "cleared":
            room.heard_cleared()
        case "muted":
            until = told["until"]
            net = str(told["net"])
            room.heard_muted(str(told["author"]), net, None if until is None else float(until))
        case "unmuted":
            room.heard_unmuted(str(told["author"]))
