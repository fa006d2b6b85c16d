"""Add the settings that the first version of a cloned study begins with."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("starting_point", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Move back. The column is dropped in place: other rows refer to the table."""
    with op.batch_alter_table("study", recreate="never") as study:
        study.drop_column("starting_point")
