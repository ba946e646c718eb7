"""The database, of whatever kind: its tables, many tasks at once."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable
from tests.unit.catalogue.conftest import GOOD, quick_passwords

from heliograph.catalogue import migrate
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database
from heliograph.catalogue.tables import Base
from heliograph.catalogue.values import Role
from heliograph.model.errors import (
    ConflictError,
    HelioError,
    SettingsError,
)


async def test_models_and_migrations_agree(catalogue: Catalogue) -> None:
    assert await catalogue.check() == []


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
