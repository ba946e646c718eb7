"""What may be said of each kind of row, and how it is stored; pure.

A *record* says some fields of one row by the names that the values have; files name their title and
their server instead of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from heliograph.catalogue.contents import checks
from heliograph.model.errors import MalformedError

Clean: TypeAlias = Callable[[Any], Any]


class Kind(StrEnum):
    """Kinds of rows, in the order in which they can be made: later ones speak of earlier ones."""

    LEVEL = "level"
    CLASS = "class"
    NETWORK = "network"
    SERVER = "server"
    TITLE = "title"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Record:
    """Some fields of one row."""

    kind: Kind
    fields: Mapping[str, Any]
    place: str = ""
    """Where it was written, for people: ``line 17``."""


#: Fields of each kind: what is stored of a value.
FIELDS: Mapping[Kind, Mapping[str, Clean]] = {
    Kind.LEVEL: {
        "code": lambda value: checks.code(value, "level"),
        "name": lambda value: checks.line(value, "name", checks.MAX_TITLE),
        "min_age": lambda value: checks.number(value, "min_age", checks.MAX_AGE),
    },
    Kind.CLASS: {
        "code": lambda value: checks.code(value, "class"),
        "name": lambda value: checks.line(value, "name", checks.MAX_TITLE),
    },
    Kind.NETWORK: {
        "cidr": checks.cidr,
        "region": checks.region,
        "refused": bool,
    },
    Kind.SERVER: {
        "name": lambda value: checks.name(value, "server name"),
        "host": checks.host,
        "make": lambda value: checks.line(value, "make", checks.MAX_MAKE),
        "region": checks.region,
        "capacity_bps": lambda value: checks.number(value, "capacity_bps"),
        "max_sessions": lambda value: checks.number(value, "max_sessions", checks.MAX_SMALL),
        "weight": checks.weight,
        "enabled": bool,
        "drained": bool,
        "probes": checks.probes,
    },
    Kind.TITLE: {
        "name": lambda value: checks.name(value, "title name"),
        "title": lambda value: checks.line(value, "title", checks.MAX_TITLE),
        "description": lambda value: checks.text(value, "description", checks.MAX_DESCRIPTION),
        "duration": checks.duration,
        "level": lambda value: value and checks.code(value, "level"),
        "classes": checks.codes,
        "regions": checks.regions,
        "policy": checks.policy,
        "published": bool,
    },
    Kind.FILE: {
        "title": lambda value: checks.name(value, "title name"),
        "server": lambda value: checks.name(value, "server name"),
        "format": checks.format,
        "uri": checks.uri,
        "bits_per_second": lambda value: checks.number(value, "bits_per_second"),
        "size": lambda value: None if value is None else checks.number(value, "size"),
        "codecs": lambda value: checks.line(value, "codecs", checks.MAX_CODECS),
        "width": lambda value: checks.number(value, "width", checks.MAX_SMALL),
        "height": lambda value: checks.number(value, "height", checks.MAX_SMALL),
    },
}
#: What tells the rows of a kind apart.
KEYS: Mapping[Kind, tuple[str, ...]] = {
    Kind.LEVEL: ("code",),
    Kind.CLASS: ("code",),
    Kind.NETWORK: ("cidr",),
    Kind.SERVER: ("name",),
    Kind.TITLE: ("name",),
    Kind.FILE: ("title", "uri"),
}
#: What a new row needs besides its key.
NEEDED: Mapping[Kind, tuple[str, ...]] = {
    Kind.LEVEL: (),
    Kind.CLASS: (),
    Kind.NETWORK: (),
    Kind.SERVER: ("host",),
    Kind.TITLE: (),
    Kind.FILE: ("server", "format"),
}


def clean(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of the fields given; ``MalformedError`` or ``TooLargeError`` for one that
    cannot be."""
    known = FIELDS[kind]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise MalformedError(kind.value, f"it has no {unknown[0][:40]!r}; {', '.join(known)}")
    return {name: known[name](value) for name, value in given.items()}


def require(kind: Kind, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """``MalformedError`` where one of the fields is not given, or is empty."""
    missing = [name for name in names if not given.get(name)]
    if missing:
        raise MalformedError(kind.value, f"{missing[0]} is missing")


def sought(*texts: str) -> str:
    """What a search looks through: in lower case, as far as a column has room."""
    return fold(" ".join(texts))[: checks.MAX_SOUGHT]


def fold(text: str) -> str:
    """Text without the difference of large and small letters."""
    return text.casefold()


@dataclass(slots=True)
class Outcome:
    """What became of many records."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    """Where each was written, and why it was not taken."""
