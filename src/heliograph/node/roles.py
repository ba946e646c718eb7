"""What a node does in its cluster."""

from __future__ import annotations

from enum import StrEnum

from heliograph.node.settings import Settings


class Role(StrEnum):
    """A part that a node may play; several, usually."""

    PORTAL = "portal"
    """Answers people: pages, API, and which unit serves them."""
    MANAGER = "manager"
    """Decides who carries what; one is active, the others stand by."""
    UNIT = "unit"
    """Carries media."""
    STORAGE = "storage"
    """Has disks with the blocks of titles, and serves these."""


def roles_of(settings: Settings) -> frozenset[Role]:
    """As ``cluster.roles`` says, or what that node can do.

    Managers have one database together: a node that joined with a database of its own is none.
    """
    cluster = settings.cluster
    if cluster.roles and cluster.active:
        return frozenset(map(Role, cluster.roles))
    shares = settings.database.url.startswith("postgresql")
    if cluster.join and not shares:
        return frozenset({Role.PORTAL, Role.UNIT, Role.STORAGE})
    return frozenset(Role)
