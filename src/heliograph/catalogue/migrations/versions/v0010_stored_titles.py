"""Which titles are there because a volume has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_titles",
        sa.Column("object", sa.String(length=32), nullable=False),
        sa.Column("title_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["title_id"],
            ["titles.id"],
            name="fk_stored_titles_title_id_titles",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("object", name="pk_stored_titles"),
        sa.UniqueConstraint("title_id", name="uq_stored_titles_title_id"),
    )
