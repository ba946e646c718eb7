"""The audit log: read in pages, bounded by age and number."""

from __future__ import annotations

from datetime import timedelta

from tests.unit.catalogue.conftest import Clock

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import SYSTEM, Actor


async def test_line_says_who_what_when_and_from_where(catalogue: Catalogue, clock: Clock) -> None:
    await catalogue.audit.append(Actor("anna", "192.0.2.1"), "stream.start", "demo", bitrate=5)
    line = (await catalogue.audit.read())[0]
    assert (line.actor, line.action, line.subject, line.address, line.detail, line.at) == (
        "anna",
        "stream.start",
        "demo",
        "192.0.2.1",
        {"bitrate": 5},
        clock.at,
    )


async def test_log_is_read_in_pages_and_by_subject(catalogue: Catalogue) -> None:
    for number in range(10):
        await catalogue.audit.append(SYSTEM, f"a{number % 2}.x", f"s{number % 3}")
    seen, before = [], None
    while page := await catalogue.audit.read(before=before, limit=3):
        seen += [line.id for line in page]
        before = page[-1].id
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 10
    assert len(await catalogue.audit.read(subject="s0")) == 4
    assert len(await catalogue.audit.read(action="a1.")) == 5
    assert len(await catalogue.audit.read(action="a_.")) == 0
    assert len(await catalogue.audit.read(actor="system", action="a1.x")) == 5


async def test_log_is_bounded_by_age_and_by_number(catalogue: Catalogue, clock: Clock) -> None:
    for day in range(10):
        await catalogue.audit.append(SYSTEM, "x", str(day))
        clock.move(days=1)
    assert await catalogue.audit.prune(keep=timedelta(days=6, hours=1)) == 4
    assert await catalogue.audit.prune(rows=2) == 4
    assert [line.subject for line in await catalogue.audit.read()] == ["9", "8"]
    assert await catalogue.audit.prune() == 0


async def test_whatever_stands_in_it_can_be_stored(catalogue: Catalogue) -> None:
    actor = Actor("x" * 500 + "\0", "\ud800" * 100)
    await catalogue.audit.append(actor, "x", "y\0" * 500, text="z" * 9000, none=None)
    line = (await catalogue.audit.read())[0]
    assert len(line.actor) == 64
    assert len(line.subject) <= 128
    assert line.detail == {"text": "z" * 200}
