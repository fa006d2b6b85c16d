"""Add the threshold of the critic, the indices that a batch reserves for rejected samples, and the counts of those."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BATCH = sa.table("batch", sa.column("id"), sa.column("kind"))
_SHARD, _SAMPLE = (sa.table(name, sa.column("batch_id")) for name in ("shard", "sample"))


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("reject_below", sa.Double(), nullable=True))
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("stride", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("reserved", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("rejections", sa.JSON(), nullable=True))
    op.execute("UPDATE batch SET stride = count, reserved = count")


def downgrade() -> None:
    """Move back. Rejected candidates are deleted. Columns are dropped in place: other rows refer to these tables.

    Earlier versions begin the next batch of a version behind the places of the one before, and may then make a sample
    again whose index was reserved.
    """
    rejected = sa.select(_BATCH.c.id).where(_BATCH.c.kind == "rejected")
    for table in (_SAMPLE, _SHARD):
        op.execute(table.delete().where(table.c.batch_id.in_(rejected)))
    op.execute(_BATCH.delete().where(_BATCH.c.kind == "rejected"))
    with op.batch_alter_table("batch", recreate="never") as batch:
        batch.drop_column("rejections")
        batch.drop_column("reserved")
        batch.drop_column("stride")
    with op.batch_alter_table("study", recreate="never") as study:
        study.drop_column("reject_below")
