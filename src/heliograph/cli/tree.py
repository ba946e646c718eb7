"""``helio tree``: how a channel reaches its viewers over the nodes of a cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import ChannelArgument, JsonOption, print_json, stdout

if TYPE_CHECKING:
    from rich.tree import Tree


def command(
    channel: ChannelArgument,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the nodes by which a channel goes from where it enters to its viewers."""
    answer = ask("GET", server, f"/channels/{channel}/tree", key)
    if as_json:
        print_json(answer)
        return
    if not answer["trees"]:
        print(f"{channel} is not on air anywhere.", file=sys.stderr)
        return
    from rich.tree import Tree

    for branch in answer["trees"]:
        drawn = Tree(_label(branch))
        _draw(drawn, branch["branches"])
        stdout().print(drawn)


def _draw(tree: Tree, branches: list[dict[str, Any]]) -> None:
    for branch in branches:
        _draw(tree.add(_label(branch)), branch["branches"])


def _label(branch: dict[str, Any]) -> str:
    viewers = branch["viewers"]
    watching = f"{viewers} viewer{'' if viewers == 1 else 's'}"
    return f"{branch['name']} ({branch['node']})  {watching if branch['media'] else 'ready'}"
