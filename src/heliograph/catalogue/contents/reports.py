"""What was asked for and played, by title, file, server, client network and period (M5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import (
    ClientUseRow,
    FileRow,
    FileUseRow,
    RecorderRow,
    ServerRow,
    ServerUseRow,
    TitleRow,
    TitleUseRow,
)
from heliograph.catalogue.contents.statistics import DAILY, HOURLY
from heliograph.catalogue.context import Context, cut
from heliograph.catalogue.tables import ChannelRow
from heliograph.model.errors import MalformedError

#: Lines of one report: what a spreadsheet still opens at once.
MAX_LINES = 10_000
#: Longest time of a report.
MAX_SPAN = timedelta(days=3660)
#: Names that a report can be about, where it is not about all.
MAX_NAMES = 1000

Line = TypeVar("Line")

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_USED = ("redirects", "refusals", "plays", "seconds", "sent_bytes", "stalls")
_PLAYED = ("redirects", "plays", "seconds", "sent_bytes", "stalls")
_SENT = ("redirects",)
_BY_CLIENTS = ("redirects", "plays", "seconds", "sent_bytes")


class Step(StrEnum):
    """How long the periods are."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    """From Monday."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, the latter not with it; ``MalformedError`` where it is none."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or self.until.tzinfo is None:
            raise MalformedError("time of a report", "needs its zone, such as +00:00")
        if not 1970 <= self.since.year <= self.until.year <= 9000:
            raise MalformedError("time of a report", "must be within 1970 to 9000, in order")
        if not timedelta() < self.until - self.since <= MAX_SPAN:
            raise MalformedError("time of a report", f"must be up to {MAX_SPAN.days} days")

    def hours(self) -> Span:
        """With whole hours, as counts have them."""
        return Span(_hour(self.since), _hour(self.until - _TICK) + timedelta(hours=1))

    def days(self) -> Span:
        """With whole days of UTC."""
        hours = self.hours()
        until = hours.until - _TICK
        return Span(_midnight(hours.since), _midnight(until) + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class TitleLine:
    """A title or channel."""

    name: str
    """Logical id."""
    title: str
    """For people; empty where it is not known."""
    redirects: int
    refusals: int
    """Requests that were sent to no server."""
    plays: int
    """At our own units."""
    seconds: float
    """Played there."""
    sent_bytes: int
    stalls: int


@dataclass(frozen=True, slots=True)
class FileLine:
    """A copy of a title, as it was at one server; or a server that a channel was sent to."""

    id: int
    """Of the file; 0: none, as of a channel."""
    server: str
    """Empty: one of our units, or one that is not known any more."""
    format: str
    """Empty where the file is not known any more, as the address is then."""
    uri: str
    redirects: int


@dataclass(frozen=True, slots=True)
class ServerLine:
    """A server, or one of our units."""

    kind: str
    """``server``; ``unit``; ``units``: redirects to channels, at whichever of our units."""
    id: str
    name: str
    """Empty where it is not known, or no more."""
    redirects: int
    plays: int
    seconds: float
    sent_bytes: int
    stalls: int


@dataclass(frozen=True, slots=True)
class ClientLine:
    """A network of clients."""

    network: str
    redirects: int
    plays: int
    seconds: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class PeriodLine:
    """An hour, a day or a week."""

    start: datetime
    redirects: int
    refusals: int
    plays: int
    seconds: float
    sent_bytes: int
    stalls: int


@dataclass(frozen=True, slots=True)
class Report(Generic[Line]):
    """The lines, and what all of them are together, those beyond the limit too."""

    span: Span
    """What it is about: counts are of whole hours or days."""
    lines: Sequence[Line]
    totals: Mapping[str, float]
    """By the names of the lines' members."""
    count: int
    """How many lines there are without a limit."""
    missing: int
    """Decisions and words of plays that were lost, by recorders that were heard of since then."""


class Reports:
    """Answers what was asked for and played."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def titles(
        self, span: Span, *, limit: int = 100, names: Sequence[str] | None = None
    ) -> Report[TitleLine]:
        """Titles and channels, the most wanted first. ``names``: of these alone."""
        span = span.hours()
        within = _within(TitleUseRow.hour, span, TitleUseRow.name, names)
        sums = _sums(TitleUseRow, _USED)
        wanted = func.sum(TitleUseRow.redirects) + func.sum(TitleUseRow.plays)
        query = (
            select(TitleUseRow.name, *sums, *_wholes(sums))
            .where(*within)
            .group_by(TitleUseRow.name)
            .order_by(wanted.desc(), TitleUseRow.name)
            .limit(_bounded(limit))
        )
        async with self._db.read() as session:
            rows, count, totals = _parted([*await session.execute(query)], len(sums))
            shown = await _titles(session, [row[0] for row in rows])
            lines = [
                TitleLine(name, shown.get(name, ""), **_numbers(_USED, used))
                for name, *used in rows
            ]
            missing = await _missing(session, span)
            return Report(span, lines, _numbers(_USED, totals), count, missing)

    async def files(self, span: Span, name: str, *, limit: int = 100) -> Report[FileLine]:
        """Copies of one title or channel, the most used first."""
        span = span.hours()
        key = (FileUseRow.file_id, FileUseRow.server_id)
        sums = _sums(FileUseRow, _SENT)
        query = (
            select(*key, *sums, *_wholes(sums))
            .where(*_within(FileUseRow.hour, span, FileUseRow.name, [name]))
            .group_by(*key)
            .order_by(func.sum(FileUseRow.redirects).desc(), *key)
            .limit(_bounded(limit))
        )
        async with self._db.read() as session:
            found = [*await session.execute(query)]
            count, totals = (found[0][3], found[0][4:]) if found else (0, [0])
            files = await _called(session, FileRow, {file for file, *_ in found})
            servers = await _called(session, ServerRow, {server for _, server, *_ in found})
            missing = await _missing(session, span)
        lines: list[FileLine] = []
        for id, server, redirects, *_ in found:
            file, holder = files.get(id), servers.get(server)
            lines.append(
                FileLine(
                    id,
                    "" if holder is None else holder.name,
                    "" if file is None else file.format,
                    "" if file is None else file.uri,
                    int(redirects),
                )
            )
        return Report(span, lines, _numbers(_SENT, totals), count, missing)

    async def servers(self, span: Span, *, limit: int = 100) -> Report[ServerLine]:
        """Servers by redirects, and our units by plays, the most used first."""
        span = span.hours()
        query = (
            select(ServerUseRow.server_id, ServerUseRow.unit, *_sums(ServerUseRow, _PLAYED))
            .where(_by_days(span))
            .group_by(ServerUseRow.server_id, ServerUseRow.unit)
        )
        lines: list[ServerLine] = []
        async with self._db.read() as session:
            called = await session.execute(select(ServerRow.id, ServerRow.name))
            names: dict[int, str] = {id: name for id, name in called}
            for id, unit, *used in await session.execute(query):
                kind = "server" if id else "unit" if unit else "units"
                name = names.get(id, "")
                lines.append(ServerLine(kind, unit or str(id), name, **_numbers(_PLAYED, used)))
            missing = await _missing(session, span)
        lines.sort(key=lambda line: (-line.redirects - line.plays, line.kind, line.id))
        totals = {name: sum(getattr(line, name) for line in lines) for name in _PLAYED}
        return Report(span, lines[: _bounded(limit)], totals, len(lines), missing)

    async def clients(self, span: Span, *, limit: int = 100) -> Report[ClientLine]:
        """Networks of clients, the busiest first; of whole days."""
        span = span.days()
        within = _within(ClientUseRow.day, span)
        sums = _sums(ClientUseRow, _BY_CLIENTS)
        busy = func.sum(ClientUseRow.redirects) + func.sum(ClientUseRow.plays)
        query = (
            select(ClientUseRow.network, *sums, *_wholes(sums))
            .where(*within)
            .group_by(ClientUseRow.network)
            .order_by(busy.desc(), ClientUseRow.network)
            .limit(_bounded(limit))
        )
        async with self._db.read() as session:
            rows, count, totals = _parted([*await session.execute(query)], len(sums))
            lines = [ClientLine(name, **_numbers(_BY_CLIENTS, used)) for name, *used in rows]
            missing = await _missing(session, span)
            return Report(span, lines, _numbers(_BY_CLIENTS, totals), count, missing)

    async def periods(
        self, span: Span, step: Step = Step.DAY, *, names: Sequence[str] | None = None
    ) -> Report[PeriodLine]:
        """One line for each period, the oldest first, those without any use as well.

        ``names``: of these titles and channels alone. ``MalformedError`` for too many periods.
        """
        span = span.hours()
        starts = periods(span, step)
        query = (
            select(TitleUseRow.hour, *_sums(TitleUseRow, _USED))
            .where(*_within(TitleUseRow.hour, span, TitleUseRow.name, names))
            .group_by(TitleUseRow.hour)
        )
        found = {start: dict.fromkeys(_USED, 0) for start in starts}
        totals = dict.fromkeys(_USED, 0)
        async with self._db.read() as session:
            for hour, *used in await session.execute(query):
                for name, value in _numbers(_USED, used).items():
                    found[period_of(hour, step)][name] += value
                    totals[name] += value
            missing = await _missing(session, span)
        lines = [PeriodLine(start, **figures) for start, figures in found.items()]
        return Report(span, lines, totals, len(lines), missing)

    async def uses(self, since: datetime) -> AsyncIterator[tuple[str, datetime, int]]:
        """How often each title or channel was wanted in each hour, in no order.

        Who was redirected to one of our units plays there as well: the greater of both counts.
        """
        query = select(
            TitleUseRow.name, TitleUseRow.hour, TitleUseRow.redirects, TitleUseRow.plays
        ).where(TitleUseRow.hour >= since, TitleUseRow.redirects + TitleUseRow.plays > 0)
        async with self._db.read() as session:
            async for name, hour, redirects, plays in await session.stream(query):
                yield name, hour, max(redirects, plays)


def period_of(at: datetime, step: Step) -> datetime:
    """When the period began that a time is in."""
    if step is Step.HOUR:
        return _hour(at)
    day = _midnight(at)
    return day if step is Step.DAY else day - timedelta(days=day.weekday())


def periods(span: Span, step: Step) -> list[datetime]:
    """When the periods of a time begin; ``MalformedError`` where they are too many."""
    length = {Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1)}.get(
        step, timedelta(days=7)
    )
    start = period_of(span.since, step)
    count = -(-(span.until - start) // length)
    if count > MAX_LINES:
        raise MalformedError("time of a report", f"has more than {MAX_LINES} periods")
    return [start + index * length for index in range(count)]


def _within(
    column: Any,  # noqa: ANN401 - a mapped column
    span: Span,
    name: Any = None,  # noqa: ANN401
    names: Sequence[str] | None = None,
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [and_(column >= span.since, column < span.until)]
    if names is not None:
        found.append(name.in_([cut(one, 128) for one in names[:MAX_NAMES]]))
    return found


def _by_days(span: Span) -> ColumnElement[bool]:
    """The fewest rows of servers' uses that are a time together: its whole days, and hours before
    and behind these."""
    first = -(-(span.since - _EPOCH) // _DAY) * _DAY + _EPOCH
    last = max(first, _midnight(span.until))
    parts = [(HOURLY, span.since, min(first, span.until)), (DAILY, first, last)]
    if first < span.until:
        parts.append((HOURLY, last, span.until))
    return or_(
        *(
            and_(ServerUseRow.span == length, ServerUseRow.start >= since, ServerUseRow.start < end)
            for length, since, end in parts
            if since < end
        )
    )


def _sums(
    kind: type[TitleUseRow | FileUseRow | ClientUseRow | ServerUseRow], names: Sequence[str]
) -> list[Any]:
    return [func.coalesce(func.sum(getattr(kind, name)), 0) for name in names]


def _wholes(sums: Sequence[Any]) -> list[Any]:
    """How many groups there are, and their sums together: beside each of them, as reading a year
    of counts once more takes as long again."""
    return [func.count().over(), *(func.sum(one).over() for one in sums)]


def _parted(rows: Sequence[Any], sums: int) -> tuple[list[Any], int, Sequence[Any]]:
    """Each group with its sums; how many groups there are; the sums of all."""
    if not rows:
        return [], 0, [0] * sums
    count, *totals = rows[0][1 + sums :]
    return [row[: 1 + sums] for row in rows], count, totals


def _numbers(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Values by name; what a database adds up has types of its own."""
    return {
        name: round(float(value or 0), 3) if name == "seconds" else int(value or 0)
        for name, value in zip(names, values, strict=True)
    }


async def _titles(session: AsyncSession, names: list[str]) -> dict[str, str]:
    """What titles and channels are called."""
    found: dict[str, str] = {}
    kinds: tuple[Any, ...] = (ChannelRow, TitleRow)
    for kind in kinds:
        for start in range(0, len(names), MAX_NAMES):
            query: Select[Any] = select(kind.name, kind.title).where(
                kind.name.in_(names[start : start + MAX_NAMES])
            )
            found.update({name: title for name, title in await session.execute(query)})
    return found


async def _called(session: AsyncSession, kind: Any, ids: set[int]) -> dict[int, Any]:  # noqa: ANN401
    """Rows of a table that are there, by their ids."""
    found: dict[int, Any] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), MAX_NAMES):
        query: Select[Any] = select(kind).where(kind.id.in_(wanted[start : start + MAX_NAMES]))
        found.update({row.id: row for row in await session.scalars(query)})
    return found


async def _missing(session: AsyncSession, span: Span) -> int:
    query = select(func.sum(RecorderRow.lost)).where(RecorderRow.seen >= span.since)
    return int(await session.scalar(query) or 0)


def _bounded(limit: int) -> int:
    return max(1, min(limit, MAX_LINES))


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _midnight(at: datetime) -> datetime:
    return _hour(at).replace(hour=0)
