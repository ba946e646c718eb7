"""``helio token``: a token by which another machine joins the cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from heliograph.bus.joining import LIFETIME, MAX_LIFETIME
from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import JsonOption, print_json, stderr


def command(
    lifetime: Annotated[
        int,
        typer.Option("--seconds", min=1, max=MAX_LIFETIME, help="Seconds until it ends."),
    ] = LIFETIME,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token by which one machine joins the cluster of a running server."""
    made = ask("POST", server, "/nodes/tokens", key, {"lifetime_s": lifetime})
    if as_json:
        print_json(made)
        return
    print(made["token"])
    console = stderr()
    console.print(f"For one machine, until {made['expires']}. There:", soft_wrap=True)
    console.print(f"  helio serve --join {made['join']} --token {made['token']}", soft_wrap=True)
