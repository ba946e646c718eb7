"""Channels that were closed by hand, and units that are not to be shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "closed_channels",
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel", name="pk_closed_channels"),
    )
    op.add_column(
        "drained_units",
        sa.Column("removed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
