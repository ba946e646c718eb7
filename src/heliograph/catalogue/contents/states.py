"""What the monitors found: the newest state of each server, and response times, thinned with age.

Response times are kept one by one for an hour, as means of minutes for a day, as means of hours for
ninety days; where there are too many the oldest go on to the next step, or go, before their time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import ResponseRow, ServerRow, ServerStateRow
from heliograph.catalogue.contents.queries import CHUNK, Queries, server_row
from heliograph.catalogue.contents.values import Condition, ProbeKind, ServerState
from heliograph.catalogue.context import cut
from heliograph.model.errors import TooLargeError

#: One measurement: id of the server, kind of probe, seconds since 1970, milliseconds; None: no
#: answer.
Response: TypeAlias = tuple[int, ProbeKind, float, float | None]

#: Measurements of one call: a thousand servers, each with ten probes.
MAX_RESPONSES = 10_000
#: Response times of one answer.
MAX_SPANS = 5000
#: Seconds between two times that a process thins what it wrote.
THIN_EVERY = 60.0
#: A state measured so far in the future is of a wrong clock.
AHEAD = timedelta(minutes=1)
#: Characters of a reason.
MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class Step:
    """How long response times are kept in one form."""

    span: int
    """Seconds that a row stands for; 0: a measurement."""
    keep: timedelta
    most: int
    """Rows of all servers together."""
    next: int | None
    """The span they become; None: they go."""


STEPS = (
    Step(0, timedelta(hours=1), 200_000, 60),
    Step(60, timedelta(days=1), 500_000, 3600),
    Step(3600, timedelta(days=90), 1_000_000, None),
)
#: Rows that become others in one transaction.
AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class ResponseSpan:
    """Response times of one server by one kind of probe, in one span."""

    at: datetime
    """When it begins."""
    span: int
    """Seconds; 0: one measurement."""
    kind: ProbeKind
    asked: int
    answered: int
    ms: float | None
    """Mean of those answered; None: none was."""


class StateQueries(Queries):
    """Reads and writes what monitors found."""

    _thinned = float("-inf")
    """When this process thinned last."""

    async def save_states(
        self, states: Sequence[ServerState], responses: Sequence[Response] = ()
    ) -> None:
        """Write down what was found. A state older than the one that is there changes nothing, and
        servers that are gone are passed over. ``TooLargeError`` above ``MAX_RESPONSES``."""
        if len(responses) > MAX_RESPONSES:
            raise TooLargeError(f"more than {MAX_RESPONSES} response times", subject="responses")
        wanted = sorted({one.server for one in states} | {one[0] for one in responses})
        if not wanted:
            return
        # Before anything is written: whoever asked gives again what was not saved.
        ticks = self._context.ticks()
        if ticks - self._thinned >= THIN_EVERY:
            self._thinned = ticks
            await self.thin()
        async with self._db.write() as session:
            # Held until the end: a server removed meanwhile would refuse all others' rows.
            query = select(ServerRow.id).with_for_update(read=True, key_share=True)
            there: set[int] = set()
            for start in range(0, len(wanted), CHUNK):
                some = wanted[start : start + CHUNK]
                there |= set(await session.scalars(query.where(ServerRow.id.in_(some))))
            newest = {
                one.server: _stored(one)
                for one in sorted(states, key=lambda one: one.measured)
                if one.server in there
            }
            # In one order: two monitors that write at once would wait for each other.
            if rows := [newest[server] for server in sorted(newest)]:
                await session.execute(self._upsert(), rows)
            measured = [
                {
                    "server_id": server,
                    "kind": kind.value,
                    "span": 0,
                    "at": datetime.fromtimestamp(at, UTC),
                    "asked": 1,
                    "answered": int(ms is not None),
                    "ms": ms,
                }
                for server, kind, at, ms in responses
                if server in there
            ]
            if measured:
                await session.execute(insert(ResponseRow), measured)

    def _upsert(self) -> Any:  # noqa: ANN401 - of either dialect
        build = self._db.insert(ServerStateRow)
        columns = ("condition", "response_ms", "since", "measured", "responses", "throughput_bps")
        return build.on_conflict_do_update(
            index_elements=[ServerStateRow.server_id],
            set_={name: build.excluded[name] for name in (*columns, "reason")},
            where=or_(
                ServerStateRow.measured <= build.excluded.measured,
                # Of a clock that was ahead: else nothing newer is taken until then.
                ServerStateRow.measured > self._context.now() + AHEAD,
            ),
        )

    async def load_states(self) -> list[ServerState]:
        """The newest state of each server that was measured."""
        query = select(ServerStateRow).order_by(ServerStateRow.server_id)
        async with self._db.read() as session:
            return [_state(row) for row in await session.scalars(query)]

    async def list_responses(
        self, server: str, seconds: float, *, limit: int = MAX_SPANS
    ) -> list[ResponseSpan]:
        """Response times of a server in the last ``seconds``, the oldest first, the newest
        ``limit`` of them; ``NotFoundError`` without such a server."""
        since = self._context.now() - timedelta(seconds=seconds)
        async with self._db.read() as session:
            row = await server_row(session, server)
            query = (
                select(ResponseRow)
                .where(ResponseRow.server_id == row.id, ResponseRow.at >= since)
                .order_by(ResponseRow.at.desc(), ResponseRow.id.desc())
                .limit(max(1, min(limit, MAX_SPANS)))
            )
            found = [
                ResponseSpan(one.at, one.span, ProbeKind(one.kind), one.asked, one.answered, one.ms)
                for one in await session.scalars(query)
            ]
        return found[::-1]

    async def thin(self) -> int:
        """Put means in place of response times that are old enough; how many rows went."""
        gone = 0
        now = self._context.now()
        for step in STEPS:
            before = await self._before(step, now)
            while True:
                async with self._db.write() as session:
                    await self._db.alone(session, "response_times")
                    some = await self._thin(session, step, before)
                if not some:
                    break
                gone += some
        return gone

    async def _before(self, step: Step, now: datetime) -> datetime:
        """Up to when the rows of a step go on, a border of the next one's spans."""
        before = now - step.keep
        query = (
            select(ResponseRow.at)
            .where(ResponseRow.span == step.span)
            .order_by(ResponseRow.at.desc())
            .offset(step.most)
            .limit(1)
        )
        async with self._db.read() as session:
            surplus = await session.scalar(query)
        if surplus is not None and surplus >= before:
            return _floor(surplus, step.next or 1) + timedelta(seconds=step.next or 1)
        return _floor(before, step.next or 1)

    async def _thin(self, session: AsyncSession, step: Step, before: datetime) -> int:
        """Some servers' rows at a time, each server's as a whole: no span is counted in parts."""
        old = (ResponseRow.span == step.span, ResponseRow.at < before)
        counted = (
            select(ResponseRow.server_id, func.count()).where(*old).group_by(ResponseRow.server_id)
        )
        servers: list[int] = []
        total = 0
        for server, count in await session.execute(counted.order_by(ResponseRow.server_id)):
            if servers and total + count > AT_ONCE:
                break
            servers.append(server)
            total += count
        if not servers:
            return 0
        of_these = (*old, ResponseRow.server_id.in_(servers))
        if step.next is not None:
            columns = (
                ResponseRow.server_id,
                ResponseRow.kind,
                ResponseRow.at,
                ResponseRow.asked,
                ResponseRow.answered,
                ResponseRow.ms,
            )
            rows = (await session.execute(select(*columns).where(*of_these))).all()
            await session.execute(insert(ResponseRow), _means(rows, step.next))
        await session.execute(delete(ResponseRow).where(*of_these))
        return total


def _means(rows: Iterable[Any], span: int) -> list[dict[str, Any]]:
    """Rows of spans ``span`` seconds long in place of shorter ones."""
    found: dict[tuple[int, str, datetime], tuple[int, int, float]] = {}
    for server, kind, at, asked, answered, ms in rows:
        key = server, kind, _floor(at, span)
        had = found.get(key, (0, 0, 0.0))
        found[key] = had[0] + asked, had[1] + answered, had[2] + (ms or 0.0) * answered
    return [
        {
            "server_id": server,
            "kind": kind,
            "span": span,
            "at": at,
            "asked": asked,
            "answered": answered,
            "ms": total / answered if answered else None,
        }
        for (server, kind, at), (asked, answered, total) in found.items()
    ]


def _floor(at: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)


def _stored(state: ServerState) -> dict[str, Any]:
    return {
        "server_id": state.server,
        "condition": state.condition.value,
        "response_ms": state.response_ms,
        "since": state.since,
        "measured": state.measured,
        "responses": {kind.value: ms for kind, ms in state.responses.items()},
        "throughput_bps": state.throughput_bps,
        "reason": cut(state.reason, MAX_REASON),
    }


def _state(row: ServerStateRow) -> ServerState:
    responses: Mapping[str, float] = row.responses
    return ServerState(
        server=row.server_id,
        condition=Condition(row.condition),
        response_ms=row.response_ms,
        since=row.since,
        measured=row.measured,
        responses={ProbeKind(kind): ms for kind, ms in responses.items()},
        throughput_bps=row.throughput_bps,
        reason=row.reason,
    )
