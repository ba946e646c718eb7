"""Check the documentation: relative links lead somewhere, commands shown in the README exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from heliograph.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.M)
_COMMAND = re.compile(r"(?:^|[`;&|]|\s)(make|(?:\.venv/bin/)?helio) +([a-z][a-z-]*)", re.M)


def markdown_files() -> list[Path]:
    """List the Markdown files that git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def anchor(heading: str) -> str:
    """Make the anchor that the usual renderers give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(file: Path) -> Iterator[str]:
    """Yield what is wrong with the relative links of ``file``."""
    text = _FENCE.sub("", file.read_text())
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        if not there.exists():
            yield f"{target}: no such file"
        elif fragment and there.suffix == ".md":
            headings = {anchor(found) for found in _HEADING.findall(there.read_text())}
            if fragment not in headings:
                yield f"{target}: no such heading"


def unknown_commands(file: Path) -> Iterator[str]:
    """Yield the commands shown in ``file`` that do not exist."""
    targets = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.M))
    names = {name for line in targets for name in line.split()}
    shown = ""
    for block in re.findall(r"```sh\n(.*?)```", file.read_text(), re.S):
        shown += "\n" + re.sub(r"#.*", "", block)
    shown += "\n" + "\n".join(re.findall(r"`((?:make|helio) [^`\n]+)`", file.read_text()))
    for program, name in _COMMAND.findall(shown):
        if name not in (names if program == "make" else COMMANDS):
            yield f"{program} {name}: no such command"


def main() -> int:
    """Print what is wrong; 1 when something is."""
    wrong = [
        f"{file.relative_to(ROOT)}: {problem}"
        for file in markdown_files()
        for problem in (*broken_links(file), *unknown_commands(file))
    ]
    print("\n".join(wrong) or f"{len(markdown_files())} documents are in order")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
