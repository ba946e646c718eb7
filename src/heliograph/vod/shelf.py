"""Where titles are found by those who serve them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from heliograph.vod.manifest import BlockSource, Manifest


class Shelf(Protocol):
    """The titles of this node's volumes."""

    def find(self, name: str) -> Manifest | None:
        """The title of that logical id as it is now; None: there is none."""

    def source(self, manifest: Manifest) -> BlockSource:
        """Where its blocks are read."""

    def titles(self) -> Sequence[Manifest]:
        """All that are published, by name."""

    def channel(self, manifest: Manifest) -> str:
        """The channel whose rules say who may watch it, as of a recording; empty: everybody may."""
