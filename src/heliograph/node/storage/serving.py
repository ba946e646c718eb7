"""What a node's servers need to play the titles of its volumes."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from heliograph.dispatcher.doors import Door
from heliograph.node.cluster import node_name, reachable_host
from heliograph.node.settings import Settings
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.storage import Storage
from heliograph.storage.values import DiskId
from heliograph.storage.volume.state import DiskState
from heliograph.vod.admission import Budgets
from heliograph.vod.manifest import Manifest
from heliograph.vod.promises import Admission

if TYPE_CHECKING:
    from heliograph.storage.volume.state import VolumeState

#: Share of what a disk was measured to read, of one large file after the other, that is promised:
#: blocks lie apart, and repairs want some.
PROMISED = 0.6
#: Share of the network up to which packets are sent before they are due, where nothing else is
#: told: the rest is for all else that leaves the node.
AHEAD = 0.97


def admission_of(storage: Storage, settings: StorageSettings) -> Admission:
    """Promises streams by what the disks of all volumes and this node's network can give."""

    ahead = settings.ahead_bps
    if ahead is None:
        ahead = round(AHEAD * settings.network_bps)

    def budgets() -> Budgets:
        disks = {
            one.id: PROMISED * one.bandwidth
            for holding in storage.holdings.values()
            for one in holding.state.disks
            if one.state is not DiskState.LOST
        }
        return Budgets(disks, network_bps=settings.network_bps, ahead_bps=ahead)

    def shares(manifest: Manifest) -> Mapping[DiskId, float]:
        placed = storage.shelf.placed(manifest.name)
        holding = None if placed is None else storage.holdings.get(placed.volume)
        return {} if holding is None else shares_of(holding.state)

    return Admission(budgets, shares)


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
    """Where the blocks of a title are, of which each disk has what its logical disks are worth."""
    found = state.table.shares
    all = sum(found.values()) or 1.0
    return {disk: share / all for disk, share in found.items()}
