"""What a chat remembers over a restart."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.catalogue.conftest import Clock

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.history import KEEP_MESSAGES, KEEP_MUTES
from heliograph.catalogue.values import ChatEntry, ChatMute
from heliograph.model.errors import NotFoundError


@pytest.fixture(autouse=True)
async def _channels(catalogue: Catalogue) -> None:
    await catalogue.channels.create("demo")
    await catalogue.channels.create("other")


def said(clock: Clock, seq: int, **values: object) -> ChatEntry:
    entry = ChatEntry(seq, "account:1", "Anna", f"text {seq}", f"n{seq}", clock.at)
    return ChatEntry(**{**{f: getattr(entry, f) for f in entry.__slots__}, **values})


async def test_messages_come_back_in_order(catalogue: Catalogue, clock: Clock) -> None:
    entries = (said(clock, 1, text="<b>&ü</b>"), said(clock, 2, badge="owner"), said(clock, 5))
    await catalogue.history.save("demo", said=entries)
    assert (await catalogue.history.load("demo")).messages == entries
    assert (await catalogue.history.load("other")).messages == ()
    assert (await catalogue.history.load("demo", limit=2)).messages == entries[1:]


async def test_saving_twice_is_once(catalogue: Catalogue, clock: Clock) -> None:
    first = said(clock, 1)
    await catalogue.history.save("demo", said=[first])
    again = [first, said(clock, 2, nonce="n1"), said(clock, 3)]
    await catalogue.history.save("demo", said=again)
    assert [entry.seq for entry in (await catalogue.history.load("demo")).messages] == [1, 3]


async def test_deleted_text_is_gone(catalogue: Catalogue, clock: Clock) -> None:
    await catalogue.history.save("demo", said=[said(clock, 1), said(clock, 2)], deleted=[1])
    await catalogue.history.save("other", said=[said(clock, 1)])
    past = (await catalogue.history.load("demo")).messages
    assert [(entry.text, entry.deleted) for entry in past] == [("", True), ("text 2", False)]
    assert (await catalogue.history.load("other")).messages[0].text == "text 1"


async def test_two_rooms_of_a_channel_lose_nothing_of_each_other(
    catalogue: Catalogue, clock: Clock
) -> None:
    history = catalogue.history
    await history.save("demo", said=[said(clock, 1), said(clock, 2)])
    theirs = [said(clock, n, author="account:2", text=f"their {n}") for n in (2, 3)]
    moved = await history.save("demo", said=theirs)
    assert moved == {2: 3, 3: 4}
    assert await history.save("demo", said=theirs) == moved  # again, as it was not confirmed
    texts = [entry.text for entry in (await history.load("demo")).messages]
    assert texts == ["text 1", "text 2", "their 2", "their 3"]
    moved |= await history.save("demo", said=[said(clock, 5, author="account:2")], moved=moved)
    await history.save("demo", deleted=[3], moved=moved)
    assert [entry.seq for entry in (await history.load("demo")).messages if entry.deleted] == [4]
    await history.save("demo", said=[said(clock, 6), said(clock, 8)], cleared=7)
    left = [entry.seq for entry in (await history.load("demo")).messages if not entry.deleted]
    assert left == [8]


async def test_history_is_bounded(catalogue: Catalogue, clock: Clock) -> None:
    await catalogue.history.save("other", said=[said(clock, 1)])
    for start in (0, 400):
        await catalogue.history.save("demo", said=[said(clock, start + n) for n in range(400)])
    past = (await catalogue.history.load("demo", limit=10_000)).messages
    assert [entry.seq for entry in past] == list(range(800 - KEEP_MESSAGES, 800))
    assert len((await catalogue.history.load("other")).messages) == 1


async def test_mutes_come_back_until_they_end(catalogue: Catalogue, clock: Clock) -> None:
    soon = clock.at + timedelta(minutes=1)
    mutes = [ChatMute("a", None), ChatMute("b", soon), ChatMute("c", None)]
    await catalogue.history.save("demo", muted=mutes)
    await catalogue.history.save("demo", muted=[ChatMute("a", soon)], unmuted=["c", "none"])
    assert set((await catalogue.history.load("demo")).mutes) == {
        ChatMute("a", soon),
        ChatMute("b", soon),
    }
    clock.move(minutes=1)
    assert (await catalogue.history.load("demo")).mutes == ()


async def test_mutes_are_bounded(catalogue: Catalogue) -> None:
    await catalogue.history.save(
        "demo", muted=[ChatMute(f"a{n}", None) for n in range(KEEP_MUTES + 10)]
    )
    assert len((await catalogue.history.load("demo")).mutes) == KEEP_MUTES


async def test_chat_of_no_channel(catalogue: Catalogue, clock: Clock) -> None:
    with pytest.raises(NotFoundError):
        await catalogue.history.save("none", said=[said(clock, 1)])
    assert (await catalogue.history.load("none")).messages == ()
