"""The manager's decisions, one module a family.

Each takes a view, and ``now`` where time matters, and gives a ``Decision``: the next view and the
transitions that lead there. None changes anything, looks at a clock or waits. ``channels`` opens,
closes and follows sources; ``joining`` seats viewers; ``growing`` and ``shrinking`` grant groups
and take them back, ``lending`` where none is free; ``mending`` keeps trees whole; ``draining``
empties units, ``replacing`` does without one that died, ``moving`` finds places for those who were
there; ``reconciling`` takes reports.
"""

from heliograph.manager.decisions.channels import close_channel, move_ingest, open_channel
from heliograph.manager.decisions.draining import (
    Progress,
    bring_back,
    drain,
    press,
    progress,
    remove,
)
from heliograph.manager.decisions.growing import extend, grow, grow_alone
from heliograph.manager.decisions.joining import Joined, admit, cancel, join, lapse, leave, take
from heliograph.manager.decisions.mending import mend
from heliograph.manager.decisions.reconciling import absorb, settle
from heliograph.manager.decisions.replacing import replace_unit
from heliograph.manager.decisions.shrinking import reduce, shrink

__all__ = [
    "Joined",
    "Progress",
    "absorb",
    "admit",
    "bring_back",
    "cancel",
    "close_channel",
    "drain",
    "extend",
    "grow",
    "grow_alone",
    "join",
    "lapse",
    "leave",
    "mend",
    "move_ingest",
    "open_channel",
    "press",
    "progress",
    "reduce",
    "remove",
    "replace_unit",
    "settle",
    "shrink",
    "take",
]
