"""``helio unit``: the units of a cluster, by the API of any of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import (
    JsonOption,
    new_app,
    print_json,
    print_table,
)
from heliograph.cli.following import Followed, follow
from heliograph.model.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

app = new_app("Show the units of the cluster, drain, remove and return them.")

UnitArgument = Annotated[str, typer.Argument(metavar="UNIT", help="Name or id of a unit.")]


@app.command("list")
def show(
    domain: Annotated[str, typer.Option("--domain", help="Only those of this domain.")] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the units with their load."""
    units = ask("GET", server, "/cluster", key)["units"]
    if domain:
        units = [one for one in units if one.get("domain") == domain]
    if as_json:
        print_json(units)
        return
    rows = [
        (
            one["name"],
            one["id"],
            one["state"],
            one.get("domain", ""),
            one.get("location", ""),
            one.get("address", ""),
            f"{one['load']:.0%}",
            f"{one['viewers']} of {one['places']}",
            _groups(one),
        )
        for one in units
    ]
    columns = ("name", "id", "state", "domain", "location", "address", "load", "viewers", "groups")
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
    drained = Followed(
        found["id"],
        f"Draining {found['name']}",
        lambda: ask("POST", server, f"/units/{found['id']}/drain", key),
        lambda view: _empty(view, found["id"]),
        (
            ("viewers", "viewer", "viewers"),
            ("groups", "group", "groups"),
            ("ingests", "source", "sources"),
            ("bound", "of them bound to this unit", "of them bound to this unit"),
            ("links", "link", "links"),
        ),
        ("viewers", "reserved", "groups", "ingests", "links"),
    )
    answer = drained.order()
    if wait and not answer["done"]:
        answer = follow(server, key, drained, answer, quiet=as_json)
    if as_json:
        print_json(answer)
    elif answer["done"]:
        print(f"{found['name']}: has nothing any more; it may be removed or stopped")
    else:
        print(f"{found['name']}: is drained; {drained.words(answer.get('progress') or {})}")


@app.command("return")
def bring_back(unit: UnitArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Let a unit that was drained or removed be given channels again."""
    found = find_unit(server, key, unit)
    ask("POST", server, f"/units/{found['id']}/return", key)
    print(f"{found['name'] or found['id']}: may be given channels")


@app.command()
def remove(unit: UnitArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Forget a unit that is gone, or that was drained and has nothing; it gets nothing until it is
    returned."""
    found = find_unit(server, key, unit)
    ask("DELETE", server, f"/units/{found['id']}", key)
    print(f"{found['name'] or found['id']}: removed")


def find_unit(server: str, key: Path | None, unit: str) -> dict[str, Any]:
    """The unit of that id or name, as the manager sees it.

    ``NotFoundError`` without one, ``ConflictError`` where several have the name.
    """
    view = ask("GET", server, "/cluster", key)
    units: list[dict[str, Any]] = [*view["units"], *view.get("removed", ())]
    found = [one for one in units if one["id"] == unit] or [
        one for one in units if one["name"] == unit
    ]
    if not found:
        raise NotFoundError(f"no unit {unit!r}; see helio unit list", subject=unit)
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        raise ConflictError(f"several units are called {unit!r}: {ids}", subject=unit)
    return found[0]


def _empty(view: dict[str, Any], unit: str) -> bool:
    """Whether a view says that a unit has no viewers and no groups."""
    found = [one for one in view["units"] if one["id"] == unit]
    return not any(one["viewers"] or one["places"] for one in found)


def _groups(unit: dict[str, Any]) -> str:
    if "groups" not in unit:
        return "–"
    used = sum(len(groups) for groups in unit["groups"].values())
    return f"{used} of {unit['budget']['groups']}"
