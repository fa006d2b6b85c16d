"""Synchronization of verdicts with Label Studio.

After a synchronization, the verdict rows equal the annotations in Label Studio, whether these were created, changed,
deleted or skipped there.

A review task may have copies: people export and import tasks, and Label Studio on SQLite may run an import twice. A
verdict counts on the original and on every copy, because a person cannot tell them apart. A verdict belongs to the task
on which it was given, so reading one task does not affect the verdicts on another.

A copy of a task also has copies of the original's annotations. The verdict of such a copied annotation counts only if
the original verdict does not, or once a person updates the copied one. The number of verdicts kept per sample is
limited; see ``verdict_rows``.

If a person deletes a review task, its sample is removed from the round: the verdicts on it no longer count, and it
needs no review any more. The task is not created again, unless the project Previews is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Opinion, Reason, Verdict, VerdictRule
from datagen.store.tables.base import REVIEWED_KINDS, BatchKind, OutboxKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.synthesis.engine import ReviewedSample
from datagen.workflow.decision_points import project_of
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews.corrected_instances import corrected_instances
from datagen.workflow.reviews.verdict_rows import NOWHERE, OPEN, TasksRead, keep
from datagen.workflow.sample_mapping import measurements_of, sample_of, trace_of
from datagen.workflow.services import Services, UnitOfWork
from datagen.workflow.study_options import DEFAULTS


def sync_tasks(services: Services, project_id: int, task_ids: Sequence[int]) -> None:
    """Read these review tasks from Label Studio and write their verdicts."""
    if task_ids:
        sync(services, project_id, ids=task_ids)


def sync_annotations(services: Services, project_id: int, annotation_ids: Sequence[int]) -> None:
    """Read the review tasks of these annotations and write their verdicts.

    It serves events that contain only the ids of annotations: deletions."""
    with services.database.read() as session:
        tasks = session.scalars(
            select(func.coalesce(VerdictRow.task_id, SampleRow.task_id))
            .join(SampleRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .join(ProjectRow, ProjectRow.study_id == BatchRow.study_id)
            .where(
                ProjectRow.project_id == project_id,  # a verdict of another study may have the same annotation id
                VerdictRow.annotation_id.in_(annotation_ids),
            )
        ).all()
    sync_tasks(services, project_id, sorted({task_id for task_id in tasks if task_id is not None}))


def sync_deleted(services: Services, study_id: int, task_ids: Iterable[int]) -> None:
    """Read the rounds of tasks that were deleted according to an event. This removes the tasks' samples."""
    deleted = set(task_ids)
    with services.database.read() as session:
        rows = session.execute(
            select(SampleRow.batch_id, SampleRow.task_id, VerdictRow.task_id)
            .outerjoin(VerdictRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(BatchRow.study_id == study_id, BatchRow.kind.in_(REVIEWED_KINDS))
        )
        rounds = {batch_id for batch_id, *row_task_ids in rows if deleted.intersection(row_task_ids)}
    for batch_id in sorted(rounds):
        sync_round(services, batch_id)


def sync_open_rounds(services: Services, study_id: int, *, ended_runs: bool = False) -> None:
    """Read the review tasks of the batches that still accept verdicts, and write their verdicts.

    Spot checks accept verdicts after the end of their run, too. A study may have those of many runs, so of runs that
    ended only those are read of which a task was deleted.

    Args:
        services: the services.
        study_id: the study.
        ended_runs: read the spot checks of all runs.
    """
    with services.database.read() as session:
        accepting = (
            select(BatchRow.id)
            .join(SpecRow, SpecRow.id == BatchRow.spec_id)
            .where(BatchRow.study_id == study_id, BatchRow.kind.in_(REVIEWED_KINDS), _accepts_verdicts())
        )
        rounds = set(session.scalars(accepting if ended_runs else accepting.where(~_checks_ended_run())))
    if not ended_runs:
        rounds |= _checks_with_deleted_tasks(services, study_id)
    for batch_id in sorted(rounds):
        sync_round(services, batch_id)


def _checks_with_deleted_tasks(services: Services, study_id: int) -> set[int]:
    """Return those spot checks of ended runs of which a task is not in Label Studio any more."""
    with services.database.read() as session:
        project_id = project_of(session, study_id, ProjectKind.PREVIEWS)
        expected = session.execute(
            select(SampleRow.batch_id, SampleRow.task_id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(BatchRow.study_id == study_id, _accepts_verdicts_of_checks(), _checks_ended_run())
            .where(SampleRow.task_id.is_not(None))
        ).all()
    if project_id is None or not expected:
        return set()
    existing = {task_id for task_id, _ in services.label_studio.stamps(project_id)}
    return {batch_id for batch_id, task_id in expected if task_id not in existing}


def _checks_ended_run() -> ColumnElement[bool]:
    """Return the condition for spot checks whose run ended."""
    run = aliased(BatchRow)
    unfinished = exists().where(
        run.study_id == BatchRow.study_id,
        run.kind == BatchKind.RUN,
        run.number == BatchRow.number,
        run.state.in_([WorkState.PENDING, WorkState.RUNNING, WorkState.PAUSED]),
    )
    return and_(BatchRow.kind == BatchKind.SPOT, ~unfinished)


def _accepts_verdicts_of_checks() -> ColumnElement[bool]:
    return and_(BatchRow.kind == BatchKind.SPOT, BatchRow.state == WorkState.DONE)


def _accepts_verdicts() -> ColumnElement[bool]:
    """Return the condition for batches of which ``takes_verdicts`` is true, and some that ended."""
    return or_(SpecRow.state.in_(OPEN), _accepts_verdicts_of_checks())


def sync_round(services: Services, batch_id: int) -> None:
    """Read every review task of a round and write the verdicts. Delete the verdicts on tasks that no longer exist.

    A decision then uses all verdicts, including those whose event was lost.
    """
    outdated: list[int] | None = None
    while outdated is None or outdated:
        with services.database.read() as session:
            batch = session.get(BatchRow, batch_id)
            project_id = project_of(session, batch.study_id, ProjectKind.PREVIEWS) if batch is not None else None
            if batch is None or project_id is None:
                return  # deleted meanwhile
            as_of = session.get_one(StudyRow, batch.study_id).verdict_changes
            # a task created during the reading is not among the tasks read, but must not be taken for deleted
            expected = dict(
                session.execute(
                    select(SampleRow.id, SampleRow.task_id).where(
                        SampleRow.batch_id == batch_id, SampleRow.task_id.is_not(None)
                    )
                ).all()
            )
            which = selection_of(session, batch)
        tasks, unreadable = read_tasks(services, project_id, **which)
        outdated = keep(
            services,
            batch.study_id,
            TasksRead(tasks=tasks, as_of=as_of, expected=expected, unreadable=unreadable),
        )


def sync(services: Services, project_id: int, **which: Any) -> None:
    """Read tasks of a Previews project, and make the verdict rows equal to their annotations.

    Two workers may read the same task, and the one that read earlier may write later. Changes are therefore counted. If
    a sample changed after the reading of its tasks began, its tasks are read again.

    Args:
        which: the selection of tasks, as keyword arguments of ``LabelStudioPort.tasks``.
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
        outdated = keep(services, study.id, TasksRead(tasks=tasks, as_of=study.verdict_changes, unreadable=unreadable))
        if not outdated:
            return
        which = {"ids": outdated}


def open_again(session: Session, spec_id: int) -> None:
    """Make the late verdicts on a version count. The version accepts verdicts again, because its decision failed."""
    rounds = select(BatchRow.id).where(BatchRow.spec_id == spec_id, BatchRow.kind.in_(REVIEWED_KINDS))
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(rounds))
    session.execute(update(VerdictRow).where(VerdictRow.sample_id.in_(samples)).values(late=False, changed_late=False))


def publish_again(unit: UnitOfWork, study_id: int) -> None:
    """Create the review tasks of every batch that accepts verdicts again, after their project was replaced.

    The verdicts on the old tasks continue to count, because no person deleted them.
    """
    session = unit.session
    rounds = select(BatchRow.id).where(BatchRow.study_id == study_id, BatchRow.kind.in_(REVIEWED_KINDS))
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(rounds))
    session.execute(update(VerdictRow).where(VerdictRow.sample_id.in_(samples)).values(task_id=NOWHERE))
    session.execute(update(SampleRow).where(SampleRow.batch_id.in_(rounds)).values(task_id=None))
    shards = session.scalars(
        select(ShardRow)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(
            ShardRow.batch_id.in_(rounds),
            ShardRow.rendered_at.is_not(None),
            _accepts_verdicts(),
            BatchRow.state.not_in([WorkState.CANCELLED, WorkState.FAILED]),
        )
    ).all()
    for shard in shards:
        shard.published_at = None
        unit.add_to_outbox(study_id, OutboxKind.SAMPLES, shard.id)
        if shard.batch.kind == BatchKind.ROUND:
            unit.add_to_outbox(study_id, OutboxKind.TABS, shard.batch_id)


def selection_of(session: Session, batch: BatchRow) -> dict[str, Any]:
    """Return the selection of a batch's review tasks, as keyword arguments of ``LabelStudioPort.tasks``.

    Those of a round or an audit, with all copies, are selected by their batch. Each shard's spot checks have a batch of
    their own; so they are selected by their ids, with the copies on which there are verdicts.
    """
    if batch.kind != BatchKind.SPOT:
        return {"batch": batch_name(batch)}
    samples = select(SampleRow.id).where(SampleRow.batch_id == batch.id)
    own = session.scalars(select(SampleRow.task_id).where(SampleRow.batch_id == batch.id)).all()
    judged_ids = session.scalars(select(VerdictRow.task_id).where(VerdictRow.sample_id.in_(samples))).all()
    return {"ids": sorted({task_id for task_id in (*own, *judged_ids) if task_id not in (None, NOWHERE)})}


def batch_name(batch: BatchRow) -> str:
    """Return a batch's name in Label Studio, which is the value of ``batch`` in the data of its tasks."""
    return f"{batch.kind}-{batch.study_id}-{batch.number}"


@cache  # building the condition takes longer than a query with it
def verdicts_in_time(row: type[VerdictRow] = VerdictRow) -> ColumnElement[bool]:
    """Return the condition for verdicts that are not late, and are the first of an original and its copies.

    Each subquery uses an index. Without it, the time would be quadratic in the number of a sample's verdicts.

    Args:
        row: ``VerdictRow``, or an alias of it.
    """
    original, copy = aliased(VerdictRow), aliased(VerdictRow)
    of_original = exists().where(
        original.sample_id == row.sample_id,
        original.annotation_id == row.copy_of,
        original.late.is_(False),
    )
    of_earlier_copy = exists().where(
        copy.sample_id == row.sample_id,
        copy.copy_of == row.copy_of,
        copy.annotation_id < row.annotation_id,
        copy.late.is_(False),
    )
    return and_(row.late.is_(False), ~of_original, ~of_earlier_copy)


@cache
def effective_verdicts() -> ColumnElement[bool]:
    """Return the condition for verdicts that count: they are in time, and the study's ``VerdictRule`` counts them."""
    other = aliased(VerdictRow)
    is_newer = or_(
        other.given_at > VerdictRow.given_at,
        and_(other.given_at == VerdictRow.given_at, other.annotation_id > VerdictRow.annotation_id),
    )
    rule = func.coalesce(
        select(StudyRow.verdict_rule)
        .join(BatchRow, BatchRow.study_id == StudyRow.id)
        .join(SampleRow, SampleRow.batch_id == BatchRow.id)
        .where(SampleRow.id == VerdictRow.sample_id)
        .correlate(VerdictRow)
        .scalar_subquery(),
        DEFAULTS.verdict_rule,
    )
    #: for each rule, the other verdict on the sample that keeps a verdict from counting
    against: dict[VerdictRule, ColumnElement[bool]] = {
        VerdictRule.NEWEST: is_newer,
        VerdictRule.FIRST: other.annotation_id < VerdictRow.annotation_id,
        VerdictRule.ALL_AGREE: other.opinion != VerdictRow.opinion,
    }
    counts = [rule == VerdictRule.EACH]
    for chosen, is_against in against.items():
        others = exists().where(other.sample_id == VerdictRow.sample_id, verdicts_in_time(other), is_against)
        counts.append(and_(rule == chosen, ~others))
    return and_(verdicts_in_time(), or_(*counts))


def judged(session: Session, batch_id: int) -> list[ReviewedSample]:
    """Return a round's verdicts that count, each with the trace of its sample, in the order of the samples."""
    rows = session.execute(
        select(SampleRow.id, VerdictRow)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch_id, effective_verdicts())
        .order_by(SampleRow.index, VerdictRow.annotation_id)
    ).all()
    samples = {row.id: row for row in session.scalars(select(SampleRow).where(SampleRow.batch_id == batch_id))}
    traces = {sample_id: trace_of(row) for sample_id, row in samples.items()}
    return [
        ReviewedSample(
            trace=traces[sample_id],
            measured=measurements_of(samples[sample_id]),
            corrected=corrected_instances(sample_of(samples[sample_id]), row.outlines, row.kept_outlines)
            if row.outlines
            else (),
            verdict=Verdict(
                opinion=Opinion(row.opinion), reasons=frozenset(map(Reason, row.reasons)), comment=row.comment
            ),
        )
        for sample_id, row in rows
    ]
