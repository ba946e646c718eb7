"""What was asked for and played, in the REST API: as JSON, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from heliograph.catalogue.contents.exchange import guarded
from heliograph.catalogue.contents.reports import (
    MAX_LINES,
    ClientLine,
    FileLine,
    PeriodLine,
    Report,
    ServerLine,
    Span,
    Step,
    TitleLine,
)
from heliograph.model.errors import BusyError, UnauthorizedError
from heliograph.web.access import Administrator, Asking, Context
from heliograph.web.context import WebContext
from heliograph.web.errors import answers

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])

#: What a report is about where nobody says.
USUAL = timedelta(days=7)
CSV = "text/csv"

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {CSV: {}}, "description": "The report; CSV has a line for each."},
    **answers(400, 401, 403, 503),
}


class Totals(BaseModel):
    """Of everything, lines beyond the limit as well; what a report does not count is left out."""

    redirects: int = Field(
        description="Requests that a dispatcher sent to a server, by a redirect or a playlist."
    )
    refusals: int | None = Field(None, description="Requests that it answered otherwise.")
    plays: int = Field(description="At our own units.")
    seconds: float = Field(description="Played there.")
    sent_bytes: int
    stalls: int | None = Field(None, description="Times that players fell behind, as far as known.")


class Title(Totals):
    name: str = Field(description="Logical id; empty: all those that there are not.")
    title: str = Field(description="For people; empty where it is not known.")


class FileTotals(BaseModel):
    redirects: int = Field(description="Requests that a dispatcher sent there.")


class File(FileTotals):
    id: int = Field(description="Of the file; 0: none, as of a channel.")
    server: str = Field(description="Empty: one of our units, or one that is not known any more.")
    format: str = Field(description="Empty where the file is not known any more.")
    uri: str = Field(description="Likewise.")


class Server(Totals):
    kind: Literal["server", "unit", "units"] = Field(
        description="`units`: redirects to channels, at whichever of our units."
    )
    id: str = Field(description="Of the server, or of the unit's node.")
    name: str = Field(description="Empty where it is not known any more.")


class Client(Totals):
    network: str = Field(description="CIDR: a /24, of IPv6 a /48.")


class Period(Totals):
    start: datetime


class _Span(BaseModel):
    since: datetime = Field(alias="from", description="Counts are of whole hours, or days.")
    until: datetime = Field(alias="to", description="The report ends before.")
    count: int = Field(description="Lines that there would be without a limit.")
    missing: int = Field(description="Records lost, by recorders that were heard of since then.")


class _Answer(_Span):
    totals: Totals


class Titles(_Answer):
    lines: list[Title] = Field(description="The most wanted first.")


class Files(_Span):
    lines: list[File] = Field(description="The most used first.")
    totals: FileTotals


class Servers(_Answer):
    lines: list[Server] = Field(description="The most used first.")


class Clients(_Answer):
    lines: list[Client] = Field(description="The busiest first.")


class Periods(_Answer):
    lines: list[Period] = Field(description="The oldest first; none is left out.")


class PopularTitle(BaseModel):
    name: str
    score: float = Field(description="Uses, each half as much with each half-life since.")


class Popularity(BaseModel):
    half_life_s: float
    titles: list[PopularTitle] = Field(description="The most popular first.")


def _span(
    since: Annotated[
        datetime | None, Query(alias="from", description="With its zone; usually 7 days before.")
    ] = None,
    until: Annotated[
        datetime | None, Query(alias="to", description="The report ends before; usually now.")
    ] = None,
) -> Span:
    end = until or datetime.now(UTC)
    if since is None and end.year > 1970:
        since = end - USUAL
    return Span(since or end, end)


Within: TypeAlias = Annotated[Span, Depends(_span)]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_LINES, description="Lines at most.")]
Format: TypeAlias = Annotated[
    Literal["json", "csv"] | None, Query(description="Else as `Accept` says.")
]
Names: TypeAlias = Annotated[
    list[str] | None,
    Query(alias="name", max_length=100, description="Logical ids; without: of all."),
]


async def _of_asker(
    context: Context, identity: Asking, names: Names = None
) -> Sequence[str] | None:
    """What who asks may know of: administrators of all, owners of their channels."""
    if identity.administrator:
        return names
    if identity.account is None:
        raise UnauthorizedError("sign in, or show the administrator's key, to see reports")
    own = {
        channel.name
        for channel in context.channels
        if _owned(channel.standing, identity.account.id)
    }
    return sorted(own if names is None else own.intersection(names))


Permitted: TypeAlias = Annotated[Sequence[str] | None, Depends(_of_asker)]


@router.get("/titles", response_model=Titles, responses=_ANSWERS)
async def get_titles(
    request: Request,
    context: Context,
    span: Within,
    names: Permitted,
    limit: Limit = 100,
    format: Format = None,
) -> Response:
    """Titles and channels by what was asked for and played; owners see their own channels."""
    report = await context.catalogue.reports.titles(span, limit=limit, names=names)
    return answer(request, "titles", report, TitleLine, format)


@router.get("/files", response_model=Files, responses=_ANSWERS, dependencies=[Administrator])
async def get_files(
    request: Request,
    context: Context,
    span: Within,
    name: Annotated[str, Query(min_length=1, max_length=128, description="Logical id.")],
    limit: Limit = 100,
    format: Format = None,
) -> Response:
    """Copies of one title by redirects; of a channel, the servers that it was sent to."""
    report = await context.catalogue.reports.files(span, name, limit=limit)
    return answer(request, "files", report, FileLine, format)


@router.get("/servers", response_model=Servers, responses=_ANSWERS, dependencies=[Administrator])
async def get_servers(
    request: Request, context: Context, span: Within, limit: Limit = 100, format: Format = None
) -> Response:
    """Servers by redirects, and our own units by plays."""
    report = await context.catalogue.reports.servers(span, limit=limit)
    units = _unit_names(context)
    return answer(
        request,
        "servers",
        report,
        ServerLine,
        format,
        lambda row: row | {"name": row["name"] or units.get(str(row["id"]), "")},
    )


@router.get("/clients", response_model=Clients, responses=_ANSWERS, dependencies=[Administrator])
async def get_clients(
    request: Request, context: Context, span: Within, limit: Limit = 100, format: Format = None
) -> Response:
    """Networks of clients, by whole days; nothing where no addresses are kept."""
    report = await context.catalogue.reports.clients(span, limit=limit)
    return answer(request, "clients", report, ClientLine, format)


@router.get("/periods", response_model=Periods, responses=_ANSWERS)
async def get_periods(
    request: Request,
    context: Context,
    span: Within,
    names: Permitted,
    step: Annotated[Step, Query(description="Weeks begin on Monday; all is UTC.")] = Step.DAY,
    format: Format = None,
) -> Response:
    """Each hour, day or week, those without any use as well; owners see their own channels."""
    report = await context.catalogue.reports.periods(span, step, names=names)
    return answer(request, "periods", report, PeriodLine, format)


@router.get(
    "/popularity",
    response_model=Popularity,
    responses=answers(400, 401, 403, 503),
    dependencies=[Administrator],
)
async def get_popularity(context: Context, limit: Limit = 100) -> Popularity:
    """Titles and channels by popularity, which fades with time."""
    if context.ranks is None:
        raise BusyError("another node of the cluster knows the statistics", subject="statistics")
    found = await context.ranks.current()
    now = datetime.now(UTC).timestamp()
    titles = [
        PopularTitle(name=one.name, score=round(one.score, 6)) for one in found.top(limit, now)
    ]
    return Popularity(half_life_s=context.ranks.half_life, titles=titles)


def answer(
    request: Request,
    name: str,
    report: Report[Any],
    kind: type[Any],
    format: str | None,
    dress: Any = None,  # noqa: ANN401 - what a row becomes
) -> Response:
    """A report as JSON, or as CSV where that is asked for."""
    rows = [asdict(line) for line in report.lines]
    if dress is not None:
        rows = [dress(row) for row in rows]
    if format == "csv" or (format is None and _prefers_csv(request.headers.get("accept", ""))):
        columns = [field.name for field in fields(kind)]
        since, until = report.span.since, report.span.until - timedelta(microseconds=1)
        file = f"{name}-{since:%Y%m%d}-{until:%Y%m%d}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{file}"', **_FRESH}
        return Response(to_csv(columns, rows), media_type=CSV, headers=headers)
    return JSONResponse(
        {
            "from": report.span.since.isoformat(),
            "to": report.span.until.isoformat(),
            "lines": [_plain(row) for row in rows],
            "totals": report.totals,
            "count": report.count,
            "missing": report.missing,
        },
        headers=_FRESH,
    )


_FRESH = {"Cache-Control": "no-store", "Vary": "Accept"}


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with a head (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    # Names are what strangers asked for.
    return guarded(value) if isinstance(value, str) else value


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _prefers_csv(accept: str) -> bool:
    """Whether CSV stands in ``Accept``, and JSON does not."""
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return CSV in types and "application/json" not in types


def _unit_names(context: WebContext) -> dict[str, str]:
    """What nodes call themselves, by their ids."""
    if context.cluster is None:
        return {}
    found = {context.cluster.node: context.name}  # alone it announces nothing
    return found | {node: name for node, name in context.cluster.bus.present("node")}


def _owned(standing: Any, account: int) -> bool:  # noqa: ANN401 - None where there is none
    record = None if standing is None else standing.record
    return record is not None and record.owner is not None and record.owner.id == account
