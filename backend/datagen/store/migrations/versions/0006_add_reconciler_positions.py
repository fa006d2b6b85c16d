"""Add columns that record what the reconciler last read of a project, so that it skips unchanged tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("desk") as desk:
        desk.add_column(sa.Column("seen", sa.String(64), nullable=False, server_default="unknown"))
        desk.add_column(sa.Column("counted", sa.String(100), nullable=False, server_default=""))
        desk.add_column(sa.Column("tasks", sa.Integer(), nullable=True))
        desk.add_column(sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Revert this change."""
    with op.batch_alter_table("desk") as desk:
        for column in ("looked_at", "tasks", "counted", "seen"):
            desk.drop_column(column)
