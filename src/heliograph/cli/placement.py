"""``helio placement``: how blocks are spread over disks that come and go."""

from __future__ import annotations

import os
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.console import (
    JsonOption,
    new_app,
    print_json,
    print_table,
    progress,
    stderr,
)
from heliograph.cli.placing.scenario import MIXED, changes, moments

if TYPE_CHECKING:
    from heliograph.cli.placing.measure import Result

app = new_app("Compare how placements spread blocks over disks.")


class Kind(StrEnum):
    """Disks of a scenario."""

    EQUAL = "equal"
    UNEQUAL = "unequal"
    BOTH = "both"


@app.callback()
def _group() -> None:
    """Compare how placements spread blocks over disks."""


@app.command()
def bench(
    operations: Annotated[
        str,
        typer.Option(
            metavar="'N ±N …'", help="Disks to begin with, then how many are added and removed."
        ),
    ] = MIXED,
    disks: Annotated[
        Kind, typer.Option(help="Whether they are of one size and speed.")
    ] = Kind.BOTH,
    blocks: Annotated[
        int, typer.Option(min=1000, max=100_000_000, help="Blocks that are placed.")
    ] = 1_000_000,
    width: Annotated[
        int, typer.Option(min=1, max=32, help="Members of a group, k + m; 1: blocks alone.")
    ] = 1,
    per_node: Annotated[
        int, typer.Option("--disks-per-node", min=1, max=1000, help="Disks of a node.")
    ] = 1,
    policy: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws which disks go.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Place blocks by every policy while disks come and go: what moves, how even, at what cost.

    Few moves are no merit where disks fill unevenly: the remark judges both together. Ctrl-C
    prints what was found until then.
    """
    steps = changes(operations)
    kinds: list[Kind] = [Kind.EQUAL, Kind.UNEQUAL] if disks is Kind.BOTH else [disks]
    found: list[tuple[Kind, Result]] = []
    conditions = {
        "operations": operations,
        "blocks": blocks,
        "width": width,
        "disks_per_node": per_node,
        "seed": seed,
        "cores": len(os.sched_getaffinity(0)),
    }
    try:
        _measure(steps, kinds, policy or [], conditions, found, quiet=as_json)
    except KeyboardInterrupt:
        if found:
            _show(conditions, found, as_json)
        raise
    _show(conditions, found, as_json)


def _measure(
    steps: tuple[int, ...],
    kinds: list[Kind],
    wanted: list[str],
    conditions: dict[str, object],
    found: list[tuple[Kind, Result]],
    *,
    quiet: bool,
) -> None:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from heliograph.cli.placing.measure import measure
    from heliograph.storage.placement import POLICIES, policy_named

    policies = [policy_named(name) for name in wanted or POLICIES]
    blocks, width, per_node, seed = (
        int(str(conditions[name])) for name in ("blocks", "width", "disks_per_node", "seed")
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task("", total=len(steps) * len(kinds) * len(policies))
        for kind in kinds:
            equal = kind is Kind.EQUAL
            scenario, nodes = moments(steps, equal=equal, seed=seed, width=width, per_node=per_node)
            for one in policies:
                bar.update(task, description=f"{one.name}, {kind} disks")
                result = measure(
                    one,
                    scenario,
                    nodes,
                    blocks=blocks,
                    width=width,
                    seed=seed,
                    # Of this process alone: the machine does other things besides.
                    clock=time.process_time,
                    done=lambda: bar.advance(task),
                )
                found.append((kind, result))


_NUMBERS = ("moved", "spread", "worst", "one", "of many", "state")


def _show(conditions: dict[str, object], found: list[tuple[Kind, Result]], as_json: bool) -> None:
    if as_json:
        results = [{"disks": kind.value, **result.as_json()} for kind, result in found]
        print_json({**conditions, "results": results})
        return
    rows = [(kind.value, *_cells(result)) for kind, result in found]
    print_table(("disks", "policy", *_NUMBERS, "remark"), rows, right=_NUMBERS)
    stderr().print(
        f"{conditions['blocks']:,} blocks in groups of {conditions['width']}; "
        f"disks {conditions['operations']}, {conditions['disks_per_node']} a node; "
        "moved: over the fewest that had to; spread: highest load over the lowest, less 1, at the "
        "end and at worst; one, of many: a group looked up"
    )


def _cells(result: Result) -> tuple[str, ...]:
    def percent(value: float) -> str:
        return "∞" if value == float("inf") else f"{value:.1%}"

    return (
        result.policy,
        f"{result.moved:.3f}",
        percent(result.spread),
        percent(result.worst_spread),
        f"{result.alone_us:.1f} µs",
        f"{result.vector_us:.3f} µs",
        f"{result.state} B",
        result.verdict,
    )
