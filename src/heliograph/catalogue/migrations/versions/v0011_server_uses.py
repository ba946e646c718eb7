"""What servers and units were used for, by hour and by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: When the hour, or the day, of a time began, as each database has it.
BEGIN = {
    ("postgresql", 3600): "date_trunc('hour', {}, 'UTC')",
    ("postgresql", 86400): "date_trunc('day', {}, 'UTC')",
    ("sqlite", 3600): "strftime('%Y-%m-%d %H:00:00.000000', {})",
    ("sqlite", 86400): "strftime('%Y-%m-%d 00:00:00.000000', {})",
}
#: Seconds that a play took.
TOOK = {
    "postgresql": "extract(epoch FROM ended - started)",
    "sqlite": "(julianday(ended) - julianday(started)) * 86400.0",
}
#: What is known already: redirects by hour, and plays as far as single ones are kept.
FILL = """
INSERT INTO server_uses
    (span, start, server_id, unit, redirects, plays, seconds, sent_bytes, stalls)
  SELECT {span}, start, server_id, unit, sum(redirects), sum(plays), sum(seconds),
      sum(sent_bytes), sum(stalls)
    FROM (
      SELECT {hour} AS start, server_id, '' AS unit, redirects, 0 AS plays, 0.0 AS seconds,
          0 AS sent_bytes, 0 AS stalls
        FROM file_uses
      UNION ALL SELECT {started}, 0, unit, 0, 1, 0.0, 0, 0 FROM plays
      UNION ALL SELECT {ended}, 0, unit, 0, 0, {took}, sent_bytes, stalls FROM plays
    ) AS used
    GROUP BY start, server_id, unit
"""


def upgrade() -> None:
    op.create_table(
        "server_uses",
        sa.Column("span", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("server_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("redirects", sa.BigInteger(), nullable=False),
        sa.Column("plays", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stalls", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("span IN (3600, 86400)", name="ck_server_uses_span"),
        sa.PrimaryKeyConstraint("span", "start", "server_id", "unit", name="pk_server_uses"),
    )
    dialect = op.get_context().dialect.name
    for span in (3600, 86400):
        begin = BEGIN[dialect, span]
        times = {name: begin.format(name) for name in ("hour", "started", "ended")}
        op.execute(FILL.format(span=span, took=TOOK[dialect], **times))
