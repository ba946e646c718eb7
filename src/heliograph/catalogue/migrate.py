"""Brings a database to the tables of this version, and tells whether it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from heliograph.catalogue.content_tables import METADATA
from heliograph.catalogue.engine import Database
from heliograph.model.errors import ResourceError

#: Alembic's script directory; found by path, so that it works from an installed package.
MIGRATIONS = Path(__file__).parent / "migrations"
#: Any number: what servers that start at once use in PostgreSQL to come one after the other.
_LOCK = 0x48454C494F


def scripts() -> ScriptDirectory:
    """The migrations in this package."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


async def upgrade(database: Database, target: str = "head") -> tuple[str | None, str | None]:
    """Bring the database to ``target``; the revisions before and after.

    All steps are one transaction: killed in the middle, nothing happened. ``ResourceError`` where
    the database was made by a newer version.
    """
    async with database.translated(), database.turn():
        if database.path is not None:
            _make_private(database.path)
        async with database.unhurried() as connection:
            # A table rebuilt by a migration is dropped in between, and with foreign keys on that
            # would delete what refers to its rows.
            await _foreign_keys(connection, "OFF")
            try:
                async with connection.begin():
                    return await connection.run_sync(_upgrade, target)
            finally:
                await _foreign_keys(connection, "ON")


async def differences(database: Database) -> list[str]:
    """What the database has otherwise than ``tables`` says; empty where they agree."""
    async with database.translated(), database.engine.connect() as connection:
        return await connection.run_sync(_differences)


def _make_private(path: Path) -> None:
    """Make the file, if it is not there, so that only its owner can read the secrets in it.

    SQLite gives its log and its index the same rights.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


async def _foreign_keys(connection: AsyncConnection, state: str) -> None:
    """Only outside of transactions can this be changed, and everything else here is inside one."""
    if connection.dialect.name == "sqlite":
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        await driver.execute(f"PRAGMA foreign_keys = {state}")


def _upgrade(connection: Connection, target: str) -> tuple[str | None, str | None]:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    directory = scripts()
    before = _revision(connection)

    def steps(revision: object, _context: MigrationContext) -> object:
        return directory._upgrade_revs(target, revision)  # type: ignore[arg-type]

    with EnvironmentContext(Config(), directory, fn=steps) as environment:
        environment.configure(
            connection=connection,
            target_metadata=METADATA,
            transactional_ddl=True,
            render_as_batch=True,
        )
        try:
            with environment.begin_transaction():
                environment.run_migrations()
        except CommandError as error:
            raise ResourceError(
                f"the database has tables of another version of this program: {error}",
                subject="database",
            ) from error
    _check_references(connection)
    return before, _revision(connection)


def _check_references(connection: Connection) -> None:
    """What foreign keys would have prevented, had they been on."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise ResourceError(
            f"a migration left rows that refer to nothing: {broken[:3]}", subject="database"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _differences(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata  # takes a while to load

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    head = scripts().get_current_head()
    found = [str(item) for item in compare_metadata(context, METADATA)]
    if context.get_current_revision() != head:
        found.insert(0, f"revision is {context.get_current_revision()}, not {head}")
    return found
