"""SQLite: migrations over old data, several processes, files that are none."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.util import CommandError
from sqlalchemy import Connection, text
from tests.unit.catalogue.conftest import GOOD, quick_passwords

from heliograph.catalogue import engine, migrate, steps
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database, parse_url
from heliograph.catalogue.values import Role, ViewAccess
from heliograph.model.errors import (
    BusyError,
    ResourceError,
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


@pytest.fixture
def store(url: str) -> str:
    return url


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


def test_file_that_is_no_database(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(ResourceError):
        asyncio.run(Catalogue.open(url, passwords=quick_passwords()))
    assert path.read_bytes().startswith(b"this is no database")


async def test_only_its_owner_reads_the_secrets_in_it(catalogue: Catalogue, path: Path) -> None:
    await catalogue.channels.create("demo")
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        await Catalogue.open(f"sqlite:///{tmp_path}/file/x.db", passwords=quick_passwords())


async def test_database_in_memory_serves_many_tasks() -> None:
    opened = await Catalogue.open("sqlite://", passwords=quick_passwords())
    creating = (opened.channels.create(f"c{n}") for n in range(30))
    listing = (opened.channels.list() for _ in range(30))
    await asyncio.gather(*creating, *listing)
    assert len(await opened.channels.list()) == 30
    await opened.close()


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


async def test_single_statements_take_their_turn_and_end_as_transactions_do(
    catalogue: Catalogue, path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalogue.channels.create("demo")
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    other = Database(url)
    names = text("SELECT name FROM channels")
    rename = text("UPDATE channels SET name = 'other'")
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("DELETE FROM channels")
        assert [tuple(row) for row in await other.look(names)] == [("demo",)]
        with pytest.raises(BusyError):
            await other.change(rename)
        holder.execute("ROLLBACK")
    holder.close()
    assert await other.change(rename) == 1
    assert [channel.name for channel in await catalogue.channels.list()] == ["other"]
    with pytest.raises(ResourceError):
        await other.look(text("SELECT 1 FROM nothing"))
    await other.close()
    await other.close()
    assert [tuple(row) for row in await other.look(names)] == [("other",)]
    await other.close()


async def test_queue_of_writers_is_bounded(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_WRITERS", 5)
    outcomes = await asyncio.gather(
        *(catalogue.channels.create(f"c{n}") for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, BusyError) for outcome in outcomes) == catalogue.busy > 0
    await catalogue.channels.create("after")


#: A later migration, of the kind that makes a table anew: SQLite changes no column in place.
REBUILD = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    again = dict(recreate="always", table_kwargs=dict(sqlite_autoincrement=True))
    with op.batch_alter_table("accounts", **again) as batch:
        batch.alter_column("display_name", type_=sa.String(64))
    with op.batch_alter_table("channels", **again) as batch:
        batch.alter_column("title", type_=sa.String(300))
"""


async def test_table_made_anew_keeps_what_refers_to_it(
    url: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(url)
    await migrate.upgrade(database, FIRST)
    with sqlite3.connect(path) as connection:
        connection.executescript(OLD_ROWS)
    connection.close()
    await migrate.upgrade(database)
    before = tables(path)

    known = steps.scripts(migrate.MIGRATIONS)
    later = tmp_path / "later"
    shutil.copytree(known.dir, later)
    text_ = REBUILD.format(head=known.get_current_head())
    await asyncio.to_thread((later / "versions" / "v9999_later.py").write_text, text_)
    monkeypatch.setattr(migrate, "MIGRATIONS", later)
    assert await migrate.upgrade(database) == (known.get_current_head(), "9999")
    after = tables(path)
    assert before.pop("alembic_version") != after.pop("alembic_version")
    assert after == before
    assert before["stream_keys"]
    async with database.write() as session:
        assert (await session.execute(text("PRAGMA foreign_keys"))).scalar() == 1
    await database.close()
