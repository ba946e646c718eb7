"""Statistics in the database: each record once, and reports that agree with a naive count."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from tests.unit.catalogue.conftest import Clock
from tests.unit.dispatcher.traffic import START, counted, decisions, play

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.content_tables import ServerUseRow
from heliograph.catalogue.contents.batches import Addresses, Batch, hour_of
from heliograph.catalogue.contents.reports import Span, Step, period_of, periods
from heliograph.catalogue.contents.statistics import DAILY, HOURLY, Decision, Play
from heliograph.model.errors import MalformedError

WHOLE = Span(START - timedelta(days=1), START + timedelta(days=4))


def batch_of(some: list[Decision], plays: list[Play] | None = None) -> Batch:
    batch = Batch()
    batch.count(some, Addresses.NETWORK)
    batch.add_plays(plays or [])
    batch.records += len(plays or [])
    return batch


async def store(catalogue: Catalogue, batch: Batch, recorder: str = "one") -> None:
    """As the next of a recorder."""
    known = await catalogue.recording.position(recorder)
    await catalogue.recording.store(recorder, known, known + batch.records, batch)


async def test_reports_agree_with_an_independent_count(catalogue: Catalogue) -> None:
    some = decisions(3000)
    rng = random.Random(5)
    at = 0
    while at < len(some):  # by two recorders, in batches of any size
        size = rng.randint(1, 700)
        await store(catalogue, batch_of(some[at : at + size]), rng.choice(("one", "two")))
        at += size
    wanted = counted(some)
    titles = await catalogue.reports.titles(WHOLE)
    got: Counter[tuple[str, str]] = Counter()
    for line in titles.lines:
        got["title", line.name] += line.redirects
        got["refused", line.name] += line.refusals
    servers = await catalogue.reports.servers(WHOLE)
    got.update({("server", line.id): line.redirects for line in servers.lines})
    clients = await catalogue.reports.clients(WHOLE)
    got.update({("client", line.network): line.redirects for line in clients.lines})
    assert +got == wanted
    redirects = sum(one.status == 302 for one in some)
    assert {one.totals["redirects"] for one in (titles, servers, clients)} == {redirects}
    assert titles.totals["refusals"] == len(some) - redirects
    order = [line.redirects + line.plays for line in titles.lines]
    assert order == sorted(order, reverse=True)
    for step, name in itertools.product(Step, (None, "title-0")):
        names = None if name is None else [name]
        report = await catalogue.reports.periods(WHOLE, step, names=names)
        by_period = Counter(
            period_of(datetime.fromtimestamp(one.at, UTC), step)
            for one in some
            if one.status == 302 and name in (None, one.name)
        )
        assert {line.start: line.redirects for line in report.lines if line.redirects} == by_period
        assert [line.start for line in report.lines] == periods(WHOLE.hours(), step)
    one_hour = Span(START + timedelta(hours=3, minutes=10), START + timedelta(hours=3, minutes=20))
    few = await catalogue.reports.titles(one_hour, limit=2)
    inside = [one for one in some if 3 <= (one.at - START.timestamp()) / 3600 < 4]
    assert few.totals["redirects"] == sum(one.status == 302 for one in inside)
    assert len(few.lines) == 2
    assert few.count == len({"" if one.status == 404 else one.name for one in inside})
    assert titles.missing == 0


async def test_copies_of_a_title_are_counted_each(catalogue: Catalogue) -> None:
    contents = catalogue.contents
    for name in ("east", "west"):
        await contents.add_server({"name": name, "host": "films.example.org"})
    await contents.add_title({"name": "film"})
    uris = {"east": "https://east.example.org/film.m3u8", "west": "rtsp://west.example.org/film"}
    files = {
        server: await contents.add_file(
            {"title": "film", "server": server, "format": format, "uri": uri}
        )
        for (server, uri), format in zip(uris.items(), ("hls", "rtsp"), strict=True)
    }
    east, west = files["east"], files["west"]
    at = START.timestamp()

    def sent(name: str, server: int, file: int, later: float = 0) -> Decision:
        return Decision(at + later, name, server, file, "hls", "10.0.0.1", 302)

    some = [
        *[sent("film", west.server, west.id, n * 1800) for n in range(6)],  # three hours
        *[sent("film", east.server, east.id)] * 4,
        *[sent("film", east.server, 999)] * 2,  # one that is not there any more
        *[sent("other", east.server, east.id)] * 9,
        *[sent("news", 0, 0)] * 3,
        Decision(at, "film", 0, 0, "", "10.0.0.1", 503),
    ]
    await store(catalogue, batch_of(sorted(some)))
    report = await catalogue.reports.files(WHOLE, "film")
    assert [(one.id, one.server, one.format, one.uri, one.redirects) for one in report.lines] == [
        (west.id, "west", "rtsp", uris["west"], 6),
        (east.id, "east", "hls", uris["east"], 4),
        (999, "east", "", "", 2),
    ]
    assert (report.totals, report.count) == ({"redirects": 12}, 3)
    few = await catalogue.reports.files(WHOLE, "film", limit=1)
    assert ([one.server for one in few.lines], few.count) == (["west"], 3)
    assert few.totals == report.totals
    hour = Span(START + timedelta(hours=1), START + timedelta(hours=2))
    (line,) = (await catalogue.reports.files(hour, "film")).lines
    assert (line.server, line.redirects) == ("west", 2)
    (line,) = (await catalogue.reports.files(WHOLE, "news")).lines
    assert (line.id, line.server, line.redirects) == (0, "", 3)
    assert (await catalogue.reports.files(WHOLE, "nothing")).totals == {"redirects": 0}


async def test_counts_are_what_they_were_whatever_names_look_like(catalogue: Catalogue) -> None:
    names = ["007", "null", "1e3", 'a "quoted" one', "back\\slash", "[1,2]", "Grüße 🎬", "x" * 128]
    large = (1 << 53) + 1  # a number that no float is
    counts = {name: large + index for index, name in enumerate(names)}
    batch = Batch(records=sum(counts.values()))
    batch.requests[hour_of(START)] = Counter(
        {(name, 1, index, 302): counts[name] for index, name in enumerate(names)}
    )
    await store(catalogue, batch)
    report = await catalogue.reports.titles(WHOLE)
    assert {line.name: line.redirects for line in report.lines} == counts
    assert all(type(line.redirects) is int for line in report.lines)
    for index, name in enumerate(names):
        (file,) = (await catalogue.reports.files(WHOLE, name)).lines
        assert (file.id, file.redirects) == (index, counts[name])


async def test_those_who_write_of_the_same_do_not_wait_for_each_other(
    catalogue: Catalogue,
) -> None:
    """Each counts what the other counts, in the opposite order, which in a database of many
    writers ends in a deadlock unless both write in one."""
    requests = [(f"title-{number}", 1, number, 302) for number in range(200)]
    hour = hour_of(START)
    orders = {"one": requests, "two": requests[::-1], "three": requests[100:] + requests[:100]}
    rounds = 20

    async def write(recorder: str, order: list[tuple[str, int, int, int]]) -> None:
        for at in range(0, rounds * len(order), len(order)):
            batch = Batch({hour: Counter(order)}, records=len(order))
            await catalogue.recording.store(recorder, at, at + len(order), batch)

    await asyncio.gather(*(write(*one) for one in orders.items()))
    report = await catalogue.reports.titles(WHOLE)
    assert {line.redirects for line in report.lines} == {rounds * len(orders)}
    assert report.count == len(requests)


async def test_what_comes_again_is_counted_once(catalogue: Catalogue) -> None:
    batch = batch_of(decisions(100))
    for _ in range(3):
        await catalogue.recording.store("one", 0, 100, batch)
    report = await catalogue.reports.titles(WHOLE)
    assert report.totals["redirects"] + report.totals["refusals"] == 100
    assert await catalogue.recording.position("one") == 100
    assert await catalogue.recording.position("two") == 0
    await catalogue.recording.store("one", 100, 130, batch_of(decisions(30)))
    await catalogue.recording.store("one", 0, 100, batch)  # late
    assert await catalogue.recording.position("one") == 130
    assert (await catalogue.reports.titles(WHOLE)).missing == 0


async def test_what_is_missing_is_counted(catalogue: Catalogue, clock: Clock) -> None:
    some = decisions(60)
    span = Span(clock.at - timedelta(hours=1), clock.at + timedelta(hours=1))
    await catalogue.recording.store("one", 0, 25, batch_of(some[:20]))
    await catalogue.recording.store("one", 30, 50, batch_of(some[30:50]))  # 25 to 30 never came
    await catalogue.recording.store("one", 50, 60, Batch())  # the process was killed
    assert (await catalogue.reports.titles(span)).missing == 5 + 5 + 10
    await catalogue.recording.store("two", 7, 9, batch_of(some[:2]))  # begun with another database
    assert (await catalogue.reports.titles(span)).missing == 20
    # Cut otherwise than before: what of it is counted nobody knows, so it counts as missing.
    await catalogue.recording.store("one", 55, 70, batch_of(some[:15]))
    assert (await catalogue.reports.titles(span)).missing == 30
    assert await catalogue.recording.position("one") == 70


async def test_plays_are_counted_once_and_followed(catalogue: Catalogue) -> None:
    await store(catalogue, batch_of([], [play(1, 3500, 60), play(2, 0, 10)]))
    grown = play(1, 3500, 300, stalls=2)
    await store(catalogue, batch_of([], [grown]))
    await store(catalogue, batch_of([], [grown, play(1, 3500, 120)]), "another node")
    report = await catalogue.reports.titles(WHOLE)
    lines = {line.name: line for line in report.lines}
    assert (lines["title-1"].plays, lines["title-1"].seconds) == (1, 300)
    assert (lines["title-1"].sent_bytes, lines["title-1"].stalls) == (300_000, 2)
    assert report.totals["plays"] == 2
    by_hour = await catalogue.reports.periods(WHOLE, Step.HOUR)
    used = {line.start: (line.plays, line.seconds) for line in by_hour.lines if line.seconds}
    assert used == {START: (2, 70.0), START + timedelta(hours=1): (0, 240.0)}
    servers = await catalogue.reports.servers(WHOLE)
    assert [(one.kind, one.id, one.plays, one.seconds) for one in servers.lines] == [
        ("unit", "unit-a", 2, 310.0)
    ]
    clients = await catalogue.reports.clients(WHOLE)
    assert clients.totals == {"redirects": 0, "plays": 2, "seconds": 310.0, "sent_bytes": 310_000}


async def test_many_plays_agree_with_an_independent_count(catalogue: Catalogue) -> None:
    rng = random.Random(11)
    words: list[Play] = []
    for number in range(200):
        after, length = rng.uniform(0, 80_000), rng.uniform(1, 9000)
        cuts = sorted(rng.uniform(0, length) for _ in range(rng.randint(0, 3)))
        words += [play(number, after, cut) for cut in [*cuts, length]]
    rng.shuffle(words)  # nodes and batches come as they come
    last: dict[str, Play] = {}
    for start in range(0, len(words), 60):
        await store(catalogue, batch_of([], words[start : start + 60]))
    for word in words:
        if word.id not in last or word.ended > last[word.id].ended:
            last[word.id] = word
    seconds: dict[str, float] = defaultdict(float)
    for word in last.values():
        seconds[word.name] += (word.ended - word.started).total_seconds()
    report = await catalogue.reports.titles(WHOLE)
    assert {line.name: line.seconds for line in report.lines} == pytest.approx(seconds, abs=0.01)
    assert report.totals["plays"] == 200
    assert report.totals["sent_bytes"] == sum(word.sent_bytes for word in last.values())


async def test_servers_of_any_time_agree_with_a_naive_count(catalogue: Catalogue) -> None:
    rng = random.Random(7)
    some = decisions(2000, hours=90)
    plays = [
        play(number, rng.uniform(0, 80 * 3600), rng.uniform(1, 9000), unit=f"unit-{number % 3}")
        for number in range(300)
    ]
    for start in range(0, len(some), 500):
        await store(catalogue, batch_of(some[start : start + 500]))
    begun = [replace(one, ended=one.started, sent_bytes=0) for one in plays]
    await store(catalogue, batch_of([], begun))
    await store(catalogue, batch_of([], plays), "another node")
    for _ in range(40):
        first = rng.randint(-30, 100)
        since = START + timedelta(hours=first, minutes=rng.randint(0, 59))
        span = Span(since, since + timedelta(hours=rng.choice((1, 7, 23, 24, 25, 48, 71, 120))))
        hours = span.hours()
        wanted: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0, 0])
        for one in some:
            if (
                one.status == 302
                and hours.since <= datetime.fromtimestamp(one.at, UTC) < hours.until
            ):
                wanted[str(one.server)][0] += 1
        for one in plays:
            if hours.since <= one.started < hours.until:
                wanted[one.unit][1] += 1
            if hours.since <= one.ended < hours.until:
                wanted[one.unit][2] += (one.ended - one.started).total_seconds()
                wanted[one.unit][3] += one.sent_bytes
        report = await catalogue.reports.servers(span)
        found = {
            line.id: [line.redirects, line.plays, line.seconds, line.sent_bytes]
            for line in report.lines
        }
        assert found.keys() == wanted.keys()
        for id, figures in wanted.items():
            assert found[id] == pytest.approx(figures, abs=0.01)
        assert report.totals["redirects"] == sum(one[0] for one in wanted.values())


async def test_a_report_of_a_year_reads_days(catalogue: Catalogue) -> None:
    """Of thousands of hours only those at both ends, which are no whole days."""
    span = Span(START - timedelta(days=300, hours=5), START + timedelta(days=60))
    await store(catalogue, batch_of(decisions(500)))
    async with catalogue._context.database.write() as session:
        inner = (ServerUseRow.span == 3600, ServerUseRow.start < START + timedelta(days=59))
        await session.execute(update(ServerUseRow).where(*inner).values(redirects=10_000))
    report = await catalogue.reports.servers(span)
    assert report.totals["redirects"] == sum(one.status == 302 for one in decisions(500))


async def test_old_statistics_are_removed(catalogue: Catalogue, clock: Clock) -> None:
    await store(catalogue, batch_of(decisions(50), [play(1, 0, 10), play(2, 86_400 * 3, 10)]))
    clock.at = START + timedelta(days=3, hours=1)
    gone = await catalogue.recording.prune(plays=timedelta(days=2), uses=timedelta(days=2))
    assert gone == 1
    report = await catalogue.reports.titles(WHOLE)
    later = [one for one in decisions(50) if one.at >= (START + timedelta(hours=25)).timestamp()]
    assert report.totals["redirects"] == sum(one.status == 302 for one in later)
    assert report.totals["plays"] == 1
    # Of servers a day is there as a whole.
    servers = await catalogue.reports.servers(WHOLE)
    kept = [one for one in decisions(50) if one.at >= (START + timedelta(hours=12)).timestamp()]
    assert servers.totals["redirects"] == sum(one.status == 302 for one in kept)
    by_hours = Span(START - timedelta(hours=23), START + timedelta(hours=74))
    assert (await catalogue.reports.servers(by_hours)).totals == servers.totals


async def test_uses_are_told_by_title_and_hour(catalogue: Catalogue) -> None:
    some = decisions(200, hours=2)
    await store(catalogue, batch_of(some, [play(1, 0, 10)]))
    found = {
        (name, hour): uses
        async for name, hour, uses in catalogue.reports.uses(START + timedelta(hours=1))
    }
    late = [one for one in some if one.at >= START.timestamp() + 3600 and one.status == 302]
    assert {name: uses for (name, _), uses in found.items()} == Counter(one.name for one in late)


async def test_time_without_any_use_has_no_lines_and_no_sums(catalogue: Catalogue) -> None:
    await store(catalogue, batch_of(decisions(20)))
    before = Span(START - timedelta(days=9), START - timedelta(days=8))
    reports = catalogue.reports
    for report in (await reports.titles(before), await reports.clients(before)):
        assert (report.lines, report.count, set(report.totals.values())) == ([], 0, {0})
    servers = await reports.servers(before)
    assert (servers.lines, servers.count, set(servers.totals.values())) == ([], 0, {0})


async def test_times_that_make_no_report_are_refused(catalogue: Catalogue) -> None:
    naive = datetime(2026, 1, 1)
    for since, until in ((START, START), (START, START - timedelta(1)), (naive, naive)):
        with pytest.raises(MalformedError):
            Span(since, until)
    for far in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        with pytest.raises(MalformedError):
            Span(far, far + timedelta(hours=1))
    with pytest.raises(MalformedError):
        await catalogue.reports.periods(Span(START - timedelta(days=3000), START), Step.HOUR)
    with pytest.raises(MalformedError):
        await catalogue.recording.store("one", 0, 3, batch_of(decisions(5)))
    with pytest.raises(MalformedError):
        await catalogue.recording.position("")


def test_weeks_begin_on_monday() -> None:
    assert period_of(START, Step.WEEK) == datetime(2026, 2, 23, tzinfo=UTC)
    week = periods(Span(START, START + timedelta(hours=12)), Step.WEEK)
    assert week == [datetime(2026, 2, 23, tzinfo=UTC)]
    day = Span(START, START + timedelta(hours=12)).days()
    assert day == Span(START.replace(hour=0), START.replace(hour=0) + timedelta(days=1))


async def test_many_old_counts_are_removed_piece_by_piece(
    catalogue: Catalogue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.catalogue.contents.recording.PRUNE_SLICES", 1)
    some = [Decision(START.timestamp() + 3600 * at, "film", 1, 1, "mp4", "", 302) for at in (0, 1)]
    await store(catalogue, batch_of(some))
    clock.at = START + timedelta(days=9)
    for left in (1, 0):
        await catalogue.recording.prune(plays=timedelta(days=2), uses=timedelta(days=2))
        report = await catalogue.reports.titles(WHOLE)
        assert report.totals["redirects"] == left


async def test_a_day_of_servers_is_removed_with_its_hours(
    catalogue: Catalogue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.catalogue.contents.recording.PRUNE_SLICES", 1)
    some = [
        Decision(START.timestamp() + 3600 * at, "film", 1, 1, "mp4", "", 302)
        for at in (0, 1, 2, 30, 31)
    ]
    for one in some:
        await store(catalogue, batch_of([one]))
    clock.at = START + timedelta(days=9)
    for _ in range(2):
        await catalogue.recording.prune(plays=timedelta(days=2), uses=timedelta(days=2))
        async with catalogue.recording._db.read() as session:
            by_span = {
                span: int(count or 0)
                for span, count in await session.execute(
                    select(ServerUseRow.span, func.sum(ServerUseRow.redirects)).group_by(
                        ServerUseRow.span
                    )
                )
            }
        assert by_span.get(HOURLY, 0) == by_span.get(DAILY, 0)
    assert not by_span


async def test_who_is_given_a_playlist_is_counted_as_sent_there(catalogue: Catalogue) -> None:
    given = Decision(START.timestamp() + 60, "film", 3, 7, "hls", "198.51.100.1", 200)
    await store(catalogue, batch_of([given]))
    titles = await catalogue.reports.titles(WHOLE)
    assert (titles.totals["redirects"], titles.totals["refusals"]) == (1, 0)
    assert (await catalogue.reports.clients(WHOLE)).totals["redirects"] == 1
