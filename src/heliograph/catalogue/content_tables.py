"""The tables of servers, titles and files, and of how often they were used.

A change here needs a migration, as for ``tables``. What other rows speak of is never numbered
anew. Each row that a dispatcher decides by has a ``revision``: the ``version`` of the contents
with which it was changed, so that who has an older version reads only what came since.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from heliograph.catalogue.contents.checks import (
    MAX_CODE,
    MAX_REGION,
    MAX_SOUGHT,
    MAX_URI,
)
from heliograph.catalogue.contents.values import Condition, Format, ProbeKind
from heliograph.catalogue.tables import NEVER_REUSED, Base, BigId, one_of

#: All tables, those of ``tables`` as well.
METADATA = Base.metadata
#: Names in lower case, in the same order everywhere: a server may sort by a language's rules.
FOLDED = String(64).with_variant(String(64, collation="C"), "postgresql")


class ContentVersionRow(Base):
    """One row: counts the changes of everything that a dispatcher decides by."""

    __tablename__ = "content_version"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
    whole_from: Mapped[int] = mapped_column(BigInteger)
    """What was removed is known of versions from this one on; who has an older one reads all."""
    networks_from: Mapped[int] = mapped_column(BigInteger)
    """With which version a network was changed or removed last."""


class RemovedRow(Base):
    """Servers, titles and files that are gone, so that who knows them learns of it.

    Files that went with their server or title are not told one by one.
    """

    __tablename__ = "content_removals"
    __table_args__ = (
        Index(None, "revision"),
        CheckConstraint("kind IN ('server', 'title', 'file')", name="kind"),
    )

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    row_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger)


class ServerRow(Base):
    __tablename__ = "media_servers"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("folded_name"),
        Index(None, "revision"),
        CheckConstraint("weight > 0", name="weight"),
        CheckConstraint("capacity_bps >= 0", name="capacity_bps"),
        CheckConstraint("max_sessions >= 0", name="max_sessions"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    folded_name: Mapped[str] = mapped_column(FOLDED)
    host: Mapped[str] = mapped_column(String(255))
    make: Mapped[str] = mapped_column(String(64))
    region: Mapped[str] = mapped_column(String(MAX_REGION))
    capacity_bps: Mapped[int] = mapped_column(BigInteger)
    max_sessions: Mapped[int]
    weight: Mapped[float] = mapped_column(Float(53))
    enabled: Mapped[bool]
    drained: Mapped[bool]
    probes: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    sought: Mapped[str] = mapped_column(String(MAX_SOUGHT))
    """What a search looks through, folded."""
    created: Mapped[datetime]
    revision: Mapped[int] = mapped_column(BigInteger)


class ServerStateRow(Base):
    """What the monitors found last. It counts for no version: it changes all the time."""

    __tablename__ = "media_server_states"
    __table_args__ = (one_of("condition", Condition),)

    server_id: Mapped[int] = mapped_column(
        ForeignKey("media_servers.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    condition: Mapped[str] = mapped_column(String(16))
    response_ms: Mapped[float | None] = mapped_column(Float(53))
    since: Mapped[datetime]
    measured: Mapped[datetime]
    responses: Mapped[dict[str, Any]]
    """Milliseconds by kind of probe."""
    throughput_bps: Mapped[float | None] = mapped_column(Float(53))
    reason: Mapped[str] = mapped_column(String(200))


class ResponseRow(Base):
    """Response times, one by one and as means of spans."""

    __tablename__ = "response_times"
    __table_args__ = (
        Index(None, "server_id", "span", "at"),
        Index(None, "span", "at"),
        one_of("kind", ProbeKind),
        CheckConstraint("span IN (0, 60, 3600)", name="span"),
        CheckConstraint("answered BETWEEN 0 AND asked", name="answered"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("media_servers.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(8))
    span: Mapped[int]
    """Seconds that it stands for, from ``at`` on; 0: one measurement."""
    at: Mapped[datetime]
    asked: Mapped[int]
    answered: Mapped[int]
    ms: Mapped[float | None] = mapped_column(Float(53))
    """Mean of those answered; None: none was."""


class TitleRow(Base):
    __tablename__ = "titles"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("folded_name"),
        Index(None, "level_code"),
        Index(None, "revision"),
        CheckConstraint("duration > 0", name="duration"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    folded_name: Mapped[str] = mapped_column(FOLDED)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text)
    duration: Mapped[float | None] = mapped_column(Float(53))
    level_code: Mapped[str | None] = mapped_column(ForeignKey("levels.code", ondelete="RESTRICT"))
    policy: Mapped[str] = mapped_column(String(64))
    published: Mapped[bool]
    sought: Mapped[str] = mapped_column(String(MAX_SOUGHT))
    created: Mapped[datetime]
    revision: Mapped[int] = mapped_column(BigInteger)


class StoredTitleRow(Base):
    """A title that is there because a volume has it."""

    __tablename__ = "stored_titles"
    __table_args__ = (UniqueConstraint("title_id"),)

    object: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Id under which the volume keeps it."""
    title_id: Mapped[int] = mapped_column(ForeignKey("titles.id", ondelete="CASCADE"))


class TitleClassRow(Base):
    __tablename__ = "title_classes"
    __table_args__ = (Index(None, "code"),)

    title_id: Mapped[int] = mapped_column(
        ForeignKey("titles.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    code: Mapped[str] = mapped_column(
        ForeignKey("classifications.code", ondelete="RESTRICT"), primary_key=True
    )


class TitleRegionRow(Base):
    """Regions that a title is licensed for; none: everywhere."""

    __tablename__ = "title_regions"

    title_id: Mapped[int] = mapped_column(
        ForeignKey("titles.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    region: Mapped[str] = mapped_column(String(MAX_REGION), primary_key=True)


class FileRow(Base):
    __tablename__ = "files"
    __table_args__ = (
        UniqueConstraint("title_id", "uri"),
        Index(None, "server_id", "id"),
        Index(None, "revision"),
        one_of("format", Format),
        CheckConstraint("bits_per_second >= 0", name="bits_per_second"),
        CheckConstraint("size >= 0", name="size"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    title_id: Mapped[int] = mapped_column(ForeignKey("titles.id", ondelete="CASCADE"))
    # A server goes after its files: nobody loses a hundred thousand by a click.
    server_id: Mapped[int] = mapped_column(ForeignKey("media_servers.id", ondelete="RESTRICT"))
    format: Mapped[str] = mapped_column(String(8))
    uri: Mapped[str] = mapped_column(String(MAX_URI))
    bits_per_second: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int | None] = mapped_column(BigInteger)
    codecs: Mapped[str] = mapped_column(String(100))
    width: Mapped[int]
    height: Mapped[int]
    revision: Mapped[int] = mapped_column(BigInteger)


class ClassificationRow(Base):
    __tablename__ = "classifications"

    code: Mapped[str] = mapped_column(String(MAX_CODE), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))


class LevelRow(Base):
    __tablename__ = "levels"
    __table_args__ = (CheckConstraint("min_age BETWEEN 0 AND 120", name="min_age"),)

    code: Mapped[str] = mapped_column(String(MAX_CODE), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    min_age: Mapped[int]


class NetworkRow(Base):
    __tablename__ = "networks"

    cidr: Mapped[str] = mapped_column(String(43), primary_key=True)
    region: Mapped[str] = mapped_column(String(MAX_REGION))
    refused: Mapped[bool]


# What was used. Names and numbers, not references: the figures outlive what they speak of.


class FileUseRow(Base):
    """Requests that were sent to one file, or to one server for a channel, in one hour: which of
    its copies a title is played from (``Reports.files``)."""

    __tablename__ = "file_uses"
    __table_args__ = (Index(None, "name", "hour"),)

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0: a live channel."""
    server_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0: one of our units."""
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    """Logical id."""
    redirects: Mapped[int] = mapped_column(BigInteger)


class TitleUseRow(Base):
    """Requests for one logical id, and plays at our units, in one hour."""

    __tablename__ = "title_uses"
    __table_args__ = (Index(None, "hour"),)

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    redirects: Mapped[int] = mapped_column(BigInteger)
    refusals: Mapped[int] = mapped_column(BigInteger)
    """Sent to no server."""
    plays: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float(53))
    sent_bytes: Mapped[int] = mapped_column(BigInteger)
    stalls: Mapped[int] = mapped_column(BigInteger)


class ServerUseRow(Base):
    """What one server, or one of our units, was used for in one hour, and again in one day of UTC:
    a report reads the days that are in it as a whole, and of the others the hours."""

    __tablename__ = "server_uses"
    __table_args__ = (CheckConstraint("span IN (3600, 86400)", name="span"),)

    span: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Seconds that the row stands for, from ``start`` on."""
    start: Mapped[datetime] = mapped_column(primary_key=True)
    server_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0: one of our units."""
    unit: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Id of the unit that was played at; empty: a server, or redirects to whichever unit."""
    redirects: Mapped[int] = mapped_column(BigInteger)
    plays: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float(53))
    sent_bytes: Mapped[int] = mapped_column(BigInteger)
    stalls: Mapped[int] = mapped_column(BigInteger)


class ClientUseRow(Base):
    """What the clients of one network did on one day."""

    __tablename__ = "client_uses"
    __table_args__ = (Index(None, "day"),)

    network: Mapped[str] = mapped_column(String(43), primary_key=True)
    day: Mapped[datetime] = mapped_column(primary_key=True)
    redirects: Mapped[int] = mapped_column(BigInteger)
    plays: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float(53))
    sent_bytes: Mapped[int] = mapped_column(BigInteger)


class PlayRow(Base):
    """One client that played something at one of our units."""

    __tablename__ = "plays"
    __table_args__ = (Index(None, "ended"), Index(None, "name", "ended"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    unit: Mapped[str] = mapped_column(String(16))
    client: Mapped[str] = mapped_column(String(64))
    way: Mapped[str] = mapped_column(String(16))
    started: Mapped[datetime]
    ended: Mapped[datetime]
    sent_bytes: Mapped[int] = mapped_column(BigInteger)
    stalls: Mapped[int] = mapped_column(BigInteger)


class RecorderRow(Base):
    """Whose records are counted up to where: a batch that comes again is not counted again."""

    __tablename__ = "recorders"
    __table_args__ = (Index(None, "seen"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    batch: Mapped[int] = mapped_column(BigInteger)
    """Number of the newest batch that is counted."""
    seen: Mapped[datetime]
    lost: Mapped[int] = mapped_column(BigInteger)
    """Records that are known to be missing."""
