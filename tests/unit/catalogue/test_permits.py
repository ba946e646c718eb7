"""View tokens with the database behind them."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.catalogue.conftest import Clock, quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.tokens import ViewToken, verify
from heliograph.model.errors import MalformedError, NotFoundError, UnauthorizedError


@pytest.fixture(autouse=True)
async def _demo(catalogue: Catalogue, clock: Clock) -> None:
    await catalogue.channels.create("demo")


async def refused(catalogue: Catalogue, text: str, channel: str = "demo") -> str:
    with pytest.raises(UnauthorizedError) as caught:
        await catalogue.permits.verify(channel, text)
    return caught.value.subject or ""


async def test_token_is_good_at_once_and_until_it_expires(
    catalogue: Catalogue, clock: Clock
) -> None:
    text, token = await catalogue.permits.issue("demo", "anna", 60)
    for _ in range(2):
        assert await catalogue.permits.verify("demo", text) == token
    assert await refused(catalogue, text, "other") == "wrong channel"
    clock.move(seconds=62)
    assert await refused(catalogue, text) == "expired"


async def test_token_for_later(catalogue: Catalogue, clock: Clock) -> None:
    text, _ = await catalogue.permits.issue("demo", "anna", 60, delay=600)
    assert await refused(catalogue, text) == "not valid yet"
    clock.move(seconds=601)
    await catalogue.permits.verify("demo", text)


async def test_single_token_lets_one_of_many_in(catalogue: Catalogue) -> None:
    text, _ = await catalogue.permits.issue("demo", "anna", 60, single=True)
    outcomes = await asyncio.gather(
        *(catalogue.permits.verify("demo", text) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, ViewToken) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, UnauthorizedError) for outcome in outcomes) == 19
    assert await refused(catalogue, text) == "revoked"


async def test_one_or_all_are_withdrawn(catalogue: Catalogue, clock: Clock) -> None:
    first, token = await catalogue.permits.issue("demo", "anna", 600)
    second, _ = await catalogue.permits.issue("demo", "berta", 600)
    await asyncio.gather(*(catalogue.permits.revoke("demo", token.id) for _ in range(5)))
    assert await refused(catalogue, first) == "revoked"
    await catalogue.permits.verify("demo", second)
    clock.move(seconds=2)
    await catalogue.permits.revoke_all("demo")
    assert await refused(catalogue, second) == "revoked"
    # In the same second already a new one is good.
    third, _ = await catalogue.permits.issue("demo", "anna", 600)
    await catalogue.permits.verify("demo", third)


async def test_all_are_withdrawn_within_the_second_in_which_they_were_made(
    catalogue: Catalogue, clock: Clock
) -> None:
    await catalogue.channels.create("fresh")
    for _ in range(3):
        text, _ = await catalogue.permits.issue("fresh", "anna", 600)
        await catalogue.permits.verify("fresh", text)
        await catalogue.permits.revoke_all("fresh")
        assert await refused(catalogue, text, "fresh") == "revoked"
        clock.at = clock.at.replace(microsecond=0)


async def test_token_does_not_outlive_its_channel(catalogue: Catalogue, clock: Clock) -> None:
    text, _ = await catalogue.permits.issue("demo", "anna", 600)
    await catalogue.channels.delete("demo")
    assert await refused(catalogue, text) == "revoked"
    clock.move(seconds=1)
    await catalogue.channels.create("demo")
    assert await refused(catalogue, text) == "revoked"


async def test_tokens_outlive_a_restart_and_a_new_key(
    catalogue: Catalogue, clock: Clock, store: str
) -> None:
    text, token = await catalogue.permits.issue("demo", "anna", 600)
    await catalogue.permits.rotate()
    assert await catalogue.permits.verify("demo", text) == token
    second = await Catalogue.open(
        store, passwords=quick_passwords(), now=clock.now, ticks=clock.ticks
    )
    assert await second.permits.verify("demo", text) == token
    # A key made by one process is found by the other.
    clock.move(seconds=11)
    await catalogue.permits.rotate()
    later, _ = await catalogue.permits.issue("demo", "anna", 600)
    await second.permits.verify("demo", later)
    await second.close()


async def test_withdrawn_key_ends_its_tokens(catalogue: Catalogue) -> None:
    text, _ = await catalogue.permits.issue("demo", "anna", 600)
    await catalogue.permits.rotate(withdraw=True)
    assert await refused(catalogue, text) == "bad signature"


async def test_unit_checks_alone(catalogue: Catalogue, clock: Clock) -> None:
    text, token = await catalogue.permits.issue("demo", "anna", 600)
    now = clock.ticks()
    keys = catalogue.permits.keys
    assert verify(text, keys, channel="demo", now=now) == token
    await catalogue.permits.revoke("demo", token.id)
    spent = await catalogue.permits.spent()
    assert spent == {token.id}
    with pytest.raises(MalformedError):
        await catalogue.permits.revoke("demo", "no id <>")
    clock.move(days=367)
    await catalogue.housekeeping()
    assert await catalogue.permits.spent() == frozenset()


@pytest.mark.parametrize("lifetime", [0, -1, 1e9, float("nan"), float("inf")])
async def test_lives_that_cannot_be(catalogue: Catalogue, lifetime: float) -> None:
    with pytest.raises(MalformedError):
        await catalogue.permits.issue("demo", "anna", lifetime)


async def test_no_token_without_a_channel(catalogue: Catalogue) -> None:
    with pytest.raises(NotFoundError):
        await catalogue.permits.issue("none", "anna", 60)
