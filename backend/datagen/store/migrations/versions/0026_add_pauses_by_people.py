"""Add to batches who paused a run, and since when it is paused."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("paused_by", sa.String(200), nullable=True))
        batch.add_column(sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Move back. Paused runs stay paused: earlier versions resume them. Columns are dropped in place."""
    with op.batch_alter_table("batch", recreate="never") as batch:
        batch.drop_column("paused_at")
        batch.drop_column("paused_by")
