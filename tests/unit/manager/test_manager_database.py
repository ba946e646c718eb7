"""Managers that share a real database."""

from __future__ import annotations

from pathlib import Path

from tests.unit.manager.site import EVA, Host, Site, site
from tests.unit.manager.waiting import until

from heliograph.catalogue.catalogue import Catalogue
from heliograph.manager.leadership import LeaseTimes
from heliograph.manager.options import ManagerOptions
from heliograph.manager.shell import Manager
from heliograph.manager.view import State

#: So long that no slow disk costs anybody the lease.
OPTIONS = ManagerOptions(
    lease=LeaseTimes(ttl=60.0, renew=0.05, safety=10.0, timeout=20.0),
    tick=0.05,
    fresh=0.3,
    publish=0.05,
)


async def add_manager(made: Site, catalogue: Catalogue, name: str) -> Manager:
    bus = await made.bus(name)
    manager = Manager(bus, catalogue.leases, catalogue.desired, name, OPTIONS)
    await manager.start()
    made.managers.append(Host(manager, bus, made.buses[name][1]))
    return manager


async def test_what_one_manager_was_told_the_next_one_reads(tmp_path: Path) -> None:
    catalogue = await Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}")
    try:
        async with site() as made:
            left = await add_manager(made, catalogue, "left")
            unit = await made.add_unit("one")
            unit.enter("yard")
            portal = await made.add_portal()
            await until(lambda: left.serving and unit.groups and portal.active())
            right = await add_manager(made, catalogue, "right")
            await until(lambda: right.leader.counters()["asked"] > 2)
            assert not right.serving
            await portal.command("extend", EVA, channel="yard", groups=2)
            await portal.command("drain", EVA, unit=unit.id)
            epoch = left.lease.epoch if left.lease else 0
            await left.close()
            await until(lambda: right.serving and portal.active() == made.buses["right"][0].node)
            assert right.lease is not None
            assert right.lease.epoch == epoch + 1
            assert right.view.channels["yard"].kept == 3
            assert unit.state is State.DRAINING
            await portal.command("return", EVA, unit=unit.id)
            await until(lambda: unit.state is State.UP)
            await portal.command("close", EVA, channel="yard")
            assert right.closed == {"yard"}
            await portal.command("open", EVA, channel="yard")
            lines = await catalogue.audit.read()
            assert {(one.actor, one.address) for one in lines} == {(EVA.name, EVA.address)}
            orders = ["channel.keep", "unit.drain", "unit.return", "channel.close", "channel.open"]
            assert [one.action for one in reversed(lines)] == orders
    finally:
        await catalogue.close()
