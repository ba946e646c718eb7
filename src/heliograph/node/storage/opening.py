"""Storage by a node's settings and roles."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from heliograph.catalogue.catalogue import Catalogue
from heliograph.node.addresses import candidates
from heliograph.node.cluster import Cluster
from heliograph.node.roles import Role
from heliograph.node.settings import Settings
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.storage import Storage


async def open_storage(
    settings: Settings,
    state_dir: Path,
    roles: Collection[Role],
    cluster: Cluster,
    catalogue: Catalogue,
) -> Storage:
    """Started. ``ResourceError`` where other nodes cannot be listened for."""
    # Managers have the cluster's database, and so has who shares it with them.
    keeps = Role.MANAGER in roles or bool(catalogue.home)
    credentials = None
    if cluster.active:
        credentials = await asyncio.to_thread(cluster.identity.credentials, datetime.now(UTC))
    host = str(settings.cluster.host)
    found = candidates(host, [])
    hosts = [one.rpartition(":")[0].strip("[]") for one in found]
    connected = Connected(cluster.bus, credentials, host, settings.storage.port, hosts)
    storage = Storage(
        settings.storage,
        state_dir,
        cluster.bus,
        catalogue.volumes if keeps else None,
        connected,
        holds=Role.STORAGE in roles,
    )
    await storage.start()
    return storage
