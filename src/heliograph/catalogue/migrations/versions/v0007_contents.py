"""Servers, titles and files, and how often they were used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# As it was in this revision.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FLOAT = sa.Float(precision=53)
FOLDED = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _versions()
    _servers()
    _titles()
    _files()
    _uses()


def _versions() -> None:
    op.create_table(
        "content_version",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("whole_from", sa.BigInteger(), nullable=False),
        sa.Column("networks_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_content_version"),
    )
    op.create_table(
        "content_removals",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("row_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('server', 'title', 'file')", name="ck_content_removals_kind"),
        sa.PrimaryKeyConstraint("kind", "row_id", name="pk_content_removals"),
    )
    op.create_index("ix_content_removals_revision", "content_removals", ["revision"])


def _servers() -> None:
    op.create_table(
        "media_servers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("folded_name", FOLDED, nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("make", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("capacity_bps", sa.BigInteger(), nullable=False),
        sa.Column("max_sessions", sa.Integer(), nullable=False),
        sa.Column("weight", FLOAT, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("drained", sa.Boolean(), nullable=False),
        sa.Column("probes", sa.JSON(), nullable=False),
        sa.Column("sought", sa.String(length=600), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("weight > 0", name="ck_media_servers_weight"),
        sa.CheckConstraint("capacity_bps >= 0", name="ck_media_servers_capacity_bps"),
        sa.CheckConstraint("max_sessions >= 0", name="ck_media_servers_max_sessions"),
        sa.PrimaryKeyConstraint("id", name="pk_media_servers"),
        sa.UniqueConstraint("folded_name", name="uq_media_servers_folded_name"),
        sa.UniqueConstraint("name", name="uq_media_servers_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_media_servers_revision", "media_servers", ["revision"])
    op.create_table(
        "media_server_states",
        sa.Column("server_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("condition", sa.String(length=16), nullable=False),
        sa.Column("response_ms", FLOAT, nullable=True),
        sa.Column("since", TIME, nullable=False),
        sa.Column("measured", TIME, nullable=False),
        sa.Column("responses", sa.JSON(), nullable=False),
        sa.Column("throughput_bps", FLOAT, nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "condition IN ('unknown', 'up', 'starting', 'down')",
            name="ck_media_server_states_condition",
        ),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["media_servers.id"],
            name="fk_media_server_states_server_id_media_servers",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("server_id", name="pk_media_server_states"),
    )
    op.create_table(
        "response_times",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("server_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("ms", FLOAT, nullable=True),
        sa.CheckConstraint(
            "kind IN ('icmp', 'tcp', 'rtsp', 'http')", name="ck_response_times_kind"
        ),
        sa.CheckConstraint("span IN (0, 60, 3600)", name="ck_response_times_span"),
        sa.CheckConstraint("answered BETWEEN 0 AND asked", name="ck_response_times_answered"),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["media_servers.id"],
            name="fk_response_times_server_id_media_servers",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_response_times"),
    )
    op.create_index(
        "ix_response_times_server_id_span_at", "response_times", ["server_id", "span", "at"]
    )
    op.create_index("ix_response_times_span_at", "response_times", ["span", "at"])


def _titles() -> None:
    op.create_table(
        "classifications",
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_classifications"),
    )
    op.create_table(
        "levels",
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("min_age", sa.Integer(), nullable=False),
        sa.CheckConstraint("min_age BETWEEN 0 AND 120", name="ck_levels_min_age"),
        sa.PrimaryKeyConstraint("code", name="pk_levels"),
    )
    op.create_table(
        "titles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("folded_name", FOLDED, nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("duration", FLOAT, nullable=True),
        sa.Column("level_code", sa.String(length=32), nullable=True),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("sought", sa.String(length=600), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("duration > 0", name="ck_titles_duration"),
        sa.ForeignKeyConstraint(
            ["level_code"], ["levels.code"], name="fk_titles_level_code_levels", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_titles"),
        sa.UniqueConstraint("folded_name", name="uq_titles_folded_name"),
        sa.UniqueConstraint("name", name="uq_titles_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_titles_level_code", "titles", ["level_code"])
    op.create_index("ix_titles_revision", "titles", ["revision"])
    op.create_table(
        "title_classes",
        sa.Column("title_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["code"],
            ["classifications.code"],
            name="fk_title_classes_code_classifications",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["title_id"],
            ["titles.id"],
            name="fk_title_classes_title_id_titles",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("title_id", "code", name="pk_title_classes"),
    )
    op.create_index("ix_title_classes_code", "title_classes", ["code"])
    op.create_table(
        "title_regions",
        sa.Column("title_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["title_id"],
            ["titles.id"],
            name="fk_title_regions_title_id_titles",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("title_id", "region", name="pk_title_regions"),
    )
    op.create_table(
        "networks",
        sa.Column("cidr", sa.String(length=43), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("cidr", name="pk_networks"),
    )


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title_id", sa.Integer(), nullable=False),
        sa.Column("server_id", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=8), nullable=False),
        sa.Column("uri", sa.String(length=2000), nullable=False),
        sa.Column("bits_per_second", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("codecs", sa.String(length=100), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("format IN ('rtsp', 'hls', 'whep', 'mp4')", name="ck_files_format"),
        sa.CheckConstraint("bits_per_second >= 0", name="ck_files_bits_per_second"),
        sa.CheckConstraint("size >= 0", name="ck_files_size"),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["media_servers.id"],
            name="fk_files_server_id_media_servers",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["title_id"], ["titles.id"], name="fk_files_title_id_titles", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("title_id", "uri", name="uq_files_title_id_uri"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_files_server_id_id", "files", ["server_id", "id"])
    op.create_index("ix_files_revision", "files", ["revision"])


def _uses() -> None:
    op.create_table(
        "file_uses",
        sa.Column("hour", TIME, nullable=False),
        sa.Column("file_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("server_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("redirects", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "file_id", "server_id", "name", name="pk_file_uses"),
    )
    op.create_index("ix_file_uses_name_hour", "file_uses", ["name", "hour"])
    op.create_table(
        "title_uses",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("hour", TIME, nullable=False),
        sa.Column("redirects", sa.BigInteger(), nullable=False),
        sa.Column("refusals", sa.BigInteger(), nullable=False),
        sa.Column("plays", sa.BigInteger(), nullable=False),
        sa.Column("seconds", FLOAT, nullable=False),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stalls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "hour", name="pk_title_uses"),
    )
    op.create_index("ix_title_uses_hour", "title_uses", ["hour"])
    op.create_table(
        "client_uses",
        sa.Column("network", sa.String(length=43), nullable=False),
        sa.Column("day", TIME, nullable=False),
        sa.Column("redirects", sa.BigInteger(), nullable=False),
        sa.Column("plays", sa.BigInteger(), nullable=False),
        sa.Column("seconds", FLOAT, nullable=False),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("network", "day", name="pk_client_uses"),
    )
    op.create_index("ix_client_uses_day", "client_uses", ["day"])
    op.create_table(
        "plays",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False),
        sa.Column("started", TIME, nullable=False),
        sa.Column("ended", TIME, nullable=False),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stalls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_plays"),
    )
    op.create_index("ix_plays_ended", "plays", ["ended"])
    op.create_index("ix_plays_name_ended", "plays", ["name", "ended"])
    op.create_table(
        "recorders",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("seen", TIME, nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recorders"),
    )
    op.create_index("ix_recorders_seen", "recorders", ["seen"])
