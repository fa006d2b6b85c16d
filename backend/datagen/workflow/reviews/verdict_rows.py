"""Making the rows of verdicts equal to what review tasks hold; which tasks are read, and when, is for ``verdicts``.

Whoever may write tasks may copy a review task a thousand times. So what the tasks say is parsed before the transaction
opens, a transaction writes some samples and is linear in their verdicts, and of a sample not more than a bound is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, load_only

from datagen.domain.lifecycle import SpecState
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.form_answers import verdict
from datagen.store.tables import BatchRow, OutboxKind, SampleRow, ShardRow, SpecRow, VerdictRow
from datagen.workflow.decision_points import republish_decisions, republish_open_decision
from datagen.workflow.sample_mapping import LONGEST_KEY
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: A round whose spec is in one of these states still takes verdicts; in any other they come too late to count.
OPEN = (SpecState.RENDERING, SpecState.REVIEW)
#: The task of what was said on one that nobody deleted and that is not there any more; Label Studio counts from 1.
NOWHERE = 0
#: Verdicts that are kept of a sample: so many that were given on its own task, and so many on all copies of it.
MOST_VERDICTS = 100
#: Samples whose verdicts are written in one transaction.
SAMPLES_AT_A_TIME = 25
#: The columns that say what a verdict is; the others say whose and when.
_SAID = ("opinion", "reasons", "comment")
#: Keys in one statement; databases limit its parameters.
_KEYS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one review task holds: the columns of a verdict by the number of its annotation."""

    task_id: int
    verdicts: Mapping[int, Mapping[str, Any]]


def keep(
    services: Services,
    study_id: int,
    tasks: Sequence[Task],
    as_of: int,
    expected: Mapping[int, int | None] = MappingProxyType({}),
    unreadable: Collection[int] = (),
) -> list[int]:
    """Keep what these tasks hold, but for samples whose verdicts changed after ``as_of``: their tasks are returned.

    Args:
        expected: sample → task, where the tasks are all of a round's: one that is not among them is gone.
        unreadable: tasks that are there and of which nothing is known.

    Raises:
        Refused: the study is not there any more.
    """
    readings = _by_sample(services, study_id, tasks)
    ids = sorted(readings.keys() | expected.keys())
    outdated: list[int] = []
    for start in range(0, len(ids), SAMPLES_AT_A_TIME):
        with services.unit() as unit:
            some = ids[start : start + SAMPLES_AT_A_TIME]
            outdated += _keep_some(unit, study_id, some, readings, as_of, expected, unreadable)
    return outdated


def full_samples(session: Session, batch_id: int) -> list[int]:
    """The indices of a round's samples of which no more verdicts are kept."""
    on_own = or_(VerdictRow.task_id.is_(None), VerdictRow.task_id == SampleRow.task_id)
    query = (
        select(SampleRow.index)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch_id)
        .group_by(SampleRow.index, on_own)
        .having(func.count() >= MOST_VERDICTS)
    )
    return sorted(set(session.scalars(query)))


def _by_sample(services: Services, study_id: int, tasks: Iterable[Task]) -> dict[int, list[_Reading]]:
    """What the tasks say, by the sample they show; what is none of this study's is left out."""
    by_key: dict[str, list[Task]] = {}
    for task in tasks:
        key = task.data.get("datagen_key")
        if isinstance(key, str) and len(key) <= LONGEST_KEY:
            by_key.setdefault(key, []).append(task)
    keys = list(by_key)
    found: dict[int, list[_Reading]] = {}
    with services.database.read() as session:
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            ours = session.execute(
                select(SampleRow.id, SampleRow.key)
                .join(BatchRow, BatchRow.id == SampleRow.batch_id)
                .where(SampleRow.key.in_(keys[start : start + _KEYS_AT_A_TIME]), BatchRow.study_id == study_id)
            )
            found |= {sample_id: [_read(task) for task in by_key[key]] for sample_id, key in ours}
    return found


def _read(task: Task) -> _Reading:
    verdicts: dict[int, Mapping[str, Any]] = {}
    for annotation in task.annotations:
        given = None if annotation.was_cancelled else verdict(annotation.result)
        if given is not None:
            verdicts[annotation.id] = {
                "opinion": given.opinion,
                "reasons": sorted(given.reasons),
                "comment": given.comment[:4000],
                "reviewer": annotation.completed_by,
                "updated_at": annotation.updated_at,
                "copy_of": annotation.copied_from,
            }
    return _Reading(task.id, verdicts)


def _keep_some(
    unit: UnitOfWork,
    study_id: int,
    sample_ids: Sequence[int],
    readings: Mapping[int, Sequence[_Reading]],
    as_of: int,
    expected: Mapping[int, int | None],
    unreadable: Collection[int],
) -> list[int]:
    study = unit.lock_study(study_id)
    outdated: list[int] = []
    changed: list[SampleRow] = []
    loaded = list(_load(unit.session, sample_ids))
    for sample in loaded:
        read = readings.get(sample.row.id, ())
        there = [reading.task_id for reading in read]
        task_id = expected.get(sample.row.id)
        if sample.row.verdict_change > as_of:
            outdated += there if task_id is None else [*there, task_id]
            continue
        changes = [sample.keep(reading) for reading in read]
        if sample.row.id in expected:
            changes.append(sample.forget(task_id, there, unreadable))
        if any(changes):
            changed.append(sample.row)
    if changed:
        study.verdict_changes += 1
        for row in changed:
            row.verdict_change = study.verdict_changes
        for batch_id in sorted({row.batch_id for row in changed}):
            republish_decisions(unit, unit.session.get_one(BatchRow, batch_id))
            unit.add_to_outbox(study_id, OutboxKind.REVIEW_TASKS, batch_id)
        if any(sample.late for sample in loaded):
            republish_open_decision(unit, study_id)  # it says that these verdicts do not count
    return outdated


def _load(session: Session, sample_ids: Sequence[int]) -> Iterator[_SampleVerdicts]:
    """These samples with their verdicts, in three statements; a sample's labels are left where they are."""
    rows: dict[int, list[VerdictRow]] = {sample_id: [] for sample_id in sample_ids}
    for row in session.scalars(select(VerdictRow).where(VerdictRow.sample_id.in_(sample_ids))):
        rows[row.sample_id].append(row)
    columns = (SampleRow.batch_id, SampleRow.shard_id, SampleRow.task_id, SampleRow.verdict_change)
    found = session.execute(
        select(SampleRow, SpecRow.state, ShardRow.published_at)
        .options(load_only(*columns))
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.id.in_(sample_ids))
        .order_by(SampleRow.id)
    ).all()
    for sample, state, published_at in found:
        yield _SampleVerdicts(
            session, sample, rows[sample.id], late=state not in OPEN, published=published_at is not None
        )


class _SampleVerdicts:
    """The verdicts of one sample, inside a transaction.

    Args:
        late: what is said now comes too late: a decision stands on what was said before it.
        published: its task was made, so that one without a task lost it to somebody who deleted it.
    """

    def __init__(
        self, session: Session, row: SampleRow, rows: Iterable[VerdictRow], *, late: bool, published: bool
    ) -> None:
        self.row = row
        self.late = late
        self._session = session
        self._published = published
        self._full = False
        self._rows = {one.annotation_id: one for one in rows}
        self._on_task: dict[int | None, set[int]] = {}
        for one in self._rows.values():
            self._on_task.setdefault(one.task_id, set()).add(one.annotation_id)

    def keep(self, reading: _Reading) -> bool:
        """Make what was said on one task equal to what it holds; whether anything changed."""
        changed = False
        if self.row.task_id is None and self._published:
            self.row.task_id, changed = reading.task_id, True  # it was deleted, and somebody imported it again
        for annotation_id, values in reading.verdicts.items():
            row = self._rows.get(annotation_id)
            if row is None:
                changed = self._add(annotation_id, reading.task_id, values) or changed
                continue
            self._move(row, reading.task_id)  # “Remove Duplicated Tasks” moves annotations from one task to another
            if self.late and not row.late:  # a decision stands on what it said then
                says_otherwise = any(getattr(row, name) != values[name] for name in _SAID)
                changed = changed or row.changed_late != says_otherwise
                row.changed_late = says_otherwise
            elif any(getattr(row, name) != value for name, value in values.items()):
                for name, value in values.items():
                    setattr(row, name, value)
                changed = True
        gone = [one for one in self._of_task(reading.task_id) if one not in reading.verdicts]
        return self._delete(gone) or changed

    def forget(self, task_id: int | None, there: Sequence[int], unreadable: Collection[int]) -> bool:
        """Forget what was said on tasks that are neither ``there`` nor ``unreadable``; whether anything changed."""
        known = {*there, *unreadable}
        gone = [
            annotation_id
            for annotation_id, row in self._rows.items()
            if (on := self._task_of(row)) is not None and on != NOWHERE and on not in known
        ]
        changed = self._delete(gone)
        if self.row.task_id == task_id and task_id not in known:
            self.row.task_id, changed = min(there, default=None), True
        return changed

    def _task_of(self, row: VerdictRow) -> int | None:
        """The task a verdict was said on; an early version noted none, and looked at the sample's own alone."""
        return self.row.task_id if row.task_id is None else row.task_id

    def _of_task(self, task_id: int | None) -> list[int]:
        """The annotations whose verdicts were said on a task."""
        unnoted = self._on_task.get(None, set()) if task_id == self.row.task_id else set()
        return [*self._on_task.get(task_id, ()), *unnoted]

    def _add(self, annotation_id: int, task_id: int, values: Mapping[str, Any]) -> bool:
        own = {self.row.task_id, None}  # see _task_of
        on_own = sum(len(self._on_task.get(one, ())) for one in own)
        if (on_own if task_id in own else len(self._rows) - on_own) >= MOST_VERDICTS:
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
        """Delete these verdicts, and mark those that a decision stands on as changed; whether anything changed."""
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
        return changed
