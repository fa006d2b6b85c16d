"""Add the rows that lease the reading of a study's inputs and the making of its proposals.

Before, columns of the study held the times of postponed work, and two workers could do the same work at once.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def _leased_table(name: str, *others: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), sa.ForeignKey("study.id"), primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(32), nullable=True),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("waits", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("waiting_since", _MOMENT, nullable=True),
        sa.Column("error", sa.String(1000), nullable=False),
        *others,
    )
    op.create_index(f"{name}_by_state", name, ["state", "due_at"])


def upgrade() -> None:
    """Move forward. Only studies with work to do get rows; a request adds the row of another."""
    _leased_table("input_reading")
    _leased_table("proposal_making", sa.Column("revision", sa.Integer(), nullable=False))
    op.execute(
        sa.text(
            "INSERT INTO input_reading (id, state, attempts, waits, due_at, error) "
            "SELECT id, 'pending', inputs_waits, inputs_waits, COALESCE(inputs_due_at, :now), '' FROM study "
            "WHERE inputs_read <> inputs_changed"
        ).bindparams(sa.bindparam("now", datetime.now(UTC), type_=_MOMENT))
    )
    op.execute(
        "INSERT INTO input_reading (id, state, attempts, waits, due_at, error) "
        "SELECT study_id, 'pending', 0, 0, MIN(retry_at), '' FROM fetched_picture "
        "WHERE retry_at IS NOT NULL AND study_id NOT IN (SELECT id FROM input_reading) GROUP BY study_id"
    )
    op.execute(
        "INSERT INTO proposal_making (id, state, attempts, waits, due_at, error, revision) "
        "SELECT id, 'pending', 0, 0, proposals_due_at, '', 1 FROM study WHERE proposals_due_at IS NOT NULL"
    )
    with op.batch_alter_table("study", recreate="never") as study:
        for column in ("inputs_waits", "inputs_due_at", "proposals_due_at"):
            study.drop_column(column)


def downgrade() -> None:
    """Move back. Work that is due or under way is due again."""
    with op.batch_alter_table("study") as study:
        study.add_column(sa.Column("inputs_waits", sa.Integer(), nullable=False, server_default="0"))
        study.add_column(sa.Column("inputs_due_at", _MOMENT, nullable=True))
        study.add_column(sa.Column("proposals_due_at", _MOMENT, nullable=True))
    op.execute(
        "UPDATE study SET inputs_waits = (SELECT waits FROM input_reading WHERE input_reading.id = study.id), "
        "inputs_due_at = (SELECT due_at FROM input_reading WHERE input_reading.id = study.id) "
        "WHERE inputs_read <> inputs_changed AND id IN (SELECT id FROM input_reading WHERE state = 'pending')"
    )
    op.execute(
        "UPDATE study SET proposals_due_at = "
        "(SELECT due_at FROM proposal_making WHERE proposal_making.id = study.id) "
        "WHERE id IN (SELECT id FROM proposal_making WHERE state IN ('pending', 'running'))"
    )
    op.drop_table("proposal_making")
    op.drop_table("input_reading")
