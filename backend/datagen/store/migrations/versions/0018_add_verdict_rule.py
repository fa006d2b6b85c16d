"""Add the rule by which several verdicts count, when each was last changed in time, and the outlines it left."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward. A verdict that was changed late gets the time of that change: its earlier time was not stored."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("verdict_rule", sa.String(20), nullable=True))
    with op.batch_alter_table("verdict") as verdict:
        verdict.add_column(sa.Column("given_at", sa.String(40), nullable=False, server_default=""))
        verdict.add_column(sa.Column("kept_outlines", sa.JSON(), nullable=False, server_default="[]"))
    op.execute("UPDATE verdict SET given_at = updated_at")


def downgrade() -> None:
    """Move back. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("verdict", recreate="never") as verdict:
        verdict.drop_column("kept_outlines")
        verdict.drop_column("given_at")
    with op.batch_alter_table("study", recreate="never") as study:
        study.drop_column("verdict_rule")
