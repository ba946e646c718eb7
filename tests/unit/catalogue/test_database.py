"""The database itself: migrations, several processes, many tasks at once."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from pathlib import Path

import pytest
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable
from tests.unit.catalogue.conftest import GOOD, quick_passwords

from heliograph.catalogue import engine, migrate
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database, parse_url
from heliograph.catalogue.tables import Base
from heliograph.catalogue.values import Role, ViewAccess
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    ResourceError,
    SettingsError,
)

FIRST = "0001"
#: Rows as the first revision had them.
OLD_ROWS = """
INSERT INTO accounts VALUES (7, 'anna', 'Anna Ö', 'hash', 'broadcaster',
    '2025-01-02 03:04:05', NULL);
INSERT INTO channels (id, name, folded_name, title, owner_id, private, view_access, options,
    created, tokens_from)
  VALUES (3, 'Studio', 'studio', 'Title', 7, 1, 'invited', '{"max_readers": 3}',
    '2025-01-02 03:04:05', '2025-01-02 03:04:05');
INSERT INTO stream_keys VALUES (9, 3, 'abc', 'wxyz', 'desk', '2025-01-02 03:04:05', NULL, NULL);
INSERT INTO login_sessions VALUES (4, 'tok', 7, '2025-01-02 03:04:05', '2099-01-01 00:00:00',
    '2025-01-02 03:04:05', '192.0.2.1', 'Browser');
INSERT INTO audit_log VALUES (1, '2025-01-02 03:04:05', 'anna', 'x', 'y', '', '{}');
"""


def tables(path: Path) -> dict[str, list[tuple]]:
    with sqlite3.connect(path) as connection:
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    connection.close()
    return found


@pytest.fixture
def path(url: str) -> Path:
    return Path(parse_url(url).database or "")


async def test_models_and_migrations_agree(catalogue: Catalogue) -> None:
    assert await catalogue.check() == []


async def test_a_difference_is_told(catalogue: Catalogue, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE accounts ADD COLUMN surplus TEXT")
        connection.execute("DROP INDEX ix_audit_log_actor")
    connection.close()
    assert len(await catalogue.check()) == 2


async def test_data_of_the_first_revision_stays(url: str, path: Path) -> None:
    database = Database(url)
    assert await migrate.upgrade(database, FIRST) == (None, FIRST)
    await database.close()
    with sqlite3.connect(path) as connection:
        connection.executescript(OLD_ROWS)
    connection.close()
    opened = await Catalogue.open(url, passwords=quick_passwords())
    channel = await opened.channels.get("Studio")
    assert channel.owner is not None
    assert (channel.owner.name, channel.owner.role) == ("anna", Role.BROADCASTER)
    assert channel.owner.created.isoformat() == "2025-01-02T03:04:05+00:00"
    assert (channel.private, channel.view_access) == (True, ViewAccess.INVITED)
    assert channel.options == {"max_readers": 3}
    assert (channel.guests_chat, channel.slow_mode) == (True, 0)
    assert [key.label for key in await opened.stream_keys.list("Studio")] == ["desk"]
    assert len(await opened.sessions.list("anna")) == 1
    assert len(await opened.audit.read()) == 1
    assert await opened.check() == []
    await opened.close()


async def test_second_start_changes_nothing(catalogue: Catalogue, url: str, path: Path) -> None:
    await catalogue.accounts.create("anna", GOOD)
    before = tables(path)
    again = await Catalogue.open(url, passwords=quick_passwords())
    await again.close()
    assert tables(path) == before


async def test_step_that_fails_leaves_the_database_as_it_was(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(url)
    await migrate.upgrade(database, FIRST)
    before = tables(path)

    def fail(connection: Connection) -> None:
        raise CommandError("no")

    monkeypatch.setattr(migrate, "_check_references", fail)
    with pytest.raises(CommandError):
        await migrate.upgrade(database)
    assert tables(path) == before
    monkeypatch.undo()
    await migrate.upgrade(database)
    assert "chat_messages" in tables(path)
    await database.close()


async def test_database_of_a_newer_version_is_refused(url: str, path: Path) -> None:
    database = Database(url)
    await migrate.upgrade(database)
    await database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ResourceError, match="another version"):
        await Catalogue.open(url, passwords=quick_passwords())


async def test_two_that_start_at_once(url: str) -> None:
    opened = await asyncio.gather(
        *(Catalogue.open(url, passwords=quick_passwords()) for _ in range(4))
    )
    assert len({frozenset(one.permits.keys) for one in opened}) == 1
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
        for script in reversed(list(migrate.scripts().walk_revisions())):
            script.module.upgrade()
    ddl = out.getvalue()
    assert ddl.count("CREATE TABLE") == len(Base.metadata.tables)
    assert "BIGSERIAL" in ddl
    assert "TIMESTAMP WITH TIME ZONE" in ddl


@pytest.mark.parametrize("bad", ["", "nonsense", "mysql://x/y", "sqlite+pysqlite:///x"])
def test_addresses_that_are_none(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"database\.url"):
        Database(bad)


def test_file_that_is_no_database(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(ResourceError):
        asyncio.run(Catalogue.open(url, passwords=quick_passwords()))
    assert path.read_bytes().startswith(b"this is no database")


async def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        await Catalogue.open(f"sqlite:///{tmp_path}/file/x.db", passwords=quick_passwords())


async def test_database_in_memory_serves_many_tasks() -> None:
    opened = await Catalogue.open("sqlite://", passwords=quick_passwords())
    await asyncio.gather(*(opened.channels.create(f"c{n}") for n in range(30)))
    assert len(await opened.channels.list()) == 30
    await opened.close()


async def test_many_tasks_at_once(catalogue: Catalogue) -> None:
    """Half of them want what somebody else has: each name is given once, and nothing else fails."""

    async def one(number: int) -> str:
        try:
            owner = f"u{number // 2}"
            await catalogue.accounts.create(owner, GOOD, Role.BROADCASTER)
            await catalogue.channels.create(f"c{number // 2}", owner=owner)
            made = await catalogue.stream_keys.create(f"c{number // 2}")
            await catalogue.stream_keys.verify(f"c{number // 2}", made.key)
            return "made"
        except ConflictError:
            return "taken"
        except HelioError as error:
            return repr(error)

    outcomes = await asyncio.gather(*(one(number) for number in range(60)))
    assert sorted(outcomes) == ["made"] * 30 + ["taken"] * 30
    assert len(await catalogue.channels.list()) == 30
    assert catalogue.busy == 0


async def test_readers_do_not_wait_for_a_writer(catalogue: Catalogue, url: str) -> None:
    await catalogue.channels.create("demo")
    other = Database(url)
    async with other.write() as session:
        await session.execute(text("DELETE FROM channels"))
        channel = await asyncio.wait_for(catalogue.channels.get("demo"), 2)
        assert channel.name == "demo"
    assert await catalogue.channels.list() == []
    await other.close()


async def test_writer_waits_for_another_process_and_not_for_ever(
    catalogue: Catalogue, path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(catalogue.channels.create("patient"))
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    holder.execute("COMMIT")
    assert (await waiting).name == "patient"

    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    impatient = Database(url)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError):
        async with impatient.write() as session:
            await session.execute(text("SELECT 1"))
    assert impatient.busy == 1
    holder.execute("ROLLBACK")
    holder.close()
    async with impatient.write() as session:
        await session.execute(text("DELETE FROM channels"))
    await impatient.close()


async def test_queue_of_writers_is_bounded(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_WRITERS", 5)
    outcomes = await asyncio.gather(
        *(catalogue.channels.create(f"c{n}") for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, BusyError) for outcome in outcomes) == catalogue.busy > 0
    await catalogue.channels.create("after")


async def test_cancelled_writer_leaves_no_trace_and_no_lock(catalogue: Catalogue) -> None:
    for steps in range(40):
        task = asyncio.create_task(catalogue.channels.create(f"c{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    created = await catalogue.audit.read(action="channel.create", limit=500)
    names = {channel.name for channel in await catalogue.channels.list()}
    assert names == {line.subject for line in created}
    await asyncio.wait_for(catalogue.channels.create("after"), 5)
