"""``helio config``: what is set, where it was set, and whether a file is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from heliograph.cli.console import (
    ConfigOption,
    JsonOption,
    SetOption,
    new_app,
    print_json,
    print_table,
)
from heliograph.node.settings import load
from heliograph.node.settings.reference import effective, markdown, masked

app = new_app("Show or check the settings.")


@app.command()
def show(
    config: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value was set.")
    ] = False,
) -> None:
    """Show the settings in effect; keys and passwords are masked."""
    loaded = load(config, sets=sets or ())
    if as_json and origin:
        print_json({key: {"value": value, "origin": at} for key, value, at in effective(loaded)})
    elif as_json:
        print_json(masked(loaded.settings))
    else:
        rows = [
            (key, json.dumps(value, ensure_ascii=False), at) for key, value, at in effective(loaded)
        ]
        columns = ("setting", "value", "origin")
        print_table(columns, rows) if origin else print_table(columns[:2], [r[:2] for r in rows])


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Settings file.")],
) -> None:
    """Check a settings file alone, and tell every mistake with its line."""
    loaded = load(file, env={})
    count = len(loaded.settings.channels)
    print(f"{file}: good; settings: {len(loaded.origins)}, channels: {count}")


@app.command()
def reference() -> None:
    """Print the reference of all settings as Markdown."""
    print(markdown())
