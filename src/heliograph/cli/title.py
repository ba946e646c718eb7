"""``helio title``: titles that are played on demand, by the API."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.cli import title_media
from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, listed
from heliograph.cli.console import JsonOption, duration, new_app, print_json, print_table, stderr

app = new_app("Show, add and remove titles that are played on demand, and their media.")
app.command("import")(title_media.import_files)
app.command()(title_media.verify)
app.command()(title_media.export)
app.command()(title_media.record)
app.command()(title_media.stop)
app.command()(title_media.erase)

#: What is told of how a title is to be had.
STANDINGS = {
    "playable": "playable",
    "damaged": "damaged",
    "unreachable": "out of reach",
    "withdrawn": "servers out of service",
    "empty": "no copy",
    "withheld": "not published",
}

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its logical id.")]


@app.command("list")
def show(
    search: Annotated[str, typer.Option("--search", help="Words that all have to be found.")] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the titles."""
    found = list(listed(server, "/titles", key, {"search": search}))
    if as_json:
        print_json(found)
        return
    if not found:
        words = "no title is like that" if search else "no titles yet; helio title import FILE"
        stderr().print(words, soft_wrap=True)
        return
    rows = [
        (
            one["name"],
            one["title"],
            "–" if one["duration"] is None else duration(one["duration"]),
            one["level"],
            " ".join(one["classes"]),
            " ".join(one["regions"]),
            one["files"],
            _standing(one),
        )
        for one in found
    ]
    columns = ("name", "title", "duration", "level", "classes", "regions", "files", "state")
    print_table(columns, rows, right=("duration", "files"))


def _standing(title: dict[str, Any]) -> str:
    word = STANDINGS.get(title.get("standing", ""), "–")  # older nodes do not say
    lost = title.get("lost", 0)
    return f"{word}, {lost} {'block' if lost == 1 else 'blocks'} lost" if lost else word


@app.command()
def add(
    name: NameArgument,
    title: Annotated[str, typer.Option("--title", help="For people; else the name.")] = "",
    description: Annotated[str, typer.Option("--description", help="For people.")] = "",
    seconds: Annotated[float | None, typer.Option("--duration", help="Seconds.")] = None,
    level: Annotated[str, typer.Option("--level", help="Code of a rating.")] = "",
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Code of a subject; may be repeated.")
    ] = None,
    regions: Annotated[
        list[str] | None,
        typer.Option("--region", help="Licensed for; may be repeated. Else everywhere."),
    ] = None,
    policy: Annotated[str, typer.Option("--policy", help="By which a server is chosen.")] = "",
    unpublished: Annotated[
        bool, typer.Option("--unpublished", help="Do not hand it out yet.")
    ] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Add a title; its copies are added by `helio file add` or a scan."""
    body: dict[str, Any] = {
        "name": name,
        "title": title,
        "description": description,
        "duration": seconds,
        "level": level,
        "classes": classes or [],
        "regions": regions or [],
        "policy": policy,
        "published": not unpublished,
    }
    made = ask("POST", server, "/titles", key, body)
    print(f"{made['name']}: added; {server.rstrip('/')}{made['go']}")


@app.command()
def remove(name: NameArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Remove a title; the servers keep their files."""
    ask("DELETE", server, f"/titles/{quote(name, safe='')}", key)
    print(f"{name}: removed")
