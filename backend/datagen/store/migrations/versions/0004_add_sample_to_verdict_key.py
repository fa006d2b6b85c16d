"""Add the sample to the primary key of a verdict, because Label Studio reuses the ids of deleted annotations."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Name of the primary key. PostgreSQL chose it; on SQLite the key has no name until the table is copied here.
_KEY = "verdict_pkey"
_NAMES = {"pk": "%(table_name)s_pkey"}


def upgrade() -> None:
    """Apply this change."""
    with op.batch_alter_table("verdict", naming_convention=_NAMES) as verdict:
        verdict.drop_constraint(_KEY, type_="primary")
        verdict.create_primary_key(_KEY, ["annotation_id", "sample_id"])


def downgrade() -> None:
    """Revert this change. It fails if verdicts on two samples have the same annotation id: one would be lost."""
    with op.batch_alter_table("verdict", naming_convention=_NAMES) as verdict:
        verdict.drop_constraint(_KEY, type_="primary")
        verdict.create_primary_key(_KEY, ["annotation_id"])
