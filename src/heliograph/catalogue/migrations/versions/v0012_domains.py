"""Accounts may administer domains: groups of units."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    domains = sa.Column(
        "domains", sa.String(length=660), server_default=sa.text("''"), nullable=False
    )
    op.add_column("accounts", domains)
