"""Writes the contents of review tasks into verdict rows; ``verdict_sync`` selects and reads the tasks.

The work is bounded, because a person who may write tasks may copy a review task a thousand times. Tasks are parsed
before a transaction begins. Each transaction writes a few samples, in time linear in their verdicts. The number of
verdicts that are kept per sample is limited.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, load_only

from datagen.domain.geometry import Polygon
from datagen.domain.lifecycle import SpecState
from datagen.label_studio.api.models import Task, stamp
from datagen.label_studio.mapping.form_answers import verdict
from datagen.label_studio.mapping.regions import outlines_left, redrawn_outlines
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.decision_points import republish_decisions, republish_open_decision
from datagen.workflow.sample_mapping import LONGEST_KEY, sample_of
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: The states of a version in which its rounds and audits accept verdicts. A verdict that is given in any other state is
#: late, and does not count.
OPEN = (SpecState.RENDERING, SpecState.REVIEW)
#: Value of ``VerdictRow.task_id`` if the task was lost with its project. Task ids of Label Studio begin at 1.
NOWHERE = 0
#: Largest number of verdicts that are kept per sample, on its own task, and again on all copies of the task together.
MAX_VERDICTS = 100
#: Number of samples whose verdicts are written in one transaction.
SAMPLES_AT_A_TIME = 25
#: The columns with the content of a verdict. If another column differs (the reviewer, the time), the verdict has not
#: changed.
_CONTENT_COLUMNS = ("opinion", "reasons", "comment")
#: Number of keys in one statement. It is limited because databases limit the parameters of a statement.
_KEYS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksRead:
    """Review tasks of a study, as they were read from Label Studio."""

    tasks: Sequence[Task]
    #: the study's ``verdict_changes`` when the reading began
    as_of: int
    #: sample id → task id, if ``tasks`` are all tasks of a round; else empty. An expected task that is missing in
    #: ``tasks`` was deleted
    expected: Mapping[int, int | None] = field(default_factory=dict)
    #: ids of tasks that exist but cannot be read
    unreadable: Collection[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShownLabels:
    """The outlines that a sample's review task shows before anyone changes them."""

    #: size of the image in pixels
    width: int
    height: int
    #: the study's labels
    labels: Sequence[str]
    outlines: Sequence[Polygon]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The verdicts on one review task, as read. ``verdicts`` is annotation id → the columns of the verdict's row."""

    task_id: int
    #: whether Label Studio counts the task as finished, so that its labeling stream leaves it out
    is_finished: bool
    verdicts: Mapping[int, Mapping[str, Any]]


def keep(services: Services, study_id: int, read: TasksRead) -> list[int]:
    """Write the verdicts on the tasks that were read. Leave out samples whose verdicts changed after the reading began.

    Return the ids of the tasks of the samples that were left out. They have to be read again.

    Raises:
        Refused: the study does not exist any more.
    """
    readings = _readings_by_sample(services, study_id, read.tasks)
    ids = sorted(readings.keys() | read.expected.keys())
    outdated: list[int] = []
    for start in range(0, len(ids), SAMPLES_AT_A_TIME):
        sample_readings = {
            sample_id: readings.get(sample_id, ()) for sample_id in ids[start : start + SAMPLES_AT_A_TIME]
        }
        with services.unit() as unit:
            outdated += _keep_samples(unit, study_id, sample_readings, read)
    return outdated


def takes_verdicts(spec_state: SpecState, kind: BatchKind, batch_state: WorkState) -> bool:
    """Return whether verdicts on a batch of that kind and state, of a version in that state, count.

    The samples of an audit that was cancelled or failed may be in Label Studio, although its version is under review.
    Spot checks are those of an accepted version.
    """
    has_ended = batch_state in (WorkState.CANCELLED, WorkState.FAILED)
    return not has_ended and (kind == BatchKind.SPOT or spec_state in OPEN)


def full_samples(session: Session, batch_id: int) -> list[int]:
    """Return the indices of a round's samples that have ``MAX_VERDICTS`` verdicts or more."""
    on_own = or_(VerdictRow.task_id.is_(None), VerdictRow.task_id == SampleRow.task_id)
    query = (
        select(SampleRow.index)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch_id)
        .group_by(SampleRow.index, on_own)
        .having(func.count() >= MAX_VERDICTS)
    )
    return sorted(set(session.scalars(query)))


def _readings_by_sample(services: Services, study_id: int, tasks: Iterable[Task]) -> dict[int, list[_Reading]]:
    """Return sample id → the readings of its tasks. Tasks that show no sample of this study are left out."""
    by_key: dict[str, list[Task]] = {}
    for task in tasks:
        key = task.data.get("datagen_key")
        if isinstance(key, str) and len(key) <= LONGEST_KEY:
            by_key.setdefault(key, []).append(task)
    keys = list(by_key)
    readings: dict[int, list[_Reading]] = {}
    with services.database.read() as session:
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            of_keys = SampleRow.key.in_(keys[start : start + _KEYS_AT_A_TIME])
            samples = session.execute(
                select(SampleRow.id, SampleRow.key)
                .join(BatchRow, BatchRow.id == SampleRow.batch_id)
                .where(of_keys, BatchRow.study_id == study_id)
            )
            for sample_id, key in samples:
                shown = _shown_labels(session, sample_id, by_key[key])
                readings[sample_id] = [_read(task, shown) for task in by_key[key]]
    return readings


def _shown_labels(session: Session, sample_id: int, tasks: Iterable[Task]) -> _ShownLabels | None:
    """Return the labels that a sample's tasks show; None if they are not needed: no verdict contains a drawing."""
    if not any(
        entry.get("from_name") == "label"
        for task in tasks
        for annotation in task.annotations
        if not annotation.was_cancelled
        for entry in annotation.result
    ):
        return None
    row = session.get_one(SampleRow, sample_id)
    sample = sample_of(row)
    return _ShownLabels(
        width=sample.image.width,
        height=sample.image.height,
        labels=row.batch.study.labels,
        outlines=[outline for instance in sample.instances for outline in instance.outlines],
    )


def _read(task: Task, shown: _ShownLabels | None) -> _Reading:
    verdicts: dict[int, Mapping[str, Any]] = {}
    for annotation in task.annotations:
        answer = None if annotation.was_cancelled else verdict(annotation.result)
        if answer is not None:
            verdicts[annotation.id] = {
                "opinion": answer.opinion,
                "reasons": sorted(answer.reasons),
                "comment": answer.comment[:4000],
                **_outlines(annotation.result, shown),
                "reviewer": annotation.completed_by,
                "updated_at": annotation.updated_at,
                "given_at": annotation.updated_at,
                "copy_of": annotation.copied_from,
            }
    return _Reading(task.id, task.is_finished, verdicts)


def _outlines(result: Sequence[Any], shown: _ShownLabels | None) -> dict[str, Any]:
    """Return the outlines that differ from those shown, and which of those are left, as ``VerdictRow`` stores them."""
    drawn, left = [], []
    if shown is not None:
        size_and_labels = (shown.width, shown.height, shown.labels, shown.outlines)
        drawn = [
            {"label": label, "points": [[round(x, 2), round(y, 2)] for x, y in outline.points]}
            for label, outline in redrawn_outlines(result, *size_and_labels)
        ]
        left = list(outlines_left(result, *size_and_labels)) if drawn else []
    return {"outlines": drawn, "kept_outlines": left}


def _keep_samples(
    unit: UnitOfWork, study_id: int, readings: Mapping[int, Sequence[_Reading]], read: TasksRead
) -> list[int]:
    """Write the verdicts on a few samples; see ``keep``. ``readings`` is sample id → the readings of its tasks."""
    study = unit.lock_study(study_id)
    outdated: list[int] = []
    changed: list[SampleRow] = []
    loaded = list(_load(unit.session, list(readings)))
    for sample in loaded:
        sample_readings = readings[sample.row.id]
        read_task_ids = [reading.task_id for reading in sample_readings]
        task_id = read.expected.get(sample.row.id)
        if sample.row.verdict_change > read.as_of:
            outdated += read_task_ids if task_id is None else [*read_task_ids, task_id]
            continue
        changes = [sample.keep(reading) for reading in sample_readings]
        if sample.row.id in read.expected:
            changes.append(sample.forget(task_id, read_task_ids, read.unreadable))
        if any(changes):
            changed.append(sample.row)
    opened = {  # Label Studio opens a closed task whose annotation is deleted, or that a person skips
        sample.row.batch_id
        for sample in loaded
        if sample.late and any(not reading.is_finished for reading in readings[sample.row.id])
    }
    for batch_id in sorted(opened - {row.batch_id for row in changed} - _being_updated(unit.session, opened)):
        unit.add_to_outbox(study_id, OutboxKind.REVIEW_TASKS, batch_id)
    if changed:
        study.verdict_changes += 1
        for row in changed:
            row.verdict_change = study.verdict_changes
        for batch_id in sorted({row.batch_id for row in changed}):
            republish_decisions(unit, unit.session.get_one(BatchRow, batch_id))
            unit.add_to_outbox(study_id, OutboxKind.REVIEW_TASKS, batch_id)
        audited = any(sample.row.batch.kind == BatchKind.AUDIT for sample in loaded)
        if audited or any(sample.late for sample in loaded):
            # its page shows what all audits promise, and that late verdicts do not count
            republish_open_decision(unit, study_id)
    return outdated


def _being_updated(session: Session, batch_ids: Collection[int]) -> set[int]:
    """Return the ids of those rounds whose review tasks a pending or running outbox row updates anyway."""
    query = select(OutboxRow.subject_id).where(
        OutboxRow.kind == OutboxKind.REVIEW_TASKS,
        OutboxRow.subject_id.in_(batch_ids),
        OutboxRow.state.in_((WorkState.PENDING, WorkState.RUNNING)),
    )
    return set(session.scalars(query)) if batch_ids else set()


def _load(session: Session, sample_ids: Sequence[int]) -> Iterator[_SampleVerdicts]:
    """Yield these samples with their verdicts. Two statements read all of them, without the samples' labels."""
    rows: dict[int, list[VerdictRow]] = {sample_id: [] for sample_id in sample_ids}
    for row in session.scalars(select(VerdictRow).where(VerdictRow.sample_id.in_(sample_ids))):
        rows[row.sample_id].append(row)
    columns = (SampleRow.batch_id, SampleRow.shard_id, SampleRow.task_id, SampleRow.verdict_change)
    samples = session.execute(
        select(SampleRow, SpecRow.state, BatchRow.kind, BatchRow.state, ShardRow.published_at)
        .options(load_only(*columns))
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.id.in_(sample_ids))
        .order_by(SampleRow.id)
    ).all()
    for sample, spec_state, kind, batch_state, published_at in samples:
        is_late = not takes_verdicts(spec_state, kind, batch_state)
        yield _SampleVerdicts(session, sample, rows[sample.id], late=is_late, published=published_at is not None)


class _SampleVerdicts:
    """The verdicts on one sample, inside a transaction.

    Args:
        session: the transaction's session.
        row: the sample's row.
        rows: the rows of its verdicts.
        late: whether the round accepts no more verdicts, so that new ones are late.
        published: whether the sample's task was created. If the sample has no task now, a person deleted it.
    """

    def __init__(
        self, session: Session, row: SampleRow, rows: Iterable[VerdictRow], *, late: bool, published: bool
    ) -> None:
        self.row = row
        self.late = late
        self._session = session
        self._published = published
        self._full = False
        self._rows = {verdict_row.annotation_id: verdict_row for verdict_row in rows}
        self._on_task: dict[int | None, set[int]] = {}
        for verdict_row in self._rows.values():
            self._on_task.setdefault(verdict_row.task_id, set()).add(verdict_row.annotation_id)

    def keep(self, reading: _Reading) -> bool:
        """Make the verdict rows of one task equal to its reading. Return whether anything changed.

        If the round accepts no more verdicts, rows that the decision was based on are only marked as changed late.
        """
        changed = False
        if self.row.task_id is None and self._published:
            self.row.task_id, changed = reading.task_id, True  # the task was deleted, and a person imported it again
        for annotation_id, values in reading.verdicts.items():
            row = self._rows.get(annotation_id)
            if row is None:
                changed = self._add(annotation_id, reading.task_id, values) or changed
                continue
            self._move(row, reading.task_id)  # “Remove Duplicated Tasks” moves annotations from one task to another
            if self.late and not row.late:  # the decision was based on its content at that time
                differs = any(getattr(row, name) != values[name] for name in _CONTENT_COLUMNS)
                changed_again = differs and row.updated_at != values["updated_at"]
                changed = changed or changed_again or row.changed_late != differs
                row.changed_late = differs
                if differs:
                    row.updated_at = values["updated_at"]
            elif any(getattr(row, name) != value for name, value in values.items()):
                for name, value in values.items():
                    setattr(row, name, value)
                changed = True
        deleted = [
            annotation_id
            for annotation_id in self._annotations_on_task(reading.task_id)
            if annotation_id not in reading.verdicts
        ]
        return self._delete(deleted) or changed

    def forget(self, task_id: int | None, read_task_ids: Sequence[int], unreadable: Collection[int]) -> bool:
        """Delete the verdicts on tasks that no longer exist. Return whether anything changed.

        Args:
            task_id: the id of the sample's own task when the reading began.
            read_task_ids: the ids of the sample's tasks that were read.
            unreadable: the ids of tasks that exist but could not be read.
        """
        existing = {*read_task_ids, *unreadable}
        deleted = [
            annotation_id
            for annotation_id, row in self._rows.items()
            if (verdict_task := self._task_of(row)) is not None
            and verdict_task != NOWHERE
            and verdict_task not in existing
        ]
        changed = self._delete(deleted)
        if self.row.task_id == task_id and task_id not in existing:
            self.row.task_id, changed = min(read_task_ids, default=None), True
        return changed

    def _task_of(self, row: VerdictRow) -> int | None:
        """Return the task id of a verdict. A row of an early version has none: its task is the sample's own one."""
        return self.row.task_id if row.task_id is None else row.task_id

    def _annotations_on_task(self, task_id: int | None) -> list[int]:
        """Return the ids of the annotations on a task that have a verdict row."""
        without_task = self._on_task.get(None, set()) if task_id == self.row.task_id else set()
        return [*self._on_task.get(task_id, ()), *without_task]

    def _add(self, annotation_id: int, task_id: int, values: Mapping[str, Any]) -> bool:
        own_tasks = {self.row.task_id, None}  # see _task_of
        on_own = sum(len(self._on_task.get(own_task, ())) for own_task in own_tasks)
        if (on_own if task_id in own_tasks else len(self._rows) - on_own) >= MAX_VERDICTS:
            if not self._full:
                log.warning("verdict.too_many", sample=self.row.id, task=task_id)
            self._full = True
            return False
        row = VerdictRow(annotation_id=annotation_id, sample_id=self.row.id, task_id=task_id, late=self.late, **values)
        self._session.add(row)
        self._rows[annotation_id] = row
        self._on_task.setdefault(task_id, set()).add(annotation_id)
        return True

    def _move(self, row: VerdictRow, task_id: int) -> None:
        if row.task_id != task_id:
            self._on_task[row.task_id].discard(row.annotation_id)
            self._on_task.setdefault(task_id, set()).add(row.annotation_id)
            row.task_id = task_id

    def _delete(self, annotation_ids: Iterable[int]) -> bool:
        """Delete the verdicts of these annotations. Return whether anything changed.

        A verdict that a decision is based on is not deleted, but marked as changed late.
        """
        changed = False
        for annotation_id in annotation_ids:
            row = self._rows[annotation_id]
            if row.late or not self.late:
                self._on_task[row.task_id].discard(annotation_id)
                del self._rows[annotation_id]
                self._session.delete(row)
                changed = True
            elif not row.changed_late:
                row.changed_late = changed = True
                row.updated_at = stamp(now().isoformat())
        return changed
