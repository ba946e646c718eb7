"""The tables. Every constraint has a name, so that a migration can speak of it.

A change here needs a migration in ``migrations/versions``; a test compares the two. Those of
servers, titles and files are in ``content_tables``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from heliograph.catalogue.values import Role, ViewAccess
from heliograph.model.nodes import MAX_DOMAIN, MAX_DOMAINS

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: SQLite counts rows by itself only where the key is called INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


#: Groups that one channel can keep: a hundred units full of them.
MOST_KEPT = 5000


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times, in UTC: refuses naive ones, and gives back aware ones where SQLite forgot."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """The column holds one of the values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


#: SQLite gives the number of a deleted last row away again; a new account must not be taken for it.
#: A migration that makes such a table anew has to say so again (``table_kwargs``).
NEVER_REUSED = {"sqlite_autoincrement": True}


class AccountRow(Base):
    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("name"), one_of("role", Role), NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32))
    display_name: Mapped[str] = mapped_column(String(32))
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime]
    disabled: Mapped[datetime | None]
    domains: Mapped[str] = mapped_column(
        String(MAX_DOMAINS * (MAX_DOMAIN + 1)), default="", server_default=text("''")
    )
    """With a space between each two."""


class SessionRow(Base):
    __tablename__ = "login_sessions"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        Index(None, "account_id"),
        Index(None, "expires"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    created: Mapped[datetime]
    expires: Mapped[datetime]
    last_seen: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(200))

    account: Mapped[AccountRow] = relationship(lazy="joined", innerjoin=True)


class ChannelRow(Base):
    __tablename__ = "channels"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("folded_name"),
        Index(None, "owner_id"),
        one_of("view_access", ViewAccess),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    folded_name: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    # A channel goes before its owner does: nobody loses one by a click on somebody's account.
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    private: Mapped[bool]
    view_access: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    tokens_from: Mapped[datetime]
    """View tokens issued before are good no more."""
    guests_chat: Mapped[bool] = mapped_column(server_default=true())
    slow_mode_ms: Mapped[int] = mapped_column(server_default=text("0"))
    configured: Mapped[bool] = mapped_column(server_default=false())
    """Made for a channel of the settings."""
    settings_of: Mapped[str | None] = mapped_column(String(16))
    """Id of the node in whose settings it stood last, where several share the database."""

    owner: Mapped[AccountRow | None] = relationship(lazy="joined")


class StreamKeyRow(Base):
    __tablename__ = "stream_keys"
    __table_args__ = (UniqueConstraint("key_hash"), Index(None, "channel_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"))
    key_hash: Mapped[str] = mapped_column(String(64))
    hint: Mapped[str] = mapped_column(String(8))
    label: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
    last_used: Mapped[datetime | None]
    revoked: Mapped[datetime | None]

    channel: Mapped[ChannelRow] = relationship(lazy="joined", innerjoin=True)


class SpentTokenRow(Base):
    """View tokens withdrawn, and single ones used; kept until they would have expired."""

    __tablename__ = "spent_tokens"
    __table_args__ = (Index(None, "expires"),)

    token_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expires: Mapped[datetime]


class SecretRow(Base):
    """Secrets of the instance: keys that sign tokens, the hash of the first key; and its name."""

    __tablename__ = "instance_secrets"
    __table_args__ = (UniqueConstraint("kind", "key_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key_id: Mapped[str] = mapped_column(String(32))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime]
    retired: Mapped[datetime | None]


class JoinTokenRow(Base):
    """Tokens by which nodes join the cluster."""

    __tablename__ = "join_tokens"
    __table_args__ = (UniqueConstraint("token_id"), Index(None, "expires"))

    id: Mapped[int] = mapped_column(primary_key=True)
    token_id: Mapped[str] = mapped_column(String(16))
    verifier: Mapped[bytes] = mapped_column(LargeBinary)
    """Checks requests made with the token, and cannot make any."""
    created: Mapped[datetime]
    expires: Mapped[datetime]
    node: Mapped[str | None] = mapped_column(String(16))
    """Which node it was used by."""


class LeaseRow(Base):
    """Who may act for all, and until when."""

    __tablename__ = "leases"
    __table_args__ = (
        CheckConstraint("epoch >= 1", name="epoch"),
        CheckConstraint("ttl > 0", name="ttl"),
    )

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    epoch: Mapped[int] = mapped_column(BigInteger)
    ttl: Mapped[float] = mapped_column(Float(53))
    """Seconds that it was given for the last time."""
    ends: Mapped[float] = mapped_column(Float(53))
    """Seconds since 1970 by the database's clock: a number, because SQLite has no type for times,
    and the machines that ask must not be tempted to compare it with clocks of their own."""


class DrainedRow(Base):
    """Units that are to be empty."""

    __tablename__ = "drained_units"

    unit: Mapped[str] = mapped_column(String(16), primary_key=True)
    since: Mapped[datetime]
    removed: Mapped[bool] = mapped_column(server_default=false())
    """It is not to be shown either."""


class KeptRow(Base):
    """Groups that channels keep even if they are empty. Names, not references: a manager speaks of
    channels that other nodes keep, too."""

    __tablename__ = "kept_groups"
    __table_args__ = (CheckConstraint(f"kept BETWEEN 2 AND {MOST_KEPT}", name="kept"),)

    channel: Mapped[str] = mapped_column(String(64), primary_key=True)
    kept: Mapped[int]


class ClosedRow(Base):
    """Channels on which nobody may publish and that nobody may watch. Names, as of ``KeptRow``."""

    __tablename__ = "closed_channels"

    channel: Mapped[str] = mapped_column(String(64), primary_key=True)
    since: Mapped[datetime]


class VolumeRow(Base):
    """The newest state of each volume, as storage writes it."""

    __tablename__ = "volumes"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    document: Mapped[str] = mapped_column(Text)
    changed: Mapped[datetime]


class AuditRow(Base):
    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "at"), Index(None, "subject"), Index(None, "actor"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    # Names, not references: the log outlives what it speaks of.
    subject: Mapped[str] = mapped_column(String(128))
    address: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]]


class ChatRow(Base):
    __tablename__ = "chat_messages"
    __table_args__ = (
        UniqueConstraint("channel_id", "seq"),
        UniqueConstraint("channel_id", "author", "nonce"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(BigInteger)
    author: Mapped[str] = mapped_column(String(80))
    name: Mapped[str] = mapped_column(String(32))
    badge: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Text)
    nonce: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    deleted: Mapped[bool]


class ChatMuteRow(Base):
    __tablename__ = "chat_mutes"
    __table_args__ = (UniqueConstraint("channel_id", "author"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"))
    author: Mapped[str] = mapped_column(String(80))
    until: Mapped[datetime | None]
