"""Add the progress of a shard and of a fit that are under way, and the engine's warnings about a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("shard") as shard:
        shard.add_column(sa.Column("made", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("share", sa.Double(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Revert this change."""
    with op.batch_alter_table("batch") as batch:
        for column in ("warnings", "share"):
            batch.drop_column(column)
    with op.batch_alter_table("shard") as shard:
        shard.drop_column("made")
