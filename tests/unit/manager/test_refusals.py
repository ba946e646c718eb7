"""Orders that were refused cost nobody else anything."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.manager.site import EVA, QUICK, Site, site, three
from tests.unit.manager.waiting import until

from heliograph.catalogue.leases import Lease
from heliograph.catalogue.values import Actor
from heliograph.manager.client import Managers
from heliograph.manager.refusals import MAX_LINES, WHILE_S
from heliograph.manager.shell import Manager
from heliograph.model.errors import ForbiddenError, NotFoundError

ASIA = ("asia",)
TIM = Actor("tim", "192.0.2.8")


async def ruled(made: Site) -> tuple[Manager, Managers, str]:
    """A manager, a portal, and a unit that nobody of Asia may drain."""
    manager, units = await three(made)
    portal = await made.add_portal()
    await until(lambda: portal.active())
    return manager, portal, units[0].id


async def refused(portal: Managers, unit: str, by: Actor = EVA) -> None:
    with pytest.raises(ForbiddenError):
        await portal.command("drain", by, ASIA, unit=unit)


async def test_other_orders_do_not_wait_until_a_refused_one_is_written() -> None:
    async with site() as made:
        manager, portal, unit = await ruled(made)
        note, begun, go_on = made.database.note, asyncio.Event(), asyncio.Event()

        async def slow(
            action: str, subject: str, lease: Lease, by: Actor, **detail: str | float
        ) -> None:
            begun.set()
            await go_on.wait()
            await note(action, subject, lease, by, **detail)

        made.database.note = slow  # type: ignore[method-assign]
        first = asyncio.create_task(refused(portal, unit))
        await begun.wait()
        with pytest.raises(NotFoundError):
            await portal.command("reduce", EVA, ASIA, channel="hall")
        await refused(portal, unit)  # of the same account one is written at a time
        assert not first.done()
        go_on.set()
        await first
        assert made.database.written == [(f"order.refused {unit}", "eva")]
        assert manager.serving


async def test_a_database_that_says_nothing_does_not_end_a_manager_that_refuses() -> None:
    async with site() as made:
        manager, portal, unit = await ruled(made)
        manager.options = replace(QUICK, command=0.2)
        for trouble in ("hangs", "away"):
            setattr(made.database, trouble, True)
            await refused(portal, unit)
            setattr(made.database, trouble, False)
            assert manager.serving
        assert made.database.written == []
        await refused(portal, unit)
        assert made.database.written == [(f"order.refused {unit}", "eva")]


async def test_an_account_gets_so_many_lines_and_then_how_many_were_left_out() -> None:
    async with site() as made:
        manager, portal, unit = await ruled(made)
        note, details = made.database.note, []

        async def noted(
            action: str, subject: str, lease: Lease, by: Actor, **detail: str | float
        ) -> None:
            details.append((by.name, detail.get("left_out", 0)))
            await note(action, subject, lease, by, **detail)

        made.database.note = noted  # type: ignore[method-assign]
        for _ in range(MAX_LINES + 3):
            await refused(portal, unit)
        await refused(portal, unit, TIM)
        assert details == [("eva", 0)] * MAX_LINES + [("tim", 0)]
        made.passed += WHILE_S
        await refused(portal, unit)
        await refused(portal, unit)
        assert details[-2:] == [("eva", 3), ("eva", 0)]
        assert manager.serving
