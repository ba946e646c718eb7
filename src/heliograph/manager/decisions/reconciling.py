"""What units report against what was decided: the view follows what runs.

A standby makes its view of nothing but reports, with ``absorb`` alone; when it has become
active and each unit has had time to report, ``settle`` brings the trees in order. After a
partition both sides' reports meet here: the higher epoch of a source has the channel, what was
the other root is joined below it, and groups that are too many are given back as they empty.
"""

from __future__ import annotations

from collections.abc import Collection

from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import top_up
from heliograph.manager.decisions.mending import mend_tree
from heliograph.manager.decisions.replacing import revive
from heliograph.manager.decisions.shrinking import prune
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.reports import Report
from heliograph.manager.view import View


def absorb(view: View, report: Report) -> Decision:
    """Know what a unit says it runs; decides nothing.

    A source that an orphan has found by itself is accepted, unless that would close a ring.
    """
    draft = Draft(view)
    draft.do(t.Observe(report))
    return draft.decision()


def settle(view: View, now: float, opened: Collection[str] | None = None) -> Decision:
    """Bring in order what reports brought: one tree for each channel, within its bounds.

    ``opened``: the channels that are open by the database; others end wherever they run. None:
    the database is away, and what runs goes on.
    """
    draft = Draft(view)
    for name in sorted(view.channels):
        if opened is not None and name not in opened:
            units = tuple(sorted(draft.channels[name].branches))
            draft.do(t.CloseChannel(name, units))
            continue
        revive(draft, name, now)
        mend_tree(draft, name)
        for unit in sorted(draft.channels[name].branches):
            prune_if_bare(draft, name, unit)
        top_up(draft, name, now, None)
    return draft.decision()


def prune_if_bare(draft: Draft, name: str, unit: str) -> None:
    """As ``prune``; a unit may have gone from the channel by another's pruning."""
    if unit in draft.channels[name].branches:
        prune(draft, name, unit)
