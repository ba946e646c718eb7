"""``helio server``: servers that hold titles, of whatever make, by the API."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.catalogue.contents.checks import parse_probe
from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, listed
from heliograph.cli.console import JsonOption, new_app, print_json, print_table, progress, stderr
from heliograph.cli.server_status import status

app = new_app("Show, add, change, drain, remove and scan servers that hold titles.")
app.command("status")(status)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a server.")]
ProbeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        metavar="KIND[@SECONDS][:PORT][/PATH]",
        help="icmp@10, tcp@1:8554, http@0.3:8080/film.mp4; may be repeated. A new server has "
        "icmp@10 where none is said; one that is changed has these instead of its own.",
    ),
]
SearchOption = Annotated[str, typer.Option("--search", help="Words that all have to be found.")]

#: Seconds that a scan may take: the server gives up before.
SCAN_PATIENCE = 90.0
#: Files of a scan that are shown.
SHOWN = 1000


@app.command("list")
def show(
    search: SearchOption = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the servers with what the monitors found."""
    found = list(listed(server, "/servers", key, {"search": search}))
    if as_json:
        print_json(found)
        return
    if not found:
        words = "no server is like that" if search else "no servers yet; helio server add NAME HOST"
        stderr().print(words, soft_wrap=True)
        return
    rows = [
        (
            one["name"],
            one["host"],
            one["make"],
            one["region"],
            _condition(one),
            _milliseconds(one["state"]),
            one["files"],
        )
        for one in found
    ]
    columns = ("name", "host", "make", "region", "state", "response", "files")
    print_table(columns, rows, right=("response", "files"))


@app.command()
def add(
    name: NameArgument,
    host: Annotated[str, typer.Argument(metavar="HOST", help="Name or address to probe.")],
    make: Annotated[str, typer.Option("--make", help="What software it runs.")] = "",
    region: Annotated[str, typer.Option("--region", help="Where it is, in your words.")] = "",
    capacity: Annotated[
        float, typer.Option("--capacity", metavar="MBIT", min=0, help="Mbit/s it can send.")
    ] = 0,
    max_sessions: Annotated[
        int, typer.Option("--max-sessions", min=0, help="At a time; 0: no bound.")
    ] = 0,
    weight: Annotated[float, typer.Option("--weight", help="Its share, above 0.")] = 1.0,
    probe: ProbeOption = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Add a server; it is measured at once."""
    body: dict[str, Any] = {
        "name": name,
        "host": host,
        "make": make,
        "region": region,
        "capacity_bps": round(capacity * 1e6),
        "max_sessions": max_sessions,
        "weight": weight,
    }
    if probe:
        body["probes"] = _probes(probe)
    made = ask("POST", server, "/servers", key, body)
    print(f"{made['name']}: added")


@app.command()
def change(
    name: NameArgument,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Name or address to probe.")
    ] = None,
    make: Annotated[str | None, typer.Option("--make", help="What software it runs.")] = None,
    region: Annotated[
        str | None, typer.Option("--region", help="Where it is, in your words.")
    ] = None,
    capacity: Annotated[
        float | None, typer.Option("--capacity", metavar="MBIT", min=0, help="Mbit/s it can send.")
    ] = None,
    max_sessions: Annotated[
        int | None, typer.Option("--max-sessions", min=0, help="At a time; 0: no bound.")
    ] = None,
    weight: Annotated[float | None, typer.Option("--weight", help="Its share, above 0.")] = None,
    probe: ProbeOption = None,
    enabled: Annotated[
        bool | None,
        typer.Option("--enabled/--disabled", help="Whether it is measured and used at all."),
    ] = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Change a server while it is in use; what is not said stays."""
    said = {
        "host": host,
        "make": make,
        "region": region,
        "capacity_bps": None if capacity is None else round(capacity * 1e6),
        "max_sessions": max_sessions,
        "weight": weight,
        "probes": _probes(probe) if probe else None,
        "enabled": enabled,
    }
    body = {what: value for what, value in said.items() if value is not None}
    if not body:
        raise typer.BadParameter("nothing to change: say at least one option")
    ask("PATCH", server, _path(name), key, body)
    print(f"{name}: changed")


@app.command()
def remove(
    name: NameArgument,
    files: Annotated[
        bool, typer.Option("--files", help="Forget its files, too; else it must have none.")
    ] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Remove a server."""
    query = "?files=true" if files else ""
    ask("DELETE", server, f"{_path(name)}{query}", key, patience=SCAN_PATIENCE)
    print(f"{name}: removed")


@app.command()
def drain(name: NameArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Send nobody new to a server; those who play there go on."""
    ask("POST", server, f"{_path(name)}/drain", key)
    print(f"{name}: gets nobody new")


@app.command("return")
def bring_back(name: NameArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Let a server that was drained be used again."""
    ask("POST", server, f"{_path(name)}/return", key)
    print(f"{name}: is used again")


@app.command()
def scan(
    name: NameArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a listing, or of a playlist.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be registered.")
    ] = False,
    any_host: Annotated[
        bool, typer.Option("--any-host", help="Also of another host than the server's.")
    ] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register what a directory listing or a playlist of a server holds."""
    body = {"url": url, "dry_run": dry_run, "any_host": any_host}
    with progress(*_spinner(), quiet=as_json) as bar:
        bar.add_task(f"Scanning {url}", total=None)
        found = ask("POST", server, f"{_path(name)}/scan", key, body, patience=SCAN_PATIENCE)
    if as_json:
        print_json(found)
        return
    if dry_run:
        rows = [(one["name"], one["format"], one["uri"]) for one in found["found"]]
        print_table(("title", "format", "uri"), rows[:SHOWN])
    remarks = stderr()
    for one in (*found["failed"], *found["rejected"]):
        remarks.print(f"{one['place']}: {one['reason']}", soft_wrap=True)
    if found["cut"]:
        remarks.print(f"not everything was looked at: ended {found['cut']}", soft_wrap=True)
    print(
        f"{name}: {len(found['found'])} files on {found['pages']} pages; "
        f"{found['added']} rows added, {found['changed']} changed, "
        f"{found['unchanged']} as they were, {len(found['rejected'])} rejected"
    )


def _probes(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"kind": one.kind, "interval": one.interval, "port": one.port, "path": one.path}
        for one in map(parse_probe, texts)
    ]


def _path(name: str) -> str:
    return f"/servers/{quote(name, safe='')}"


def _condition(one: dict[str, Any]) -> str:
    if not one["enabled"]:
        return "disabled"
    condition = "unknown" if one["state"] is None else str(one["state"]["condition"])
    return f"{condition}, drained" if one["drained"] else condition


def _milliseconds(state: dict[str, Any] | None) -> str:
    if state is None or state["response_ms"] is None:
        return "–"
    return f"{state['response_ms']:.1f} ms"


def _spinner() -> tuple[Any, ...]:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    return SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
