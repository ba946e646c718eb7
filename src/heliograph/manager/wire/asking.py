"""What is asked of the active manager: places for viewers, and what people order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from heliograph.catalogue.values import Actor
from heliograph.live.placing import MAX_AVOIDED
from heliograph.manager.wire.fields import MAX_GROUPS, MAX_NAME, MAX_NUMBER, Fields, Json
from heliograph.model.errors import MalformedError
from heliograph.model.nodes import MAX_DOMAINS

JOIN = "manager.join"
COMMAND = "manager.command"
#: Characters of any text in a command.
MAX_TEXT = 1000
#: Members of a command beside its name and who gave it.
MAX_ARGUMENTS = 20

#: Members of a command that are no arguments of it.
_MEMBERS = ("command", "by", "address", "domains")
_WORD = re.compile(r"[a-z][a-z_]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """A viewer needs a place."""

    channel: str
    location: str = ""
    """Where he is, as far as is known."""
    origin: str = ""
    """The unit he was sent away from, or that died under him."""
    at: str = ""
    """The unit he cannot avoid; empty: any."""
    avoid: tuple[str, ...] = ()
    """Units that took him not, or gave no answer, a moment ago."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A place was found."""

    id: str
    """Of the reservation."""
    unit: str
    index: int
    epoch: int
    """Of the manager's lease."""
    expires_in: float
    """Seconds for which the place is kept."""


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody orders something of the whole cluster."""

    command: str
    by: Actor
    """Who, for the logs: the name of a person or of a token, and the address."""
    what: Mapping[str, Json] = field(default_factory=dict)
    """Texts, numbers and switches, by name."""
    domains: tuple[str, ...] | None = None
    """Of units that whoever gave it administers; None: all there are, and the whole cluster."""

    def text(self, name: str, default: str | None = None) -> str:
        """An argument that is a text; ``MalformedError`` where it is none."""
        value = self.what.get(name, default)
        if not isinstance(value, str):
            raise MalformedError(COMMAND, f"{self.command} needs a text {name!r}")
        return value

    def whole(self, name: str, default: int) -> int:
        """An argument that is a whole number; ``MalformedError`` where it is none."""
        value = self.what.get(name, default)
        if type(value) is not int:
            raise MalformedError(COMMAND, f"{name!r} of {self.command} is not a whole number")
        return value


def asked_json(asked: Asked) -> Json:
    """A request for a place."""
    return {
        "channel": asked.channel,
        "location": asked.location,
        "origin": asked.origin,
        "at": asked.at,
        "avoid": [*asked.avoid],
    }


def parse_asked(value: Json) -> Asked:
    """A request for a place; ``MalformedError`` where it is none."""
    fields = Fields(JOIN, value)
    return Asked(
        fields.channel("channel"),
        fields.text("location", MAX_NAME, ""),
        fields.unit_or_none("origin"),
        fields.unit_or_none("at"),
        fields.units("avoid", MAX_AVOIDED),
    )


def seat_json(seat: Seat) -> Json:
    """The place that was found."""
    return {
        "id": seat.id,
        "unit": seat.unit,
        "index": seat.index,
        "epoch": seat.epoch,
        "expires_in": seat.expires_in,
    }


def parse_seat(value: Json) -> Seat:
    """The place that was found; ``MalformedError`` where the answer is none."""
    fields = Fields(JOIN, value)
    return Seat(
        fields.id("id"),
        fields.unit("unit"),
        fields.whole("index", MAX_GROUPS),
        fields.whole("epoch"),
        fields.seconds("expires_in"),
    )


def command_json(command: Command) -> Json:
    """A command as it is sent."""
    by = command.by
    value = {**command.what, "command": command.command, "by": by.name, "address": by.address}
    return value if command.domains is None else {**value, "domains": [*command.domains]}


def parse_command(value: Json) -> Command:
    """A command; ``MalformedError`` where it is none."""
    fields = Fields(COMMAND, value)
    name = fields.text("command", MAX_NAME)
    if not _WORD.fullmatch(name):
        raise MalformedError(COMMAND, f"no command is called {name[:40]!r}")
    what = {key: one for key, one in value.items() if key not in _MEMBERS}
    if len(what) > MAX_ARGUMENTS:
        raise MalformedError(COMMAND, f"more than {MAX_ARGUMENTS} arguments")
    for key, one in what.items():
        if not _WORD.fullmatch(key):
            raise MalformedError(COMMAND, f"an argument is called {key[:40]!r}")
        if isinstance(one, str):
            fields.text(key, MAX_TEXT)
        elif isinstance(one, bool) or one is None:
            continue
        elif not isinstance(one, int | float) or not abs(one) <= MAX_NUMBER:
            raise MalformedError(COMMAND, f"{key} is no text, number or switch")
    by = Actor(fields.text("by", MAX_NAME), fields.text("address", MAX_NAME, ""))
    domains = fields.texts("domains", MAX_DOMAINS) if "domains" in value else None
    return Command(name, by, what, domains)
