"""What a bus has to know to begin."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from heliograph.model.nodes import NodeId

#: Seconds after which a node that says nothing counts as gone: people notice a frozen picture after
#: one, and a busy machine of two cores lets its processes wait for a fifth of that.
LEASE = 1.0


#: Seconds that the event loop may stand still until the node counts as gone: full collections of
#: garbage and slow disks take a fraction of it.
STALL = 3.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files by which nodes of one cluster know each other; PEM, not encrypted."""

    authority: Path
    """Certificate of the cluster's authority."""
    certificate: Path
    """This node's, by that authority."""
    key: Path
    """Its private key."""
    cluster: str
    """Common name in the certificates of all nodes of the cluster, and in no others."""


@dataclass(frozen=True, slots=True)
class BusOptions:
    """The values of one bus."""

    node: NodeId
    """Who we are."""
    credentials: Credentials | None = None
    """None: alone, without any network; then nothing else here matters."""
    listen: tuple[str, ...] = ()
    """``HOST:PORT`` to listen on, by TCP."""
    join: tuple[str, ...] = ()
    """``HOST:PORT`` of nodes to connect to; one is enough, it tells of the others."""
    lease: float = LEASE
    """Seconds after which others count this node as gone when they hear nothing of it."""
    stall: float = STALL
    """Seconds of a standing event loop after which this node takes itself for gone."""
    scouting: bool = False
    """Whether nodes of the same local network are found by multicast."""
    scouting_address: str = field(default="224.0.0.224:7446")
    """Multicast address and port by which they are found."""
