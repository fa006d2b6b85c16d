"""Add the outlines that reviewers corrected to their verdicts, and the notes of decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("verdict") as verdict:
        verdict.add_column(sa.Column("outlines", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("decision") as decision:
        decision.add_column(sa.Column("note", sa.String(2000), nullable=False, server_default=""))


def downgrade() -> None:
    """Move back. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("decision", recreate="never") as decision:
        decision.drop_column("note")
    with op.batch_alter_table("verdict", recreate="never") as verdict:
        verdict.drop_column("outlines")
