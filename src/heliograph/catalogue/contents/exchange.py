"""The contents as CSV and as JSON, read and written; pure.

Both hold *records*: a row of the file each, that says its ``kind`` and some fields. In CSV the
first line names the columns, a cell that is empty says nothing, and lists are parted by semicolons,
before one of which that is meant as such there is a backslash. An apostrophe alone says that a
field is empty, and one stands before what a spreadsheet would take for a formula.
JSON is an array of objects, or an object a line. A row that cannot be understood is reported with
its place and keeps no other from being read; what is understood may still be refused by the
catalogue.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from heliograph.catalogue.contents.checks import parse_probe, write_probe
from heliograph.catalogue.contents.fields import FIELDS, KEYS, Kind, Record
from heliograph.catalogue.contents.values import Probe, ProbeKind
from heliograph.model.errors import MalformedError, TooLargeError

#: Characters of a file: half a million rows as this program writes them.
MAX_TEXT = 256 * 2**20
#: Rows of a file: as many as the catalogue takes.
MAX_RECORDS = 500_000
#: Rejected rows that are told one by one.
MAX_TOLD = 1000
#: Characters of a reason.
MAX_REASON = 200

_TRUE = {"true", "yes", "1", "on"}
_FALSE = {"false", "no", "0", "off"}
_INTEGERS = frozenset(
    ("min_age", "capacity_bps", "max_sessions", "bits_per_second", "size", "width", "height")
)
_NUMBERS = frozenset(("weight", "duration"))
_TRUTHS = frozenset(("refused", "enabled", "drained", "published"))
_LISTS = frozenset(("classes", "regions"))
#: Fields that may be known to be unknown.
_NULLABLE = frozenset(("size", "duration"))
#: What spreadsheets take for a formula at the beginning of a cell, and what would be taken for
#: guarded.
_GUARDED = re.compile(r"[=+\-@\t\r]|'(?=[=+\-@\t\r']|$)")
#: A part of a list; what stands for itself in one; and that as it is written.
_PART = re.compile(r"(?:\\[\\;]|[^;])+")
_ESCAPE, _ESCAPED = re.compile(r"[\\;]"), re.compile(r"\\([\\;])")
#: Columns as they are written: what tells rows apart first.
COLUMNS = (
    "kind",
    *dict.fromkeys(name for kind in Kind for name in KEYS[kind]),
    *dict.fromkeys(
        name for kind in Kind for name in FIELDS[kind] if not any(name in k for k in KEYS.values())
    ),
)


@dataclass(slots=True)
class Reading:
    """What a file says."""

    records: list[Record] = field(default_factory=list)
    rejected: int = 0
    """Rows that could not be understood."""
    told: list[tuple[str, str]] = field(default_factory=list)
    """Where the first of them are, and why."""

    def reject(self, place: str, reason: str) -> None:
        self.rejected += 1
        if len(self.told) < MAX_TOLD:
            self.told.append((place, reason[:MAX_REASON]))


def read(text: str, *, kind: Kind | None = None) -> Reading:
    """What a CSV or JSON file says. ``kind``: of rows that do not say it.

    ``MalformedError`` where it is neither, ``TooLargeError`` above ``MAX_TEXT`` or
    ``MAX_RECORDS``.
    """
    if len(text) > MAX_TEXT:
        raise TooLargeError(f"more than {MAX_TEXT} characters", subject="file")
    text = text.removeprefix("\ufeff")
    beginning = text[:1000].lstrip()[:1]
    reading = Reading()
    if beginning == "[":
        _read_array(text, reading, kind)
    elif beginning == "{":
        _read_lines(text, reading, kind)
    else:
        _read_csv(text, reading, kind)
    return reading


def order(records: Iterable[Record]) -> list[Record]:
    """The records so that each comes after those it speaks of."""
    place = {kind: number for number, kind in enumerate(Kind)}
    return sorted(records, key=lambda record: place[record.kind])


# --- CSV ----------------------------------------------------------------------------------------


def _read_csv(text: str, reading: Reading, kind: Kind | None) -> None:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [name.strip().lower() for name in next(rows, [])]
    except csv.Error as error:
        raise MalformedError("csv", f"line 1: {error}") from None
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or len(set(columns)) != len(columns):
        shown = unknown[0] if unknown else "twice the same"
        raise MalformedError("csv", f"column {shown[:40]!r}; there are {', '.join(COLUMNS)}")
    if "kind" not in columns and kind is None:
        raise MalformedError("csv", "the first line names no column 'kind'")
    while True:
        place = f"line {rows.line_num + 1}"
        try:
            cells = next(rows, None)
        except csv.Error as error:
            reading.reject(place, f"{error}; what follows is not read")
            return
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            reading.reject(place, f"{len(cells)} cells for {len(columns)} columns")
            continue
        given = {
            name: unguarded(cell.strip())
            for name, cell in zip(columns, cells, strict=False)
            if cell.strip()
        }
        _take(reading, place, given, kind, _of_text)


def _of_text(name: str, text: str) -> Any:  # noqa: ANN401 - as the field has it
    """A field's value from a cell; ``ValueError`` with the reason."""
    if not text and name in _NULLABLE:
        return None
    if name in _INTEGERS:
        if not text.isascii() or not text.isdecimal() or len(text) > 16:
            raise ValueError(f"{name}: {text[:40]!r} is no whole number")
        return int(text)
    if name in _NUMBERS:
        return _number(name, text)
    if name in _TRUTHS:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(f"{name}: {text[:40]!r} is neither true nor false")
        return text.lower() in _TRUE
    if name in _LISTS:
        return tuple(_parts(text))
    if name == "probes":
        return tuple(parse_probe(part) for part in _parts(text))
    return text


def _parts(text: str) -> Iterator[str]:
    """The parts of a list that say something."""
    for part in _PART.findall(text):
        if part.strip():
            yield _ESCAPED.sub(r"\1", part).strip()


def guarded(text: str) -> str:
    """A cell's text that no spreadsheet takes for a formula."""
    return f"'{text}" if _GUARDED.match(text) else text


def unguarded(text: str) -> str:
    """What was ``guarded``; nothing for an apostrophe alone."""
    return text[1:] if text == "'" or (_GUARDED.match(text[1:]) and text[0] == "'") else text


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: {text[:40]!r} is no number") from None


class CsvWriter:
    """Writes records as CSV, a line at a time."""

    def __init__(self) -> None:
        self._out = io.StringIO(newline="")
        self._writer = csv.writer(self._out, lineterminator="\n")

    def begin(self) -> str:
        """The names of the columns."""
        return self._row(COLUMNS)

    def line(self, record: Record) -> str:
        """A record, with the line's end."""
        said = record.fields
        cells = ((guarded(_as_text(said[name])) or "'") if name in said else "" for name in COLUMNS)
        return self._row((record.kind.value, *islice(cells, 1, None)))

    def end(self) -> str:
        """Nothing."""
        return ""

    def _row(self, cells: Iterable[str]) -> str:
        self._writer.writerow(cells)
        line = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return line


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Probe):
        return write_probe(value)
    if isinstance(value, tuple | list):
        return ";".join(_ESCAPE.sub(r"\\\g<0>", _as_text(one)) for one in value)
    return repr(value) if isinstance(value, float) else str(value)


# --- JSON ---------------------------------------------------------------------------------------


def _read_array(text: str, reading: Reading, kind: Kind | None) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("json", str(error)[:MAX_REASON]) from None
    for number, one in enumerate(found, 1):
        _take_object(reading, f"item {number}", one, kind)


def _read_lines(text: str, reading: Reading, kind: Kind | None) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except (ValueError, RecursionError) as error:
            reading.reject(f"line {number}", str(error))
            continue
        _take_object(reading, f"line {number}", one, kind)


def take_objects(objects: Iterable[object]) -> Reading:
    """What objects say that were JSON; each may say its ``place``."""
    reading = Reading()
    for number, one in enumerate(objects, 1):
        place = f"item {number}"
        if isinstance(one, dict) and isinstance(one.get("place"), str):
            place = one["place"][:MAX_REASON]
            one = {name: value for name, value in one.items() if name != "place"}
        _take_object(reading, place, one, None)
    return reading


def as_objects(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """The records as ``take_objects`` takes them."""
    for record in records:
        yield {"kind": record.kind.value, "place": record.place} | {
            name: _as_json(value) for name, value in record.fields.items()
        }


def _take_object(reading: Reading, place: str, given: object, kind: Kind | None) -> None:
    if isinstance(given, dict):
        _take(reading, place, given, kind, _of_json)
    else:
        reading.reject(place, "it is no object")


def _of_json(name: str, value: object) -> Any:  # noqa: ANN401 - as the field has it
    """A field's value from JSON; ``ValueError`` with the reason."""
    if value is None and name in _NULLABLE:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _INTEGERS and number and isinstance(value, int):
        return value
    if name in _NUMBERS and number:
        return float(value)  # type: ignore[arg-type] # it was just looked at
    if name in _TRUTHS and isinstance(value, bool):
        return value
    if name == "probes" and isinstance(value, list):
        return tuple(_probe(one) for one in value)
    if name in _LISTS and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    others = (_INTEGERS, _NUMBERS, _TRUTHS, _LISTS, ("probes",))
    if isinstance(value, str) and not any(name in some for some in others):
        return value
    raise ValueError(f"{name}: {json.dumps(value)[:40]} is of the wrong kind")


def _probe(given: object) -> Probe:
    if isinstance(given, str):
        return parse_probe(given)
    if not isinstance(given, dict) or not set(given) <= {"kind", "interval", "port", "path"}:
        raise ValueError(
            "probes: one is neither a text nor an object of kind, interval, port, path"
        )
    try:
        return Probe(
            ProbeKind(given["kind"]),
            float(given.get("interval", 10.0)),
            int(given.get("port", 0)),
            str(given.get("path", "")),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"probes: {json.dumps(given)[:80]}") from None


class JsonWriter:
    """Writes records as an array of JSON, an object a line."""

    def __init__(self) -> None:
        self._before = ""

    def begin(self) -> str:
        """What stands before all."""
        return "["

    def line(self, record: Record) -> str:
        """A record, with what parts it from the one before."""
        said = {"kind": record.kind.value} | {
            name: _as_json(value) for name, value in record.fields.items()
        }
        before, self._before = self._before, ","
        return f"{before}\n{json.dumps(said, ensure_ascii=False)}"

    def end(self) -> str:
        """What stands behind all."""
        return "\n]\n"


def _as_json(value: object) -> object:
    if isinstance(value, Probe):
        return write_probe(value)
    if isinstance(value, tuple | list):
        return [_as_json(one) for one in value]
    return value


# --- both ---------------------------------------------------------------------------------------


def _take(
    reading: Reading,
    place: str,
    given: Mapping[str, Any],
    kind: Kind | None,
    value_of: Callable[[str, Any], Any],
) -> None:
    said = given.get("kind", kind)
    try:
        kind = Kind(said) if isinstance(said, str) else None
    except ValueError:
        kind = None
    if kind is None:
        reading.reject(place, f"kind is none of {', '.join(Kind)}")
        return
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name == "kind":
            continue
        if name not in FIELDS[kind]:
            reading.reject(place, f"a {kind} has no {name[:40]!r}")
            return
        try:
            fields[name] = value_of(name, value)
        except MalformedError as error:
            reading.reject(place, f"{name}: {error.reason}")
            return
        except (ValueError, OverflowError) as error:
            reading.reject(place, str(error))
            return
    missing = [name for name in KEYS[kind] if not fields.get(name)]
    if missing:
        reading.reject(place, f"{missing[0]} is missing")
        return
    if len(reading.records) >= MAX_RECORDS:
        raise TooLargeError(f"more than {MAX_RECORDS} rows", subject="file")
    reading.records.append(Record(kind, fields, place))
