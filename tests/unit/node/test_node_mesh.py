"""A node's part in the cluster's media, put together from its settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tests.unit.live.mesh_site import NAME, VIDEO, OnAir, Viewer, until

from heliograph.bus.identity import Identity
from heliograph.bus.memory import MemoryNetwork
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import PublishKind
from heliograph.live.registry import Channels
from heliograph.model.errors import ResourceError
from heliograph.node.addresses import nearest
from heliograph.node.mesh import NEIGHBOURS_FILE, Mesh
from heliograph.node.settings.cluster import MeshSettings
from heliograph.plane import PlaneLoop, open_plane

SETTINGS = MeshSettings(host=IPv4Address("127.0.0.1"), port=0)


@contextlib.asynccontextmanager
async def node(
    network: MemoryNetwork, directory: Path, settings: MeshSettings = SETTINGS
) -> AsyncIterator[tuple[Mesh, Channels]]:
    identity = Identity.load(directory)
    plane = open_plane(1)
    loop = PlaneLoop(plane)
    loop.start()
    bus = await network.bus(identity.node)
    channels = Channels(loop)
    try:
        mesh = Mesh(identity, bus, loop, channels, settings, directory.name)
        try:
            yield mesh, channels
        finally:
            await mesh.close()
    finally:
        await bus.close()
        channels.close()
        loop.stop()
        plane.close()


async def test_who_left_in_order_tells_its_neighbours_when_it_is_back(tmp_path):
    network = MemoryNetwork()
    async with node(network, tmp_path / "far") as (far, theirs):
        async with node(network, tmp_path / "near") as (near, ours):
            channel = ours.create(NAME, ChannelOptions(silence_ms=300))
            air = OnAir(channel.publish((VIDEO,), PublishKind.PUSH, "127.0.0.1"))
            await until(lambda: theirs.find(NAME) and theirs.get(NAME).tracks)
            viewer = Viewer(theirs.get(NAME))
            await until(lambda: len(viewer.packets) > 5)
            (tree,) = await far.tree(NAME)
            assert (tree.place.name, tree.branches[0].place.name) == ("near", "far")
            (link,) = far.describe()["links"]
            assert link["up"]
            assert link["received_items"] > 5
            await air.stop()
            await near.leave()
        kept = tmp_path / "near" / "cluster" / NEIGHBOURS_FILE
        assert json.loads(kept.read_text()) == {
            NAME: {"sources": [], "clients": [Identity.load(tmp_path / "far").node]}
        }
        async with node(network, tmp_path / "near") as (near, _):
            assert not kept.exists()
            await until(lambda: near.links.counters["greetings_sent"])
            await until(lambda: near.links.any(Identity.load(tmp_path / "far").node))


async def test_what_was_kept_and_is_not_understood_is_left_alone(tmp_path):
    network = MemoryNetwork()
    kept = Identity.load(tmp_path / "one").directory / NEIGHBOURS_FILE
    kept.write_text('{"show": {"sources": ["somebody"]}}')
    async with node(network, tmp_path / "one") as (mesh, _):
        assert not mesh.links.counters["greetings_sent"]


async def test_a_port_that_is_taken_is_named(tmp_path):
    network = MemoryNetwork()
    async with node(network, tmp_path / "one") as (mesh, _):
        taken = SETTINGS.model_copy(update={"port": mesh.port})
        with pytest.raises(ResourceError, match=r"mesh\.port"):
            async with node(network, tmp_path / "other", taken):
                pass


def test_addresses_of_others_that_are_near_come_first():
    assert nearest(["203.0.113.9", "127.0.0.1", "no address"]) == ["203.0.113.9"]
    assert nearest(["127.0.0.1"]) == ["127.0.0.1"]
    assert nearest([]) == []
