"""Where blocks lie: pure functions of an object's seed, a block's number and a table of disks.

``values`` has the table, without numpy; ``policies`` the placements, ``groups`` what places whole
parity groups by any of them. What needs numpy is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from heliograph.storage.placement.values import (
    Added,
    LogicalDisk,
    Operation,
    Part,
    Removed,
    Table,
    whole,
)

if TYPE_CHECKING:
    from heliograph.storage.placement.generator import seed_of
    from heliograph.storage.placement.groups import place, place_one
    from heliograph.storage.placement.policies import DEFAULT, POLICIES, Placement, policy_named

__all__ = [
    "DEFAULT",
    "POLICIES",
    "Added",
    "LogicalDisk",
    "Operation",
    "Part",
    "Placement",
    "Removed",
    "Table",
    "place",
    "place_one",
    "policy_named",
    "seed_of",
    "whole",
]

_LATER = {
    "DEFAULT": "policies",
    "POLICIES": "policies",
    "Placement": "policies",
    "place": "groups",
    "place_one": "groups",
    "policy_named": "policies",
    "seed_of": "generator",
}


def __getattr__(name: str) -> object:
    """Import what needs numpy."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
