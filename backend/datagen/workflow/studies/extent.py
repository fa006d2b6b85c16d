"""The extent of a deletion of a study, as counts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import PARTS_OF_RUNS, BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.reviews import DecisionRow, VerdictRow
from datagen.store.tables.studies import ProjectRow
from datagen.workflow.decisions.spec_versions import running_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Numbers of the rows and projects of a study."""

    inputs: int
    versions: int
    rounds: int
    audits: int
    runs: int
    samples: int
    verdicts: int
    decisions: int
    projects: dict[ProjectKind, int]
    #: whether work is under way, so that the study cannot be deleted
    is_busy: bool


def extent_of(session: Session, study_id: int) -> Extent:
    """Return the extent of a study."""
    own = select(BatchRow.id).where(BatchRow.study_id == study_id, BatchRow.kind.not_in(PARTS_OF_RUNS))
    kinds = dict(
        session.execute(
            select(BatchRow.kind, func.count()).where(BatchRow.study_id == study_id).group_by(BatchRow.kind)
        ).all()
    )

    def number(table: type, condition: object) -> int:
        return session.scalar(select(func.count()).select_from(table).where(condition)) or 0  # type: ignore[arg-type]

    every = select(BatchRow.id).where(BatchRow.study_id == study_id)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(every))
    projects = session.execute(select(ProjectRow.kind, ProjectRow.project_id).where(ProjectRow.study_id == study_id))
    return Extent(
        inputs=number(InputRow, InputRow.study_id == study_id),
        versions=number(SpecRow, SpecRow.study_id == study_id),
        rounds=kinds.get(BatchKind.ROUND, 0),
        audits=kinds.get(BatchKind.AUDIT, 0),
        runs=kinds.get(BatchKind.RUN, 0),
        samples=number(SampleRow, SampleRow.batch_id.in_(own)),
        verdicts=number(VerdictRow, VerdictRow.sample_id.in_(samples)),
        decisions=number(DecisionRow, (DecisionRow.study_id == study_id) & DecisionRow.action.is_not(None)),
        projects=dict(projects.all()),
        is_busy=running_batch(session, study_id) is not None,
    )
