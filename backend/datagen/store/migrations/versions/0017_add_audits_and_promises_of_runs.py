"""Add what the audits of a run's version promised at its approval. Audits and spot checks need no column."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_BATCH = sa.table("batch", sa.column("id"), sa.column("kind"))
_SHARD, _SAMPLE = (sa.table(name, sa.column("id"), sa.column("batch_id")) for name in ("shard", "sample"))
_OUTBOX = sa.table("outbox", sa.column("kind"), sa.column("subject_id"))
_VERDICT = sa.table("verdict", sa.column("sample_id"))
_DECISION = sa.table("decision", sa.column("batch_id"), sa.column("started_id"))


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("promise", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Move back. Audits and spot checks are deleted, which earlier versions do not know; paused runs are cancelled.

    The review tasks stay in Label Studio. The column is dropped in place: other rows refer to the table.
    """
    is_new = _BATCH.c.kind.in_(["audit", "spot"])
    audits = sa.select(_BATCH.c.id).where(is_new)
    shards, samples = (sa.select(table.c.id).where(table.c.batch_id.in_(audits)) for table in (_SHARD, _SAMPLE))
    of_shards = (_OUTBOX.c.kind == "samples") & _OUTBOX.c.subject_id.in_(shards)
    of_audits = _OUTBOX.c.kind.in_(["review_tasks", "tabs"]) & _OUTBOX.c.subject_id.in_(audits)
    op.execute("UPDATE study SET state = 'reviewing' WHERE state = 'auditing'")
    op.execute("UPDATE study SET state = 'accepted' WHERE state = 'paused'")
    op.execute(_OUTBOX.delete().where(of_shards | of_audits))
    op.execute(_VERDICT.delete().where(_VERDICT.c.sample_id.in_(samples)))
    op.execute(_SAMPLE.delete().where(_SAMPLE.c.batch_id.in_(audits)))
    op.execute(_SHARD.delete().where(_SHARD.c.batch_id.in_(audits)))
    for column in (_DECISION.c.batch_id, _DECISION.c.started_id):
        op.execute(_DECISION.update().where(column.in_(audits)).values({column.name: None}))
    op.execute(_BATCH.delete().where(is_new))
    op.execute("UPDATE batch SET state = 'cancelled' WHERE state = 'paused'")
    with op.batch_alter_table("batch", recreate="never") as batch:
        batch.drop_column("promise")
