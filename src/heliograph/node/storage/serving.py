"""What a node's servers need to play the titles of its volumes."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from heliograph.bus import Bus
from heliograph.dispatcher.doors import Door
from heliograph.model.nodes import NodeId
from heliograph.node.cluster import node_name, reachable_host
from heliograph.node.settings import Settings
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.doors import DOOR
from heliograph.node.storage.states import holders
from heliograph.node.storage.storage import Storage
from heliograph.storage.values import DiskId
from heliograph.storage.volume.state import DiskState
from heliograph.vod.admission import Budgets, without
from heliograph.vod.manifest import Manifest
from heliograph.vod.promises import Admission

if TYPE_CHECKING:
    from heliograph.storage.volume.state import Layout, VolumeState

#: Share of what a disk was measured to read, of one large file after the other, that is promised:
#: blocks lie apart, and repairs want some.
PROMISED = 0.6
#: Share of the network up to which packets are sent before they are due, where nothing else is
#: told: the rest is for all else that leaves the node.
AHEAD = 0.97
#: Packets a second that a core is promised to send where nothing else is told: 251 streams of 5.3
#: Mbit/s of some 1 400 bytes were sent by one from disk without a late packet
#: (docs/performance.md), and pages and live channels want some.
PACKETS = 100_000


def admission_of(storage: Storage, bus: Bus, settings: StorageSettings) -> Admission:
    """Promises streams by what the disks of all volumes and this node's network and cores can give.

    Each disk is promised by all nodes that serve its volume: each has an equal part of it, a larger
    one when another leaves.
    """
    ahead = settings.ahead_bps
    if ahead is None:
        ahead = round(AHEAD * settings.network_bps)
    packets = settings.packets_per_second
    if packets is None:
        packets = PACKETS * len(os.sched_getaffinity(0))

    def budgets() -> Budgets:
        disks: dict[DiskId, float] = {}
        for holding in storage.holdings.values():
            part = PROMISED / len(serving(bus, holding.state))
            for one in holding.state.disks:
                if one.state is not DiskState.LOST:
                    disks[one.id] = part * one.bandwidth
        return Budgets(
            disks, network_bps=settings.network_bps, ahead_bps=ahead, packets=float(packets)
        )

    def shares(manifest: Manifest) -> Mapping[DiskId, float]:
        placed = storage.shelf.placed_object(manifest.object)
        holding = None if placed is None else storage.holdings.get(placed.volume)
        return {} if holding is None else reads_of(holding.state, present(bus, holding.state))

    def standing() -> Hashable:
        return tuple(
            (one.name, one.state.version, present(bus, one.state))
            for one in storage.holdings.values()
        )

    return Admission(budgets, shares, standing=standing)


def present(bus: Bus, volume: VolumeState) -> frozenset[NodeId]:
    """Nodes of a volume that are there, this one among them."""
    return frozenset({*holders(bus, volume), bus.node})


def serving(bus: Bus, volume: VolumeState) -> frozenset[NodeId]:
    """Those of them that serve titles to viewers, this one among them."""
    found = {node for (node, _) in bus.present(DOOR)}
    return (present(bus, volume) & found) | {bus.node}


def own_door(settings: Settings, http: int, rtsp: int | None) -> Door | None:
    """Where others are sent for titles of this node, whose servers have these ports; None: it has
    none for media."""
    if rtsp is None:
        return None
    pages, media = str(settings.http.host), str(settings.rtsp.host)
    places = [
        f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        for scheme, host, port in (
            ("http", reachable_host(settings, pages), http),
            ("rtsp", reachable_host(settings, media), rtsp),
        )
    ]
    # Behind a proxy of its own machine: where that is found nobody told.
    hidden = _is_loopback(pages) and not _is_loopback(media)
    return Door(node_name(settings), "" if hidden else places[0], places[1])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shares_of(state: VolumeState) -> Mapping[DiskId, float]:
    """Where the blocks of a title are to be, of which each disk has what its logical disks are
    worth."""
    return _shares(state.layout)


def reads_of(state: VolumeState, here: Collection[NodeId]) -> Mapping[DiskId, float]:
    """What is read of each disk for each byte of a title while some disks are lost, or at nodes
    that are not ``here``; while blocks move the most that may be, as they are at either place."""
    there = {one.id for one in state.disks if one.state is not DiskState.LOST and one.node in here}
    found: dict[DiskId, float] = {}
    for layout in (state.layout, *state.before):
        shares = _shares(layout)
        for disk, share in without(shares, shares.keys() - there, state.scheme.data).items():
            found[disk] = max(found.get(disk, 0.0), share)
    return found


def _shares(layout: Layout) -> dict[DiskId, float]:
    found = layout.table.shares
    whole = sum(found.values()) or 1.0
    standing = dict(layout.stands)
    return {standing.get(disk, disk): share / whole for disk, share in found.items()}
