"""The migrations of older databases, by Alembic: loaded only where there is one."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from heliograph.catalogue.content_tables import METADATA
from heliograph.model.errors import ResourceError


def scripts(directory: Path) -> ScriptDirectory:
    """The migrations in a script directory of Alembic's."""
    config = Config()
    config.set_main_option("script_location", str(directory))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def run(connection: Connection, directory: Path, target: str) -> None:
    """Bring a database to the revision ``target``, inside of the transaction that there is.

    ``ResourceError`` where the database was made by a newer version.
    """
    known = scripts(directory)

    def steps(revision: object, _context: MigrationContext) -> object:
        return known._upgrade_revs(target, revision)  # type: ignore[arg-type]

    with EnvironmentContext(Config(), known, fn=steps) as environment:
        # Without the metadata of ``tables``: its rule for names would be applied to the whole names
        # that migrations give, and make ``ck_accounts_ck_accounts_role``.
        environment.configure(connection=connection, transactional_ddl=True, render_as_batch=True)
        try:
            with environment.begin_transaction():
                environment.run_migrations()
        except CommandError as error:
            raise ResourceError(
                f"the database has tables of another version of this program: {error}",
                subject="database",
            ) from error


def differences(connection: Connection, directory: Path) -> list[str]:
    """What a database has otherwise than ``tables`` says; empty where they agree."""
    from alembic.autogenerate import compare_metadata  # takes a while to load

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    head = scripts(directory).get_current_head()
    found = [str(item) for item in compare_metadata(context, METADATA)]
    if context.get_current_revision() != head:
        found.insert(0, f"revision is {context.get_current_revision()}, not {head}")
    return found
