"""Many rows at once, and what monitors write, over each kind of database."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.unit.catalogue.conftest import Clock, quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents import bulk, files, servers, states, titles
from heliograph.catalogue.contents.exchange import CsvWriter, order, read
from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.catalogue.contents.store import ContentStore
from heliograph.catalogue.contents.values import Condition, Format, ProbeKind, ServerState
from heliograph.catalogue.values import Actor
from heliograph.model.errors import BusyError, TooLargeError

EVERYTHING = """\
kind,code,cidr,name,title,uri,server,format,host,probes,level,classes,regions,min_age
level,12,,,,,,,,,,,,12
class,art,,Art,,,,,,,,,,
network,,192.0.2.0/24,,,,,,,,,,,
server,,,one,,,,,one.example,icmp@5;http@0.3:8080/a.mp4,,,,
title,,,film,A Film,,,,,,12,art,north;south,
title,,,other,,,,,,,,,,
file,,,,film,http://one.example/film.mp4,one,mp4,,,,,,
file,,,,other,rtsp://one.example/other,one,rtsp,,,,,,
"""


@pytest.fixture
def store_of(catalogue: Catalogue) -> ContentStore:
    return catalogue.contents


def everything() -> list[Record]:
    reading = read(EVERYTHING)
    assert reading.told == []
    return order(reading.records)


async def test_import_said_twice_is_said_once(
    store_of: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 3)
    first = await store_of.put(everything())
    assert (first.added, first.changed, first.unchanged, first.rejected) == (8, 0, 0, [])
    version = await store_of.version()
    again = await store_of.put(everything())
    assert (again.added, again.changed, again.unchanged, again.rejected) == (0, 0, 8, [])
    assert await store_of.version() == version
    film = await store_of.get_title("film")
    assert (film.title, film.level, film.classes) == ("A Film", "12", ("art",))
    assert film.regions == ("north", "south")
    assert len((await store_of.get_server("one")).probes) == 2


async def test_import_changes_what_it_says_and_nothing_else(store_of: ContentStore) -> None:
    await store_of.put(everything())
    outcome = await store_of.put(
        [
            Record(Kind.TITLE, {"name": "FILM", "regions": ("east",)}),
            Record(Kind.SERVER, {"name": "One", "weight": 2.0}),
            Record(Kind.FILE, {"title": "film", "uri": "http://one.example/film.mp4", "size": 5}),
            Record(Kind.LEVEL, {"code": "12", "min_age": 13}),
        ]
    )
    assert (outcome.added, outcome.changed, outcome.rejected) == (0, 4, [])
    film, one = await store_of.get_title("film"), await store_of.get_server("one")
    assert (film.name, film.title, film.regions, film.classes) == (
        "film",
        "A Film",
        ("east",),
        ("art",),
    )
    assert (one.name, one.weight, one.host) == ("one", 2.0, "one.example")
    assert (await store_of.get_file(1))[0].size == 5


async def test_what_cannot_be_taken_is_told_and_keeps_nothing_out(catalogue: Catalogue) -> None:
    await catalogue.channels.create("Studio")
    store_of = catalogue.contents
    outcome = await store_of.put(
        [
            Record(Kind.SERVER, {"name": "one", "host": "x"}, "1"),
            Record(Kind.SERVER, {"name": "two"}, "2"),
            Record(Kind.SERVER, {"name": "three", "host": "a b"}, "3"),
            Record(Kind.TITLE, {"name": "studio"}, "4"),
            Record(Kind.TITLE, {"name": "film", "level": "none"}, "5"),
            Record(Kind.TITLE, {"name": "film", "classes": ("none",)}, "6"),
            Record(Kind.TITLE, {"name": "film", "title": "Good"}, "7"),
            Record(Kind.FILE, {"title": "none", "uri": "http://x/1"}, "8"),
            Record(Kind.FILE, {"title": "film", "uri": "http://x/2", "server": "none"}, "9"),
            Record(Kind.FILE, {"title": "film", "uri": "http://x/3", "server": "one"}, "10"),
        ]
    )
    assert outcome.added == 1
    assert sorted((int(place) for place, _ in outcome.rejected)) == [2, 3, 4, 7, 8, 9, 10]
    reasons = dict(outcome.rejected)
    assert reasons["4"] == "channel 'studio' exists already"
    assert reasons["10"] == "no title 'film'"


async def test_new_file_without_a_format_has_the_one_its_address_tells(
    store_of: ContentStore,
) -> None:
    file = {"title": "film", "server": "one"}
    outcome = await store_of.put(
        [
            *everything(),
            Record(Kind.FILE, {**file, "uri": "http://x/film/index.m3u8"}, "1"),
            Record(Kind.FILE, {**file, "uri": "http://x/film.mp4", "format": "hls"}, "2"),
            Record(Kind.FILE, {**file, "uri": "http://x/film"}, "3"),
            Record(Kind.FILE, {"title": "film", "uri": "http://x/no-server.mp4"}, "4"),
            # Said of one that is there, it changes nothing that is not said.
            Record(Kind.FILE, {"title": "other", "uri": "rtsp://one.example/other", "size": 9}),
        ]
    )
    assert outcome.rejected == [
        ("3", "'http://x/film' does not tell its format"),
        ("4", "server is missing"),
    ]
    formats = {file.uri: file.format for file, _, _ in await store_of.list_files(limit=100)}
    assert formats["http://x/film/index.m3u8"] is Format.HLS
    assert formats["http://x/film.mp4"] is Format.HLS
    assert formats["rtsp://one.example/other"] is Format.RTSP


async def test_import_is_bounded(store_of: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLargeError):
        await store_of.put([Record(Kind.TITLE, {"name": "x"})] * (bulk.MAX_RECORDS + 1))
    for module, name in ((servers, "MAX_SERVERS"), (titles, "MAX_TITLES"), (files, "MAX_FILES")):
        monkeypatch.setattr(module, name, 1)
    outcome = await store_of.put(
        [Record(Kind.SERVER, {"name": f"s{n}", "host": "x"}) for n in range(3)]
        + [Record(Kind.TITLE, {"name": f"t{n}"}) for n in range(3)]
    )
    assert (outcome.added, len(outcome.rejected)) == (2, 4)
    said = {"title": "t0", "server": "s0", "format": "mp4"}
    outcome = await store_of.put(
        [Record(Kind.FILE, {**said, "uri": f"http://x/{n}"}) for n in range(3)]
    )
    assert (outcome.added, len(outcome.rejected)) == (1, 2)


async def test_import_leaves_one_line_a_transaction_in_the_audit_log(
    store_of: ContentStore, catalogue: Catalogue
) -> None:
    await store_of.put(everything(), by=Actor("anna"), source="all.csv")
    (line,) = [one for one in await catalogue.audit.read() if one.actor == "anna"]
    assert (line.action, line.subject) == ("contents.import", "all.csv")
    assert dict(line.detail) == {"added": 8, "changed": 0}


async def test_everything_is_told_in_an_order_in_which_it_can_be_put(
    store_of: ContentStore,
) -> None:
    await store_of.put(everything())
    told = [record async for record in store_of.records()]
    writer = CsvWriter()
    reading = read("".join((writer.begin(), *map(writer.line, told))))
    assert [record.kind for record in order(told)] == [record.kind for record in told]
    assert (await store_of.put(reading.records)).unchanged == 8


async def test_others_write_during_an_import(catalogue: Catalogue) -> None:
    many = [Record(Kind.TITLE, {"name": f"t{n}"}) for n in range(1000)]
    task = asyncio.create_task(catalogue.contents.put(many))
    made = 0
    while not task.done():
        await catalogue.channels.create(f"c{made}")
        made += 1
    assert (await task).added == 1000
    assert made > 1


# --- what monitors found -------------------------------------------------------------------------


def state(server: int, clock: Clock, **more: object) -> ServerState:
    return ServerState(server, Condition.UP, 3.5, clock.at, clock.at, **more)  # type: ignore[arg-type]


@pytest.fixture
async def two(store_of: ContentStore) -> ContentStore:
    for name in ("one", "two"):
        await store_of.add_server({"name": name, "host": "x"})
    return store_of


async def test_states_are_kept_and_older_ones_change_nothing(
    two: ContentStore, clock: Clock
) -> None:
    version = await two.version()
    first = state(1, clock, responses={ProbeKind.ICMP: 3.5}, throughput_bps=1e9)
    await two.save_states([first, state(2, clock), state(99, clock)])
    assert [one.server for one in await two.load_states()] == [1, 2]
    assert (await two.load_states())[0] == first
    clock.move(seconds=5)
    newer = ServerState(1, Condition.DOWN, None, clock.at, clock.at, reason="x" * 500)
    await two.save_states([newer])
    clock.move(seconds=-3)
    await two.save_states([state(1, clock)])
    found = (await two.load_states())[0]
    assert (found.condition, found.response_ms, len(found.reason)) == (Condition.DOWN, None, 200)
    assert await two.version() == version
    await two.remove_server("one")
    assert [one.server for one in await two.load_states()] == [2]


async def test_a_state_of_a_clock_that_was_ahead_is_replaced(
    two: ContentStore, clock: Clock
) -> None:
    await two.save_states([state(1, clock)])
    clock.move(days=-1)
    await two.save_states([ServerState(1, Condition.DOWN, None, clock.at, clock.at)])
    assert (await two.load_states())[0].condition is Condition.DOWN


async def test_thinning_that_fails_saves_nothing_twice(
    two: ContentStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy() -> int:
        raise BusyError("busy", subject="database")

    monkeypatch.setattr(two, "thin", busy)
    row = (1, ProbeKind.TCP, clock.at.timestamp(), 1.0)
    with pytest.raises(BusyError):
        await two.save_states([], [row])
    await two.save_states([], [row])
    assert len(await two.list_responses("one", 60)) == 1


async def test_response_times_become_means_and_go(two: ContentStore, clock: Clock) -> None:
    start = clock.at.timestamp() // 3600 * 3600
    for second in range(0, 180, 10):
        ms = None if second == 0 else float(second)
        await two.save_states([], [(1, ProbeKind.ICMP, start + second, ms)])
    await two.save_states([], [(2, ProbeKind.TCP, start, 1.0), (99, ProbeKind.TCP, start, 1.0)])
    assert len(await two.list_responses("one", 3600)) == 18
    clock.move(hours=2)
    await two.thin()
    means = await two.list_responses("one", 3 * 3600)
    assert [(one.span, one.asked, one.answered, one.ms) for one in means] == [
        (60, 6, 5, 30.0),
        (60, 6, 6, 85.0),
        (60, 6, 6, 145.0),
    ]
    clock.move(days=2)
    await two.thin()
    (hour,) = await two.list_responses("one", 7 * 86_400)
    assert (hour.span, hour.asked, hour.answered) == (3600, 18, 17)
    assert hour.ms == pytest.approx(sum(range(10, 180, 10)) / 17)
    assert len(await two.list_responses("two", 7 * 86_400)) == 1
    clock.move(days=91)
    await two.thin()
    assert await two.list_responses("one", 200 * 86_400) == []


async def test_response_times_are_bounded(
    two: ContentStore, clock: Clock, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = states.Step(0, timedelta(hours=1), 10, 60)
    monkeypatch.setattr(states, "STEPS", (short, *states.STEPS[1:]))
    begin = clock.at.timestamp() // 60 * 60 - 1800
    await two.save_states(
        [], [(1, ProbeKind.ICMP, begin + second, 1.0) for second in range(0, 1200, 10)]
    )
    await two.thin()
    found = await two.list_responses("one", 3600)
    assert sum(one.asked for one in found) == 120
    assert sum(one.span == 0 for one in found) <= 10
    with pytest.raises(TooLargeError):
        await two.save_states([], [(1, ProbeKind.ICMP, begin, 1.0)] * 10_001)


async def test_monitors_that_write_at_once_do_not_wait_for_each_other_for_ever(
    two: ContentStore, store: str, clock: Clock
) -> None:
    other = await Catalogue.open(store, passwords=quick_passwords(), now=clock.now)
    both = [state(1, clock), state(2, clock)]
    for _ in range(10):
        await asyncio.gather(two.save_states(both), other.contents.save_states(both[::-1]))
    async with two._db.read() as session:
        rows = (await session.execute(text("SELECT count(*) FROM media_server_states"))).scalar()
    assert rows == 2
    await other.close()
