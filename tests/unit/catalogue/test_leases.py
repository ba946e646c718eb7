"""Leases: one holder at a time, by the clock of the database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from sqlalchemy import text
from tests.unit.catalogue.conftest import Clock, quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.leases import Lease
from heliograph.model.errors import MalformedError

#: Seconds that are over before somebody has looked twice, and seconds that no test takes.
SHORT, LONG = 0.05, 600.0
PATIENCE = 20.0


async def taken(catalogue: Catalogue, holder: str, ttl: float = LONG) -> Lease:
    """The lease ``manager``, which is free or runs out soon."""
    async with asyncio.timeout(PATIENCE):
        while True:
            lease = await catalogue.leases.acquire("manager", holder, ttl)
            if lease is not None:
                return lease
            await asyncio.sleep(0.01)


async def run_out(catalogue: Catalogue) -> None:
    """Wait until nobody has the lease ``manager``."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await catalogue.leases.current("manager") is None:
                return
            await asyncio.sleep(0.01)


async def test_the_first_has_it_and_others_have_not(catalogue: Catalogue) -> None:
    leases = catalogue.leases
    assert await leases.current("manager") is None
    lease = await leases.acquire("manager", "a", LONG)
    assert lease == Lease("manager", "a", 1, LONG)
    assert await leases.acquire("manager", "b", LONG) is None
    assert await leases.current("manager") == lease
    assert await leases.acquire("address", "b", LONG) == Lease("address", "b", 1, LONG)


async def test_its_holder_keeps_it_in_the_same_epoch(catalogue: Catalogue) -> None:
    lease = await taken(catalogue, "a")
    assert await catalogue.leases.acquire("manager", "a", LONG) == lease
    assert await catalogue.leases.renew(lease) == lease
    assert await catalogue.leases.current("manager") == lease


async def test_run_out_it_goes_to_another_with_the_next_epoch(catalogue: Catalogue) -> None:
    first = await taken(catalogue, "a", SHORT)
    second = await taken(catalogue, "b")
    assert (second.holder, second.epoch) == ("b", first.epoch + 1)
    assert await catalogue.leases.renew(first) is None
    await catalogue.leases.release(first)  # of one that is another's: nothing happens
    assert await catalogue.leases.current("manager") == second
    assert await catalogue.leases.acquire("manager", "a", LONG) is None


async def test_run_out_it_is_lost_to_its_holder_too(catalogue: Catalogue) -> None:
    """Somebody else may have had it meanwhile: whoever is not sure begins a new epoch."""
    first = await taken(catalogue, "a", SHORT)
    await run_out(catalogue)
    assert await catalogue.leases.renew(first) is None
    assert (await taken(catalogue, "a")).epoch == 2


async def test_renewed_it_lasts_beyond_its_first_end(catalogue: Catalogue) -> None:
    lease, ttl = await taken(catalogue, "a", 0.8), 0.8
    began = asked = time.monotonic()
    while time.monotonic() - began < 2 * ttl:
        renewed = await catalogue.leases.renew(lease)
        stolen = await catalogue.leases.acquire("manager", "b", LONG)
        if time.monotonic() - asked >= ttl / 2:  # a slow machine has let it run out
            break
        assert (renewed, stolen) == (lease, None)
        asked = time.monotonic()
        await asyncio.sleep(ttl / 5)


async def test_given_back_it_is_free_at_once_and_counts_on(catalogue: Catalogue) -> None:
    lease = await taken(catalogue, "a")
    await catalogue.leases.release(lease)
    assert await catalogue.leases.current("manager") is None
    assert await catalogue.leases.renew(lease) is None
    assert await catalogue.leases.acquire("manager", "b", LONG) == replace(
        lease, holder="b", epoch=2
    )


async def test_one_of_many_at_once_gets_it(catalogue: Catalogue, store: str) -> None:
    other = await Catalogue.open(store, passwords=quick_passwords())
    for epoch in range(1, 6):
        outcomes = await asyncio.gather(
            *(
                (catalogue, other)[number % 2].leases.acquire("manager", f"h{number}", LONG)
                for number in range(20)
            )
        )
        (lease,) = [outcome for outcome in outcomes if outcome is not None]
        assert lease.epoch == epoch
        await catalogue.leases.release(lease)
    await other.close()


async def test_clocks_of_who_asks_do_not_matter(
    catalogue: Catalogue, store: str, clock: Clock
) -> None:
    lease = await taken(catalogue, "a")
    clock.move(days=365)
    assert await catalogue.leases.acquire("manager", "b", LONG) is None
    assert await catalogue.leases.renew(lease) == lease


async def test_a_clock_set_back_does_not_keep_it_for_the_dead(catalogue: Catalogue) -> None:
    dead = await taken(catalogue, "a", 0.3)
    async with catalogue._context.database.write() as session:
        await session.execute(text("UPDATE leases SET ends = ends + 86400"))
    assert (await taken(catalogue, "b")).epoch == dead.epoch + 1


async def test_a_clock_set_back_takes_it_from_nobody_alive(catalogue: Catalogue) -> None:
    lease = await taken(catalogue, "a")
    async with catalogue._context.database.write() as session:
        await session.execute(text("UPDATE leases SET ends = ends + 86400"))
    for _ in range(3):
        assert await catalogue.leases.acquire("manager", "b", LONG) is None
    assert await catalogue.leases.renew(lease) == lease


async def test_epochs_outlive_a_restart(catalogue: Catalogue, store: str) -> None:
    await catalogue.leases.release(await taken(catalogue, "a"))
    again = await Catalogue.open(store, passwords=quick_passwords())
    assert (await taken(again, "a")).epoch == 2
    await again.close()


async def test_leases_that_cannot_be(catalogue: Catalogue) -> None:
    for name in ("", "n" * 33, "\0", "\ud800"):
        with pytest.raises(MalformedError):
            await catalogue.leases.acquire(name, "a", 1)
        with pytest.raises(MalformedError):
            await catalogue.leases.acquire("n", name * 2, 1)
    for ttl in (0.0, -1.0, 3601.0, float("nan"), float("inf")):
        with pytest.raises(MalformedError):
            await catalogue.leases.acquire("n", "a", ttl)
