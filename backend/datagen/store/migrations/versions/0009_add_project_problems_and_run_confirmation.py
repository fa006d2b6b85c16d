"""Add a project's problem and unreadable tasks, the run size that needs confirmation, and three database indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDICES = (
    ("shard_of_batch", "shard", ["batch_id", "state"]),
    ("shard_by_publication", "shard", ["batch_id", "published_at"]),
    ("verdict_by_original", "verdict", ["sample_id", "copy_of", "annotation_id"]),
)


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("desk") as desk:
        desk.add_column(sa.Column("problem", sa.String(1000), nullable=False, server_default=""))
        desk.add_column(sa.Column("unreadable", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("confirm_above", sa.Integer(), nullable=True))
    for name, table, columns in _INDICES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    for name, table, _ in reversed(_INDICES):
        op.drop_index(name, table)
    with op.batch_alter_table("study", recreate="never") as study:
        study.drop_column("confirm_above")
    with op.batch_alter_table("desk", recreate="never") as desk:
        for column in ("unreadable", "problem"):
            desk.drop_column(column)
