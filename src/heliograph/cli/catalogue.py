"""``helio catalogue``: servers, titles and files from and to CSV and JSON, by the API."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.catalogue.contents import exchange
from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, download
from heliograph.cli.console import JsonOption, new_app, print_json, progress, stderr
from heliograph.model.errors import MalformedError, RemoteError, ResourceError, TooLargeError

app = new_app("Import and export servers, titles and files.")

#: Records of one request: one transaction of the server.
RECORDS = 250
#: Bytes of one request's records: the server takes 65 536 in all.
BYTES = 56_000
#: Seconds that one request may take: the server may have other writers before it.
PATIENCE = 60.0
#: Rejected rows that are shown; all are with --json.
SHOWN = 100


@app.command("import")
def bring(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON; -: standard input.")],
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Of rows that do not say their kind.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the file, and ask nobody.")
    ] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add what a file says, and change what is there under the same name.

    Said twice is said once, so an import that was broken off may be started again. Rows that are
    not taken are reported, and the exit code is 1.
    """
    reading = exchange.read(_text(file), kind=kind)
    records = exchange.order(reading.records)
    total = {"added": 0, "changed": 0, "unchanged": 0, "rejected": reading.rejected}
    rejected = [{"place": place, "reason": reason} for place, reason in reading.told]
    if not dry_run:
        with progress(*_columns(), quiet=as_json) as bar:
            task = bar.add_task(f"Importing {file.name}", total=len(records))
            done = 0
            for part in parts(records):
                body = {"records": part, "source": file.name}
                try:
                    answer = ask("POST", server, "/contents/import", key, body, patience=PATIENCE)
                except RemoteError as error:
                    raise RemoteError(
                        f"{error.message}\nended after {done} of {len(records)} rows; start it "
                        "again, nothing is added twice"
                    ) from None
                done += len(part)
                for name in ("added", "changed", "unchanged"):
                    total[name] += answer[name]
                total["rejected"] += len(answer["rejected"])
                rejected += answer["rejected"]
                bar.advance(task, len(part))
    if as_json:
        print_json({**total, "rejected": rejected, "rejected_count": total["rejected"]})
    else:
        remarks = stderr()
        for one in rejected[:SHOWN]:
            remarks.print(f"{one['place']}: {one['reason']}", soft_wrap=True)
        if total["rejected"] > SHOWN:
            remarks.print(f"… and {total['rejected'] - SHOWN} more")
        words = f"{len(records)} rows understood" if dry_run else _words(total)
        print(f"{file}: {words}, {total['rejected']} rejected")
    if total["rejected"]:
        raise typer.Exit(1)


@app.command("export")
def take(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="-: standard output.")],
    format: Annotated[
        str, typer.Option("--format", help="csv or json; else by the file's name.")
    ] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Write everything to a file that can be imported."""
    format = format or ("json" if file.suffix.lower() == ".json" else "csv")
    if format not in ("csv", "json"):
        raise MalformedError("format", f"{format!r} is neither csv nor json")
    pieces = download(server, f"/contents/export?format={format}", key)
    if str(file) == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    size = 0
    # What is there stays until the whole is written.
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("wb") as out, progress(*_bytes()) as bar:
            task = bar.add_task(f"Exporting to {file}", total=None)
            for piece in pieces:
                out.write(piece)
                size += len(piece)
                bar.update(task, completed=size)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{file}: {size} bytes")


def parts(records: Iterable[Record]) -> Iterator[list[dict[str, Any]]]:
    """The records as requests take them; one that is too long for any goes alone, and is refused
    by the server."""
    part: list[dict[str, Any]] = []
    size = 0
    for one in exchange.as_objects(records):
        length = len(json.dumps(one)) + 2
        if part and (len(part) >= RECORDS or size + length > BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += length
    if part:
        yield part


def _text(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else _bytes_of(file)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedError("file", f"{file} is not in UTF-8", offset=error.start) from None
    except OSError as error:
        raise ResourceError(f"{file}: {error.strerror}", subject=str(file)) from None


def _bytes_of(file: Path) -> bytes:
    if file.stat().st_size > exchange.MAX_TEXT:
        raise TooLargeError(f"{file} is larger than {exchange.MAX_TEXT} bytes", subject=str(file))
    return file.read_bytes()


def _words(total: dict[str, int]) -> str:
    return f"{total['added']} added, {total['changed']} changed, {total['unchanged']} as they were"


def _columns() -> tuple[Any, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )


def _bytes() -> tuple[Any, ...]:
    from rich.progress import DownloadColumn, SpinnerColumn, TextColumn, TransferSpeedColumn

    return (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
