"""What the managers of a cluster share: the lease, and what they were told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("ttl", sa.Float(precision=53), nullable=False),
        sa.Column("ends", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("epoch >= 1", name="ck_leases_epoch"),
        sa.CheckConstraint("ttl > 0", name="ck_leases_ttl"),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "drained_units",
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("unit", name="pk_drained_units"),
    )
    op.create_table(
        "kept_groups",
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.CheckConstraint("kept BETWEEN 2 AND 5000", name="ck_kept_groups_kept"),
        sa.PrimaryKeyConstraint("channel", name="pk_kept_groups"),
    )
