"""``helio logs``: log events of all nodes of the cluster, by the API of any of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask, events
from heliograph.cli.console import JsonOption, print_json
from heliograph.model.errors import RemoteError
from heliograph.node.logs import LEVELS, printable

#: Seconds between two attempts to listen.
RETRY = 1.0
#: Microseconds by which what is pushed may lie behind what came before without being new: nodes
#: say five seconds again.
BACK_US = 10_000_000
#: Colours of nodes, one after the other, as they come; and of levels.
_NODES = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_LEVEL_COLOURS = {"debug": "2", "info": "0", "warning": "33", "error": "31", "critical": "1;31"}


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


def command(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")
    ] = False,
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="Name or id of the only one.")
    ] = "",
    level: Annotated[Level, typer.Option("--level", help="This one and above.")] = Level.DEBUG,
    text: Annotated[
        str, typer.Option("--grep", metavar="TEXT", help="Only what has this text in it.")
    ] = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=1000, help="How many of the newest.")
    ] = 100,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest log events of all nodes of the cluster."""
    printer = Printer(as_json=as_json)
    wanted = {"node": node, "level": level.value, "text": text}

    def newest(limit: int) -> list[dict[str, Any]]:
        query = urlencode({**wanted, "limit": limit})
        entries: list[dict[str, Any]] = ask("GET", server, f"/logs?{query}", key)["entries"]
        return entries

    if not follow:
        for entry in newest(lines) if lines else ():
            printer.show(entry)
        return
    for entry in _followed(server, key, newest, lines):
        if matches(entry, node, level.value, text):
            printer.show(entry)


class Once:
    """Passes each entry once: what is pushed begins some seconds back."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._floor: int | None = None
        """Entries up to this one were not asked for."""

    def begin(self, entries: list[dict[str, Any]], lines: int) -> Iterator[dict[str, Any]]:
        """The newest, of which so many were wanted, or one where none was."""
        if self._floor is None:
            full = bool(entries) and len(entries) >= lines
            self._floor = entries[0]["number"] - min(lines, 1) if full else 0
        yield from self.passed(entries)

    def pushed(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Those of a batch that are new, also where the node's clock went back over a restart."""
        node, name, entries = (batch[key] for key in ("node", "name", "entries"))
        run = batch.get("run", 0)  # a server of another version says nothing of it
        anew = self._runs.get(node, run) != run and bool(entries)
        if anew and entries[0]["number"] < self._seen.get(node, 0) - BACK_US:
            self._seen[node] = 0
        self._runs[node] = run
        yield from self.passed({"node": node, "name": name, **entry} for entry in entries)

    def passed(self, entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Those that are new."""
        for entry in entries:
            if entry["number"] > self._seen.get(entry["node"], self._floor or 0):
                self._seen[entry["node"]] = entry["number"]
                yield entry


def _followed(
    server: str,
    key: Path | None,
    newest: Callable[[int], list[dict[str, Any]]],
    lines: int,
) -> Iterator[dict[str, Any]]:
    """The newest, then each that comes, once; over interruptions, whose time is caught up on."""
    once = Once()
    connected = False
    while True:
        try:
            for name, value in events(server, "/logs/events", key):
                if name == "open":
                    connected = True
                    yield from once.begin(newest(max(lines, 1)), lines)
                elif name == "log":
                    if value["missed"]:
                        _remark(f"{value['missed']} lines of {value['name']} were left out")
                    yield from once.pushed(value)
                elif name == "missed":
                    _remark(f"{value['count']} messages were left out")
        except RemoteError as error:
            if not connected:
                raise
            _remark(f"{error.message}; trying again")
        time.sleep(RETRY)


def matches(entry: dict[str, Any], node: str, level: str, text: str) -> bool:
    """Whether an entry is one of those asked for, as the server judges it."""
    if node not in ("", entry["node"], entry["name"]):
        return False
    if LEVELS.get(entry["level"], 20) < LEVELS[level]:
        return False
    text = text.lower()
    fields = (f"{key}={value}".lower() for key, value in entry["fields"].items())
    return text in entry["event"].lower() or any(text in one for one in fields)


class Printer:
    """Prints entries, each node in a colour of its own."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._nodes: dict[str, str] = {}
        self._width = 0

    def show(self, entry: dict[str, Any]) -> None:
        if self._as_json:
            print_json(entry, line=True)
            return
        name = printable(str(entry["name"]))
        self._width = max(self._width, min(len(name), 24))
        colour = self._nodes.setdefault(entry["node"], _NODES[len(self._nodes) % len(_NODES)])
        head = self._paint(colour, f"{name:<{self._width}} |")
        level = self._paint(_LEVEL_COLOURS.get(entry["level"], "0"), f"{entry['level']:<8}")
        fields = {k: v for k, v in entry["fields"].items() if k != "exception"}
        words = " ".join(
            f"{self._paint('36', printable(k))}={_value(v)}" for k, v in fields.items()
        )
        print(f"{head} {self._paint('2', entry['at'])} {level} {printable(entry['event'])}", words)
        for row in str(entry["fields"].get("exception", "")).splitlines():
            print(f"{head}     {printable(row)}")
        sys.stdout.flush()

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def _value(value: object) -> str:
    text = printable(str(value))
    return f'"{text}"' if not text or " " in text or "=" in text else text


def _remark(text: str) -> None:
    print(f"helio: {printable(text)}", file=sys.stderr)
