"""Channels of the settings have rows of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "channels", sa.Column("configured", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
