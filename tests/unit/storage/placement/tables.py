"""Tables of tests."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from heliograph.storage.placement import Added, Table, whole
from heliograph.storage.placement.generator import Words
from heliograph.storage.values import DiskId


def disk(number: int) -> DiskId:
    return DiskId(f"{number:016x}")


def grown(table: Table, count: int) -> Table:
    """After ``count`` disks came, each of which is a physical one."""
    first = table.next_id
    return table.add([whole(id, disk(id)) for id in range(first, first + count)])


def history(changes: Iterable[int | tuple[int, ...]]) -> list[Table]:
    """The tables of a history: a number is an addition, ids are a removal."""
    tables = []
    table = Table()
    for one in changes:
        table = grown(table, one) if isinstance(one, int) else table.remove(one)
        tables.append(table)
    return tables


def blocks(count: int, first: int = 0) -> Words:
    return np.arange(first, first + count, dtype=np.uint64)


@st.composite
def tables(draw: st.DrawFn, operations: int = 6) -> Table:
    """Any table with at most ``operations`` after the first and a few disks."""
    table = grown(Table(), draw(st.integers(1, 8)))
    for _ in range(draw(st.integers(0, operations))):
        ids = [one.id for one in table.disks]
        if len(ids) > 1 and draw(st.booleans()):
            gone = draw(st.sets(st.sampled_from(ids), min_size=1, max_size=len(ids) - 1))
            table = table.remove(sorted(gone))
        else:
            table = grown(table, draw(st.integers(1, 4)))
    return table


def ids_of(table: Table) -> set[int]:
    return {one.id for one in table.disks}


def added_last(table: Table) -> bool:
    return isinstance(table.operations[-1], Added)
