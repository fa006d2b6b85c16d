"""Add the sample to the key of a verdict: Label Studio reuses the ids of deleted annotations."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: PostgreSQL's own name of the key; SQLite has none, and the table's copy gets this one.
_KEY = "verdict_pkey"
_NAMES = {"pk": "%(table_name)s_pkey"}


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("verdict", naming_convention=_NAMES) as verdict:
        verdict.drop_constraint(_KEY, type_="primary")
        verdict.create_primary_key(_KEY, ["annotation_id", "sample_id"])


def downgrade() -> None:
    """Move back; fails where two samples have a verdict of one number, because one of them would be lost."""
    with op.batch_alter_table("verdict", naming_convention=_NAMES) as verdict:
        verdict.drop_constraint(_KEY, type_="primary")
        verdict.create_primary_key(_KEY, ["annotation_id"])
