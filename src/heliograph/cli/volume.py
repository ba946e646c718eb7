"""``helio volume``: volumes and what they hold, by the API of any node."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import (
    JsonOption,
    duration,
    new_app,
    print_json,
    print_table,
    size,
)
from heliograph.model.errors import MalformedError, NotFoundError

app = new_app("Show, make and change volumes, on whose disks titles lie.")

VolumeArgument = Annotated[str, typer.Argument(metavar="VOLUME", help="Its name.")]
#: Seconds that measuring disks of several nodes may take.
MEASURING = 120.0


@app.command("list")
def show_all(
    server: ServerOption = HERE, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Show the volumes."""
    found = ask("GET", server, "/storage", key)["volumes"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            scheme(one),
            len(one["disks"]),
            one["titles"],
            size(one["space"]["used"]),
            size(one["space"]["free"]),
            state(one),
        )
        for one in found
    ]
    columns = ("name", "protection", "disks", "titles", "used", "free", "state")
    print_table(columns, rows, right=("disks", "titles", "used", "free"))


@app.command()
def show(
    volume: VolumeArgument = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one volume: its disks, what is under way, what is wrong."""
    one = find(server, key, volume)
    if as_json:
        print_json(one)
        return
    print(f"{one['name']}: {scheme(one)}, placed by {one['policy']}, version {one['version']}")
    print(f"  {state(one)}")
    for warning in one["warnings"]:
        print(f"  note: {warning}")
    print()
    print_disks(one["disks"])


@app.command()
def create(
    volume: VolumeArgument,
    disks: Annotated[
        list[str], typer.Argument(metavar="[NODE:]PATH…", help="Directories that are its disks.")
    ],
    data: Annotated[int, typer.Option("--data", help="Data blocks of a parity group.")] = 1,
    parity: Annotated[
        int, typer.Option("--parity", help="Disks that may fail, at once, without loss.")
    ] = 0,
    code: Annotated[str, typer.Option("--code", help="xor, rs or copies; else what fits.")] = "",
    policy: Annotated[str, typer.Option("--policy", help="See helio placement bench.")] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Make a volume over directories of one or several nodes."""
    body: dict[str, Any] = {
        "name": volume,
        "data": data,
        "parity": parity,
        "code": code,
        "policy": policy,
        "disks": [disk_wish(one, None) for one in disks],
    }
    ask("POST", server, "/storage/volumes", key, body, patience=MEASURING)
    print(f"{volume}: made of {len(disks)} disks")


@app.command()
def change(
    volume: VolumeArgument,
    move: Annotated[
        float | None, typer.Option("--move", help="MB a second for moving and mending, by node.")
    ] = None,
    scrub: Annotated[
        float | None, typer.Option("--scrub", help="MB a second for checking; 0: none.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Place by another function: all moves.")
    ] = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Change what moving and checking may cost, or how blocks are placed."""
    body: dict[str, Any] = {}
    if move is not None:
        body["move"] = round(move * 1e6)
    if scrub is not None:
        body["scrub"] = round(scrub * 1e6)
    if policy is not None:
        body["policy"] = policy
    if not body:
        raise MalformedError("options", "nothing to change: --move, --scrub or --policy")
    ask("PATCH", server, f"/storage/volumes/{quote(volume, safe='')}", key, body)
    print(f"{volume}: changed")


@app.command()
def remove(volume: VolumeArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Forget a volume that has no titles; its directories stay."""
    ask("DELETE", server, f"/storage/volumes/{quote(volume, safe='')}", key)
    print(f"{volume}: removed")


@app.command()
def titles(server: ServerOption = HERE, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Show the titles that lie on volumes."""
    found = ask("GET", server, "/storage/titles", key)["titles"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            one["title"],
            duration(one["duration"]),
            size(one["bytes"]),
            " ".join(track["codec"] for track in one["tracks"]),
            one["volume"],
            "recording" if one["live"] else "",
        )
        for one in found
    ]
    columns = ("name", "title", "duration", "size", "tracks", "volume", "state")
    print_table(columns, rows, right=("duration", "size"))


def find(server: str, key: Any, volume: str) -> dict[str, Any]:  # noqa: ANN401 - as typer gives it
    """A volume by its name, or the only one."""
    found: list[dict[str, Any]] = ask("GET", server, "/storage", key)["volumes"]
    mine = [one for one in found if volume in ("", one["name"])]
    if not mine:
        raise NotFoundError(f"there is no volume {volume}".strip(), subject=volume)
    if len(mine) > 1:
        raise MalformedError("volume", f"there are several: {', '.join(v['name'] for v in found)}")
    return mine[0]


def disk_wish(text: str, capacity: float | None, *, erase: bool = False) -> dict[str, Any]:
    """``[NODE:]PATH`` as the API takes it; ``capacity`` in GB."""
    node, _, path = text.rpartition(":")
    if not path.startswith("/"):
        raise MalformedError("disk", f"{text!r}: an absolute path, or NODE:PATH")
    room = None if capacity is None else round(capacity * 1e9)
    return {"node": node, "path": path, "capacity": room, "erase": erase}


def scheme(volume: dict[str, Any]) -> str:
    """How it protects its blocks, for people."""
    data, parity = volume["scheme"]["data"], volume["scheme"]["parity"]
    if not parity:
        return "none"
    if data == 1:
        return f"{parity + 1} copies"
    return f"{data}+{parity} {volume['scheme']['code']}"


def state(volume: dict[str, Any]) -> str:
    """What is under way, for people."""
    lost, moving = volume["lost"], volume["change"]
    if lost["blocks"]:
        return f"{lost['blocks']} blocks lost, of {', '.join(lost['titles']) or 'no title'}"
    if moving is None:
        return "whole"
    done = f"{size(moving['bytes_done'])} of {size(moving['bytes_total'])}"
    forecast = moving["forecast_s"]
    left = "" if forecast is None else f", {duration(forecast)} to go"
    waits = f"; waits: {'; '.join(moving['waiting'])}" if moving["waiting"] else ""
    return f"moving {done}{left}{waits}"


def print_disks(disks: list[dict[str, Any]]) -> None:
    """A table of disks."""
    rows = [
        (
            one["id"],
            one["node_name"] or one["node"],
            one["path"],
            one["fault"] or ("away" if not one["up"] else one["state"]),
            "–" if one["used"] is None else size(one["used"]),
            "–" if one["free"] is None else size(one["free"]),
            "–" if one["blocks"] is None else f"{one['blocks']:,}",
            f"{size(one['bandwidth'])}/s",
        )
        for one in disks
    ]
    columns = ("id", "node", "path", "state", "used", "free", "blocks", "speed")
    print_table(columns, rows, right=("used", "free", "blocks", "speed"))
