"""``helio disk``: disks of volumes, by the API of any node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import JsonOption, new_app, print_json, progress
from heliograph.cli.volume import MEASURING, disk_wish, find, print_disks
from heliograph.model.errors import MalformedError, NotFoundError

app = new_app("Show, add, remove and replace the disks of volumes.")

VolumeOption = Annotated[str, typer.Option("--volume", help="Else the only one.")]
PlaceArgument = Annotated[str, typer.Argument(metavar="[NODE:]PATH", help="A directory.")]
DiskArgument = Annotated[str, typer.Argument(metavar="DISK", help="Its id or its path.")]
CapacityOption = Annotated[
    float | None, typer.Option("--capacity", help="GB it may hold; else what there is.")
]
EraseOption = Annotated[
    bool, typer.Option("--erase", help="Remove what it holds as a disk of another volume.")
]
WaitOption = Annotated[bool, typer.Option(help="Follow it until all is where it is to be.")]
#: Seconds between two looks.
LOOK = 0.25
#: Seconds without a change after which there is none: one that was just ordered may not have begun,
#: and what the server tells may be half a second old.
QUIET = 1.0


@app.command("list")
def show(
    volume: VolumeOption = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the disks with their fill and their faults."""
    found = ask("GET", server, "/storage", key)["volumes"]
    disks = [one for each in found if volume in ("", each["name"]) for one in each["disks"]]
    if as_json:
        print_json(disks)
        return
    print_disks(disks)


@app.command()
def add(
    place: PlaceArgument,
    volume: VolumeOption = "",
    capacity: CapacityOption = None,
    erase: EraseOption = False,
    wait: WaitOption = True,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Add a directory as a disk; what belongs on it moves there while all is served.

    One that was a disk of this volume before is taken back with its blocks.
    """
    name = find(server, key, volume)["name"]
    wish = disk_wish(place, capacity, erase=erase)
    made = ask("POST", server, _disks(name), key, wish, patience=MEASURING)
    print(f"{made['id']}: added to {name}")
    if wait:
        _follow(server, key, name)


@app.command()
def remove(
    disk: DiskArgument,
    volume: VolumeOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="It is gone: what it had is made anew.")
    ] = False,
    wait: WaitOption = True,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Let a disk leave: what it has moves elsewhere first, while all is served."""
    name, found = _find(server, key, volume, disk)
    path = f"{_disks(name)}/{found}{'?force=true' if force else ''}"
    ask("DELETE", server, path, key)
    print(f"{found}: {'gone from' if force else 'leaves'} {name}")
    if wait:
        _follow(server, key, name)


@app.command()
def replace(
    disk: DiskArgument,
    place: PlaceArgument,
    volume: VolumeOption = "",
    capacity: CapacityOption = None,
    erase: EraseOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="The old one is gone: make anew what it had.")
    ] = False,
    wait: WaitOption = True,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Put a directory in the place of a disk: only what that one had moves."""
    name, found = _find(server, key, volume, disk)
    body = disk_wish(place, capacity, erase=erase)
    path = f"{_disks(name)}/{found}/replace{'?force=true' if force else ''}"
    made = ask("POST", server, path, key, body, patience=MEASURING)
    print(f"{made['id']}: in the place of {found}")
    if wait:
        _follow(server, key, name)


def _disks(volume: str) -> str:
    return f"/storage/volumes/{quote(volume, safe='')}/disks"


def _find(server: str, key: Path | None, volume: str, disk: str) -> tuple[str, str]:
    """The volume and the id of a disk, by id or path."""
    found = ask("GET", server, "/storage", key)["volumes"]
    mine: list[tuple[str, str]] = []
    for one in found:
        for each in one["disks"]:
            path = each["path"]
            named = (each["id"], path, f"{each['node_name']}:{path}", f"{each['node']}:{path}")
            if volume in ("", one["name"]) and disk in named:
                mine.append((one["name"], each["id"]))
    if not mine:
        raise NotFoundError(f"there is no disk {disk}", subject=disk)
    if len(mine) > 1:
        raise MalformedError("disk", f"several are called {disk}: {', '.join(i for _, i in mine)}")
    return mine[0]


def _follow(server: str, key: Path | None, volume: str) -> None:
    """Show how far a change is until it is done."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("moving"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[waits]}"),
    )
    with progress(*columns) as bar:
        task = bar.add_task("", total=None, waits="")
        changed, quiet = time.monotonic(), 0
        while quiet < 2 or time.monotonic() - changed < QUIET:
            change = find(server, key, volume)["change"]
            quiet += 1
            if change is not None:
                changed, quiet = time.monotonic(), 0
                bar.update(
                    task,
                    completed=change["bytes_done"],
                    total=change["bytes_total"] or None,
                    waits="; ".join(change["waiting"]),
                )
            time.sleep(LOOK)
    print("everything is where it is to be")
