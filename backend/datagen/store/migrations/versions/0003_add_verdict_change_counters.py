"""Add counters of changed verdicts to studies and samples, so that an older reading does not overwrite a newer one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("verdict_changes", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("sample") as sample:
        sample.add_column(sa.Column("verdict_change", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Revert this change."""
    with op.batch_alter_table("sample") as sample:
        sample.drop_column("verdict_change")
    with op.batch_alter_table("study") as study:
        study.drop_column("verdict_changes")
