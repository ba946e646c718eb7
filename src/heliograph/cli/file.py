"""``helio file``: copies of titles on servers, by the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.catalogue.contents.naming import format_of
from heliograph.catalogue.contents.values import Format
from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, listed
from heliograph.cli.console import JsonOption, new_app, print_json, print_table, rate, stderr
from heliograph.model.errors import MalformedError

app = new_app("Show, add and remove the copies of titles on servers.")


@app.command("list")
def show(
    title: Annotated[
        str, typer.Argument(metavar="[TITLE]", help="Only of the title of this name.")
    ] = "",
    search: Annotated[
        str, typer.Option("--search", help="Words that all are in the address or the title.")
    ] = "",
    on: Annotated[str, typer.Option("--on", help="Only on this server.")] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the files."""
    query = {"search": search, "title": title, "server": on}
    found = list(listed(server, "/files", key, query))
    if as_json:
        print_json(found)
        return
    if not found:
        stderr().print(_why_none(server, key, title, search or on), soft_wrap=True)
        return
    rows = [
        (
            one["id"],
            one["title"],
            one["server"],
            one["format"],
            rate(one["bits_per_second"]) if one["bits_per_second"] else "–",
            one["uri"],
        )
        for one in found
    ]
    columns = ("id", "title", "server", "format", "rate", "uri")
    print_table(columns, rows, right=("id", "rate"))


def _why_none(server: str, key: Path | None, title: str, narrowed: str) -> str:
    if narrowed:
        return "no file is like that"
    if not title:
        return "no files yet; helio server scan NAME URL finds those that a server has"
    found = ask("GET", server, f"/titles/{quote(title, safe='')}", key)
    if found["stored"]:
        return f"no server holds {found['name']}, but a volume does: every node plays it"
    return f"no server holds {found['name']} yet; helio file add {found['name']} SERVER URI"


@app.command()
def add(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="Name of a title.")],
    holder: Annotated[str, typer.Argument(metavar="SERVER", help="Name of the server.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where it is played from.")],
    format: Annotated[
        Format | None, typer.Option("--format", help="Else what the address tells.")
    ] = None,
    bits: Annotated[
        int, typer.Option("--rate", metavar="BIT/S", min=0, help="What a player draws.")
    ] = 0,
    codecs: Annotated[str, typer.Option("--codecs", help="As avc1.64001f,mp4a.40.2.")] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Say that a server holds a copy of a title."""
    found = format or format_of(uri)
    if found is None:
        raise MalformedError("uri", f"{uri!r} does not tell its format: --format")
    body: dict[str, Any] = {
        "title": title,
        "server": holder,
        "uri": uri,
        "format": found.value,
        "bits_per_second": bits,
        "codecs": codecs,
    }
    made = ask("POST", server, "/files", key, body)
    print(f"{made['id']}: {made['title']} on {made['server']} ({made['format']})")


@app.command()
def remove(
    id: Annotated[int, typer.Argument(metavar="ID", min=1, help="As helio file list shows.")],
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Forget a file; the server keeps it."""
    ask("DELETE", server, f"/files/{id}", key)
    print(f"{id}: removed")
