"""Add a description to studies, and the time at which a study was archived."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("description", sa.String(200), nullable=False, server_default=""))
        study.add_column(sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Move back. Archived studies are shown again. Columns are dropped in place: other rows refer to the table."""
    with op.batch_alter_table("study", recreate="never") as study:
        study.drop_column("archived_at")
        study.drop_column("description")
