"""A unit died: its channels go on, and its viewers find places."""

from __future__ import annotations

from collections import defaultdict

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager import transitions as t
from heliograph.manager.decisions.channels import plant, successor
from heliograph.manager.decisions.growing import top_up
from heliograph.manager.decisions.mending import mend_tree
from heliograph.manager.decisions.moving import relocate
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.view import GroupId, View


def replace_unit(view: View, unit: str, now: float) -> Decision:
    """Take a dead unit out: join what took channels from it, and hold places for its viewers.

    A channel whose source entered there gets the root that moves least, and waits for its
    publisher there. Refusals say for whom there is no room; those who watch already are not
    touched. Harmless for a unit that has nothing.
    """
    draft = Draft(view)
    machine = draft.unit(unit)
    away: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, group in sorted(machine.groups.items()):
        if group.viewers:
            away[group.channel].append((index, group.viewers))
    draft.do(t.Lose(unit))
    for name in sorted(machine.carries):
        revive(draft, name, now)
        mend_tree(draft, name)
    # All trees before all viewers: a link that is missing keeps more people waiting than a place.
    for name in sorted(machine.carries):
        for index, viewers in away[name]:
            relocate(draft, name, GroupId(unit, index), viewers, now)
        top_up(draft, name, now, None)
    return draft.decision()


def revive(draft: Draft, name: str, now: float) -> None:
    """Give a channel without an ingest unit one; without any it is refused, and tried again."""
    channel = draft.channels[name]
    if channel.ingest is not None:
        return
    heir = successor(draft, name, now)
    if heir is not None:
        draft.do(t.Ingest(name, heir))
    elif not plant(draft, name, now):
        draft.do(t.Refuse(name, "units", 1, RETRY_AFTER))
