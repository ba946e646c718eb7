"""What a dispatcher loads: everything, and afterwards what changed, over each kind of database."""

from __future__ import annotations

import asyncio
import random

import pytest
from sqlalchemy import text
from tests.unit.catalogue.conftest import quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents import loading, revision
from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.catalogue.contents.store import ContentStore
from heliograph.catalogue.contents.values import Contents, Network
from heliograph.model.errors import HelioError


@pytest.fixture
def store_of(catalogue: Catalogue) -> ContentStore:
    return catalogue.contents


def records(titles: int, copies: int = 2) -> list[Record]:
    found = [Record(Kind.CLASS, {"code": code}) for code in ("a", "b")]
    found += [
        Record(Kind.SERVER, {"name": f"s{number}", "host": f"s{number}.example"})
        for number in range(3)
    ]
    for number in range(titles):
        said = {"name": f"t{number}", "classes": ("b", "a"), "regions": ("x",)}
        found.append(Record(Kind.TITLE, said))
    for number in range(titles):
        for copy in range(copies):
            at = f"s{(number + copy) % 3}"
            uri = f"http://{at}.example/t{number}.mp4"
            said = {"title": f"t{number}", "server": at, "format": "mp4", "uri": uri}
            found.append(Record(Kind.FILE, said))
    return found


async def test_an_empty_database_has_nothing(store_of: ContentStore) -> None:
    assert await store_of.version() == 0
    assert await store_of.load() == Contents(0)


async def test_all_is_loaded_over_pages(
    store_of: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PAGE", 7)
    await store_of.put(records(30))
    await store_of.put_network({"cidr": "192.0.2.0/24", "region": "x"})
    found = await store_of.load()
    assert found.version == await store_of.version()
    assert [one.name for one in found.titles] == [f"t{number}" for number in range(30)]
    assert {(one.classes, one.regions) for one in found.titles} == {(("a", "b"), ("x",))}
    assert found.titles[4] == await store_of.get_title("t4")
    assert list(found.servers) == await store_of.list_servers()
    assert [file for file, _, _ in await store_of.list_files()] == list(found.files)
    assert found.networks == (Network("192.0.2.0/24", "x"),)
    assert await store_of.load(found) is found


async def test_what_changed_is_put_in_its_place(
    store_of: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many changes of all kinds: who follows them has what who reads everything has."""
    monkeypatch.setattr(loading, "PAGE", 5)
    await store_of.put(records(20))
    known = await store_of.load()
    dice = random.Random(5)
    number = 100

    async def one_change() -> None:
        nonlocal number
        number += 1
        name = f"t{dice.randrange(20)}"
        change = dice.choice(
            (
                lambda: store_of.add_title({"name": f"n{number}"}),
                lambda: store_of.change_title(name, {"title": f"{number}"}),
                lambda: store_of.change_title(name, {"regions": [f"r{number}"]}),
                lambda: store_of.remove_title(name),
                lambda: store_of.add_file(
                    {"title": name, "server": "s1", "format": "hls", "uri": f"http://s1/{number}"}
                ),
                lambda: store_of.change_file(dice.randrange(1, 60), {"size": number}),
                lambda: store_of.remove_file(dice.randrange(1, 60)),
                lambda: store_of.change_server("s2", {"weight": float(number)}),
                lambda: store_of.put_network({"cidr": f"10.0.{number % 9}.0/24", "region": name}),
                lambda: store_of.remove_network(f"10.0.{number % 9}.0/24"),
            )
        )
        try:
            await change()
        except HelioError:  # what it was about is gone already
            return

    for _ in range(25):
        for _ in range(dice.randrange(6)):
            await one_change()
        known = await store_of.load(known)
        assert known == await store_of.load()
    names = [one.name for one in known.titles]
    await store_of.put([Record(Kind.TITLE, {"name": name, "title": "all"}) for name in names])
    known = await store_of.load(known)
    assert {one.title for one in known.titles} == {"all"}
    assert known == await store_of.load()
    await store_of.remove_server("s0", with_files=True)
    known = await store_of.load(known)
    assert known == await store_of.load()
    assert [one.name for one in known.servers] == ["s1", "s2"]


async def test_only_what_changed_is_read(
    store_of: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_of.put(records(20))
    known = await store_of.load()
    await store_of.change_title("t3", {"title": "new"})
    after = await store_of.load(known)
    same = [one is two for one, two in zip(known.titles, after.titles, strict=True)]
    assert same.count(False) == 1
    assert after.files is known.files
    assert after.networks is known.networks


async def test_who_missed_too_many_removals_reads_everything(
    store_of: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revision, "MAX_REMOVALS", 3)
    await store_of.put(records(20))
    known = await store_of.load()
    for number in range(5):
        await store_of.remove_title(f"t{number}")
    assert (await store_of.load(known)) == await store_of.load()
    known = await store_of.load()
    await store_of.remove_title("t9")
    assert (await store_of.load(known)) == await store_of.load()


async def test_contents_of_a_newer_version_than_there_is_are_not_gone_on_with(
    store_of: ContentStore,
) -> None:
    await store_of.put(records(2))
    whole = await store_of.load()
    assert await store_of.load(Contents(10**6, titles=whole.titles[:1])) == whole


async def test_one_state_is_loaded_while_others_write(
    store_of: ContentStore, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file without its title, whatever is removed in between."""
    monkeypatch.setattr(loading, "PAGE", 5)
    await store_of.put(records(60))
    writer = await Catalogue.open(store, passwords=quick_passwords())
    going = True

    async def remove() -> None:
        for number in range(40):
            await writer.contents.remove_title(f"t{number}")

    task = asyncio.create_task(remove())
    known = await store_of.load()
    while going:
        going = not task.done()
        whole, known = await store_of.load(), await store_of.load(known)
        for one in (whole, known):
            ids = {title.id for title in one.titles}
            assert {file.title for file in one.files} <= ids
            assert len(one.files) == 2 * len(ids)
    await task
    assert len((await store_of.load(known)).titles) == 20
    await writer.close()


async def test_versions_of_many_writers_leave_none_out(store_of: ContentStore, store: str) -> None:
    others = [await Catalogue.open(store, passwords=quick_passwords()) for _ in range(3)]
    known = await store_of.load()

    async def write(number: int, one: Catalogue) -> None:
        for count in range(8):
            await one.contents.add_title({"name": f"w{number}-{count}"})

    task = asyncio.gather(*(write(number, one) for number, one in enumerate(others)))
    while not task.done():
        known = await store_of.load(known)
        await asyncio.sleep(0)
    await task
    known = await store_of.load(known)
    assert known == await store_of.load()
    assert len(known.titles) == 24
    assert len({one.revision for one in known.titles}) == 24
    async with store_of._db.read() as session:
        counted = (await session.execute(text("SELECT count(*) FROM content_version"))).scalar()
    assert counted == 1
    for one in others:
        await one.close()
