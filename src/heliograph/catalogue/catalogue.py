"""The catalogue: one object that holds the database and answers in frozen values."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from heliograph.catalogue import migrate
from heliograph.catalogue.accounts import Accounts
from heliograph.catalogue.audit import Audit
from heliograph.catalogue.channels import Channels, StreamKeys
from heliograph.catalogue.contents.recording import Recording
from heliograph.catalogue.contents.reports import Reports
from heliograph.catalogue.contents.store import ContentStore
from heliograph.catalogue.context import Context, utc_now
from heliograph.catalogue.desired import Desired
from heliograph.catalogue.engine import Database
from heliograph.catalogue.history import History
from heliograph.catalogue.instance import instance_of
from heliograph.catalogue.joins import JoinTokens
from heliograph.catalogue.leases import Leases
from heliograph.catalogue.passwords import Passwords
from heliograph.catalogue.permits import Permits
from heliograph.catalogue.sessions import Sessions
from heliograph.catalogue.throttle import Throttle
from heliograph.catalogue.volumes import Volumes
from heliograph.model.nodes import shared_id

log = structlog.get_logger(__name__)


class Catalogue:
    """Opened with ``Catalogue.open``; every method of its parts raises only ``HelioError``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.accounts = Accounts(context)
        self.sessions = Sessions(context, self.accounts)
        self.channels = Channels(context)
        self.stream_keys = StreamKeys(context)
        self.permits = Permits(context)
        self.history = History(context)
        self.audit = Audit(context)
        self.join_tokens = JoinTokens(context)
        self.leases = Leases(context)
        self.desired = Desired(context)
        self.contents = ContentStore(context)
        self.recording = Recording(context)
        self.reports = Reports(context)
        self.volumes = Volumes(context)
        self.instance = ""
        """Which database this is: the same for all who share it, another for every other one."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
        now: Callable[[], datetime] = utc_now,
        ticks: Callable[[], float] = time.monotonic,
    ) -> Catalogue:
        """Open the database at ``url`` and bring its tables to this version.

        ``sqlite:///PATH``, ``sqlite://`` (in memory) or ``postgresql://…``. ``SettingsError`` for
        an address that is none, ``ResourceError`` where the database cannot be used.
        """
        database = Database(url)
        context = Context(
            database, passwords or Passwords(), throttle or Throttle(), now=now, ticks=ticks
        )
        catalogue = cls(context)
        try:
            before, after = await migrate.upgrade(database)
            if before != after:
                log.info("database brought up to date", before=before, after=after)
            await catalogue.permits.load()
            catalogue.instance = await instance_of(context)
        except BaseException:
            await catalogue.close()
            raise
        return catalogue

    @property
    def home(self) -> str:
        """Id of the database where several nodes may share it; empty: it is one node's own."""
        return "" if self._context.database.is_sqlite else shared_id(self.instance)

    @property
    def throttle(self) -> Throttle:
        """Slows guesses; its counters are for the metrics."""
        return self._context.throttle

    @property
    def busy(self) -> int:
        """Transactions refused because the database was busy for too long."""
        return self._context.database.busy

    async def check(self) -> list[str]:
        """What the database has otherwise than this version wants; empty where they agree."""
        return await migrate.differences(self._context.database)

    async def housekeeping(self) -> None:
        """Remove what has expired. To be called at the start and every hour or so."""
        await self.sessions.prune()
        await self.permits.prune()
        await self.join_tokens.prune()
        await self.audit.prune()
        await self.contents.thin()

    async def close(self) -> None:
        """Close connections and threads."""
        self._context.passwords.close()
        await self._context.database.close()
