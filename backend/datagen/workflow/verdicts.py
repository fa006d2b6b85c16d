"""Verdicts: kept exactly as Label Studio holds them, whatever was made, changed, deleted or skipped there.

A review task may have copies: people export and import, and Label Studio on SQLite may run an import twice. What
people say counts on whichever of them they say it, because the copy looks no different to them; so a verdict belongs to
its task, and a reading of one task says nothing of what was said on another. What a copy brought along from its
original is no second verdict: it counts where the original does not, and from when somebody updates it. Every verdict
counts once.

Who deletes a review task takes its sample out of the round: what was said on it stops counting, as when an annotation
is deleted, the sample is not to be reviewed any more, and its task is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from datagen.domain.inputs import Desk
from datagen.domain.lifecycle import SpecState
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.label_studio.answers import verdict
from datagen.label_studio.records import Task
from datagen.quality.refine import Judged
from datagen.store.rows import BatchKind, BatchRow, DeskRow, Notice, SampleRow, ShardRow, SpecRow, StudyRow, VerdictRow
from datagen.workflow.points import project_of, show_progress
from datagen.workflow.samples import sample_of
from datagen.workflow.workshop import Unit, Workshop

#: A round whose spec is in one of these states still takes verdicts; in any other they come too late to count.
_OPEN = (SpecState.RENDERING, SpecState.REVIEW)
#: The task of what was said on one that nobody deleted and that is not there any more; Label Studio counts from 1.
_NOWHERE = 0


def follow_tasks(workshop: Workshop, project_id: int, task_ids: Sequence[int]) -> None:
    """Read these review tasks from Label Studio and keep their verdicts."""
    if task_ids:
        follow(workshop, project_id, lambda: workshop.label_studio.tasks(project_id, ids=task_ids))


def follow_annotations(workshop: Workshop, project_id: int, annotation_ids: Sequence[int]) -> None:
    """The same, for annotations of which an event gave the ids alone: deleted ones."""
    with workshop.database.read() as session:
        tasks = session.scalars(
            select(func.coalesce(VerdictRow.task_id, SampleRow.task_id))
            .join(SampleRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .join(DeskRow, DeskRow.study_id == BatchRow.study_id)
            .where(
                DeskRow.project_id == project_id,  # a verdict of another study may have the same number
                VerdictRow.annotation_id.in_(annotation_ids),
            )
        ).all()
    follow_tasks(workshop, project_id, sorted({task_id for task_id in tasks if task_id is not None}))


def follow_deleted(workshop: Workshop, study_id: int, task_ids: Iterable[int]) -> None:
    """Take out of their rounds what had one of these tasks, which an event says were deleted."""
    deleted = set(task_ids)
    with workshop.database.read() as session:
        on_tasks = session.execute(
            select(SampleRow.batch_id, SampleRow.task_id, VerdictRow.task_id)
            .outerjoin(VerdictRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND)
        )
        rounds = {batch_id for batch_id, *tasks in on_tasks if deleted.intersection(tasks)}
    for batch_id in sorted(rounds):
        follow_round(workshop, batch_id)


def follow_open_rounds(workshop: Workshop, study_id: int) -> None:
    """Read every review task of the rounds that still take verdicts."""
    with workshop.database.read() as session:
        rounds = session.scalars(
            select(BatchRow.id)
            .join(SpecRow, SpecRow.id == BatchRow.spec_id)
            .where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND, SpecRow.state.in_(_OPEN))
        ).all()
    for batch_id in rounds:
        follow_round(workshop, batch_id)


def follow_round(workshop: Workshop, batch_id: int) -> None:
    """Read every review task of a round, so that a decision stands on all verdicts, also those no event told of.

    What was said on a task that is not there any more is gone with it.
    """
    outdated: list[int] | None = None
    while outdated is None or outdated:
        with workshop.database.read() as session:
            batch = session.get(BatchRow, batch_id)
            project_id = project_of(session, batch.study_id, Desk.PREVIEWS) if batch is not None else None
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
        tasks = list(workshop.label_studio.tasks(project_id, batch=batch_name(batch)))
        outdated = _keep(workshop, batch.study_id, tasks, as_of, expected)


def follow(workshop: Workshop, project_id: int, read: Callable[[], Iterable[Task]]) -> None:
    """Read tasks of a Previews project, and make the rows of their verdicts equal to what they hold.

    Two workers may read the same task, and the one that read it earlier come to write later. So each change is
    counted, and what changed after a reading began is read again.
    """
    while True:
        with workshop.database.read() as session:
            study = session.scalar(
                select(StudyRow).join(DeskRow, DeskRow.study_id == StudyRow.id).where(DeskRow.project_id == project_id)
            )
        if study is None:
            return  # deleted meanwhile
        outdated = _keep(workshop, study.id, list(read()), study.verdict_changes)
        if not outdated:
            return
        read = partial(workshop.label_studio.tasks, project_id, ids=outdated)


def _keep(
    workshop: Workshop,
    study_id: int,
    tasks: Sequence[Task],
    as_of: int,
    expected: Mapping[int, int | None] = MappingProxyType({}),
) -> list[int]:
    """Keep what these tasks hold, but for those whose verdicts changed after ``as_of``: their ids are returned.

    ``expected`` is sample → task where the tasks are all of a round's: one that is not among them is gone.
    """
    outdated: list[int] = []
    if not tasks and not expected:
        return outdated
    with workshop.unit() as unit:
        study = unit.lock_study(study_id)
        changed: dict[int, SampleRow] = {}
        for task in tasks:
            sample = unit.session.scalar(
                select(SampleRow)
                .join(BatchRow, BatchRow.id == SampleRow.batch_id)
                .where(SampleRow.key == str(task.data.get("datagen_key")), BatchRow.study_id == study_id)
            )
            if sample is None:
                continue  # none of ours, or a copy from another study
            if sample.verdict_change > as_of:
                outdated.append(task.id)
            elif _keep_one(unit, sample, task):
                changed[sample.id] = sample
        for sample_id, task_id in expected.items():
            sample = unit.session.get_one(SampleRow, sample_id)
            there = [one.id for one in tasks if one.data.get("datagen_key") == sample.key]
            if sample.verdict_change > as_of:
                outdated += [task_id] if task_id is not None else []
            elif _forget(unit, sample, task_id, there):
                changed[sample.id] = sample
        if changed:
            study.verdict_changes += 1
        for sample in changed.values():
            sample.verdict_change = study.verdict_changes
            show_progress(unit, sample.batch)
            unit.tell(study_id, Notice.REVIEW_TASKS, sample.batch_id)
    return outdated


def _forget(unit: Unit, sample: SampleRow, task_id: int | None, there: Sequence[int]) -> bool:
    """Forget what was said on tasks of a sample that are not ``there``; whether anything changed."""
    changed = False
    late = _is_late(unit.session, sample)
    for row in unit.session.scalars(select(VerdictRow).where(VerdictRow.sample_id == sample.id)):
        if _task_of(row, sample) not in (None, _NOWHERE, *there) and (row.late or not late):
            unit.session.delete(row)
            changed = True
    if sample.task_id == task_id and task_id not in there:
        sample.task_id = min(there, default=None)
        changed = True
    return changed


def _task_of(row: VerdictRow, sample: SampleRow) -> int | None:
    """The task a verdict was said on; a version before this one noted none, and looked at the sample's own alone."""
    return sample.task_id if row.task_id is None else row.task_id


def _is_late(session: Session, sample: SampleRow) -> bool:
    """Whether what is said of a sample now comes too late: a decision stands on what was said before it."""
    return session.get_one(SpecRow, sample.batch.spec_id).state not in _OPEN


def takes_verdicts(state: SpecState) -> bool:
    """Whether what is said of a version in that state counts."""
    return state in _OPEN


def open_again(session: Session, spec_id: int) -> None:
    """Count what was said of a version after a decision of which nothing came: it takes verdicts again."""
    rounds = select(BatchRow.id).where(BatchRow.spec_id == spec_id, BatchRow.kind == BatchKind.ROUND)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(rounds))
    session.execute(update(VerdictRow).where(VerdictRow.sample_id.in_(samples)).values(late=False))


def publish_again(unit: Unit, study_id: int) -> None:
    """Have the open rounds' review tasks made anew: the project that they were in is another now.

    Nobody took back what was said on the old ones, so it counts on.
    """
    session = unit.session
    rounds = select(BatchRow.id).where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND)
    samples = select(SampleRow.id).where(SampleRow.batch_id.in_(rounds))
    session.execute(update(VerdictRow).where(VerdictRow.sample_id.in_(samples)).values(task_id=_NOWHERE))
    session.execute(update(SampleRow).where(SampleRow.batch_id.in_(rounds)).values(task_id=None))
    shards = session.scalars(
        select(ShardRow)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(ShardRow.batch_id.in_(rounds), ShardRow.rendered_at.is_not(None), SpecRow.state.in_(_OPEN))
    ).all()
    for shard in shards:
        shard.published_at = None
        unit.tell(study_id, Notice.SAMPLES, shard.id)
        unit.tell(study_id, Notice.TABS, shard.batch_id)


def batch_name(batch: BatchRow) -> str:
    """The ``batch`` in the data of a batch's tasks."""
    return f"{batch.kind}-{batch.study_id}-{batch.number}"


def counts() -> ColumnElement[bool]:
    """Which verdicts count: those that came in time, and of an original and its copies the first that there is."""
    other = aliased(VerdictRow)
    the_same = or_(
        other.annotation_id == VerdictRow.copy_of,
        and_(other.copy_of == VerdictRow.copy_of, other.annotation_id < VerdictRow.annotation_id),
    )
    said_before = exists().where(other.sample_id == VerdictRow.sample_id, other.late.is_(False), the_same)
    return and_(VerdictRow.late.is_(False), ~said_before)


def judged(session: Session, batch_id: int) -> list[Judged]:
    """What was said in time of a round's samples, in the samples' order."""
    rows = session.execute(
        select(SampleRow, VerdictRow)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch_id, counts())
        .order_by(SampleRow.index, VerdictRow.annotation_id)
    )
    return [
        Judged(
            steps=sample_of(sample).provenance.steps,
            verdict=Verdict(
                opinion=Opinion(row.opinion), reasons=frozenset(map(Reason, row.reasons)), comment=row.comment
            ),
        )
        for sample, row in rows
    ]


def _keep_one(unit: Unit, sample: SampleRow, task: Task) -> bool:
    """Whether anything changed."""
    session = unit.session
    late = _is_late(session, sample)
    rows = {r.annotation_id: r for r in session.scalars(select(VerdictRow).where(VerdictRow.sample_id == sample.id))}
    changed = False
    if sample.task_id is None and session.get_one(ShardRow, sample.shard_id).published_at is not None:
        sample.task_id, changed = task.id, True  # it was deleted, and somebody imported it again
    for annotation in task.annotations:
        said = None if annotation.was_cancelled else verdict(annotation.result)
        if said is None:
            continue
        row = rows.pop(annotation.id, None)
        values = {
            "opinion": said.opinion,
            "reasons": sorted(said.reasons),
            "comment": said.comment[:4000],
            "reviewer": annotation.completed_by,
            "said_at": annotation.updated_at,
            "copy_of": annotation.copied_from,
        }
        if row is None:
            session.add(
                VerdictRow(annotation_id=annotation.id, sample_id=sample.id, task_id=task.id, late=late, **values)
            )
            changed = True
            continue
        row.task_id = task.id  # “Remove Duplicated Tasks” moves annotations from one task to another
        if any(getattr(row, name) != value for name, value in values.items()):
            if late and not row.late:
                continue  # a decision stands on what it said then
            for name, value in values.items():
                setattr(row, name, value)
            changed = True
    for gone in rows.values():
        if _task_of(gone, sample) == task.id and (not late or gone.late):
            session.delete(gone)
            changed = True
    return changed
