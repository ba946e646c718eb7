"""Nodes that share one database, and a unit beside them that has none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from tests.unit.live.mesh_site import NAME, Node, OnAir, until

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.passwords import Passwords
from heliograph.catalogue.values import Standing
from heliograph.live.gate import Asker, Gate, settled
from heliograph.live.links import LinkOptions
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import PublishKind
from heliograph.live.roster import ENDED, Roster
from heliograph.model.errors import ConflictError, ResourceError
from heliograph.model.nodes import check_node_id, shared_id

OPTIONS = ChannelOptions(silence_ms=300, title="Before")


class Portal(Node):
    """A node with the database that others have as well."""

    roster: Roster

    async def open(self, catalogue: Catalogue) -> None:
        self.home = shared_id(catalogue.instance)
        gate = Gate("boss", catalogue=catalogue)
        self.roster = Roster(self.channels, catalogue, gate, home=self.home, node=self.node)
        self.read = self.roster.follow
        await self.roster.open()
        await self.start()

    async def stop(self) -> None:
        await super().stop()
        await self.roster.catalogue.close()


@contextlib.asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[tuple[Portal, Portal, Node]]:
    """Two portals of one database, and a unit."""
    network, quick = MemoryNetwork(), PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    one, other = Portal(network, None, LinkOptions()), Portal(network, None, LinkOptions())
    unit = Node(network, None, LinkOptions())
    started: list[Node] = []
    try:
        for portal in (one, other):
            url = f"sqlite:///{directory / 'shared.db'}"
            await portal.open(await Catalogue.open(url, passwords=Passwords(quick)))
            started.append(portal)
        await unit.start()
        started.append(unit)
        yield one, other, unit
    finally:
        for node in reversed(started):
            await node.stop()


async def test_what_is_made_changed_or_deleted_at_one_is_so_at_the_other(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, other, unit):
        await one.roster.create(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME) and unit.channels.find(NAME))
        assert not other.channel.elsewhere
        assert one.channel.home == other.channel.home == unit.channel.home == one.home
        await other.roster.update(NAME, ChannelOptions(silence_ms=300, title="After"))
        await until(lambda: one.channel.title == unit.channel.title == "After")
        await one.roster.delete(NAME)
        await until(lambda: other.channels.find(NAME) is None)
        await other.roster.create("Another")
        with pytest.raises(ConflictError):
            await one.roster.create("another")


async def test_many_channels_are_made_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, other, unit):
        names = [f"show{number}" for number in range(20)]
        await asyncio.gather(*(one.roster.create(name, OPTIONS) for name in names))
        for node in (other, unit):
            await until(
                lambda node=node: [channel.name for channel in node.channels] == sorted(names)
            )


async def test_what_is_published_at_either_is_watched_at_all(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, other, unit):
        await one.roster.create(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME) and unit.channels.find(NAME))
        for publisher, viewers in ((one, (other, unit)), (other, (one, unit))):
            publishing = publisher.publish()
            air = OnAir(publishing)
            await until(lambda viewers=viewers: all(one.has() for one in viewers))
            watching = [viewer.watch() for viewer in viewers]
            await until(lambda watching=watching: all(len(one.packets) > 20 for one in watching))
            for viewer in viewers:
                with pytest.raises(ConflictError):
                    viewer.channel.check_publisher("127.0.0.1")
            await air.stop()
            publishing.close()
            await until(lambda: not any(node.channel.on_air for node in (one, other, unit)))


async def test_one_publisher_is_active_though_two_came_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, other, _):
        await one.roster.create(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME))
        airs = [OnAir(one.publish()), OnAir(other.publish())]

        def sources() -> list[list[PublishKind]]:
            return sorted(
                [publishing.kind for publishing in node.channel.publishings.values()]
                for node in (one, other)
            )

        await until(lambda: sources() == [[PublishKind.MESH], [PublishKind.PUSH]])
        assert one.channel.on_air
        assert other.channel.on_air
        for air in airs:
            await air.stop()


async def test_a_publisher_goes_when_his_key_is_revoked_at_the_other_node(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (one, other, _):
        _, made = await one.roster.create(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME))
        asker = Asker("192.0.2.1", "rtmp", secret=made.key)
        grant = await settled(other.roster.gate.publish(other.channel, asker))
        publishing = other.publish()
        publishing.grant = grant
        reasons: list[str] = []
        publishing.on_closed = reasons.append
        await one.roster.revoke_key(NAME, made.record.id)
        await until(lambda: reasons == [ENDED])


async def test_a_unit_goes_on_with_another_portal_when_one_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.live.shared.KEEP", 0.05)
    async with cluster(tmp_path) as (one, other, unit):
        await one.roster.create(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME) and unit.channels.find(NAME))
        channel = unit.channel
        await one.stop()
        await other.roster.update(NAME, ChannelOptions(silence_ms=300, title="After"))
        await until(lambda: channel.title == "After")
        await asyncio.sleep(0.2)  # longer than it is kept for nobody
        assert unit.channel is channel
        assert other.channels.find(NAME)
        await other.roster.delete(NAME)
        await until(lambda: unit.channels.find(NAME) is None)


async def test_channels_stay_while_the_database_is_away_and_are_read_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.live.rereads.RETRY", 0.05)
    async with cluster(tmp_path) as (one, other, _):
        await one.roster.create(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME))
        stored, tries = other.roster.catalogue.channels.standings, 0

        async def away(name: str | None = None) -> None:
            nonlocal tries
            tries += 1
            raise ResourceError("the database is away", subject="database")

        monkeypatch.setattr(other.roster.catalogue.channels, "standings", away)
        await one.roster.delete(NAME)
        await until(lambda: tries > 1)
        assert other.channels.find(NAME)
        monkeypatch.setattr(other.roster.catalogue.channels, "standings", stored)
        await until(lambda: other.channels.find(NAME) is None)


async def test_a_channel_of_a_nodes_own_settings_is_known_to_whom_shares_its_database(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (one, other, _):
        await one.roster.configure(NAME, OPTIONS)
        await until(lambda: other.channels.find(NAME))
        assert other.channel.elsewhere
        assert (one.channel.home, other.channel.home) == ("", one.node)
        await other.roster.refresh()  # its row stands in the database of both
        assert other.channel.elsewhere
        air = OnAir(other.publish())
        await until(lambda: one.has())
        assert one.channel.on_air
        await air.stop()


async def test_what_a_channel_of_another_nodes_settings_has_is_not_lost_while_that_is_away(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (one, other, _):
        await one.roster.configure(NAME, OPTIONS)
        made = await one.roster.add_key(NAME)
        await one.stop()
        await until(lambda: other.bus.present("channel") == {})
        other.channels.delete(NAME)  # as it is when nobody kept it for a while
        with pytest.raises(ConflictError, match="another node"):
            await other.roster.create(NAME)
        standing = (await other.roster.catalogue.channels.standings(NAME))[NAME]
        assert standing.key_id(made.key) is not None
        # In the settings of another node, and no more: it is that one's to give away.
        await other.roster.configure(NAME, OPTIONS)
        await other.roster.withdraw(NAME)
        _, fresh = await other.roster.create(NAME)
        standing = (await other.roster.catalogue.channels.standings(NAME))[NAME]
        assert standing.key_id(fresh.key) is not None
        assert standing.key_id(made.key) is None


async def test_a_channel_in_the_settings_of_two_nodes_that_start_at_once_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path) as (one, other, _):
        channels, looked = other.roster.catalogue.channels, 0
        stored = channels.standings

        async def late(name: str | None = None) -> dict[str, Standing]:
            """The other node is quicker by as much as the first look takes."""
            nonlocal looked
            looked += 1
            if looked == 1:
                await one.roster.configure(NAME, OPTIONS)
                return {}
            return await stored(name)

        monkeypatch.setattr(channels, "standings", late)
        opened = await other.roster.configure(NAME, OPTIONS)
        assert opened.standing is not None
        assert opened.standing.record.settings_of == other.node
        await other.roster.add_key(NAME)


def test_what_is_shared_is_called_like_a_node_is() -> None:
    assert check_node_id(shared_id("a-name_of")) == shared_id("a-name_of") != shared_id("another")
