"""Where the members of parity groups are: on different disks, and on different nodes.

Member j of group g in groups of width w is block g · w + j of its object. ``ranking`` places groups
by rendezvous, ``rounds`` by any other policy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heliograph.model.errors import MalformedError
from heliograph.storage.placement import ranking, rounds
from heliograph.storage.placement.layout import layout_of
from heliograph.storage.placement.policies import Placement
from heliograph.storage.placement.rendezvous import Rendezvous
from heliograph.storage.placement.values import Table
from heliograph.storage.values import DiskId

#: Numbers of blocks stay below.
MAX_BLOCKS = 1 << 48


def place(
    policy: Placement,
    seed: int,
    groups: ArrayLike,
    width: int,
    table: Table,
    nodes: Mapping[DiskId, str],
) -> NDArray[np.int64]:
    """The disks of groups: a row a group, a column a member.

    The numbers are those of ``table.physical``. ``groups``: numbers from 0, below 2^48 / width.
    ``nodes``: the node, or whatever else fails as one, of each disk. In a row disks are different,
    and nodes too where there are as many as members; else members are spread over nodes as evenly
    as can be. Errors: those of ``layout_of``; ``MalformedError`` for groups out of range.
    """
    layout = layout_of(table, nodes, width)
    wanted = np.asarray(groups, np.uint64)
    if wanted.size and int(wanted.max()) >= MAX_BLOCKS // width:
        raise MalformedError("group", f"{int(wanted.max())} (below 2^48 / {width})")
    if isinstance(policy, Rendezvous):
        return ranking.rows(seed, wanted, layout)
    return rounds.rows(policy, seed, wanted, layout)


def place_one(
    policy: Placement,
    seed: int,
    group: int,
    width: int,
    table: Table,
    nodes: Mapping[DiskId, str],
) -> tuple[DiskId, ...]:
    """The disks of one group, by member: the same as ``place`` says, sooner for a single one."""
    layout = layout_of(table, nodes, width)
    if not 0 <= group < MAX_BLOCKS // width:
        raise MalformedError("group", f"{group} (below 2^48 / {width})")
    if isinstance(policy, Rendezvous):
        row = ranking.row(seed, group, layout)
    else:
        row = rounds.row(policy, seed, group, layout)
    return tuple(layout.disks[disk] for disk in row)
