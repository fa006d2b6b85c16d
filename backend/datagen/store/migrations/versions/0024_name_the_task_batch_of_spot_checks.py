"""Add the name that a shard's tasks have as their batch, so that each shard's spot checks have their own."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward. The tasks of existing shards keep the name that they have."""
    with op.batch_alter_table("shard") as shard:
        shard.add_column(sa.Column("task_batch", sa.String(80), nullable=False, server_default=""))


def downgrade() -> None:
    """Move back. The column is dropped in place: other rows refer to the table."""
    with op.batch_alter_table("shard", recreate="never") as shard:
        shard.drop_column("task_batch")
