"""The database, of whatever kind: its tables, many tasks at once."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable
from tests.unit.catalogue.conftest import GOOD, quick_passwords

from heliograph.catalogue import migrate, steps
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.content_tables import FileUseRow, PlayRow, ServerUseRow
from heliograph.catalogue.engine import Database
from heliograph.catalogue.tables import Base
from heliograph.catalogue.values import Role
from heliograph.model.errors import (
    ConflictError,
    HelioError,
    SettingsError,
)

#: The first migration: what begins with it is brought up to date by all others.
FIRST = "0001"
#: All that PostgreSQL knows of its tables, a line each.
TOLD = """
SELECT c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
       || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0
 UNION SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
 UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
 UNION SELECT sequencename || ' ' || data_type || ' ' || increment_by
  FROM pg_sequences WHERE schemaname = 'public'
"""


async def told(database: Database) -> list[str]:
    """What a database says of its tables, whatever the order of columns."""
    async with database.read() as session:
        if not database.is_sqlite:
            return sorted((await session.scalars(text(TOLD))).all())
        lines = []
        statement = text("SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        for table, sql in await session.execute(statement):
            parts = re.split(r",\s*(?![^(]*\))", " ".join(sql.split()).partition("(")[2])
            lines += [f"{table} {part.strip(' )')}" for part in [sql.partition("(")[0], *parts]]
        return sorted(" ".join(line.replace('"', "").split()) for line in lines)


async def test_models_and_migrations_agree(empty: str) -> None:
    database = Database(empty)
    assert (await migrate.upgrade(database, FIRST))[1] == FIRST
    assert await migrate.differences(database) != []
    assert await migrate.upgrade(database) == (FIRST, migrate.head())
    assert await migrate.differences(database) == []
    await database.close()


async def test_a_new_database_is_what_the_migrations_would_have_made(
    empty: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    new, old = Database(empty), Database(f"sqlite:///{tmp_path / 'old.db'}")
    if not new.is_sqlite:
        server = request.getfixturevalue("postgresql")
        old = Database(server.url(server.create()))
    assert await migrate.upgrade(new) == (None, migrate.head())
    await migrate.upgrade(old, FIRST)
    await migrate.upgrade(old)
    assert await told(new) == await told(old)
    assert len(await told(new)) > 100
    assert await migrate.differences(new) == []
    for table in Base.metadata.sorted_tables:  # no migration has put rows in
        async with old.read() as session:
            assert (await session.execute(select(table))).all() == []
    await new.close()
    await old.close()


async def test_what_servers_were_used_for_is_found_in_older_statistics(empty: str) -> None:
    database = Database(empty)
    await migrate.upgrade(database, "0010")
    hour = datetime(2026, 3, 1, 23, tzinfo=UTC)
    redirects = [(hour, 7, 3, "film"), (hour, 8, 3, "other"), (hour + timedelta(1), 0, 0, "demo")]
    began = hour + timedelta(minutes=30)
    async with database.write() as session:
        for at, file, server, name in redirects:
            row = {"hour": at, "file_id": file, "server_id": server, "name": name, "redirects": 5}
            await session.execute(insert(FileUseRow).values(row))
        play = {"id": "a", "name": "demo", "unit": "u", "client": "", "way": "hls", "stalls": 2}
        play |= {"started": began, "ended": began + timedelta(hours=1), "sent_bytes": 9}
        await session.execute(insert(PlayRow).values(play))
    await migrate.upgrade(database)
    async with database.read() as session:
        found = sorted(await session.execute(select(*ServerUseRow.__table__.columns)))
    day, length = hour.replace(hour=0), timedelta(days=1)
    assert [(*row[:6], round(row[6], 3), *row[7:]) for row in found] == [
        (3600, hour, 0, "u", 0, 1, 0.0, 0, 0),
        (3600, hour, 3, "", 10, 0, 0.0, 0, 0),
        (3600, hour + timedelta(hours=1), 0, "u", 0, 0, 3600.0, 9, 2),
        (3600, hour + length, 0, "", 5, 0, 0.0, 0, 0),
        (86400, day, 0, "u", 0, 1, 0.0, 0, 0),
        (86400, day, 3, "", 10, 0, 0.0, 0, 0),
        (86400, day + length, 0, "", 5, 0, 0.0, 0, 0),
        (86400, day + length, 0, "u", 0, 0, 3600.0, 9, 2),
    ]
    await database.close()


def test_the_last_migration_is_the_one_that_alembic_ends_with() -> None:
    assert migrate.head() == steps.scripts(migrate.MIGRATIONS).get_current_head()


async def test_alembic_is_loaded_for_old_databases_only(tmp_path: Path) -> None:
    """It takes longer to load than the rest of the catalogue."""
    program = (
        "import asyncio, sys\n"
        "from heliograph.catalogue.catalogue import Catalogue\n"
        "async def start():\n"
        "    await (await Catalogue.open(sys.argv[1])).close()\n"
        "asyncio.run(start())\n"
        "asyncio.run(start())\n"
        "print('alembic' in sys.modules)\n"
    )
    url = f"sqlite:///{tmp_path / 'new.db'}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, url), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().splitlines()[-1] == "False"


async def test_each_database_has_a_name_that_stays(
    catalogue: Catalogue, store: str, tmp_path: Path
) -> None:
    again = await Catalogue.open(store, passwords=quick_passwords())
    other = await Catalogue.open(f"sqlite:///{tmp_path}/other.db", passwords=quick_passwords())
    assert again.instance == catalogue.instance
    assert other.instance not in ("", catalogue.instance)
    await again.close()
    await other.close()


async def test_several_that_start_at_once(empty: str) -> None:
    opened = await asyncio.gather(
        *(Catalogue.open(empty, passwords=quick_passwords()) for _ in range(4))
    )
    assert len({frozenset(one.permits.keys) for one in opened}) == 1
    assert all(len(one.permits.keys) == 1 for one in opened)
    assert len({one.instance for one in opened}) == 1
    allowed = await asyncio.gather(*(one.accounts.allow_first(f"{one}") for one in opened))
    assert allowed == [True] * 4
    for one in opened:
        await one.close()


@pytest.mark.parametrize("dialect", [postgresql.dialect(), sqlite.dialect()])
def test_tables_are_told_in_each_dialect(dialect: object) -> None:
    for table in Base.metadata.sorted_tables:
        ddl = str(CreateTable(table).compile(dialect=dialect))
        assert "CONSTRAINT" in ddl
        for constraint in table.constraints:
            assert constraint.name, table
        for index in table.indexes:
            assert index.name, table


def test_migrations_are_told_in_postgresql() -> None:
    out = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out}
    )
    from alembic.operations import Operations

    with Operations.context(context):
        for script in reversed(list(steps.scripts(migrate.MIGRATIONS).walk_revisions())):
            script.module.upgrade()
    ddl = out.getvalue()
    assert ddl.count("CREATE TABLE") == len(Base.metadata.tables)
    assert "BIGSERIAL" in ddl
    assert "TIMESTAMP WITH TIME ZONE" in ddl


@pytest.mark.parametrize("bad", ["", "nonsense", "mysql://x/y", "sqlite+pysqlite:///x"])
def test_addresses_that_are_none(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"database\.url"):
        Database(bad)


async def test_many_tasks_at_once(catalogue: Catalogue) -> None:
    """Half of them want what somebody else has: each name is given once, and nothing else fails."""

    async def one(number: int) -> str:
        try:
            owner = f"u{number // 2}"
            await catalogue.accounts.create(owner, GOOD, Role.BROADCASTER)
            await catalogue.channels.create(f"c{number // 2}", owner=owner)
            made = await catalogue.stream_keys.create(f"c{number // 2}")
            standings = await catalogue.channels.standings(f"c{number // 2}")
            assert standings[f"c{number // 2}"].key_id(made.key) == made.record.id
            return "made"
        except ConflictError:
            return "taken"
        except HelioError as error:
            return repr(error)

    outcomes = await asyncio.gather(*(one(number) for number in range(60)))
    assert sorted(outcomes) == ["made"] * 30 + ["taken"] * 30
    assert len(await catalogue.channels.list()) == 30
    assert catalogue.busy == 0


async def test_cancelled_writer_leaves_no_trace_and_no_lock(catalogue: Catalogue) -> None:
    for count in range(40):
        task = asyncio.create_task(catalogue.channels.create(f"c{count}"))
        for _ in range(count):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    created = await catalogue.audit.read(action="channel.create", limit=500)
    names = {channel.name for channel in await catalogue.channels.list()}
    assert names == {line.subject for line in created}
    await asyncio.wait_for(catalogue.channels.create("after"), 5)
