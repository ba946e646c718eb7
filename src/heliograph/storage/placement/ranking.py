"""Groups by rendezvous: all disks compare themselves for all members of a group.

Each pair of a member and a disk draws a moment, and in the order of these moments members get
disks, unless the member has one, the disk has a member, or its node has as many as it should. Disks
draw at such rates that all fill alike, however different they are (``rates``). What comes or goes
changes little besides: a member moves where an earlier pair of its own became possible, or its own
pair no longer is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement.generator import Words, draw, mix
from heliograph.storage.placement.layout import Layout
from heliograph.storage.placement.rendezvous import weighted

#: Pairs of members and disks compared at once: what they need fits in a core's cache.
PAIRS = 1 << 17


def rows(seed: int, groups: Words, layout: Layout) -> NDArray[np.int64]:
    """The disks of groups: a row a group, a column a member."""
    found = np.empty((len(groups), layout.width), np.int64)
    count = max(1, PAIRS // (layout.width * len(layout.disks)))
    for start in range(0, len(groups), count):
        piece = slice(start, start + count)
        found[piece] = _rows(seed, groups[piece], layout)
    return found


def row(seed: int, group: int, layout: Layout) -> list[int]:
    """The disks of one group, by member."""
    moments = _moments(seed, np.array([group], np.uint64), layout)[0]
    found = [-1] * layout.width
    left = layout.width
    for pair in (-moments).argsort(kind="stable").tolist():
        member, disk = divmod(pair, len(layout.disks))
        if found[member] < 0 and layout.has_room(found, disk):
            found[member] = disk
            left -= 1
            if not left:
                break
    return found


def _rows(seed: int, groups: Words, layout: Layout) -> NDArray[np.int64]:
    moments = _moments(seed, groups, layout)
    by_member = moments.reshape(len(groups), layout.width, -1)
    every = np.arange(len(groups))
    rows = np.full((len(groups), layout.width), -1, np.int64)
    counts = np.zeros((len(groups), layout.node_count), np.int64)
    extra = np.full((len(groups), 1), layout.extra, np.int64)
    for _ in range(layout.width):
        members, disks = np.divmod(moments.argmax(axis=1), len(layout.disks))
        nodes = layout.nodes[disks]
        rows[every, members] = disks
        by_member[every, members] = -np.inf
        if layout.level:
            by_member[every, :, disks] = -np.inf
        extra[:, 0] -= counts[every, nodes] == layout.level
        counts[every, nodes] += 1
        full = (counts > layout.level) | ((counts == layout.level) & (extra == 0))
        np.copyto(by_member, -np.inf, where=full[:, None, layout.nodes[:-1]])
    return rows


def _moments(seed: int, groups: Words, layout: Layout) -> NDArray[np.float64]:
    """By group, and by pair of a member and a disk: when these draw each other, negated."""
    numbers: Words = groups[:, None] * np.uint64(layout.width) + layout.members
    drawn = mix(draw(seed, numbers)[:, :, None] ^ layout.keys)
    return weighted(drawn, layout.rates).reshape(len(groups), -1)
