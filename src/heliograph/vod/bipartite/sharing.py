"""Who sends which block of a title. Pure: all nodes find the same by the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from heliograph.storage.values import ObjectId
from heliograph.vod.bipartite.order import Member, Order
from heliograph.vod.manifest import Manifest

#: The node on whose disk a block is to be; None while that disk is lost.
Home: TypeAlias = Callable[[int], str | None]


def sender_of(
    object: ObjectId, block: int, end_us: int, home: str | None, members: Sequence[Member]
) -> int | None:
    """The number of the member that sends a block which ends at ``end_us``; None: none is left.

    That is the node which has it, else one of the others, drawn by lot for each block so that all
    of them share what a dead node leaves.
    """
    there = [one for one in members if one.until_us is None or end_us <= one.until_us]
    if not there:
        return None
    own = [one for one in there if one.node == home]
    if own:
        return own[-1].number
    return max(there, key=lambda one: _lot(object, block, one.number)).number


def _lot(object: ObjectId, block: int, number: int) -> bytes:
    """Rendezvous: when one member goes, only its blocks go elsewhere."""
    return hashlib.blake2b(f"{object}/{block}/{number}".encode(), digest_size=8).digest()


class Share:
    """The part of one member by one order."""

    def __init__(self, order: Order, manifest: Manifest, home: Home, number: int) -> None:
        self._order = order
        self._manifest = manifest
        self._home = home
        self._number = number

    def has(self, block: int) -> bool:
        """Whether the member sends that block."""
        end = self._manifest.blocks[block].end_us
        members = self._order.members
        return sender_of(self._order.object, block, end, self._home(block), members) == self._number
