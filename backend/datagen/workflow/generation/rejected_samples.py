"""The candidates that the critic rejected: their counts, and the first of a run with their images.

The rows of kept ones are a batch of their own, with the number of the run. They have no tasks in Label Studio.
"""

from __future__ import annotations

from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.workflow.generation.companion_batches import add_companion, companion_of
from datagen.workflow.generation.shard_samples import ShardSamples
from datagen.workflow.rejection import Rejections
from datagen.workflow.services import UnitOfWork


def note(unit: UnitOfWork, batch: BatchRow, shard: ShardRow, drawn: ShardSamples) -> None:
    """Add what was rejected for a shard to the counts of its batch, which is locked, and keep the rejected samples."""
    if not drawn.counts.candidates:
        return
    batch.rejections = (Rejections.from_json(batch.rejections) + drawn.counts).to_json()
    if not drawn.rejected:
        return
    kept = _batch_of(unit, batch)
    part = ShardRow(
        batch_id=kept.id,
        start=shard.start,
        stop=shard.start + len(drawn.rejected),
        state=WorkState.DONE,
        rendered_at=now(),
        published_at=now(),  # there is nothing to publish
    )
    unit.session.add(part)
    unit.session.flush()
    unit.session.add_all(_moved(row, kept, part) for row in drawn.rejected)


def _batch_of(unit: UnitOfWork, run: BatchRow) -> BatchRow:
    """Return the batch of a run's rejected candidates; add it if there is none."""
    kept = companion_of(unit.session, run, BatchKind.REJECTED)
    return kept or add_companion(unit, run, BatchKind.REJECTED, f"rejected candidates of run {run.number}")


def _moved(row: SampleRow, batch: BatchRow, part: ShardRow) -> SampleRow:
    row.batch_id, row.shard_id = batch.id, part.id
    row.key = f"{row.key}-rejected"
    return row
