"""Add a column that marks verdicts that were changed or deleted after the decision about their round."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("verdict") as verdict:
        verdict.add_column(sa.Column("changed_late", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("verdict", recreate="never") as verdict:
        verdict.drop_column("changed_late")
