"""Add tables of leased work: the reading of a study's inputs, and the making of its proposals. Rename columns and keys.

Before this change, columns of the study held the times of postponed work, and two workers could do the same work at
once.

The parameter ``levers`` of the engine ``diffusion`` becomes ``optimizations``, in specs that set it and in the traces
of samples. The digest of such a spec changes with its body. Samples that are rendered from it later therefore have
other seeds than before.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

#: (table, old column, new column)
_COLUMNS = (
    ("outbox", "told_at", "published_at"),
    ("study", "least_judged", "min_judged"),
    ("study", "least_good", "min_good"),
)
_OLD_KEY, _NEW_KEY = "levers", "optimizations"
#: Rows read and written at a time.
_ROWS = 500
_SPEC = sa.table("spec", sa.column("id"), sa.column("digest"), sa.column("body", sa.JSON))
_SAMPLE = sa.table("sample", sa.column("id"), sa.column("body", sa.JSON))
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
    """Apply this change. Only a study with work to do gets rows; any other study gets them with its next request."""
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
    for table, old, new in _COLUMNS:
        op.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{old}" TO "{new}"')
    _rename_key(_OLD_KEY, _NEW_KEY)


def downgrade() -> None:
    """Revert this change. Work that is due or under way is due again."""
    _rename_key(_NEW_KEY, _OLD_KEY)
    for table, old, new in _COLUMNS:
        op.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{new}" TO "{old}"')
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


def _rename_key(old: str, new: str) -> None:
    """Rename the key in the parameters of specs and in the traces of samples, and compute the specs' digests again."""
    connection = op.get_bind()
    for row in _rows_with(connection, _SPEC, old):
        group = row.body["parameters"].get("diffusion")
        if isinstance(group, dict) and old in group:
            group[new] = group.pop(old)
            canonical = json.dumps(row.body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
            digest = hashlib.sha256(canonical.encode()).hexdigest()
            connection.execute(_SPEC.update().where(_SPEC.c.id == row.id).values(body=row.body, digest=digest))
    for row in _rows_with(connection, _SAMPLE, old):
        trace = row.body["provenance"].get("steps")
        if isinstance(trace, dict) and old in trace:
            trace[new] = trace.pop(old)
            connection.execute(_SAMPLE.update().where(_SAMPLE.c.id == row.id).values(body=row.body))


def _rows_with(connection: sa.Connection, table: sa.TableClause, key: str) -> Iterator[sa.Row[Any]]:
    """Yield the rows whose body contains the key, in order of their ids; ``_ROWS`` of them are read at a time."""
    last = 0
    has_key = sa.cast(table.c.body, sa.Text).contains(f'"{key}"')
    while rows := connection.execute(
        sa.select(table).where(table.c.id > last, has_key).order_by(table.c.id).limit(_ROWS)
    ).all():
        yield from rows
        last = rows[-1].id
