"""What may happen to a volume: each change gives the next state, or says why not. Pure.

One change of the table at a time: while ``before`` is not empty a volume is being rearranged, and
adding, removing or another policy are refused with ``ConflictError``. Disks that fail do not wait:
``fail_disk`` always works, and so does replacing a lost one. Each such change puts the layout
it ends before the others, so blocks are looked for in every place they may be.

Where too few disks are left for a group's members to be each on its own, or those left are too
unequal for a table, a lost disk keeps its place in the table: the volume serves, degraded, until a
disk is added or the lost one replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence

from heliograph.model.errors import ConflictError, MalformedError, NotFoundError, TooLargeError
from heliograph.storage.merging import Capacity, merge
from heliograph.storage.placement.values import Table
from heliograph.storage.values import DiskId, Scheme
from heliograph.storage.volume.state import (
    MAX_BEFORE,
    MAX_DISKS,
    DiskEntry,
    DiskState,
    Layout,
    Limits,
    VolumeState,
)

#: Logical disks of a new volume at least: a second disk that gives half is of use at once.
FEWEST = 16


def create(
    name: str,
    scheme: Scheme,
    disks: Sequence[DiskEntry],
    *,
    policy: str,
    seed: int,
    limits: Limits | None = None,
) -> VolumeState:
    """A new volume, version 1; ``ConflictError`` where it has fewer disks than a group members."""
    _distinct(None, disks)
    _enough(name, scheme, disks)
    table = _merged(Layout(policy, Table(())), scheme, disks)
    _usable(name, scheme, table)
    return VolumeState(
        name=name,
        version=1,
        scheme=scheme,
        seed=seed,
        policy=policy,
        table=table,
        disks=tuple(dataclasses.replace(one, state=DiskState.ACTIVE) for one in disks),
        limits=limits or Limits(),
    )


def add_disks(state: VolumeState, disks: Sequence[DiskEntry]) -> VolumeState:
    """With further disks; lost ones whose place they can take are out of the table."""
    _quiet(state)
    added = tuple(dataclasses.replace(one, state=DiskState.ACTIVE) for one in disks)
    if not added:
        raise MalformedError("volume change", "no disk to add")
    _distinct(state, added)
    return _rearranged(state, (*state.disks, *added))


def remove_disks(state: VolumeState, ids: Iterable[DiskId]) -> VolumeState:
    """Without these: they are read until all they have is elsewhere, then they are free."""
    _quiet(state)
    leaving = {_known(state, one).id for one in ids}
    disks = tuple(
        dataclasses.replace(one, state=DiskState.LEAVING)
        if one.id in leaving and one.state is DiskState.ACTIVE
        else one
        for one in state.disks
    )
    if disks == state.disks:
        raise ConflictError("no disk that could leave", subject=state.name)
    _enough(state.name, state.scheme, [one for one in disks if one.state is DiskState.ACTIVE])
    return _rearranged(state, disks)


def fail_disks(state: VolumeState, ids: Iterable[DiskId]) -> VolumeState:
    """Without these at once, as if they never were; also while another change is under way."""
    failed = {_known(state, one).id for one in ids}
    disks = tuple(
        dataclasses.replace(one, state=DiskState.LOST) if one.id in failed else one
        for one in state.disks
    )
    if disks == state.disks:
        raise ConflictError("already lost", subject=state.name)
    if not failed.isdisjoint(state.layout.disks):
        # What is gone is gone, whether or not the disks that are left can stand for it.
        with contextlib.suppress(ConflictError, TooLargeError):
            return _rearranged(state, disks)
    return dataclasses.replace(state, version=state.version + 1, disks=disks)


def replace_disk(state: VolumeState, old: DiskId, new: DiskEntry) -> VolumeState:
    """A disk in the place of another, which keeps its logical disks: only its blocks move.

    The other leaves, or is gone already. ``ConflictError`` where the new one holds less, or where
    the other has no place to take: then the new one is to be added.
    """
    entry = _known(state, old)
    if old not in state.layout.disks:
        raise ConflictError(f"disk {old} has no place any more: add the new one", subject=old)
    if entry.state is not DiskState.LOST:
        _quiet(state)
    if new.capacity < entry.capacity:
        raise ConflictError(
            f"the new disk holds {new.capacity} bytes, less than {entry.capacity}: "
            "add it, and remove the other",
            subject=new.id,
        )
    _distinct(state, [new])
    disks = tuple(
        dataclasses.replace(one, state=DiskState.LEAVING)
        if one.id == old and one.state is DiskState.ACTIVE
        else one
        for one in state.disks
    )
    added = dataclasses.replace(new, state=DiskState.ACTIVE)
    place = state.layout.place_of(old)
    stands = (*((at, one) for at, one in state.stands if at != place), (place, new.id))
    return _changed(state, (*disks, added), Layout(state.policy, state.table, stands))


def set_policy(state: VolumeState, policy: str) -> VolumeState:
    """With another placement function: nearly everything moves."""
    _quiet(state)
    if policy == state.policy:
        raise ConflictError(f"it is {policy} already", subject=state.name)
    return _changed(state, state.disks, Layout(policy, state.table, state.stands))


def set_limits(state: VolumeState, limits: Limits) -> VolumeState:
    """With other limits."""
    return dataclasses.replace(state, version=state.version + 1, limits=limits)


def settled(state: VolumeState, version: int) -> VolumeState:
    """The change is done: everything of version ``version`` is where it is to be.

    ``ConflictError`` where the state is another by now.
    """
    if version != state.version:
        raise ConflictError(
            f"version {version} is done, but {state.version} is in force", subject=state.name
        )
    placed = state.layout.disks
    disks = tuple(one for one in state.disks if one.state is DiskState.ACTIVE or one.id in placed)
    if not state.before and disks == state.disks:
        raise ConflictError("no change is under way", subject=state.name)
    return dataclasses.replace(state, version=state.version + 1, disks=disks, before=())


def newest(states: Iterable[VolumeState]) -> VolumeState | None:
    """Of copies found on disks the one that counts."""
    return max(states, key=lambda one: one.version, default=None)


def _rearranged(state: VolumeState, disks: tuple[DiskEntry, ...]) -> VolumeState:
    active = [one for one in disks if one.state is DiskState.ACTIVE]
    _enough(state.name, state.scheme, active)
    table = _merged(state.layout, state.scheme, active)
    _usable(state.name, state.scheme, table)
    stands = tuple(one for one in state.stands if one[0] in table.physical)
    return _changed(state, disks, Layout(state.policy, table, stands))


def _changed(state: VolumeState, disks: tuple[DiskEntry, ...], layout: Layout) -> VolumeState:
    return dataclasses.replace(
        state,
        version=state.version + 1,
        disks=disks,
        policy=layout.policy,
        table=layout.table,
        stands=layout.stands,
        before=(state.layout, *state.before)[:MAX_BEFORE],
    )


def _merged(layout: Layout, scheme: Scheme, disks: Iterable[DiskEntry]) -> Table:
    entries = {layout.place_of(one.id): one for one in disks}
    capacities = [Capacity(place, one.capacity, one.bandwidth) for place, one in entries.items()]
    nodes = {place: one.node for place, one in entries.items()}
    return merge(layout.table, capacities, width=scheme.width, nodes=nodes, fewest=FEWEST)


def _quiet(state: VolumeState) -> None:
    if state.before:
        raise ConflictError(
            f"volume {state.name} is still being rearranged; its readers are served meanwhile",
            subject=state.name,
        )


def _known(state: VolumeState, disk: DiskId) -> DiskEntry:
    entry = state.disk(disk)
    if entry is None:
        raise NotFoundError(f"volume {state.name} has no disk {disk}", subject=disk)
    return entry


def _distinct(state: VolumeState | None, added: Sequence[DiskEntry]) -> None:
    """Refuse disks that are there already, or under whose ids others stand."""
    known: tuple[DiskEntry, ...] = () if state is None else state.disks
    seen = {one.id for one in known} | (set() if state is None else {*state.table.physical})
    if len(known) + len(added) > MAX_DISKS:
        raise ConflictError(f"{len(known) + len(added)} disks are more than {MAX_DISKS}")
    for one in added:
        if one.id in seen:
            raise ConflictError(f"disk {one.id} is in the volume already", subject=one.id)
        seen.add(one.id)


def _enough(name: str, scheme: Scheme, disks: Sequence[DiskEntry]) -> None:
    if len(disks) < scheme.width:
        raise ConflictError(
            f"volume {name} needs {scheme.width} disks for {scheme.data}+{scheme.parity}, "
            f"{len(disks)} would be left",
            subject=name,
        )


def _usable(name: str, scheme: Scheme, table: Table) -> None:
    """Refuse a table in which so many disks are too small to count that groups have no room."""
    if len(table.physical) < scheme.width:
        raise ConflictError(
            f"volume {name}: only {len(table.physical)} of its disks are large enough beside the "
            f"others, {scheme.width} are needed",
            subject=name,
        )
