"""What managers, units and portals tell each other on the bus, as plain values of JSON.

::

    unit/report      topic     a unit says what it runs: ``Report``
    unit.orders      request   the active manager tells a unit what to do: ``Orders``
    manager.join     request   a portal asks for a place: ``Asked``, answered by a ``Seat``
    manager.command  request   somebody orders something: ``Command``

Clocks of two machines have nothing to do with each other: times are sent as seconds from now, or
not at all, and whoever reads them gives its own time. Who sent something is what the bus says.
Whatever is not understood, or is longer than anything that is meant, is a ``MalformedError``;
members that are not known are left alone, as a later version may send them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from heliograph.manager import transitions as t
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.view import Amounts, Budgets, GroupId, State
from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name

#: Anything that JSON can say.
Json: TypeAlias = Any

REPORTS = "unit/report"
ORDERS = "unit.orders"
JOIN = "manager.join"
COMMAND = "manager.command"
VIEW = "manager.view"
VIEWS = "manager/view"
PROGRESS = "manager/progress"
#: Kinds of what is announced.
UNIT, MANAGER = "unit", "manager"

#: Channels, groups and used reservations in one report; a unit has 50 groups, and fits a hundred
#: times that into a message of the bus.
MAX_ITEMS = 5000
#: Orders in one request: those of a unit that is drained with all it has.
MAX_ORDERS = 1000
#: Characters of a person's name for a unit, and of a location.
MAX_NAME = 200
#: Characters of the id of a reservation or a hold.
MAX_ID = 200
#: Characters of any text in a command.
MAX_TEXT = 1000
#: Members of a command beside its name and who gave it.
MAX_ARGUMENTS = 20
#: Any number: what every reader of JSON has exactly.
MAX_NUMBER = 2**53
#: Groups of a unit, and places of a group.
MAX_GROUPS, MAX_PLACES = 10_000, 100_000
#: Seconds that anything may be in the future.
MAX_SECONDS = 86_400.0

_UNIT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID = re.compile(rf"[!-~]{{1,{MAX_ID}}}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z_]{0,31}", re.ASCII)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Orders:
    """Some orders to one unit, to be carried out one after the other."""

    epoch: int
    """Of the lease of the manager that gives them."""
    serial: int
    """Of the last of them."""
    orders: tuple[t.Transition, ...]


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
    by: str
    """Who, for the log: the name of a person or of a token."""
    what: Mapping[str, Json] = field(default_factory=dict)
    """Texts, numbers and switches, by name."""

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


# --- reports --------------------------------------------------------------------------------------


def report_json(report: Report) -> Json:
    """A report as it is sent; its time and its unit are left to the reader."""
    budgets, measured = report.budgets, report.measured
    return {
        "name": report.name,
        "location": report.location,
        "state": report.state.value,
        "budgets": {
            "groups": budgets.groups,
            "places": budgets.places,
            "limits": list(budgets.limits),
        },
        "measured": None if measured is None else list(measured),
        "serial": report.serial,
        "branches": [
            {
                "channel": one.channel,
                "source": one.source,
                "ingest": one.ingest,
                "epoch": one.epoch,
                "bitrate": one.bitrate,
            }
            for one in report.branches
        ],
        "groups": [
            {"index": one.index, "channel": one.channel, "viewers": one.viewers}
            for one in report.groups
        ],
        "taken": list(report.taken),
    }


def parse_report(value: Json, unit: str, at: float) -> Report:
    """What ``unit`` sent, received ``at``; ``MalformedError`` where it is no report."""
    fields = _Fields(REPORTS, value)
    budgets = fields.object("budgets")
    return Report(
        _unit(REPORTS, "unit", unit),
        fields.text("name", MAX_NAME),
        at,
        fields.text("location", MAX_NAME),
        fields.state("state"),
        Budgets(
            budgets.whole("groups", MAX_GROUPS),
            budgets.whole("places", MAX_PLACES, least=1),
            budgets.amounts("limits"),
        ),
        None if fields.value("measured") is None else fields.amounts("measured"),
        fields.whole("serial"),
        tuple(_branch(one) for one in fields.objects("branches")),
        tuple(_group(one) for one in fields.objects("groups")),
        tuple(_id(REPORTS, "taken", one) for one in fields.list("taken", MAX_ITEMS)),
    )


def _branch(fields: _Fields) -> BranchReport:
    return BranchReport(
        fields.channel("channel"),
        None if fields.value("source") is None else fields.unit("source"),
        fields.truth("ingest"),
        fields.whole("epoch"),
        fields.whole("bitrate"),
    )


def _group(fields: _Fields) -> GroupReport:
    return GroupReport(
        fields.whole("index", MAX_GROUPS),
        fields.channel("channel"),
        fields.whole("viewers", MAX_PLACES),
    )


# --- orders ---------------------------------------------------------------------------------------


def orders_json(orders: Orders, now: float) -> Json:
    """Orders as they are sent; ``now``: the time they count theirs from."""
    return {
        "epoch": orders.epoch,
        "serial": orders.serial,
        "orders": [order_json(one, now) for one in orders.orders],
    }


def parse_orders(value: Json, now: float) -> Orders:
    """Orders that came; their times count from ``now``; ``MalformedError`` where they are none."""
    fields = _Fields(ORDERS, value)
    return Orders(
        fields.whole("epoch"),
        fields.whole("serial"),
        tuple(parse_order(one, now) for one in fields.list("orders", MAX_ORDERS)),
    )


def order_json(order: t.Transition, now: float) -> Json:
    """One order, one of ``transitions.ORDERS``."""
    match order:
        case t.ChangeState(unit, state):
            return {"kind": "change-state", "unit": unit, "state": state.value}
        case t.CloseChannel(channel):
            # Whom else it concerns is nothing to whoever is told.
            return {"kind": "close", "channel": channel}
        case t.Ingest(channel, unit):
            return {"kind": "ingest", "channel": channel, "unit": unit}
        case t.MoveIngest(channel, source, target):
            return {"kind": "move-ingest", "channel": channel, "source": source, "target": target}
        case t.Link(channel, unit, parent):
            return {"kind": "link", "channel": channel, "unit": unit, "parent": parent}
        case t.Unlink(channel, unit):
            return {"kind": "unlink", "channel": channel, "unit": unit}
        case t.Grant(channel, unit, index, places, by_hand=by_hand):
            return {
                "kind": "grant",
                "channel": channel,
                "unit": unit,
                "index": index,
                "places": places,
                "by_hand": by_hand,
            }
        case t.Revoke(channel, unit, index):
            return {"kind": "revoke", "channel": channel, "unit": unit, "index": index}
        case t.MoveViewers(id, channel, source_group, target_group, count, expires):
            return {
                "kind": "move-viewers",
                "id": id,
                "channel": channel,
                "source": list(source_group),
                "target": list(target_group),
                "count": count,
                "expires_in": max(0.0, min(expires - now, MAX_SECONDS)),
            }
    raise MalformedError(ORDERS, f"{type(order).__name__} is no order")


def parse_order(value: Json, now: float) -> t.Transition:
    """One order; ``MalformedError`` where it is none."""
    fields = _Fields(ORDERS, value)
    kind = fields.text("kind", MAX_NAME)
    parse = _ORDERS.get(kind)
    if parse is None:
        raise MalformedError(ORDERS, f"no order is called {kind[:40]!r}")
    return parse(fields, now)


def _move_viewers(fields: _Fields, now: float) -> t.MoveViewers:
    return t.MoveViewers(
        fields.id("id"),
        fields.channel("channel"),
        fields.group("source"),
        fields.group("target"),
        fields.whole("count", MAX_PLACES),
        now + fields.seconds("expires_in"),
    )


_ORDERS: Mapping[str, Callable[[_Fields, float], t.Transition]] = {
    "change-state": lambda f, now: t.ChangeState(f.unit("unit"), f.state("state")),
    "close": lambda f, now: t.CloseChannel(f.channel("channel")),
    "ingest": lambda f, now: t.Ingest(f.channel("channel"), f.unit("unit")),
    "move-ingest": lambda f, now: t.MoveIngest(
        f.channel("channel"), f.unit("source"), f.unit("target")
    ),
    "link": lambda f, now: t.Link(f.channel("channel"), f.unit("unit"), f.unit("parent")),
    "unlink": lambda f, now: t.Unlink(f.channel("channel"), f.unit("unit")),
    "grant": lambda f, now: t.Grant(
        f.channel("channel"),
        f.unit("unit"),
        f.whole("index", MAX_GROUPS),
        f.whole("places", MAX_PLACES, least=1),
        now,
        f.truth("by_hand", False),
    ),
    "revoke": lambda f, now: t.Revoke(
        f.channel("channel"), f.unit("unit"), f.whole("index", MAX_GROUPS)
    ),
    "move-viewers": _move_viewers,
}


# --- joining and commands -------------------------------------------------------------------------


def asked_json(asked: Asked) -> Json:
    """A request for a place."""
    return {
        "channel": asked.channel,
        "location": asked.location,
        "origin": asked.origin,
        "at": asked.at,
    }


def parse_asked(value: Json) -> Asked:
    """A request for a place; ``MalformedError`` where it is none."""
    fields = _Fields(JOIN, value)
    return Asked(
        fields.channel("channel"),
        fields.text("location", MAX_NAME, ""),
        fields.unit_or_none("origin"),
        fields.unit_or_none("at"),
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
    fields = _Fields(JOIN, value)
    return Seat(
        fields.id("id"),
        fields.unit("unit"),
        fields.whole("index", MAX_GROUPS),
        fields.whole("epoch"),
        fields.seconds("expires_in"),
    )


def command_json(command: Command) -> Json:
    """A command as it is sent."""
    return {**command.what, "command": command.command, "by": command.by}


def parse_command(value: Json) -> Command:
    """A command; ``MalformedError`` where it is none."""
    fields = _Fields(COMMAND, value)
    name = fields.text("command", MAX_NAME)
    if not _WORD.fullmatch(name):
        raise MalformedError(COMMAND, f"no command is called {name[:40]!r}")
    what = {key: one for key, one in value.items() if key not in ("command", "by")}
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
    return Command(name, fields.text("by", MAX_NAME), what)


# --- reading --------------------------------------------------------------------------------------


class _Fields:
    """Takes values of the right type and size out of an object."""

    def __init__(self, what: str, value: Json) -> None:
        if not isinstance(value, dict):
            raise MalformedError(what, "not an object")
        self._what = what
        self._value = value

    def value(self, name: str) -> Json:
        return self._value.get(name)

    def text(self, name: str, most: int, default: str | None = None) -> str:
        value = self._value.get(name, default)
        if not isinstance(value, str) or len(value) > most:
            raise MalformedError(self._what, f"{name} is no text of at most {most} characters")
        # Half a surrogate pair cannot be sent on, and line ends have no place in logs.
        if any(not one.isprintable() for one in value):
            raise MalformedError(self._what, f"{name} has characters that nobody can read")
        return value

    def whole(self, name: str, most: int = MAX_NUMBER, *, least: int = 0) -> int:
        return _whole(self._what, name, self._value.get(name), most, least)

    def truth(self, name: str, default: bool | None = None) -> bool:
        value = self._value.get(name, default)
        if not isinstance(value, bool):
            raise MalformedError(self._what, f"{name} is neither true nor false")
        return value

    def seconds(self, name: str) -> float:
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MalformedError(self._what, f"{name} is no number")
        if not 0 <= value <= MAX_SECONDS:
            raise MalformedError(self._what, f"{name} is not from 0 to {MAX_SECONDS:g} s")
        return float(value)

    def unit(self, name: str) -> str:
        return _unit(self._what, name, self._value.get(name))

    def unit_or_none(self, name: str) -> str:
        """Empty where it is missing or empty."""
        return self.unit(name) if self._value.get(name, "") != "" else ""

    def channel(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str):
            raise MalformedError(self._what, f"{name} is no channel's name")
        return check_channel_name(value)

    def id(self, name: str) -> str:
        return _id(self._what, name, self._value.get(name))

    def state(self, name: str) -> State:
        """A unit that is gone does not say so, and nobody tells it."""
        value = self._value.get(name)
        for state in (State.UP, State.PRESSED, State.DRAINING):
            if value == state.value:
                return state
        raise MalformedError(self._what, f"{name} is no state")

    def amounts(self, name: str) -> Amounts:
        return Amounts(
            *(
                _whole(self._what, name, one, MAX_NUMBER, 0)
                for one in self._exactly(name, len(Amounts._fields))
            )
        )

    def group(self, name: str) -> GroupId:
        unit, number = self._exactly(name, 2)
        return GroupId(
            _unit(self._what, name, unit), _whole(self._what, name, number, MAX_GROUPS, 0)
        )

    def object(self, name: str) -> _Fields:
        return _Fields(self._what, self._value.get(name))

    def objects(self, name: str) -> Sequence[_Fields]:
        return [_Fields(self._what, one) for one in self.list(name, MAX_ITEMS)]

    def list(self, name: str, most: int) -> Sequence[Json]:
        value = self._value.get(name)
        if not isinstance(value, list):
            raise MalformedError(self._what, f"{name} is no list")
        if len(value) > most:
            raise MalformedError(self._what, f"{name} has more than {most} entries")
        return value

    def _exactly(self, name: str, count: int) -> Sequence[Json]:
        value = self.list(name, count)
        if len(value) != count:
            raise MalformedError(self._what, f"{name} has {len(value)} entries, not {count}")
        return value


def _whole(what: str, name: str, value: Json, most: int, least: int) -> int:
    if type(value) is not int:
        raise MalformedError(what, f"{name} is no whole number")
    if not least <= value <= most:
        raise MalformedError(what, f"{name} is not from {least} to {most}")
    return value


def _unit(what: str, name: str, value: Json) -> str:
    if not isinstance(value, str) or not _UNIT.fullmatch(value):
        raise MalformedError(what, f"{name} is no unit's id")
    return value


def _id(what: str, name: str, value: Json) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise MalformedError(what, f"{name} is no id")
    return value
