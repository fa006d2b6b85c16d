"""Add a study's options: when an approval has to be confirmed, and the largest run with annotations in Label Studio."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("least_judged", sa.Double()),
    ("least_good", sa.Double()),
    ("annotate_up_to", sa.Integer()),
)


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("study") as study:
        for name, kind in _COLUMNS:
            study.add_column(sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("study", recreate="never") as study:
        for name, _ in reversed(_COLUMNS):
            study.drop_column(name)
