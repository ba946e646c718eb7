"""What a chat remembers: over a restart, and while the database fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.passwords import Passwords
from heliograph.live.chat_entries import Badge, Member
from heliograph.live.chat_rooms import KEEP_EMPTY_S, Chats, OpenRoom
from heliograph.model.errors import ForbiddenError, ResourceError


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Catalogue]:
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    opened = await Catalogue.open(f"sqlite:///{tmp_path}/c.db", passwords=quick)
    await opened.channels.create("demo")
    yield opened
    await opened.close()


def come(opened: OpenRoom, name: str, *, moderator: bool = False, net: str = "") -> Member:
    author = "account:1" if moderator else f"guest:{name.lower()}"
    badge = Badge.OWNER if moderator else Badge.GUEST
    return opened.room.join(author, name, 0.0, badge=badge, moderator=moderator, net=net)[0]


async def safe(opened: OpenRoom) -> None:
    waiting = opened.safe()
    if waiting is not None:
        async with asyncio.timeout(10):
            await waiting


async def test_what_was_said_and_done_is_there_after_a_restart(catalogue: Catalogue):
    opened = await Chats(catalogue).open("demo")
    owner, anna = come(opened, "Owner", moderator=True), come(opened, "Anna", net="home")
    room = opened.room
    room.say(anna, "one", "n1", 1.0)
    rude = room.say(anna, "two", "n2", 1.0).message
    room.delete(owner, rude.id)
    room.say(owner, "three", "n1", 2.5)
    room.mute(owner, "guest:anna", 3.0)
    await safe(opened)

    again = await Chats(catalogue).open("demo")
    reader, backlog = again.room.join("guest:r", "", 4.0)
    told = [(e.name, e.text, e.at, e.badge) for e in backlog.entries]
    assert told == [("Anna", "one", 1.0, "guest"), ("Owner", "three", 2.5, "owner")]
    assert reader.seen == again.room.last
    # Sent again because the confirmation was lost: there once, and the deleted one nowhere.
    back = come(again, "Anna", net="home")
    assert again.room.say(back, "one", "n1", 5.0).repeated
    assert again.room.say(back, "two", "n2", 5.0).message.text == ""
    with pytest.raises(ForbiddenError):
        again.room.say(back, "more", "n3", 5.0)
    other = come(again, "Other", net="home")
    with pytest.raises(ForbiddenError):
        again.room.say(other, "I am somebody else", "n1", 5.0)
    again.room.unmute(come(again, "Owner", moderator=True), "guest:anna")
    await safe(again)
    third = await Chats(catalogue).open("demo")
    third.room.say(come(third, "Anna"), "thanks", "n3", 6.0)


async def test_cleared_chat_stays_empty(catalogue: Catalogue):
    opened = await Chats(catalogue).open("demo")
    owner = come(opened, "Owner", moderator=True)
    opened.room.say(owner, "one", "n1", 1.0)
    opened.room.clear(owner)
    opened.room.say(owner, "two", "n2", 1.0)
    await safe(opened)
    again = await Chats(catalogue).open("demo")
    entries = again.room.join("guest:r", "", 4.0)[1].entries
    assert [entry.text for entry in entries] == ["two"]


async def test_channel_has_its_slow_mode(catalogue: Catalogue):
    await catalogue.channels.update("demo", slow_mode=7.0)
    assert (await Chats(catalogue).open("demo")).room.slow == 7.0


async def test_many_that_come_at_once_get_one_room(catalogue: Catalogue):
    chats = Chats(catalogue)
    rooms = await asyncio.gather(*(chats.open("demo") for _ in range(20)))
    assert len(set(rooms)) == len(chats) == 1


async def test_messages_are_written_in_batches(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
):
    batches: list[int] = []
    save = catalogue.history.save

    async def counted(channel: str, **what: list[object]) -> None:
        batches.append(len(what["said"]))
        await save(channel, **what)

    monkeypatch.setattr(catalogue.history, "save", counted)
    opened = await Chats(catalogue).open("demo")
    owner = come(opened, "Owner", moderator=True)
    for number in range(5):
        opened.room.say(owner, "x", f"n{number}", 1.0)
    await safe(opened)
    assert batches == [5]


async def test_chat_goes_on_without_its_database(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
):
    async def fails(channel: str, **what: object) -> None:
        raise ResourceError("disk full")

    chats = Chats(catalogue)
    opened = await chats.open("demo")
    monkeypatch.setattr(catalogue.history, "save", fails)
    owner = come(opened, "Owner", moderator=True)
    opened.room.say(owner, "one", "n1", 1.0)
    await safe(opened)
    assert chats.counters["chat_save_failures"] > 0
    assert chats.counters["chat_unsaved"] == 1
    monkeypatch.undo()
    opened.room.say(owner, "two", "n2", 1.0)
    await safe(opened)
    assert [m.text for m in (await catalogue.history.load("demo")).messages] == ["two"]


async def test_chat_of_a_channel_that_is_not_stored_lasts_as_long_as_the_server(
    catalogue: Catalogue,
):
    chats = Chats(catalogue)
    opened = await chats.open("elsewhere")
    opened.room.say(come(opened, "Anna"), "one", "n1", 1.0)
    await safe(opened)
    assert chats.counters["chat_unsaved"] == 1


async def test_closing_writes_what_is_left(catalogue: Catalogue):
    chats = Chats(catalogue)
    opened = await chats.open("demo")
    opened.room.say(come(opened, "Anna"), "last words", "n1", 1.0)
    await chats.close()
    assert [m.text for m in (await catalogue.history.load("demo")).messages] == ["last words"]


async def test_empty_rooms_are_forgotten_after_a_while(catalogue: Catalogue):
    chats = Chats(catalogue)
    opened = await chats.open("demo")
    opened.empty_since = 100.0
    chats.forget_empty(100.0 + KEEP_EMPTY_S)
    assert len(chats) == 1
    member = come(opened, "Anna")
    chats.forget_empty(200.0 + KEEP_EMPTY_S)
    assert len(chats) == 1
    opened.room.leave(member)
    chats.forget_empty(200.0 + KEEP_EMPTY_S)
    assert len(chats) == 0


async def test_rooms_of_two_nodes_lose_no_message_of_each_other(catalogue: Catalogue):
    here, there = await Chats(catalogue).open("demo"), await Chats(catalogue).open("demo")
    anna, bert = come(here, "Anna"), come(there, "Bert")
    for number in range(3):
        here.room.say(anna, f"here {number}", f"n{number}", float(number))
        await safe(here)
        rude = there.room.say(bert, f"there {number}", f"n{number}", float(number)).message
        await safe(there)
    there.room.delete(bert, rude.id)
    await safe(there)
    again = await Chats(catalogue).open("demo")
    texts = [entry.text for entry in again.room.join("guest:r", "", 4.0)[1].entries]
    assert texts == ["here 0", "there 0", "here 1", "there 1", "here 2"]
