"""Brings a database to the tables of this version, and tells whether it is there.

A new database gets its tables as ``tables`` has them, and one of this version is left as it is;
only one of an older version needs Alembic (``steps``), which takes half a second to load.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from heliograph.catalogue.content_tables import METADATA
from heliograph.catalogue.engine import Database
from heliograph.model.errors import ResourceError

#: Alembic's script directory; found by path, so that it works from an installed package.
MIGRATIONS = Path(__file__).parent / "migrations"
#: Any number: what servers that start at once use in PostgreSQL to come one after the other.
_LOCK = 0x48454C494F
#: Where Alembic keeps the revision of a database, as it makes the table itself.
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def head() -> str:
    """The revision of this version's tables: that of the migration with the last file name."""
    return max(path.name[1:5] for path in (MIGRATIONS / "versions").glob("v[0-9]*.py"))


async def upgrade(database: Database, target: str = "head") -> tuple[str | None, str | None]:
    """Bring the database to ``target``; the revisions before and after.

    All steps are one transaction: killed in the middle, nothing happened. ``ResourceError`` where
    the database was made by a newer version.
    """
    async with database.translated(), database.turn():
        if database.path is not None:
            _make_private(database.path)
        if target == "head":
            async with database.engine.connect() as connection:
                found = await connection.run_sync(_revision)
            if found == head():
                return found, found
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
    from heliograph.catalogue import steps

    async with database.translated(), database.engine.connect() as connection:
        return await connection.run_sync(steps.differences, MIGRATIONS)


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
    before = _revision(connection)
    if target == "head" and not _is_versioned(connection):
        _make(connection)
    else:
        from heliograph.catalogue import steps

        steps.run(connection, MIGRATIONS, target)
    _check_references(connection)
    return before, _revision(connection)


def _make(connection: Connection) -> None:
    """All tables at once, in a database that has none of them."""
    METADATA.create_all(connection, checkfirst=False)
    _VERSION.create(connection)
    connection.execute(insert(_VERSION).values(version_num=head()))


def _check_references(connection: Connection) -> None:
    """What foreign keys would have prevented, had they been on."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise ResourceError(
            f"a migration left rows that refer to nothing: {broken[:3]}", subject="database"
        )


def _is_versioned(connection: Connection) -> bool:
    return inspect(connection).has_table(_VERSION.name)


def _revision(connection: Connection) -> str | None:
    if not _is_versioned(connection):
        return None
    return connection.scalar(select(_VERSION.c.version_num))
