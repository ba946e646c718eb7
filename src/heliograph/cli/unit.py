"""``helio unit``: the units of a cluster, by the API of any of its nodes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, events
from heliograph.cli.console import (
    JsonOption,
    new_app,
    print_json,
    print_table,
    progress,
    stderr,
)
from heliograph.model.errors import ConflictError, NotFoundError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

app = new_app("Show the units of the cluster, drain, remove and return them.")

UnitArgument = Annotated[str, typer.Argument(metavar="UNIT", help="Name or id of a unit.")]

#: Seconds without a manager, or without the server, after which a drain is followed no more.
GIVE_UP = 60.0
#: Seconds between two attempts to listen.
RETRY = 1.0


@app.command("list")
def show(server: ServerOption = HERE, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Show the units with their load."""
    units = ask("GET", server, "/cluster", key)["units"]
    if as_json:
        print_json(units)
        return
    rows = [
        (
            one["name"],
            one["id"],
            one["state"],
            one.get("location", ""),
            one.get("address", ""),
            f"{one['load']:.0%}",
            f"{one['viewers']} of {one['places']}",
            _groups(one),
        )
        for one in units
    ]
    columns = ("name", "id", "state", "location", "address", "load", "viewers", "groups")
    print_table(columns, rows, right=("load", "viewers", "groups"))


@app.command()
def drain(
    unit: UnitArgument,
    wait: Annotated[bool, typer.Option(help="Follow it until the unit has nothing.")] = True,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move the channels and viewers of a unit to others; it gets nothing more."""
    found = find_unit(server, key, unit)

    def order() -> dict[str, Any]:
        return ask("POST", server, f"/units/{found['id']}/drain", key)

    answer = order()
    if wait and not answer["done"]:
        answer = _follow(server, key, found, answer, order, quiet=as_json)
    if as_json:
        print_json(answer)
    elif answer["done"]:
        print(f"{found['name']}: has nothing any more; it may be removed or stopped")
    else:
        print(f"{found['name']}: is drained; {_words(answer.get('progress') or {})}")


@app.command("return")
def bring_back(unit: UnitArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Let a unit that was drained be given channels again."""
    found = find_unit(server, key, unit)
    ask("POST", server, f"/units/{found['id']}/return", key)
    print(f"{found['name']}: may be given channels")


@app.command()
def remove(unit: UnitArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Forget a unit that is drained and has nothing, or that is gone."""
    found = find_unit(server, key, unit)
    ask("DELETE", server, f"/units/{found['id']}", key)
    print(f"{found['name']}: removed")


def find_unit(server: str, key: Path | None, unit: str) -> dict[str, Any]:
    """The unit of that id or name, as the manager sees it.

    ``NotFoundError`` without one, ``ConflictError`` where several have the name.
    """
    units: list[dict[str, Any]] = ask("GET", server, "/cluster", key)["units"]
    found = [one for one in units if one["id"] == unit] or [
        one for one in units if one["name"] == unit
    ]
    if not found:
        raise NotFoundError(f"no unit {unit!r}; see helio unit list", subject=unit)
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        raise ConflictError(f"several units are called {unit!r}: {ids}", subject=unit)
    return found[0]


def _follow(
    server: str,
    key: Path | None,
    unit: dict[str, Any],
    answer: dict[str, Any],
    order: Callable[[], dict[str, Any]],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Show how a unit empties, over changes of managers; its last answer."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
    )
    most = 1
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task(f"Draining {unit['name']}", words="", total=1.0)
        for now in _answers(server, key, unit["id"], answer, order):
            left = _left(now.get("progress") or {})
            most = max(most, left)
            words = _words(now.get("progress") or {})
            bar.update(task, total=most, completed=most - left, words=words)
            if now["done"]:
                return now
    return answer


def _answers(
    server: str,
    key: Path | None,
    unit: str,
    answer: dict[str, Any],
    order: Callable[[], dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """How far a drain is, again and again.

    After a break it is ordered anew, which does no harm: the manager may be another.
    """
    good = time.monotonic()
    yield answer
    while True:
        try:
            for name, value in events(server, "/cluster/events", key):
                good = time.monotonic()
                if name == "progress" and value.get("subject") == unit:
                    yield {"done": value["done"], "progress": value.get("progress")}
                elif name == "view" and _empty(value, unit):
                    yield order()
            yield order()
        except RemoteError as error:
            if time.monotonic() - good > GIVE_UP:
                raise
            stderr().print(f"{error.message}; trying again", soft_wrap=True)
        time.sleep(RETRY)


def _empty(view: dict[str, Any], unit: str) -> bool:
    """Whether a view says that a unit has no viewers and no groups."""
    found = [one for one in view["units"] if one["id"] == unit]
    return not any(one["viewers"] or one["places"] for one in found)


def _groups(unit: dict[str, Any]) -> str:
    if "groups" not in unit:
        return "–"
    used = sum(len(groups) for groups in unit["groups"].values())
    return f"{used} of {unit['budget']['groups']}"


def _left(found: dict[str, Any]) -> int:
    return sum(found.get(name, 0) for name in ("viewers", "reserved", "groups", "ingests", "links"))


def _words(found: dict[str, Any]) -> str:
    parts = [
        f"{found[name]} {one if found[name] == 1 else many}"
        for name, one, many in (
            ("viewers", "viewer", "viewers"),
            ("groups", "group", "groups"),
            ("ingests", "source", "sources"),
            ("links", "link", "links"),
        )
        if found.get(name)
    ]
    return ", ".join(parts) + " to go" if parts else ""
