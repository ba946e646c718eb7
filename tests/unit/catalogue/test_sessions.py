"""Sessions: opened, found, worn out, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.unit.catalogue.conftest import GOOD, Clock

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database
from heliograph.catalogue.sessions import IDLE, MAX_AGE, MAX_SESSIONS
from heliograph.catalogue.values import Actor
from heliograph.model.errors import NotFoundError, UnauthorizedError


@pytest.fixture(autouse=True)
async def _anna(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)


async def test_session_is_found_by_its_token_alone(catalogue: Catalogue) -> None:
    opened = await catalogue.sessions.sign_in("anna", GOOD, address="192.0.2.1", agent="Browser")
    found = await catalogue.sessions.find(opened.token)
    assert found is not None
    assert (found.account.name, found.address, found.agent) == ("anna", "192.0.2.1", "Browser")
    for other in ("", "x", opened.token[:-1], opened.token + "x", "y" * 10_000, "\ud800"):
        assert await catalogue.sessions.find(other) is None


async def test_token_is_not_in_the_database(catalogue: Catalogue, store: str) -> None:
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    database = Database(store)
    async with database.read() as session:
        for table in ("login_sessions", "audit_log", "accounts"):
            rows = (await session.execute(text(f"SELECT * FROM {table}"))).all()
            assert rows
            assert opened.token not in repr(rows)
            assert GOOD not in repr(rows)
    await database.close()


async def test_session_in_use_goes_on_and_an_idle_one_ends(
    catalogue: Catalogue, clock: Clock
) -> None:
    used = await catalogue.sessions.sign_in("anna", GOOD)
    idle = await catalogue.sessions.sign_in("anna", GOOD)
    for _ in range(3):
        clock.move(seconds=IDLE.total_seconds() * 0.9)
        found = await catalogue.sessions.find(used.token)
        assert found is not None
        assert found.last_seen == clock.at
    assert await catalogue.sessions.find(idle.token) is None
    await catalogue.sessions.prune()
    assert [session.id for session in await catalogue.sessions.list("anna")] == [used.session.id]


async def test_session_ends_with_age_however_much_it_is_used(
    catalogue: Catalogue, clock: Clock
) -> None:
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    age = timedelta()
    while await catalogue.sessions.find(opened.token):
        clock.move(days=7)
        age += timedelta(days=7)
        assert age <= MAX_AGE + timedelta(days=7)
    assert age >= MAX_AGE


async def test_use_is_written_once_a_minute(catalogue: Catalogue, clock: Clock) -> None:
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    clock.move(seconds=59)
    found = await catalogue.sessions.find(opened.token)
    assert found is not None
    assert found.last_seen == opened.session.last_seen
    clock.move(seconds=1)
    found = await catalogue.sessions.find(opened.token)
    assert found is not None
    assert found.last_seen == clock.at


async def test_sign_out_ends_it(catalogue: Catalogue) -> None:
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    assert await catalogue.sessions.sign_out(opened.token)
    assert await catalogue.sessions.find(opened.token) is None
    assert not await catalogue.sessions.sign_out(opened.token)


async def test_one_of_several_is_revoked_by_its_owner_only(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("berta", GOOD)
    first = await catalogue.sessions.sign_in("anna", GOOD)
    second = await catalogue.sessions.sign_in("anna", GOOD)
    with pytest.raises(NotFoundError):
        await catalogue.sessions.revoke("berta", first.session.id, by=Actor("berta"))
    await catalogue.sessions.revoke("anna", first.session.id, by=Actor("anna"))
    assert await catalogue.sessions.find(first.token) is None
    assert await catalogue.sessions.find(second.token) is not None


async def test_sessions_of_an_account_are_bounded(catalogue: Catalogue, clock: Clock) -> None:
    opened = []
    for _ in range(MAX_SESSIONS + 3):
        clock.move(seconds=1)
        opened.append(await catalogue.sessions.sign_in("anna", GOOD))
    assert len(await catalogue.sessions.list("anna")) == MAX_SESSIONS
    assert await catalogue.sessions.find(opened[2].token) is None
    assert await catalogue.sessions.find(opened[3].token) is not None


async def test_refusals_are_in_the_audit_log(catalogue: Catalogue) -> None:
    with pytest.raises(UnauthorizedError):
        await catalogue.sessions.sign_in("anna", "wrong password", address="192.0.2.9")
    entry = (await catalogue.audit.read(action="session.refuse"))[0]
    assert (entry.subject, entry.address) == ("anna", "192.0.2.9")
