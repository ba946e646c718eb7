"""Names of hosts: found, kept, and never waited for twice."""

from __future__ import annotations

import asyncio
import threading

import pytest

from heliograph.dispatcher.monitor import resolver
from heliograph.dispatcher.monitor.resolver import Resolver
from heliograph.model.errors import BusyError, RemoteError


class Names:
    """A name server."""

    def __init__(self, **known: list[str]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()

    def look_up(self, name: str) -> list[str]:
        self.asked.append(name)
        self.answers.wait(60)
        if name not in self.known:
            raise OSError("no such name")
        return list(self.known[name])


async def until_asked(names: Names, count: int) -> None:
    async with asyncio.timeout(30):
        while len(names.asked) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_numeric_address_is_asked_of_nobody() -> None:
    names = Names()
    found = Resolver(names.look_up)
    assert await found.addresses("192.0.2.1") == ["192.0.2.1"]
    assert await found.addresses("[2001:DB8::1]") == ["2001:db8::1"]
    assert not names.asked


async def test_name_is_looked_up_once() -> None:
    names = Names(film=["192.0.2.1", "192.0.2.2"])
    found = Resolver(names.look_up)
    both = await asyncio.gather(found.addresses("film"), found.addresses("film"))
    assert both[0] == both[1] == ["192.0.2.1", "192.0.2.2"]
    assert names.asked == ["film"]


async def test_address_that_works_comes_first_and_one_that_fails_last() -> None:
    found = Resolver(Names(film=["192.0.2.1", "192.0.2.2", "192.0.2.3"]).look_up)
    await found.addresses("film")
    found.works("film", "192.0.2.3")
    found.fails("film", "192.0.2.1")
    assert await found.addresses("film") == ["192.0.2.3", "192.0.2.2", "192.0.2.1"]


async def test_old_addresses_are_used_while_newer_ones_are_looked_for() -> None:
    names = Names(film=["192.0.2.1"])
    found = Resolver(names.look_up, ttl=0.0)
    await found.addresses("film")
    names.known["film"] = ["192.0.2.9"]
    names.answers.clear()
    assert await found.addresses("film") == ["192.0.2.1"]
    names.answers.set()
    async with asyncio.timeout(30):
        while await found.addresses("film") != ["192.0.2.9"]:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_name_server_that_forgets_a_name_changes_nothing() -> None:
    names = Names(film=["192.0.2.1"])
    found = Resolver(names.look_up, ttl=0.0)
    await found.addresses("film")
    del names.known["film"]
    for count in range(2, 5):
        assert await found.addresses("film") == ["192.0.2.1"]
        await until_asked(names, count)
        async with asyncio.timeout(30):
            while found.counters["lookups_failed"] < count - 1:  # noqa: ASYNC110
                await asyncio.sleep(0.002)


async def test_unknown_name_is_an_error() -> None:
    found = Resolver(Names().look_up)
    with pytest.raises(RemoteError, match="not known"):
        await found.addresses("nowhere")
    assert found.counters["lookups_failed"] == 1


async def test_silent_name_server_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "TIMEOUT", 0.05)
    names = Names(film=["192.0.2.1"])
    names.answers.clear()
    found = Resolver(names.look_up)
    with pytest.raises(RemoteError, match="no answer"):
        await found.addresses("film")
    names.answers.set()
    async with asyncio.timeout(30):
        while True:
            try:
                assert await found.addresses("film") == ["192.0.2.1"]
                break
            except RemoteError:
                await asyncio.sleep(0.01)


async def test_lookups_at_a_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MAX_LOOKUPS", 2)
    names = Names(a=["192.0.2.1"], b=["192.0.2.2"])
    names.answers.clear()
    found = Resolver(names.look_up)
    tasks = [asyncio.create_task(found.addresses(name)) for name in "ab"]
    await until_asked(names, 2)
    with pytest.raises(BusyError):
        await found.addresses("c")
    names.answers.set()
    assert await asyncio.gather(*tasks) == [["192.0.2.1"], ["192.0.2.2"]]


async def test_names_of_servers_that_are_gone_are_forgotten() -> None:
    names = Names(a=["192.0.2.1"], b=["192.0.2.2"])
    found = Resolver(names.look_up)
    await found.addresses("a")
    await found.addresses("b")
    found.keep({"b"})
    await found.addresses("a")
    await found.addresses("b")
    assert names.asked == ["a", "b", "a"]
