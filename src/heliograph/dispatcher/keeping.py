"""A snapshot as lines of text: what a dispatcher starts with while there is no database.

Each line is a kind, a blank and the row as JSON; the first names the version of the contents, the
last how many lines there are, so that a file that was cut off is not taken for a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from heliograph.catalogue.contents.values import (
    Contents,
    File,
    Network,
    Server,
    ServerState,
    Title,
)
from heliograph.model.errors import MalformedError

_FORMAT = 1
_KINDS: dict[str, TypeAdapter[Any]] = {
    "server": TypeAdapter(Server),
    "title": TypeAdapter(Title),
    "file": TypeAdapter(File),
    "network": TypeAdapter(Network),
    "state": TypeAdapter(ServerState),
    "stored": TypeAdapter(tuple[str, str]),
}


def lines(
    contents: Contents, states: Mapping[int, ServerState], stored: Mapping[str, str]
) -> Iterator[bytes]:
    """Contents, states of servers and ``Snapshot.stored``, each line with its end."""
    yield b"contents %b\n" % json.dumps({"format": _FORMAT, "version": contents.version}).encode()
    rows: tuple[tuple[str, Iterable[object]], ...] = (
        ("server", contents.servers),
        ("title", contents.titles),
        ("file", contents.files),
        ("network", contents.networks),
        ("state", states.values()),
        ("stored", stored.items()),
    )
    count = 0
    for kind, several in rows:
        adapter, mark = _KINDS[kind], kind.encode()
        for row in several:
            count += 1
            yield b"%b %b\n" % (mark, adapter.dump_json(row))
    yield b"end %d\n" % count


def parse(text: Iterable[bytes]) -> tuple[Contents, dict[int, ServerState], dict[str, str]]:
    """The same back; ``MalformedError`` names the line at fault."""
    version: int | None = None
    rows: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    count, ended = 0, False
    for number, line in enumerate(text, 1):
        mark, _, value = line.rstrip(b"\n").partition(b" ")
        kind = mark.decode("latin-1")
        try:
            if number == 1 and kind == "contents":
                head = json.loads(value)
                if head["format"] != _FORMAT:
                    raise ValueError("of another format")
                version = int(head["version"])
            elif kind == "end" and int(value) == count:
                ended = True
            else:
                rows[kind].append(_KINDS[kind].validate_json(value))
                count += 1
        except (ValueError, KeyError, TypeError, ValidationError):
            raise MalformedError("snapshot", "a line of it", offset=number) from None
    if version is None or not ended:
        raise MalformedError("snapshot", "cut off")
    contents = Contents(
        version,
        tuple(rows["server"]),
        tuple(rows["title"]),
        tuple(rows["file"]),
        tuple(rows["network"]),
    )
    return contents, {state.server: state for state in rows["state"]}, dict(rows["stored"])
