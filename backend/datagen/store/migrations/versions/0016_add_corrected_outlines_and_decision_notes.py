"""Add a column to verdicts for the outlines that the reviewer corrected, and a column to decisions for the note."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("verdict") as verdict:
        verdict.add_column(sa.Column("outlines", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("decision") as decision:
        decision.add_column(sa.Column("note", sa.String(2000), nullable=False, server_default=""))


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("decision", recreate="never") as decision:
        decision.drop_column("note")
    with op.batch_alter_table("verdict", recreate="never") as verdict:
        verdict.drop_column("outlines")
