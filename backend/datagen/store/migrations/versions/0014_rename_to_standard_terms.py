"""Rename the table of Label Studio projects, and columns whose names did not say what they hold."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: (table, old column, new column)
_COLUMNS = (
    ("project", "desk", "kind"),
    ("input", "said_at", "updated_at"),
    ("verdict", "said_at", "updated_at"),
    ("batch", "doing", "status_text"),
    ("batch", "share", "fit_progress"),
    ("shard", "made", "rendered_count"),
)


def upgrade() -> None:
    """Apply this change. SQLite and PostgreSQL both rename in place, so no row is copied."""
    op.drop_index("ix_desk_study_id", "desk")
    op.rename_table("desk", "project")
    op.create_index("ix_project_study_id", "project", ["study_id"])
    for table, old, new in _COLUMNS:
        op.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{old}" TO "{new}"')


def downgrade() -> None:
    """Revert this change."""
    for table, old, new in _COLUMNS:
        op.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{new}" TO "{old}"')
    op.drop_index("ix_project_study_id", "project")
    op.rename_table("project", "desk")
    op.create_index("ix_desk_study_id", "desk", ["study_id"])
