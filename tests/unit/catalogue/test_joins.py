"""Tokens by which nodes join."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.unit.catalogue.conftest import Clock

from heliograph.catalogue import joins
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Actor
from heliograph.model.errors import GoneError, TooManyError, UnauthorizedError

ANNA = Actor("anna")
ID = "00" * 8


def right(verifier: bytes) -> bool:
    return verifier == b"verifier"


async def add(catalogue: Catalogue, clock: Clock, token: str = ID) -> None:
    expires = clock.now() + timedelta(hours=1)
    await catalogue.join_tokens.add(token, b"verifier", expires, by=ANNA)


async def redeem(catalogue: Catalogue, node: str = "a" * 16, **given: object) -> None:
    values = {"token_id": ID, "name": "box", "proves": right, "address": "10.0.0.9"} | given
    await catalogue.join_tokens.redeem(node=node, **values)  # type: ignore[arg-type]


async def test_a_token_is_used_by_one_node_which_may_ask_again(
    catalogue: Catalogue, clock: Clock
) -> None:
    await add(catalogue, clock)
    await redeem(catalogue)
    await redeem(catalogue)
    with pytest.raises(GoneError, match="used"):
        await redeem(catalogue, "b" * 16)
    (token,) = await catalogue.join_tokens.list()
    assert (token.id, token.node) == (ID, "a" * 16)
    lines = await catalogue.audit.read(action="node.")
    assert [(line.action, line.actor) for line in lines] == [
        ("node.join", "node:" + "a" * 16),
        ("node.token", "anna"),
    ]


async def test_one_of_many_at_once_wins(catalogue: Catalogue, clock: Clock) -> None:
    await add(catalogue, clock)
    results = await asyncio.gather(
        *(redeem(catalogue, letter * 16) for letter in "abcdef"), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, GoneError) for result in results) == 5


async def test_a_token_ends_and_is_forgotten_later(catalogue: Catalogue, clock: Clock) -> None:
    await add(catalogue, clock)
    clock.move(hours=1)
    with pytest.raises(GoneError, match="ended"):
        await redeem(catalogue)
    await catalogue.housekeeping()
    assert await catalogue.join_tokens.list()
    clock.move(days=8)
    await catalogue.housekeeping()
    assert await catalogue.join_tokens.list() == []


async def test_wrong_tokens_are_refused_and_guesses_slowed(
    catalogue: Catalogue, clock: Clock
) -> None:
    await add(catalogue, clock)
    with pytest.raises(UnauthorizedError):
        await redeem(catalogue, token_id="11" * 8)
    with pytest.raises(UnauthorizedError):
        await redeem(catalogue, proves=lambda _: False)
    for _ in range(8):
        with pytest.raises(UnauthorizedError):
            await redeem(catalogue, proves=lambda _: False)
    with pytest.raises(UnauthorizedError):
        await redeem(catalogue, proves=lambda _: False)
    with pytest.raises(TooManyError):
        await redeem(catalogue)
    await redeem(catalogue, address="10.9.0.1")


async def test_right_ones_are_not_counted_as_guesses(catalogue: Catalogue, clock: Clock) -> None:
    await add(catalogue, clock)
    for _ in range(30):
        await redeem(catalogue)


async def test_tokens_are_bounded(
    catalogue: Catalogue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joins, "MAX_TOKENS", 2)
    await add(catalogue, clock, "11" * 8)
    await add(catalogue, clock, "22" * 8)
    with pytest.raises(TooManyError):
        await add(catalogue, clock, "33" * 8)
