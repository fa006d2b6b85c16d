"""Add the pictures of what the fits of versions learned: mattes and areas."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move forward."""
    op.create_table(
        "fit_picture",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("spec_id", sa.Integer(), sa.ForeignKey("spec.id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("picture", sa.String(64), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("overlay", sa.String(64), nullable=False),
    )
    op.create_index("fit_picture_of_input", "fit_picture", ["spec_id", "kind", "picture"])


def downgrade() -> None:
    """Move back."""
    op.drop_table("fit_picture")
