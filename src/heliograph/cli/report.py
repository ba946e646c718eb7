"""``helio report``: what was asked for and played."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, download
from heliograph.cli.console import JsonOption, duration, new_app, print_json, print_table, stderr
from heliograph.model.errors import MalformedError

app = new_app("Show what was asked for and played.")

#: Columns that are no numbers.
_WORDS = ("kind", "id", "name", "title", "server", "format", "uri", "network", "start")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def _at(text: str) -> str:
    """A time as the API has it: a date, a time, or so long ago (``36h``, ``7d``, ``4w``)."""
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", text, re.ASCII)
    try:
        if found is not None:
            at = datetime.now(UTC) - int(found[1]) * _UNITS[found[2]]
        else:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r}: a date, a time of ISO 8601, or so long ago: 36h, 7d, 4w"
        ) from None
    return (at if at.tzinfo is not None else at.astimezone()).isoformat()


FromOption = Annotated[
    str, typer.Option("--from", metavar="TIME", help="A date, a time, or 36h, 7d, 4w ago.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="The report ends before; now.")
]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="Lines at most.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets.")]
NameOption = Annotated[
    list[str] | None, typer.Option("--name", help="Of this title or channel; may be repeated.")
]


@app.command()
def titles(
    since: FromOption = "7d",
    until: ToOption = None,
    name: NameOption = None,
    limit: LimitOption = 100,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Titles and channels, the most wanted first."""
    query = _query(since, until, limit=limit, name=name)
    columns = ("name", "title", "redirects", "refusals", "plays", "played", "sent", "stalls")
    _show("titles", query, columns, server, key, as_json=as_json, as_csv=as_csv)


@app.command()
def files(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a title or channel.")],
    since: FromOption = "7d",
    until: ToOption = None,
    limit: LimitOption = 100,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Copies of one title on servers, the most used first."""
    columns = ("id", "server", "format", "redirects", "uri")
    query = _query(since, until, limit=limit, name=name)
    _show("files", query, columns, server, key, as_json=as_json, as_csv=as_csv)


@app.command()
def servers(
    since: FromOption = "7d",
    until: ToOption = None,
    limit: LimitOption = 100,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Servers by redirects, and units by plays, the most used first."""
    columns = ("kind", "id", "name", "redirects", "plays", "played", "sent", "stalls")
    query = _query(since, until, limit=limit)
    _show("servers", query, columns, server, key, as_json=as_json, as_csv=as_csv)


@app.command()
def clients(
    since: FromOption = "7d",
    until: ToOption = None,
    limit: LimitOption = 100,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Networks of clients, the busiest first, by whole days."""
    columns = ("network", "redirects", "plays", "played", "sent")
    query = _query(since, until, limit=limit)
    _show("clients", query, columns, server, key, as_json=as_json, as_csv=as_csv)


@app.command()
def periods(
    since: FromOption = "7d",
    until: ToOption = None,
    step: Annotated[str, typer.Option(help="hour, day or week.")] = "day",
    name: NameOption = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Each hour, day or week."""
    if step not in ("hour", "day", "week"):
        raise MalformedError("--step", f"{step!r} is not hour, day or week")
    columns = ("start", "redirects", "refusals", "plays", "played", "sent", "stalls")
    query = _query(since, until, step=step, name=name)
    _show("periods", query, columns, server, key, as_json=as_json, as_csv=as_csv)


def _query(since: str, until: str | None, **what: object) -> str:
    given = {"from": _at(since), "to": None if until is None else _at(until), **what}
    return urlencode({name: value for name, value in given.items() if value}, doseq=True)


def _show(
    report: str,
    query: str,
    columns: tuple[str, ...],
    server: str,
    key: Any,  # noqa: ANN401 - a file, or none
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    path = f"/reports/{report}?{query}"
    if as_csv:
        for piece in download(server, f"{path}&format=csv", key):
            sys.stdout.buffer.write(piece)
        return
    found = ask("GET", server, path, key)
    if as_json:
        print_json(found)
        return
    rows = [[_cell(line, column) for column in columns] for line in found["lines"]]
    total = [_cell(found["totals"], column) for column in columns]
    numbers = [column for column in columns if column not in _WORDS]
    if sys.stdout.isatty() and rows:
        total[0] = "total"
        rows.append(total)
    print_table(columns, rows, right=numbers)
    if found["count"] > len(found["lines"]):
        stderr().print(f"{len(found['lines'])} of {found['count']}; --limit shows more")
    if found["missing"]:
        stderr().print(
            f"{found['missing']} records are missing: processes died, or disks were full"
        )


def _cell(line: dict[str, Any], column: str) -> str:
    match column:
        case "played":
            return duration(line["seconds"])
        case "sent":
            return _size(line["sent_bytes"])
        case "start" if "start" in line:
            return datetime.fromisoformat(line["start"]).strftime("%Y-%m-%d %H:%M")
        case "name" if line.get("name") == "" and "refusals" in line:
            return "(unknown)"
    return str(line.get(column, ""))


def _size(count: float) -> str:
    """Bytes as people write them."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"
