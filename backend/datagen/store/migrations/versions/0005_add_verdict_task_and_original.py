"""Add two columns to verdicts, because people copy and delete review tasks: the task, and the original of a copy."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("verdict") as verdict:
        verdict.add_column(sa.Column("task_id", sa.BigInteger(), nullable=True))
        verdict.add_column(sa.Column("copy_of", sa.BigInteger(), nullable=True))
        verdict.create_index("ix_verdict_task_id", ["task_id"])
    # until now they were all looked for on their sample's own task
    op.execute("UPDATE verdict SET task_id = (SELECT sample.task_id FROM sample WHERE sample.id = verdict.sample_id)")


def downgrade() -> None:
    """Revert this change."""
    with op.batch_alter_table("verdict") as verdict:
        verdict.drop_index("ix_verdict_task_id")
        verdict.drop_column("copy_of")
        verdict.drop_column("task_id")
