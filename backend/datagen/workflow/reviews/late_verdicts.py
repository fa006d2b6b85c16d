"""Late verdicts: verdicts that were given, changed or deleted after the decision about their round.

A verdict that was given late does not count. A change or deletion that came late does not count: the verdict counts as
it was before.

A late verdict is shown on two decision pages: on that of its own round, and on that of the decision which was the next
to make when the verdict arrived.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from datagen.domain.lifecycle import SpecState
from datagen.label_studio.api.models import stamp
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.reviews import DecisionRow, VerdictRow


@dataclass(frozen=True, slots=True, kw_only=True)
class LateVerdicts:
    """The late verdicts on one round or audit, or on the spot checks of one run."""

    #: the kind and the number of the round, audit or run
    batch: str
    #: the state of its version; None for spot checks, which end if their run is cancelled
    state: SpecState | None
    count: int


def late(session: Session, decision: DecisionRow) -> list[LateVerdicts]:
    """Return the late verdicts that a decision page shows, counted by round or audit; the oldest is first.

    A page shows those on its own round, and those that arrived while its decision was the next one to make.
    """
    previous = session.scalar(
        select(DecisionRow).where(DecisionRow.study_id == decision.study_id, DecisionRow.number == decision.number - 1)
    )
    rows = session.execute(
        select(BatchRow.id, BatchRow.kind, BatchRow.number, SpecRow.state, VerdictRow.updated_at)
        .select_from(VerdictRow)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(BatchRow.study_id == decision.study_id, or_(VerdictRow.late, VerdictRow.changed_late))
        .order_by(BatchRow.id)
    )
    counts = Counter(
        (f"the spot checks of run {number}", None) if kind == BatchKind.SPOT else (f"{kind} {number}", state)
        for batch_id, kind, number, state, arrived_at in rows
        if batch_id == decision.batch_id or _is_news(batch_id, arrived_at, previous, decision)
    )
    return [LateVerdicts(batch=batch, state=state, count=count) for (batch, state), count in counts.items()]


def _is_news(batch_id: int, arrived_at: str, previous: DecisionRow | None, decision: DecisionRow) -> bool:
    # Label Studio's clock may lag behind ours, so the decision about the round itself is no lower bound
    is_after = previous is None or previous.batch_id == batch_id or _at(previous.answered_at) <= arrived_at
    return is_after and (decision.answered_at is None or arrived_at < _at(decision.answered_at))


def _at(moment: datetime | None) -> str:
    """Return a time in the format of ``VerdictRow.updated_at``, which sorts by time; empty for None."""
    return stamp(moment.isoformat()) if moment is not None else ""
