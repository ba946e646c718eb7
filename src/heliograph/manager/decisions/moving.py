"""Finding places for viewers who have to go somewhere else."""

from __future__ import annotations

from collections.abc import Collection

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager import transitions as t
from heliograph.manager.decisions.lending import grant_or_borrow
from heliograph.manager.draft import Draft
from heliograph.manager.ranking import seat_unit, shortage
from heliograph.manager.view import GroupId

#: Seconds for which places are kept for viewers that are moved: longer than for one who comes by
#: himself, as a page whose unit died notices by a time-out and then asks again.
HOLD_S = 20.0
#: Seconds in which a publisher that was sent to another unit is expected there: pages and encoders
#: connect again within a few, and one that has not come by then may come here as well.
ENTER_S = 30.0


def relocate(
    draft: Draft,
    name: str,
    source: GroupId,
    count: int,
    now: float,
    exclude: Collection[str] = (),
) -> int:
    """Hold places elsewhere for ``count`` viewers of a group, growing where that is needed.

    Gives the number for whom there is no room; that is a refusal in the draft as well.
    """
    location = draft.units[source.unit].location
    while count:
        channel = draft.channels[name]
        unit = seat_unit(draft, channel, location, exclude)
        if unit is None:
            if grant_or_borrow(draft, name, now, exclude) is None:
                draft.do(t.Refuse(name, shortage(draft, channel), count, RETRY_AFTER, source.unit))
                break
            continue
        machine = draft.units[unit]
        room = min(count, machine.room(channel.seat))
        for index in channel.branches[unit].groups:
            fits = min(room, machine.groups[index].free)
            if fits > 0:
                target = GroupId(unit, index)
                id = f"{source.unit}-{source.number}>{unit}-{index}@{draft.serial}"
                draft.do(t.MoveViewers(id, name, source, target, fits, now + HOLD_S))
                room -= fits
                count -= fits
    return count
