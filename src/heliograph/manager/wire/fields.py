"""Taking values of the right type and size out of what came: ``MalformedError`` for all others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from heliograph.manager.view import Amounts, GroupId, State
from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name

#: Anything that JSON can say.
Json: TypeAlias = Any

#: Channels, groups and used reservations in one report; a unit has 50 groups, and fits a hundred
#: times that into a message of the bus.
MAX_ITEMS = 5000
#: Characters of the id of a reservation or a hold.
MAX_ID = 200
#: Any number: what every reader of JSON has exactly.
MAX_NUMBER = 2**53
#: Groups of a unit, and places of a group.
MAX_GROUPS, MAX_PLACES = 10_000, 100_000
#: Characters of a person's name for a unit, and of a location.
MAX_NAME = 200
#: Seconds that anything may be in the future.
MAX_SECONDS = 86_400.0

_UNIT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID = re.compile(rf"[!-~]{{1,{MAX_ID}}}", re.ASCII)


class Fields:
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
        return check_whole(self._what, name, self._value.get(name), most, least)

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
        return check_unit(self._what, name, self._value.get(name))

    def unit_or_none(self, name: str) -> str:
        """Empty where it is missing or empty."""
        return self.unit(name) if self._value.get(name, "") != "" else ""

    def units(self, name: str, most: int) -> tuple[str, ...]:
        """Empty where it is missing."""
        if name not in self._value:
            return ()
        return tuple(check_unit(self._what, name, one) for one in self.list(name, most))

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        found = self.list(name, most)
        if not all(isinstance(one, str) and len(one) <= MAX_NAME for one in found):
            raise MalformedError(self._what, f"{name} has what is no text, or is too long")
        return tuple(found)

    def channel(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str):
            raise MalformedError(self._what, f"{name} is no channel's name")
        return check_channel_name(value)

    def id(self, name: str) -> str:
        return check_id(self._what, name, self._value.get(name))

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
                check_whole(self._what, name, one, MAX_NUMBER, 0)
                for one in self._exactly(name, len(Amounts._fields))
            )
        )

    def group(self, name: str) -> GroupId:
        unit, number = self._exactly(name, 2)
        return GroupId(
            check_unit(self._what, name, unit), check_whole(self._what, name, number, MAX_GROUPS, 0)
        )

    def object(self, name: str) -> Fields:
        return Fields(self._what, self._value.get(name))

    def objects(self, name: str) -> Sequence[Fields]:
        return [Fields(self._what, one) for one in self.list(name, MAX_ITEMS)]

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


def check_whole(what: str, name: str, value: Json, most: int, least: int) -> int:
    if type(value) is not int:
        raise MalformedError(what, f"{name} is no whole number")
    if not least <= value <= most:
        raise MalformedError(what, f"{name} is not from {least} to {most}")
    return value


def check_unit(what: str, name: str, value: Json) -> str:
    if not isinstance(value, str) or not _UNIT.fullmatch(value):
        raise MalformedError(what, f"{name} is no unit's id")
    return value


def check_id(what: str, name: str, value: Json) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise MalformedError(what, f"{name} is no id")
    return value
