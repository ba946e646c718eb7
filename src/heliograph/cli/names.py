"""``helio names``: what the nodes of the cluster announce."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import JsonOption, print_json, print_table


def command(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help="Such as node, unit, manager; else all.")
    ] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the nodes of the cluster announce, as a running server sees it."""
    found = ask("GET", server, "/names", key)["names"]
    names = [one for one in found if kind in ("", one["kind"])]
    if as_json:
        print_json(names)
        return
    rows = [
        (one["kind"], one["name"], one["node"], json.dumps(one["value"], ensure_ascii=False))
        for one in names
    ]
    print_table(("kind", "name", "node", "value"), rows)
