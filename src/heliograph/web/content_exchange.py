"""Many servers, titles and files at once in the REST API: imported, exported, scanned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from heliograph.catalogue.contents import exchange, scanning
from heliograph.catalogue.contents.bulk import MAX_RECORDS
from heliograph.catalogue.contents.fields import Outcome, Record
from heliograph.catalogue.contents.store import ContentStore
from heliograph.model.errors import BusyError
from heliograph.web import content_answers as models
from heliograph.web.access import Administering, Administrator
from heliograph.web.contents import Store
from heliograph.web.errors import answers

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1", tags=["contents"], dependencies=[Administrator])

#: Lines of an export that are sent at a time.
LINES = 500

#: One scan at a time: each may ask a server for a thousand pages.
_scanning = asyncio.Lock()


@router.post(
    "/servers/{name}/scan",
    response_model=models.ScanAnswer,
    responses=answers(400, 401, 403, 404, 413, 502, 503),
)
async def scan_server(
    name: str, asked: models.ScanRequest, store: Store, by: Administering
) -> dict[str, Any]:
    """Look through a directory listing or a playlist of a server, and register what it holds.

    Files are copies of the title that is called as they are; 400 for an address that is not of the
    server's host, unless ``any_host`` is said. Said again, nothing is there twice.
    """
    server = await store.get_server(name)
    host = None if asked.any_host else server.host
    scanning.check_host(asked.url, host)
    if _scanning.locked():
        raise BusyError("another scan is under way", subject="scan", retry_after=10)
    async with _scanning:
        found = await scanning.scan(asked.url, scanning.fetch_page, host=host)
    known = await store.known_titles([one.named.name for one in found.files])
    outcome = Outcome()
    if not asked.dry_run:
        records = scanning.records_of(found.files, server.name, known)
        outcome = await _put(store, exchange.order(records), by, asked.url)
    log.info("server scanned", server=server.name, files=len(found.files), pages=found.pages)
    return {
        **_outcome(outcome),
        "found": [
            {"name": one.named.name, "format": one.named.format, "uri": one.uri, "size": one.size}
            for one in found.files
        ],
        "pages": found.pages,
        "passed": found.passed,
        "failed": [{"place": place, "reason": reason} for place, reason in found.failed],
        "cut": found.cut,
    }


@router.post(
    "/contents/import",
    response_model=models.ImportAnswer,
    responses=answers(400, 401, 403, 413, 503),
)
async def import_contents(
    asked: models.ImportRequest, store: Store, by: Administering
) -> dict[str, Any]:
    """Add or change many rows; what is there under the same name is changed, said twice is once.

    A long file is sent in parts. What cannot be taken is told of, and keeps nothing else out.
    """
    reading = exchange.read(asked.text) if asked.text else exchange.take_objects(asked.records)
    outcome = await _put(store, exchange.order(reading.records), by, asked.source)
    outcome.rejected[:0] = reading.told
    return _outcome(outcome)


async def _put(
    store: ContentStore, records: list[Record], by: Administering, source: str
) -> Outcome:
    """Put any number of records."""
    whole = Outcome()
    for start in range(0, len(records), MAX_RECORDS):
        part = records[start : start + MAX_RECORDS]
        outcome = await store.put(part, by=by.actor, source=source)
        whole.added += outcome.added
        whole.changed += outcome.changed
        whole.unchanged += outcome.unchanged
        whole.rejected += outcome.rejected
    return whole


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "added": outcome.added,
        "changed": outcome.changed,
        "unchanged": outcome.unchanged,
        "rejected": [{"place": place, "reason": reason} for place, reason in outcome.rejected],
    }


@router.get(
    "/contents/export",
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {}, "application/json": {}}, "description": "The file."},
        **answers(401, 403),
    },
)
async def export_contents(
    store: Store, format: Literal["csv", "json"] = "csv"
) -> StreamingResponse:
    """Everything as a file that can be imported."""
    kind = "text/csv; charset=utf-8" if format == "csv" else "application/json"
    headers = {
        "content-disposition": f'attachment; filename="contents.{format}"',
        "cache-control": "no-store",
    }
    return StreamingResponse(_lines(store, format), media_type=kind, headers=headers)


async def _lines(store: ContentStore, format: str) -> AsyncIterator[str]:
    writer = exchange.CsvWriter() if format == "csv" else exchange.JsonWriter()
    lines = [writer.begin()]
    async for record in store.records():
        lines.append(writer.line(record))
        if len(lines) >= LINES:
            yield "".join(lines)
            lines.clear()
    yield "".join((*lines, writer.end()))
