"""Verdicts: kept exactly as Label Studio holds them, whatever was made, changed, deleted or skipped there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import Desk
from datagen.domain.lifecycle import SpecState
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.label_studio.answers import verdict
from datagen.label_studio.records import Task
from datagen.quality.refine import Judged
from datagen.store.rows import BatchRow, DeskRow, SampleRow, SpecRow, StudyRow, VerdictRow
from datagen.workflow.points import project_of, show_progress
from datagen.workflow.samples import sample_of
from datagen.workflow.workshop import Unit, Workshop

#: A round whose spec is in one of these states still takes verdicts; in any other they come too late to count.
_OPEN = (SpecState.RENDERING, SpecState.REVIEW)


def follow_tasks(workshop: Workshop, project_id: int, task_ids: Sequence[int]) -> None:
    """Read these review tasks from Label Studio and keep their verdicts."""
    if task_ids:
        follow(workshop, project_id, lambda: workshop.label_studio.tasks(project_id, ids=task_ids))


def follow_annotations(workshop: Workshop, project_id: int, annotation_ids: Sequence[int]) -> None:
    """The same, for annotations of which an event gave the ids alone: deleted ones."""
    with workshop.database.read() as session:
        tasks = session.scalars(
            select(SampleRow.task_id)
            .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .join(DeskRow, DeskRow.study_id == BatchRow.study_id)
            .where(
                DeskRow.project_id == project_id,  # a verdict of another study may have the same number
                VerdictRow.annotation_id.in_(annotation_ids),
                SampleRow.task_id.is_not(None),
            )
        ).all()
    follow_tasks(workshop, project_id, sorted({task_id for task_id in tasks if task_id is not None}))


def follow_round(workshop: Workshop, batch_id: int) -> None:
    """Read every review task of a round, so that a decision stands on all verdicts, also those no event told of."""
    with workshop.database.read() as session:
        batch = session.get_one(BatchRow, batch_id)
        project_id = project_of(session, batch.study_id, Desk.PREVIEWS)
    if project_id is None:
        return
    follow(workshop, project_id, lambda: workshop.label_studio.tasks(project_id, batch=batch_name(batch)))


def follow(workshop: Workshop, project_id: int, read: Callable[[], Iterable[Task]]) -> list[Task]:
    """Read tasks of a Previews project, and make the rows of their verdicts equal to what they hold; returns them.

    Two workers may read the same task, and the one that read it earlier come to write later. So each change is
    counted, and what changed after a reading began is read again.
    """
    everything: list[Task] | None = None
    while True:
        with workshop.database.read() as session:
            study = session.scalar(
                select(StudyRow).join(DeskRow, DeskRow.study_id == StudyRow.id).where(DeskRow.project_id == project_id)
            )
        if study is None:
            return []  # deleted meanwhile
        tasks = list(read())
        everything = tasks if everything is None else everything
        outdated = _keep(workshop, study.id, tasks, study.verdict_changes)
        if not outdated:
            return everything
        read = partial(workshop.label_studio.tasks, project_id, ids=outdated)


def _keep(workshop: Workshop, study_id: int, tasks: Sequence[Task], as_of: int) -> list[int]:
    """Keep what these tasks hold, but for those whose verdicts changed after ``as_of``: their ids are returned."""
    outdated: list[int] = []
    if not tasks:
        return outdated
    with workshop.unit() as unit:
        study = unit.lock_study(study_id)
        changed: list[SampleRow] = []
        for task in tasks:
            sample = unit.session.scalar(select(SampleRow).where(SampleRow.key == str(task.data.get("datagen_key"))))
            if sample is None:
                continue
            if sample.verdict_change > as_of:
                outdated.append(task.id)
            elif _keep_one(unit, sample, task):
                changed.append(sample)
        if changed:
            study.verdict_changes += 1
        for sample in changed:
            sample.verdict_change = study.verdict_changes
            show_progress(unit, sample.batch)
    return outdated


def batch_name(batch: BatchRow) -> str:
    """The ``batch`` in the data of a batch's tasks."""
    return f"{batch.kind}-{batch.study_id}-{batch.number}"


def judged(session: Session, batch_id: int) -> list[Judged]:
    """What was said in time of a round's samples, in the samples' order."""
    rows = session.execute(
        select(SampleRow, VerdictRow)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch_id, VerdictRow.late.is_(False))
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
    late = session.get_one(SpecRow, sample.batch.spec_id).state not in _OPEN
    rows = {r.annotation_id: r for r in session.scalars(select(VerdictRow).where(VerdictRow.sample_id == sample.id))}
    changed = False
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
        }
        if row is None:
            session.add(VerdictRow(annotation_id=annotation.id, sample_id=sample.id, late=late, **values))
            changed = True
        elif any(getattr(row, name) != value for name, value in values.items()):
            if late and not row.late:
                continue  # a decision stands on what it said then
            for name, value in values.items():
                setattr(row, name, value)
            changed = True
    for gone in rows.values():
        if not late or gone.late:
            session.delete(gone)
            changed = True
    return changed
