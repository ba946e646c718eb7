"""Viewers: who gets which place, for how long it is kept, and what becomes of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import grant_on, top_up
from heliograph.manager.decisions.lending import borrow, grant_or_borrow
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.ranking import cut_off, refusal, seat_group, seat_unit
from heliograph.manager.view import Amounts, Cluster, Reservation, State, View
from heliograph.model.errors import BusyError

#: Seconds for which a place is kept: a page on a slow path has asked, has shaken hands and is
#: seated in less; who has not come by then will not.
RESERVATION_S = 10.0


@dataclass(frozen=True, slots=True)
class Joined(Decision):
    """A place was found."""

    reservation: Reservation = field(kw_only=True)
    """What is kept."""


def join(
    view: View,
    name: str,
    id: str,
    now: float,
    *,
    location: str = "",
    origin: str = "",
    at: str = "",
    avoid: Collection[str] = (),
) -> Joined:
    """Keep a place for a viewer on the least loaded unit with one, and grow before they run out.

    ``id`` names the reservation: unique, and not to be guessed. ``origin``: the unit this viewer
    was sent away from, or that died under him: one of the places held for its viewers is his.
    ``at``: the unit he cannot avoid, as his connection is there already. ``avoid``: units that
    took him not, or gave no answer: he gets no place there, whatever the view says of them.
    ``NotFoundError`` where the channel is not open, ``BusyError`` where a budget is spent; its
    ``subject`` says which.
    """
    draft = Draft(view)
    channel = draft.channel(name)
    held = _held(draft, name, origin, now, avoid) if origin and not at else None
    if held is not None:
        draft.do(t.Lapse(held.id, held.unit, 1, now))
        unit, index = held.unit, held.index
    elif at:
        unit, index = at, _group_at(draft, name, at, now)
    else:
        found = seat_unit(draft, channel, location, avoid)
        if found is None:
            _lapse(draft, now)
            found = seat_unit(draft, draft.channels[name], location, avoid)
        if found is None and grant_or_borrow(draft, name, now, avoid) is not None:
            found = seat_unit(draft, draft.channels[name], location, avoid)
        if found is None:
            raise refusal(draft, draft.channels[name])
        unit, index = found, seat_group(draft, draft.channels[name], found)
    draft.do(t.Reserve(id, name, unit, index, now + RESERVATION_S))
    top_up(draft, name, now, unit, avoid)
    done = draft.decision()
    kept = draft.units[unit].reservations[id]
    return Joined(done.view, done.transitions, reservation=kept)


def _held(
    draft: Draft, name: str, origin: str, now: float, avoid: Collection[str]
) -> Reservation | None:
    for id, unit in draft.channels[name].holds.items():
        if unit in avoid:
            continue
        hold = draft.units[unit].reservations[id]
        meant = hold.origin is not None and hold.origin.unit == origin
        if meant and hold.expires > now and draft.units[unit].state is State.UP:
            return hold
    return None


def _group_at(draft: Draft, name: str, unit: str, now: float) -> int:
    """A group of a certain unit with a free place, granted where it has none."""
    machine, channel = draft.unit(unit), draft.channels[name]
    branch = channel.branches.get(unit)
    if unit in cut_off(channel):
        raise BusyError(f"unit {unit!r} is cut off", subject="tree", retry_after=RETRY_AFTER)
    admit(draft, unit, channel.seat)
    if branch is not None and branch.free > 0:
        return seat_group(draft, channel, unit)
    granted = grant_on(draft, name, now, machine) or borrow(draft, name, now, at=unit)
    if granted is None:
        said = f"unit {unit!r} has no place left"
        raise BusyError(said, subject="places", retry_after=RETRY_AFTER)
    return granted.number


def take(view: View, id: str, unit: str) -> Decision:
    """Seat somebody on a place kept for him; ``NotFoundError`` where it lapsed or was taken."""
    draft = Draft(view)
    draft.do(t.Take(id, unit))
    return draft.decision()


def cancel(view: View, id: str, unit: str, now: float) -> Decision:
    """Give up what is left of a reservation; harmless where nothing is."""
    draft = Draft(view)
    reservation = draft.unit(unit).reservations.get(id)
    if reservation is not None:
        draft.do(t.Lapse(id, unit, reservation.count, now))
    return draft.decision()


def leave(view: View, unit: str, index: int, now: float, count: int = 1) -> Decision:
    """Count viewers of a group out."""
    draft = Draft(view)
    draft.do(t.Leave(unit, index, count, now))
    return draft.decision()


def lapse(view: View, now: float) -> Decision:
    """Give up the places for which nobody came in time, and the units at which no publisher did;
    to be called every second or so."""
    draft = Draft(view)
    _lapse(draft, now)
    for channel in view.channels.values():
        if channel.next_ingest is not None and channel.move_expires <= now:
            draft.do(t.GiveUpMove(channel.name))
    return draft.decision()


def _lapse(draft: Draft, now: float) -> None:
    late = [
        one
        for unit in draft.units.values()
        for one in unit.reservations.values()
        if one.expires <= now
    ]
    for one in late:
        draft.do(t.Lapse(one.id, one.unit, one.count, now))


def admit(cluster: Cluster, unit: str, cost: Amounts) -> None:
    """Return where a unit may spend ``cost`` more, else raise ``BusyError`` with the budget.

    For what is no viewer: a recording, a sound made anew, a picture.
    """
    machine = cluster.units.get(unit)
    lacks = "units" if machine is None or machine.state is not State.UP else machine.lacks(cost)
    if lacks:
        said = "takes nothing more" if lacks == "units" else f"has no {lacks} left"
        raise BusyError(f"unit {unit!r} {said}", subject=lacks, retry_after=int(RESERVATION_S))
