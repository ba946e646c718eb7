"""Channels and stream keys."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from tests.unit.catalogue.conftest import GOOD, Clock

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.channels import MAX_KEYS, MAX_REVOKED
from heliograph.catalogue.engine import Database
from heliograph.catalogue.values import Actor, ViewAccess
from heliograph.model.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    TooLargeError,
)

ANNA = Actor("anna", "192.0.2.1")


async def opens(catalogue: Catalogue, channel: str, key: str) -> bool:
    """Whether the key may publish on the channel."""
    standing = (await catalogue.channels.standings(channel)).get(channel)
    return standing is not None and standing.key_id(key) is not None


@pytest.fixture(autouse=True)
async def _anna(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)


async def test_channel_comes_back_as_it_was_stored(catalogue: Catalogue) -> None:
    options = {"max_readers": 3, "pulls": [{"url": "rtsp://camera/1"}], "title": "ü"}
    made = await catalogue.channels.create(
        "Studio",
        owner="anna",
        title="  Aus dem\nStudio ",
        private=True,
        view_access=ViewAccess.ACCOUNTS,
        options=options,
        by=ANNA,
    )
    assert made == await catalogue.channels.get("Studio")
    assert made.title == "Aus dem Studio"
    assert made.options == options
    assert made.owner is not None
    assert made.owner.name == "anna"
    assert made.private


async def test_channel_is_changed_where_told(catalogue: Catalogue) -> None:
    before = await catalogue.channels.create("studio", owner="anna", title="One")
    after = await catalogue.channels.update(
        "studio", title="Two", slow_mode=2.5, guests_chat=False, by=ANNA
    )
    assert (after.title, after.slow_mode, after.guests_chat) == ("Two", 2.5, False)
    assert (after.options, after.private, after.owner) == (
        before.options,
        before.private,
        before.owner,
    )
    assert after == await catalogue.channels.get("studio")


async def test_names_that_differ_in_case_are_one(catalogue: Catalogue) -> None:
    await catalogue.channels.create("Studio")
    with pytest.raises(ConflictError):
        await catalogue.channels.create("studio")


@pytest.mark.parametrize("name", ["", "a b", "../x", "<script>", "x" * 65, "\ud800", "a\0"])
async def test_wrong_names_are_refused_and_found_nowhere(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(MalformedError):
        await catalogue.channels.create(name)
    with pytest.raises((NotFoundError, MalformedError)):
        await catalogue.channels.get(name)


@pytest.mark.parametrize("options", [{"a": float("nan")}, {"a": object()}, {"a": "x" * 40_000}])
async def test_options_that_cannot_be_stored(catalogue: Catalogue, options: dict) -> None:
    with pytest.raises((MalformedError, TooLargeError)):
        await catalogue.channels.create("studio", options=options)
    assert await catalogue.channels.list() == []


async def test_channels_of_an_owner_are_bounded(catalogue: Catalogue) -> None:
    for number in range(3):
        await catalogue.channels.create(f"c{number}", owner="anna", max_owned=3)
    with pytest.raises(TooLargeError):
        await catalogue.channels.create("c3", owner="anna", max_owned=3)
    await catalogue.channels.create("server", max_owned=3)
    assert [c.name for c in await catalogue.channels.list(owner="anna")] == ["c0", "c1", "c2"]
    assert [c.name for c in await catalogue.channels.list(after="c1")] == ["c2", "server"]


async def test_unknown_owner_makes_no_channel(catalogue: Catalogue) -> None:
    with pytest.raises(NotFoundError):
        await catalogue.channels.create("studio", owner="nobody")
    assert await catalogue.channels.list() == []


async def test_deleted_channel_takes_keys_and_chat_along(catalogue: Catalogue, store: str) -> None:
    await catalogue.channels.create("studio")
    made = await catalogue.stream_keys.create("studio")
    await catalogue.channels.delete("studio")
    assert not await opens(catalogue, "studio", made.key)
    database = Database(store)
    async with database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM stream_keys"))).scalar() == 0
    await database.close()


async def test_each_of_several_keys_publishes_until_revoked(catalogue: Catalogue) -> None:
    await catalogue.channels.create("studio")
    phone = await catalogue.stream_keys.create("studio", label="phone")
    desk = await catalogue.stream_keys.create("studio", label="desk")
    assert await opens(catalogue, "studio", phone.key)
    revoked = await catalogue.stream_keys.revoke("studio", phone.record.id)
    assert revoked.revoked is not None
    assert not await opens(catalogue, "studio", phone.key)
    assert await opens(catalogue, "studio", desk.key)


async def test_key_is_good_for_its_own_channel_only(catalogue: Catalogue) -> None:
    await catalogue.channels.create("one")
    await catalogue.channels.create("two")
    made = await catalogue.stream_keys.create("one")
    for channel, key in (("two", made.key), ("one", made.key.upper()), ("one", ""), ("none", "x")):
        assert not await opens(catalogue, channel, key)
    assert await opens(catalogue, "one", made.key)
    with pytest.raises(NotFoundError):
        await catalogue.stream_keys.revoke("two", made.record.id)


async def test_key_is_told_once_and_stored_as_a_hash(catalogue: Catalogue, store: str) -> None:
    await catalogue.channels.create("studio")
    made = await catalogue.stream_keys.create("studio")
    assert len(made.key) == 32
    assert made.key not in repr(made)
    assert made.record.hint == made.key[-4:]
    database = Database(store)
    async with database.read() as session:
        rows = (await session.execute(text("SELECT * FROM stream_keys"))).all()
    assert made.key not in repr(rows)
    await database.close()


async def test_last_use_is_kept(catalogue: Catalogue, clock: Clock) -> None:
    await catalogue.channels.create("studio")
    one = await catalogue.stream_keys.create("studio")
    await catalogue.stream_keys.create("studio")
    await catalogue.stream_keys.used({one.record.id})
    assert [key.last_used for key in await catalogue.stream_keys.list("studio")] == [None, clock.at]


async def test_key_that_somebody_chose(catalogue: Catalogue) -> None:
    for name in ("studio", "yard"):
        await catalogue.channels.create(name)
        made = await catalogue.stream_keys.create(name, key="chosen-1")
        assert (made.key, made.record.hint) == ("chosen-1", "")
        assert await opens(catalogue, name, "chosen-1")
    with pytest.raises(ConflictError):
        await catalogue.stream_keys.create("studio", key="chosen-1")
    with pytest.raises(MalformedError):
        await catalogue.stream_keys.create("studio", key="short")


async def test_standings_tell_all_that_decides(catalogue: Catalogue) -> None:
    await catalogue.channels.create("studio", owner="anna", private=True, guests_chat=False)
    await catalogue.channels.create("demo", configured=True)
    await catalogue.stream_keys.create("studio")
    standings = await catalogue.channels.standings()
    assert sorted(standings) == ["demo", "studio"]
    assert standings["studio"].record == await catalogue.channels.get("studio")
    assert standings["demo"].record.configured
    assert (len(standings["studio"].keys), len(standings["demo"].keys)) == (1, 0)
    assert await catalogue.channels.standings("none") == {}


async def test_keys_are_bounded_good_and_revoked(catalogue: Catalogue) -> None:
    await catalogue.channels.create("studio")
    for _ in range(2):
        made = [await catalogue.stream_keys.create("studio") for _ in range(MAX_KEYS)]
        with pytest.raises(TooLargeError):
            await catalogue.stream_keys.create("studio")
        for key in made:
            await catalogue.stream_keys.revoke("studio", key.record.id)
    assert len(await catalogue.stream_keys.list("studio")) == MAX_REVOKED


async def test_changes_are_in_the_audit_log_without_secrets(catalogue: Catalogue) -> None:
    await catalogue.channels.create("studio", owner="anna", by=ANNA)
    await catalogue.channels.update(
        "studio", options={"pulls": [{"url": "rtsp://me:hidden@camera"}]}, by=ANNA
    )
    made = await catalogue.stream_keys.create("studio", by=ANNA)
    await catalogue.stream_keys.revoke("studio", made.record.id, by=ANNA)
    lines = await catalogue.audit.read(subject="studio")
    assert [line.action for line in lines] == [
        "key.revoke",
        "key.create",
        "channel.edit",
        "channel.create",
    ]
    assert {line.actor for line in lines} == {"anna"}
    assert "hidden" not in repr(lines)
    assert made.key not in repr(lines)
