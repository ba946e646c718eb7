"""One tree for each channel, within its bounds, with as few links moved as that takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager import transitions as t
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.ranking import choose_parent, rank
from heliograph.manager.tree import below
from heliograph.manager.view import Branch, State, View


def mend(view: View, name: str) -> Decision:
    """Join what is cut off to the tree, and bring what is beyond its bounds within them."""
    draft = Draft(view)
    draft.channel(name)
    mend_tree(draft, name)
    return draft.decision()


def mend_tree(draft: Draft, name: str, avoid: Collection[str] = ()) -> None:
    """As ``mend``; ``avoid``: units from which others shall take the channel no more.

    A unit for which there is no parent within the bounds is refused, and the next call tries
    again; it keeps the one it has, so that its viewers go on.
    """
    channel = draft.channels[name]
    if channel.ingest is None:
        return
    reach: dict[str, int] = {}
    loose: list[str] = []
    _walk(draft, name, channel.ingest, 0, reach, loose, avoid)
    heads = [*sorted(channel.orphans), *loose]
    heads += _loops(draft.channels[name].branches, reach, heads)
    # The tallest first: what is flat finds a place anywhere.
    queue = sorted(heads, key=lambda unit: (-_height(draft, name, unit), unit))
    rebuilt = False
    while queue:
        unit = queue.pop(0)
        parent = _parent(draft, name, unit, reach, avoid)
        old = draft.channels[name].branches[unit].parent
        if parent is None:
            if not rebuilt and _rebuild(draft, name, avoid):
                return
            rebuilt = True
            draft.do(t.Refuse(name, "tree", 1, RETRY_AFTER, unit))
            if old is None or old not in reach:
                continue
            parent = old
        if parent != old:
            draft.do(t.Link(name, unit, parent))
        further: list[str] = []
        _walk(draft, name, unit, reach[parent] + 1, reach, further, avoid)
        queue += further


def _parent(
    draft: Draft, name: str, unit: str, reach: Mapping[str, int], avoid: Collection[str]
) -> str | None:
    """For a unit with all below it, or else for it alone."""
    channel = draft.channels[name]
    under = below(channel.branches, unit)
    near = {id: depth for id, depth in reach.items() if id not in under}
    origin = _grandparent(channel.branches, unit)
    for height in sorted({max(under.values()), 0}, reverse=True):
        parent = choose_parent(
            draft, channel, near, unit, origin=origin, height=height, exclude=avoid
        )
        if parent is not None:
            return parent
    return None


def _rebuild(draft: Draft, name: str, avoid: Collection[str]) -> bool:
    """The flattest tree there is, where joining piece by piece did not come out.

    Units that may pass the channel on come first, and fill it from the root on. False, and
    nothing is moved, where even so not all find a place: those left out would keep a parent
    whose place was given away.
    """
    channel = draft.channels[name]
    assert channel.ingest is not None
    branches, policy, seat = channel.branches, channel.policy, channel.seat
    reach = {channel.ingest: 0}
    room: dict[str, int] = {}
    for id, branch in branches.items():
        unit, kept = draft.units[id], len(branch.children)
        more = unit.room(seat) if unit.state is State.UP else 0
        room[id] = 0 if id in avoid else min(policy.max_fan_out, kept + more)
    moves: dict[str, str] = {}
    for id in sorted(branches, key=lambda one: (-room[one], rank(draft.units[one], 0))):
        if id in reach:
            continue
        old = branches[id].parent
        open_ones = (
            (depth, parent != old, rank(draft.units[parent], 0), parent)
            for parent, depth in reach.items()
            if depth < policy.max_depth and room[parent] > 0
        )
        best = min(open_ones, default=None)
        if best is None:
            return False
        moves[id] = best[3]
        room[best[3]] -= 1
        reach[id] = best[0] + 1
    for id, parent in moves.items():  # from the root on, so that no ring closes on the way
        if branches[id].parent != parent:
            draft.do(t.Link(name, id, parent))
    return True


def _walk(
    draft: Draft,
    name: str,
    top: str,
    depth: int,
    reach: dict[str, int],
    loose: list[str],
    avoid: Collection[str],
) -> None:
    """Note what hangs together below ``top`` within the bounds; what does not is loose."""
    channel = draft.channels[name]
    policy, branches = channel.policy, channel.branches
    reach[top] = depth
    queue = [top]
    for unit in queue:
        children = branches[unit].children
        keep = policy.max_fan_out
        if reach[unit] >= policy.max_depth or unit in avoid:
            keep = 0
        if len(children) > keep:
            # Those with the most below them stay: what is moved should be little.
            children = tuple(
                sorted(children, key=lambda child: (-len(below(branches, child)), child))
            )
            loose += [child for child in children[keep:] if child not in reach]
            children = children[:keep]
        for child in children:
            if child not in reach:
                reach[child] = reach[unit] + 1
                queue.append(child)


def _height(draft: Draft, name: str, unit: str) -> int:
    return max(below(draft.channels[name].branches, unit).values())


def _grandparent(branches: Mapping[str, Branch], unit: str) -> str | None:
    """Who fed the one that fed it: what was above is likely to be near."""
    parent = branches.get(branches[unit].parent or "")
    return None if parent is None else parent.parent


def _loops(
    branches: Mapping[str, Branch], reach: Collection[str], heads: Iterable[str]
) -> list[str]:
    """One unit of each ring of units that take the channel from one another."""
    known = set(reach)
    for head in heads:
        known.update(below(branches, head))
    found = []
    for unit in sorted(branches):
        if unit not in known:
            found.append(unit)
            known.update(below(branches, unit))
    return found
