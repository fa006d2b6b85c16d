"""Verdicts: kept exactly as Label Studio holds them, whatever was made, changed, deleted or skipped there.

A review task may have copies: people export and import, and Label Studio on SQLite may run an import twice. What
people say counts on whichever of them they say it, because the copy looks no different to them; so a verdict belongs to
its task, and a reading of one task says nothing of what was said on another. What a copy brought along from its
original is no second verdict: it counts where the original does not, and from when somebody updates it. Every verdict
counts once. Of a sample a bounded number is kept, see ``verdict_rows``.

Who deletes a review task takes its sample out of the round: what was said on it stops counting, as when an annotation
is deleted, the sample is not to be reviewed any more, and its task is not made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import SpecState
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.learning.parameter_refinement import ReviewedSample
from datagen.store.tables import (
    BatchKind,
    BatchRow,
    OutboxKind,
    ProjectRow,
    SampleRow,
    ShardRow,
    SpecRow,
    StudyRow,
    VerdictRow,
)
from datagen.workflow.decision_points import project_of
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews.verdict_rows import NOWHERE, OPEN, keep
from datagen.workflow.sample_mapping import steps_of
from datagen.workflow.services import Services, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class LateVerdicts:
    """Verdicts that were given, changed or deleted after the decision about their round."""

    round_number: int
    #: what became of the round's version
    state: SpecState
    count: int


def sync_tasks(services: Services, project_id: int, task_ids: Sequence[int]) -> None:
    """Read these review tasks from Label Studio and keep their verdicts."""
    if task_ids:
        sync(services, project_id, ids=task_ids)


def sync_annotations(services: Services, project_id: int, annotation_ids: Sequence[int]) -> None:
    """The same, for annotations of which an event gave the ids alone: deleted ones."""
    with services.database.read() as session:
        tasks = session.scalars(
            select(func.coalesce(VerdictRow.task_id, SampleRow.task_id))
            .join(SampleRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .join(ProjectRow, ProjectRow.study_id == BatchRow.study_id)
            .where(
                ProjectRow.project_id == project_id,  # a verdict of another study may have the same number
                VerdictRow.annotation_id.in_(annotation_ids),
            )
        ).all()
    sync_tasks(services, project_id, sorted({task_id for task_id in tasks if task_id is not None}))


def sync_deleted(services: Services, study_id: int, task_ids: Iterable[int]) -> None:
    """Take out of their rounds what had one of these tasks, which an event says were deleted."""
    deleted = set(task_ids)
    with services.database.read() as session:
        on_tasks = session.execute(
            select(SampleRow.batch_id, SampleRow.task_id, VerdictRow.task_id)
            .outerjoin(VerdictRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND)
        )
        rounds = {batch_id for batch_id, *tasks in on_tasks if deleted.intersection(tasks)}
    for batch_id in sorted(rounds):
        sync_round(services, batch_id)


def sync_open_rounds(services: Services, study_id: int) -> None:
    """Read every review task of the rounds that still take verdicts."""
    with services.database.read() as session:
        rounds = session.scalars(
            select(BatchRow.id)
            .join(SpecRow, SpecRow.id == BatchRow.spec_id)
            .where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND, SpecRow.state.in_(OPEN))
        ).all()
    for batch_id in rounds:
        sync_round(services, batch_id)


def sync_round(services: Services, batch_id: int) -> None:
    """Read every review task of a round, so that a decision stands on all verdicts, also those no event told of.

    What was said on a task that is not there any more is gone with it.
    """
    outdated: list[int] | None = None
    while outdated is None or outdated:
        with services.database.read() as session:
            batch = session.get(BatchRow, batch_id)
            project_id = project_of(session, batch.study_id, ProjectKind.PREVIEWS) if batch is not None else None
            if batch is None or project_id is None:
                return  # deleted meanwhile
            as_of = session.get_one(StudyRow, batch.study_id).verdict_changes
            # a task that is made while we read is not among those we read, and is not gone for all that
            expected = dict(
                session.execute(
                    select(SampleRow.id, SampleRow.task_id).where(
                        SampleRow.batch_id == batch_id, SampleRow.task_id.is_not(None)
                    )
                ).all()
            )
        tasks, unreadable = read_tasks(services, project_id, batch=batch_name(batch))
        outdated = keep(services, batch.study_id, tasks, as_of, expected, unreadable)


def sync(services: Services, project_id: int, **which: Any) -> None:
    """Read tasks of a Previews project, and make the rows of their verdicts equal to what they hold.

    Two workers may read the same task, and the one that read it earlier come to write later. So each change is
    counted, and what changed after a reading began is read again.

    Args:
        which: which tasks, as ``LabelStudio.tasks`` takes it.
    """
    while True:
        with services.database.read() as session:
            study = session.scalar(
                select(StudyRow)
                .join(ProjectRow, ProjectRow.study_id == StudyRow.id)
                .where(ProjectRow.project_id == project_id)
            )
        if study is None:
            return  # deleted meanwhile
        tasks, unreadable = read_tasks(services, project_id, **which)
        outdated = keep(services, study.id, tasks, study.verdict_changes, unreadable=unreadable)
        if not outdated:
            return
        which = {"ids": outdated}


def takes_verdicts(state: SpecState) -> bool:
    """Whether what is said of a version in that state counts."""
    return state in OPEN


def open_again(session: Session, spec_id: int) -> None:
    """Count what was said of a version after a decision of which nothing came: it takes verdicts again."""
    rounds = select(BatchRow.id).where(BatchRow.spec_id == spec_id, BatchRow.kind == BatchKind.ROUND)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(rounds))
    session.execute(update(VerdictRow).where(VerdictRow.sample_id.in_(samples)).values(late=False, changed_late=False))


def publish_again(unit: UnitOfWork, study_id: int) -> None:
    """Have the open rounds' review tasks made anew: the project that they were in is another now.

    Nobody took back what was said on the old ones, so it counts on.
    """
    session = unit.session
    rounds = select(BatchRow.id).where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(rounds))
    session.execute(update(VerdictRow).where(VerdictRow.sample_id.in_(samples)).values(task_id=NOWHERE))
    session.execute(update(SampleRow).where(SampleRow.batch_id.in_(rounds)).values(task_id=None))
    shards = session.scalars(
        select(ShardRow)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(ShardRow.batch_id.in_(rounds), ShardRow.rendered_at.is_not(None), SpecRow.state.in_(OPEN))
    ).all()
    for shard in shards:
        shard.published_at = None
        unit.add_to_outbox(study_id, OutboxKind.SAMPLES, shard.id)
        unit.add_to_outbox(study_id, OutboxKind.TABS, shard.batch_id)


def batch_name(batch: BatchRow) -> str:
    """The ``batch`` in the data of a batch's tasks."""
    return f"{batch.kind}-{batch.study_id}-{batch.number}"


def effective_verdicts() -> ColumnElement[bool]:
    """Which verdicts count: those that came in time, and of an original and its copies the first that there is.

    Each question is answered by an index: without it the time is quadratic in a sample's verdicts.
    """
    original, copy = aliased(VerdictRow), aliased(VerdictRow)
    of_original = exists().where(
        original.sample_id == VerdictRow.sample_id,
        original.annotation_id == VerdictRow.copy_of,
        original.late.is_(False),
    )
    of_earlier_copy = exists().where(
        copy.sample_id == VerdictRow.sample_id,
        copy.copy_of == VerdictRow.copy_of,
        copy.annotation_id < VerdictRow.annotation_id,
        copy.late.is_(False),
    )
    return and_(VerdictRow.late.is_(False), ~of_original, ~of_earlier_copy)


def late(session: Session, study_id: int) -> list[LateVerdicts]:
    """What was said of a study's rounds after their decision, and does not count; the oldest round first."""
    rows = session.execute(
        select(BatchRow.number, SpecRow.state, func.count())
        .select_from(VerdictRow)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(BatchRow.study_id == study_id, or_(VerdictRow.late, VerdictRow.changed_late))
        .group_by(BatchRow.number, SpecRow.state)
        .order_by(BatchRow.number)
    )
    return [LateVerdicts(round_number=number, state=state, count=count) for number, state, count in rows]


def judged(session: Session, batch_id: int) -> list[ReviewedSample]:
    """What was said in time of a round's samples, in the samples' order."""
    rows = session.execute(
        select(SampleRow.id, VerdictRow)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch_id, effective_verdicts())
        .order_by(SampleRow.index, VerdictRow.annotation_id)
    ).all()
    samples = session.scalars(select(SampleRow).where(SampleRow.batch_id == batch_id))
    steps = {sample.id: steps_of(sample) for sample in samples}
    return [
        ReviewedSample(
            steps=steps[sample_id],
            verdict=Verdict(
                opinion=Opinion(row.opinion), reasons=frozenset(map(Reason, row.reasons)), comment=row.comment
            ),
        )
        for sample_id, row in rows
    ]
