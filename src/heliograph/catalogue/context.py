"""What all queries need: the database, the clock, and rows turned into values."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from heliograph.catalogue.engine import Database
from heliograph.catalogue.passwords import Passwords
from heliograph.catalogue.recent import Recent
from heliograph.catalogue.tables import AccountRow, ChannelRow
from heliograph.catalogue.throttle import Throttle
from heliograph.catalogue.values import Account, ChannelRecord, Role, ViewAccess
from heliograph.model.media import CHANNEL_NAME


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Context:
    """Shared by the parts of one catalogue."""

    database: Database
    passwords: Passwords = field(default_factory=Passwords)
    throttle: Throttle = field(default_factory=Throttle)
    recent: Recent = field(default_factory=Recent)
    now: Callable[[], datetime] = utc_now
    ticks: Callable[[], float] = time.monotonic
    """Seconds that never go back, for what is slowed."""


def cut(text: str, length: int) -> str:
    """The beginning of a text that others gave, without what no database stores."""
    return text[:length].replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def channel_key(name: str) -> str:
    """What a shown channel name is looked up by; empty where no channel can have it."""
    return name if CHANNEL_NAME.fullmatch(name) else ""


def account_of(row: AccountRow) -> Account:
    return Account(
        row.id,
        row.name,
        row.display_name,
        Role(row.role),
        row.created,
        row.disabled,
        tuple(row.domains.split()),
    )


def channel_of(row: ChannelRow) -> ChannelRecord:
    return ChannelRecord(
        id=row.id,
        name=row.name,
        title=row.title,
        owner=None if row.owner is None else account_of(row.owner),
        private=row.private,
        view_access=ViewAccess(row.view_access),
        options=dict(row.options),
        guests_chat=row.guests_chat,
        slow_mode=row.slow_mode_ms / 1000,
        created=row.created,
        configured=row.configured,
        settings_of=row.settings_of or "",
    )
