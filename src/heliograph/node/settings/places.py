"""Where in a TOML file a key is set: ``tomllib`` tells values, not lines."""

from __future__ import annotations

import re
import tomllib
from typing import TypeAlias

#: A path into the settings: ``("channels", 0, "name")``.
KeyPath: TypeAlias = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)([^\]]+)\]\]?\s*(#.*)?$")
_KEY_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_ASSIGNMENT = re.compile(rf"\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)\s*=")
#: A value that goes on longer is not looked into: its later keys get the line of its first.
_MAX_VALUE_LINES = 400


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY_PART, dotted))


def _value_lines(lines: list[str], start: int) -> int:
    """Count the lines of the assignment that begins at ``start``: the least that parse alone."""
    for end in range(start + 1, min(start + _MAX_VALUE_LINES, len(lines)) + 1):
        try:
            tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
        return end - start
    return 1


def key_lines(text: str) -> dict[KeyPath, int]:
    """Map every table and key of a valid TOML text to its line, counted from 1.

    Members of inline tables have no entry; look for the nearest path above (``find``).
    """
    lines = text.splitlines()
    found: dict[KeyPath, int] = {}
    arrays: dict[KeyPath, int] = {}  # array of tables → index of the newest
    table: KeyPath = ()
    number = 0
    while number < len(lines):
        line = lines[number]
        taken = 1
        if header := _HEADER.match(line):
            table = _enter(_split(header[2]), header[1] == "[[", arrays)
            found.setdefault(table, number + 1)
        elif assignment := _ASSIGNMENT.match(line):
            path = table
            for part in _split(assignment[1]):
                path = (*path, part)
                found.setdefault(path, number + 1)
            taken = _value_lines(lines, number)
        number += taken
    return found


def _enter(names: tuple[str, ...], is_array: bool, arrays: dict[KeyPath, int]) -> KeyPath:
    """Turn a header's names into a path, with the index of each array of tables on the way."""
    path: KeyPath = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if is_array and position == len(names) - 1:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
    return path


def find(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Give the line of ``path``, or of the nearest table above that has one."""
    for length in range(len(path), 0, -1):
        if line := lines.get(path[:length]):
            return line
    return None
