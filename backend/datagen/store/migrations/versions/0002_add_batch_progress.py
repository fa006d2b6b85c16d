"""Add the status text of a batch: fitting an engine can take minutes, and people wait for it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("doing", sa.String(length=200), nullable=False, server_default=""))


def downgrade() -> None:
    """Revert this change."""
    with op.batch_alter_table("batch") as batch:
        batch.drop_column("doing")
