"""Add columns that record the waits of work for an unavailable service: their number and their times."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_LEASED = ("inbox", "outbox", "shard")


def upgrade() -> None:
    """Apply this change."""
    moment = sa.DateTime(timezone=True)
    for table in _LEASED:
        with op.batch_alter_table(table) as leased:
            leased.add_column(sa.Column("waits", sa.Integer(), nullable=False, server_default="0"))
            leased.add_column(sa.Column("waiting_since", moment, nullable=True))
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("retry_at", moment, nullable=True))
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("inputs_waits", sa.Integer(), nullable=False, server_default="0"))
        study.add_column(sa.Column("inputs_due_at", moment, nullable=True))
        study.add_column(sa.Column("proposals_due_at", moment, nullable=True))
        study.add_column(sa.Column("waits_for", sa.String(300), nullable=False, server_default=""))


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("study", recreate="never") as study:
        for column in ("waits_for", "proposals_due_at", "inputs_due_at", "inputs_waits"):
            study.drop_column(column)
    with op.batch_alter_table("batch", recreate="never") as batch:
        batch.drop_column("retry_at")
    for table in _LEASED:
        with op.batch_alter_table(table, recreate="never") as leased:
            leased.drop_column("waiting_since")
            leased.drop_column("waits")
