"""``helio server status``: how the servers that hold titles are, by the API of any portal."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, events
from heliograph.cli.console import (
    JsonOption,
    duration,
    print_json,
    print_table,
    rate,
    stderr,
    stdout,
)
from heliograph.model.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds between two attempts to listen.
RETRY = 1.0
_COLUMNS = ("server", "condition", "since", "response", "by probe", "throughput", "reason")
_RIGHT = ("since", "response", "throughput")


def status(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show each change until interrupted.")
    ] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the servers are: condition, response times, and why one is down."""
    if not follow:
        found = ask("GET", server, "/monitor/states", key)
        if as_json:
            print_json(found["states"])
        else:
            print_table(_COLUMNS, rows(found), right=_RIGHT)
            _remark(found)
        return
    if as_json or not stdout().is_terminal:
        _print_changes(_pushed(server, key), as_json=as_json)
    else:
        _watch(_pushed(server, key))


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """One a server, for a table."""
    now = datetime.now(UTC)
    return [
        (
            one["server"],
            one["condition"] + (", drained" if one["drained"] else ""),
            duration(max(0.0, (now - datetime.fromisoformat(one["since"])).total_seconds())),
            "–" if one["response_ms"] is None else f"{one['response_ms']:.1f} ms",
            ", ".join(f"{kind} {ms:.1f}" for kind, ms in sorted(one["responses"].items())),
            "" if one["throughput_bps"] is None else rate(one["throughput_bps"]),
            one["reason"],
        )
        for one in found["states"]
    ]


def _pushed(server: str, key: Path | None) -> Iterator[dict[str, Any]]:
    """States as they change, over interruptions."""
    connected = False
    while True:
        try:
            for name, value in events(server, "/monitor/states/events", key):
                connected = True
                if name == "states":
                    yield value
        except RemoteError as error:
            if not connected:
                raise
            stderr().print(f"{error.message}; trying again", soft_wrap=True)
        time.sleep(RETRY)


def _print_changes(news: Iterator[dict[str, Any]], *, as_json: bool) -> None:
    """One line for each server that is in another condition than before."""
    known: dict[int, tuple[str, str]] = {}
    for found in news:
        for one in found["states"]:
            now = one["condition"], one["since"]
            if known.get(one["id"]) == now:
                continue
            known[one["id"]] = now
            if as_json:
                print_json(one, line=True)
            else:
                words = [one["since"], one["server"], one["condition"], one["reason"]]
                print("\t".join(words), flush=True)


def _watch(news: Iterator[dict[str, Any]]) -> None:
    """A table that is drawn anew at each change."""
    from rich import box
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    with Live(console=stdout(), auto_refresh=False) as live:
        for found in news:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
            for name in _COLUMNS:
                table.add_column(name, justify="right" if name in _RIGHT else "left")
            for row in rows(found):
                table.add_row(*(Text(cell) for cell in row))
            live.update(table, refresh=True)


def _remark(found: dict[str, Any]) -> None:
    doubting = [one["id"] for one in found["monitors"] if one["doubt"]]
    if doubting:
        print(f"Monitors that doubt themselves: {', '.join(doubting)}")
    if not found["monitors"]:
        print("No monitor is heard.")
