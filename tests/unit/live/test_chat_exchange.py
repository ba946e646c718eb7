"""A channel's chat at two nodes that share its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.passwords import Passwords
from heliograph.live.chat_entries import Badge, Member, Message
from heliograph.live.chat_exchange import ChatExchange
from heliograph.live.chat_rooms import Chats, OpenRoom
from heliograph.live.registry import Channels
from heliograph.model.errors import ResourceError
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane

HOME = "c" * 16


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def rooms(directory: Path, home: str = HOME) -> AsyncIterator[tuple[OpenRoom, OpenRoom]]:
    """The channel's room at each of two nodes; the second's channel has this home."""
    network, plane = MemoryNetwork(), TwinPlane()
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    catalogue = await Catalogue.open(f"sqlite:///{directory}/c.db", passwords=quick)
    await catalogue.channels.create("demo")
    opened, buses, sites = [], [], []
    for node, of in (("a" * 16, HOME), ("b" * 16, home)):
        buses.append(await network.bus(node))
        channels, chats = Channels(PlaneLoop(plane)), Chats(catalogue)
        channels.create("demo", home=of)
        ChatExchange(buses[-1], chats, channels, of)
        sites.append(channels)
        opened.append(await chats.open("demo"))
    try:
        yield opened[0], opened[1]
    finally:
        for bus, channels in zip(buses, sites, strict=True):
            await bus.close()
            channels.close()
        plane.close()
        await catalogue.close()


def come(opened: OpenRoom, name: str, *, moderator: bool = False) -> Member:
    badge = Badge.OWNER if moderator else Badge.GUEST
    return opened.room.join(f"guest:{name}", name, 0.0, badge=badge, moderator=moderator)[0]


def texts(opened: OpenRoom) -> list[str]:
    found = opened.room.after(0) or ()
    return [entry.text for entry in found if isinstance(entry, Message)]


async def test_what_is_said_at_one_node_is_heard_at_the_other(tmp_path: Path) -> None:
    async with rooms(tmp_path) as (here, there):
        anna, bert = come(here, "Anna"), come(there, "Bert")
        here.room.say(anna, "hello", "n1", 1.0)
        await until(lambda: texts(there) == ["hello"])
        there.room.say(bert, "hello yourself", "n1", 2.0)
        await until(lambda: texts(here) == ["hello", "hello yourself"])
        # Sent again by way of the other node, as its confirmation was lost: there once.
        again = come(there, "Anna")
        assert there.room.say(again, "hello", "n1", 3.0).repeated


async def test_moderators_of_one_node_are_obeyed_at_the_other(tmp_path: Path) -> None:
    async with rooms(tmp_path) as (here, there):
        anna, owner = come(here, "Anna"), come(there, "Owner", moderator=True)
        both = [come(one, "Both") for one in (here, there)]
        for number, (room, member) in enumerate(zip((here, there), both, strict=True)):
            room.room.say(member, f"both {number}", f"b{number}", 1.0)
        rude = here.room.say(anna, "rude", "n1", 1.0).message
        await until(lambda: len(texts(here)) == len(texts(there)) == 3)
        (found,) = [e for e in there.room.after(0) or () if getattr(e, "text", "") == "rude"]
        there.room.delete(owner, found.id)
        there.room.mute(owner, rude.author, 2.0)
        await until(lambda: here.room.muted_until(anna, 3.0) is not None)
        assert "rude" not in texts(here)
        there.room.unmute(owner, rude.author)
        await until(lambda: here.room.muted_until(anna, 3.0) is None)
        past = await here._chats._catalogue.history.load("demo")
        assert sorted(entry.text for entry in past.messages) == ["", "both 0", "both 1"]
        there.room.clear(owner)
        await until(lambda: texts(here) == [])


async def test_what_could_not_be_written_down_is_heard_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rooms(tmp_path) as (here, there):
        history = here._chats._catalogue.history
        anna, owner = come(here, "Anna"), come(there, "Owner", moderator=True)
        save = history.save

        async def half(channel: str, **what: Any) -> dict[int, int]:
            if any(entry.text == "lost" for entry in what["said"]):
                raise ResourceError("the database is away", subject="database")
            return await save(channel, **what)

        monkeypatch.setattr(history, "save", half)
        lost = here.room.say(anna, "lost", "n1", 1.0).message
        there.room.say(owner, "kept", "n2", 2.0)
        for one in (here, there):
            await until(lambda one=one: sorted(texts(one)) == ["kept", "lost"])
        # What is deleted is not taken for what was written down in its place.
        here.room.delete(anna, lost.id)
        await until(lambda: texts(there) == ["kept"])
        assert [entry.text for entry in (await history.load("demo")).messages] == ["kept"]


async def test_chats_of_other_channels_of_that_name_stay_apart(tmp_path: Path) -> None:
    async with rooms(tmp_path, "d" * 16) as (here, there):
        here.room.say(come(here, "Anna"), "hello", "n1", 1.0)
        there.room.say(come(there, "Bert"), "hi", "n1", 1.0)
        for one in (here, there):
            await until(lambda one=one: one.safe() is None)
        await asyncio.sleep(0.05)
        assert (texts(here), texts(there)) == (["hello"], ["hi"])
