"""Add fingerprints of shared secrets and of projects' passwords, and the salt of each study's webhook secret."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this change."""
    op.create_table(
        "shared_secret",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("exposed", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "fingerprint"),
    )
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("webhook_salt", sa.String(32), nullable=False, server_default=""))
        study.add_column(sa.Column("webhook_salt_previous", sa.String(32), nullable=True))
    with op.batch_alter_table("desk") as desk:
        desk.add_column(sa.Column("login", sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    """Revert this change. Columns are dropped in place: other rows refer to these tables."""
    with op.batch_alter_table("desk", recreate="never") as desk:
        desk.drop_column("login")
    with op.batch_alter_table("study", recreate="never") as study:
        for column in ("webhook_salt_previous", "webhook_salt"):
            study.drop_column(column)
    op.drop_table("shared_secret")
