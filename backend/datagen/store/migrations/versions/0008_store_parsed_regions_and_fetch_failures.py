"""Store the parsed regions of inputs, and the results of fetching their pictures.

An existing row keeps its regions in Label Studio's format until the inputs are read again. Until then they are parsed
whenever they are needed. Upgrade and downgrade both mark every study, so that its inputs are read again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_READ_AGAIN = "UPDATE study SET inputs_changed = inputs_changed + 1"


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("inputs_reading", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("input") as rows:
        rows.add_column(sa.Column("annotation_id", sa.BigInteger(), nullable=True))
        rows.add_column(sa.Column("parsed", sa.Text(), nullable=True))
    op.create_table(
        "fetched_picture",
        sa.Column("study_id", sa.Integer(), sa.ForeignKey("study.id"), primary_key=True),
        sa.Column("address", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(1000), nullable=False),
        sa.Column("content", sa.String(64), nullable=True),
        sa.Column("conditions", sa.String(300), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_fetched_picture_retry_at", "fetched_picture", ["retry_at"])
    op.execute(_READ_AGAIN)


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    op.drop_index("ix_fetched_picture_retry_at", "fetched_picture")
    op.drop_table("fetched_picture")
    with op.batch_alter_table("input", recreate="never") as rows:
        rows.drop_column("parsed")
        rows.drop_column("annotation_id")
    with op.batch_alter_table("study", recreate="never") as study:
        study.drop_column("inputs_reading")
    op.execute(_READ_AGAIN)
