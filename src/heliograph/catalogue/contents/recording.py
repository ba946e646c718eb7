"""Writes down what recorders counted: each record once, and what is missing as such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import (
    ClientUseRow,
    FileUseRow,
    PlayRow,
    RecorderRow,
    ServerUseRow,
    TitleUseRow,
)
from heliograph.catalogue.contents.adding import Adding, Counted, in_turns, times_in
from heliograph.catalogue.contents.batches import (
    DAY,
    REDIRECT,
    Batch,
    hour_of,
    hour_start,
    network_of,
)
from heliograph.catalogue.contents.statistics import DAILY, HOURLY, Play
from heliograph.catalogue.context import Context
from heliograph.model.errors import MalformedError

log = structlog.get_logger(__name__)

#: Characters of a recorder's name.
MAX_RECORDER = 64
#: Rows named in one question: PostgreSQL takes 32 767, SQLite as many.
CHUNK = 1000
#: Plays removed in one transaction, and such transactions of one pruning.
PRUNE_ROWS, PRUNE_ROUNDS = 5000, 40
#: Hours, and days, of counts removed by one pruning, each in a transaction of its own.
PRUNE_SLICES = 200
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(slots=True)
class _Counts:
    """What is to be added to each table; values in the order of its columns, the keys first."""

    titles: list[Counted] = field(default_factory=list)
    """``name``, ``hour``; ``redirects``, ``refusals``, ``plays``, ``seconds``, ``sent_bytes``,
    ``stalls``."""
    files: list[Counted] = field(default_factory=list)
    """``hour``, ``file_id``, ``server_id``, ``name``; ``redirects``."""
    clients: list[Counted] = field(default_factory=list)
    """``network``, ``day``; ``redirects``, ``plays``, ``seconds``, ``sent_bytes``."""
    servers: list[Counted] = field(default_factory=list)
    """``span``, ``start``, ``server_id``, ``unit``; ``redirects``, ``plays``, ``seconds``,
    ``sent_bytes``, ``stalls``."""


class Recording:
    """Writes the statistics; several nodes may do so at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database
        self._time = times_in(self._db)
        self._titles = Adding(self._db, TitleUseRow, ("name", "hour"))
        self._files = Adding(self._db, FileUseRow, ("hour", "file_id", "server_id", "name"))
        self._clients = Adding(self._db, ClientUseRow, ("network", "day"))
        self._servers = Adding(self._db, ServerUseRow, ("span", "start", "server_id", "unit"))

    async def position(self, recorder: str) -> int:
        """Up to which of its records a recorder is counted; 0 for one that is not known."""
        query = select(RecorderRow.batch).where(RecorderRow.id == _checked(recorder))
        async with self._db.read() as session:
            return await session.scalar(query) or 0

    async def store(self, recorder: str, first: int, to: int, batch: Batch) -> None:
        """Count the records ``first`` to ``to`` of a recorder, the latter not with it.

        What is counted already is left alone; those of the records between that are not in the
        batch, and those between the last word and ``first``, are lost.
        """
        if not 0 <= first <= to or batch.records > to - first:
            raise MalformedError("batch of statistics", "its records and their numbers disagree")
        now = self._context.now()
        async with self._db.write() as session:
            row = await session.scalar(
                select(RecorderRow).where(RecorderRow.id == _checked(recorder)).with_for_update()
            )
            if row is None:
                row = RecorderRow(id=recorder, batch=first, seen=now, lost=0)
                session.add(row)
            row.seen = now
            if row.batch >= to:
                return
            if row.batch > first:  # of another cut: nobody knows which of these are counted
                log.error("statistics overlap", recorder=recorder, known=row.batch, first=first)
                batch = Batch()
            row.lost += to - row.batch - batch.records
            row.batch = to
            await session.flush()
            await self._count(session, batch)

    async def _count(self, session: AsyncSession, batch: Batch) -> None:
        counts = _Counts()
        for hour, requests in batch.requests.items():
            at = self._time(hour_start(hour))
            used: Counter[int] = Counter()
            async for some in in_turns(requests.items()):
                for (name, server, file, status), times in some:
                    if status == REDIRECT or server:  # a playlist sends somebody there as well
                        counts.titles.append((name, at, times))
                        counts.files.append((at, file, server, name, times))
                        used[server] += times
                    else:
                        counts.titles.append((name, at, 0, times))
            for start in self._spans(hour_start(hour)):
                counts.servers += [(*start, server, "", times) for server, times in used.items()]
        for day, networks in batch.clients.items():
            at = self._time(hour_start(day * DAY))
            counts.clients += [(network, at, times) for network, times in networks.items()]
        known = await self._plays(session, batch.plays)
        fresh = [play for play in batch.plays.values() if _newer(play, known.get(play.id))]
        for play in fresh:
            self._count_play(play, known.get(play.id), counts)
        await self._titles.add(session, counts.titles)
        await self._files.add(session, counts.files)
        await self._clients.add(session, counts.clients)
        await self._servers.add(session, counts.servers)
        await self._write_plays(session, fresh)

    def _count_play(self, play: Play, known: Play | None, counts: _Counts) -> None:
        """Count what is new of a play: that it began where that was, the rest where it is now."""
        began, now = hour_start(hour_of(play.started)), hour_start(hour_of(play.ended))
        network = network_of(play.client)
        if known is None:
            counts.titles.append((play.name, self._time(began), 0, 0, 1))
            if network:
                counts.clients.append((network, self._time(_day(began)), 0, 1))
            counts.servers += [(*start, 0, play.unit, 0, 1) for start in self._spans(began)]
        seconds = (play.ended - (known.ended if known else play.started)).total_seconds()
        sent = max(0, play.sent_bytes - (known.sent_bytes if known else 0))
        stalls = max(0, play.stalls - (known.stalls if known else 0))
        counts.titles.append((play.name, self._time(now), 0, 0, 0, seconds, sent, stalls))
        if network:
            counts.clients.append((network, self._time(_day(now)), 0, 0, seconds, sent))
        for start in self._spans(now):
            counts.servers.append((*start, 0, play.unit, 0, 0, seconds, sent, stalls))

    def _spans(self, hour: datetime) -> tuple[tuple[int, str], ...]:
        """The rows that a server's use in an hour is counted in: the hour's and its day's."""
        return (HOURLY, self._time(hour)), (DAILY, self._time(_day(hour)))

    async def _plays(self, session: AsyncSession, ids: Iterable[str]) -> dict[str, Play]:
        found: dict[str, Play] = {}
        wanted = iter(sorted(ids))
        while some := [*islice(wanted, CHUNK)]:
            for row in await session.scalars(select(PlayRow).where(PlayRow.id.in_(some))):
                found[row.id] = _play(row)
        return found

    async def _write_plays(self, session: AsyncSession, plays: Sequence[Play]) -> None:
        if not plays:
            return
        table: Any = PlayRow.__table__
        statement = self._db.insert(table)
        changed = {name: statement.excluded[name] for name in ("ended", "sent_bytes", "stalls")}
        await session.execute(
            statement.on_conflict_do_update(index_elements=["id"], set_=changed),
            [
                {name: getattr(play, name) for name in table.columns.keys()}  # noqa: SIM118
                for play in sorted(plays, key=lambda play: play.id)
            ],
        )

    async def prune(self, *, plays: timedelta, uses: timedelta) -> int:
        """Remove single plays, and counts, that are older; how many plays went."""
        now = self._context.now()
        edge = now - uses
        await self._prune(TitleUseRow.hour, edge, _HOUR)
        await self._prune(FileUseRow.hour, edge, _HOUR)
        await self._prune(ClientUseRow.day, edge, _DAY)
        for span in (HOURLY, DAILY):  # a day is there with all its hours, or not at all
            # Of both as much time in one run, so that a day is not without its hours for long.
            await self._prune(ServerUseRow.start, _day(edge), _DAY, ServerUseRow.span == span)
        async with self._db.write() as session:
            await session.execute(delete(RecorderRow).where(RecorderRow.seen < edge))
        gone = 0
        for _ in range(PRUNE_ROUNDS):
            old = select(PlayRow.id).where(PlayRow.ended < now - plays).limit(PRUNE_ROWS)
            async with self._db.write() as session:
                ids = [*await session.scalars(old)]
                await session.execute(delete(PlayRow).where(PlayRow.id.in_(ids)))
            gone += len(ids)
            if len(ids) < PRUNE_ROWS:
                break
        return gone

    async def _prune(
        self,
        column: Any,  # noqa: ANN401 - a mapped column
        edge: datetime,
        slice: timedelta,
        *within: ColumnElement[bool],
    ) -> None:
        oldest = select(column).where(column < edge, *within).order_by(column).limit(1)
        for _ in range(PRUNE_SLICES):
            async with self._db.write() as session:
                first = await session.scalar(oldest)
                if first is None:
                    return
                until = min(edge, (_day(first) if slice == _DAY else first) + slice)
                await session.execute(delete(column.class_).where(column < until, *within))


def _newer(play: Play, known: Play | None) -> bool:
    return known is None or (
        play.ended >= known.ended
        and (play.ended, play.sent_bytes, play.stalls)
        != (known.ended, known.sent_bytes, known.stalls)
    )


def _day(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _play(row: PlayRow) -> Play:
    return Play(
        row.id,
        row.name,
        row.unit,
        row.client,
        row.way,
        row.started,
        row.ended,
        row.sent_bytes,
        row.stalls,
    )


def _checked(recorder: str) -> str:
    if not (0 < len(recorder) <= MAX_RECORDER and recorder.isascii() and recorder.isprintable()):
        raise MalformedError("recorder", f"its name must have 1 to {MAX_RECORDER} characters")
    return recorder
