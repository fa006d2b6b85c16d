"""The situations of several studies, with a fixed number of statements however many studies there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, exists, func, select
from sqlalchemy.orm import Session, load_only

from datagen.domain.inputs import MINIMUM_PER_ROLE, ProjectKind, Role
from datagen.domain.lifecycle import StudyState
from datagen.domain.verdict import Opinion
from datagen.store.tables.base import PARTS_OF_RUNS, BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.inputs.input_sync import inputs_from_rows
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.study_pages.next_step import BatchName, StudySituation

#: The kinds of batches that wait for verdicts while a study is under review.
_JUDGED = (BatchKind.ROUND, BatchKind.AUDIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """The progress of a study's current phase, as a count."""

    done: int
    total: int
    #: what is counted, such as “images”
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """The situation of a study, its current version, and the progress of its phase."""

    situation: StudySituation
    #: the newest version that has a round; 0 before the first
    version: int
    #: None in a phase without progress
    progress: StudyProgress | None


@dataclass(slots=True)
class _Judging:
    """The verdicts that a study under review waits for."""

    total: int = 0
    unjudged: int = 0
    first_task: int | None = None
    #: the first round or audit with a sample without a verdict
    first_batch: BatchName | None = None


def statuses_of(session: Session, studies: Sequence[StudyRow]) -> dict[int, StudyStatus]:
    """Return the status of each study by its id; at most eight statements."""
    ids = [study.id for study in studies]
    projects = _projects(session, ids)
    versions = _current_versions(session, ids)
    reviewed = {versions[study.id][0]: study.id for study in studies if _is_under_review(study, versions)}
    judging = _judging(session, reviewed)
    under_way = _under_way(session, [study.id for study in studies if study.state in _UNDER_WAY])
    paused_by = _paused_by(session, [study.id for study in studies if study.state is StudyState.PAUSED])
    collecting = [study for study in studies if study.state is StudyState.COLLECTING]
    counts = _input_counts(session, collecting)
    statuses = {}
    for study in studies:
        waiting = judging.get(study.id, _Judging())
        usable = counts.get(study.id, {})
        missing = {role: MINIMUM_PER_ROLE - count for role, count in usable.items() if count < MINIMUM_PER_ROLE}
        progress = under_way.get(study.id)
        if study.state is StudyState.REVIEWING and waiting.total:
            progress = StudyProgress(done=waiting.total - waiting.unjudged, total=waiting.total, unit="judged")
        elif usable:
            enough = sum(min(count, MINIMUM_PER_ROLE) for count in usable.values())
            progress = StudyProgress(done=enough, total=MINIMUM_PER_ROLE * len(usable), unit="needed images")
        statuses[study.id] = StudyStatus(
            situation=StudySituation(
                state=study.state,
                projects=projects[study.id],
                missing=missing,
                paused_by=paused_by.get(study.id, ""),
                unjudged=waiting.unjudged,
                first_unjudged_task=waiting.first_task,
                unjudged_batch=waiting.first_batch,
            ),
            version=versions[study.id][1] if study.id in versions else 0,
            progress=progress,
        )
    return statuses


_UNDER_WAY = (StudyState.PREVIEWING, StudyState.AUDITING, StudyState.GENERATING, StudyState.PAUSED)


def _is_under_review(study: StudyRow, versions: dict[int, tuple[int, int]]) -> bool:
    return study.state is StudyState.REVIEWING and study.id in versions


def _projects(session: Session, study_ids: Sequence[int]) -> dict[int, dict[ProjectKind, int]]:
    rows = session.execute(
        select(ProjectRow.study_id, ProjectRow.kind, ProjectRow.project_id).where(ProjectRow.study_id.in_(study_ids))
    )
    projects: dict[int, dict[ProjectKind, int]] = defaultdict(dict)
    for study_id, kind, project_id in rows:
        projects[study_id][kind] = project_id
    return projects


def _current_versions(session: Session, study_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return study → id and version of its newest spec whose round is done or running."""
    has_round = exists().where(
        BatchRow.spec_id == SpecRow.id,
        BatchRow.kind == BatchKind.ROUND,
        BatchRow.state.in_([WorkState.RUNNING, WorkState.DONE]),
    )
    rows = session.execute(
        select(SpecRow.study_id, SpecRow.id, SpecRow.version)
        .where(SpecRow.study_id.in_(study_ids), has_round)
        .order_by(SpecRow.version)
    )
    return {study_id: (spec_id, version) for study_id, spec_id, version in rows}


def _judging(session: Session, study_of_spec: dict[int, int]) -> dict[int, _Judging]:
    """Return study → the verdicts that it waits for; samples whose review task was deleted need none."""
    judged = exists().where(VerdictRow.sample_id == SampleRow.id, verdict_sync.verdicts_in_time())
    unjudged = case((~judged, SampleRow.task_id))
    rows = session.execute(
        select(
            BatchRow.spec_id,
            func.count(),
            func.count(unjudged),
            func.min(unjudged),
            func.min(case((~judged, BatchRow.id))),
        )
        .join(SampleRow, SampleRow.batch_id == BatchRow.id)
        .where(
            BatchRow.spec_id.in_(study_of_spec),
            BatchRow.kind.in_(_JUDGED),
            BatchRow.state == WorkState.DONE,
            SampleRow.task_id.is_not(None),
        )
        .group_by(BatchRow.spec_id)
    ).all()
    first_batches = [batch_id for *_, batch_id in rows if batch_id is not None]
    names = {
        batch_id: BatchName(kind, number)
        for batch_id, kind, number in session.execute(
            select(BatchRow.id, BatchRow.kind, BatchRow.number).where(BatchRow.id.in_(first_batches))
        )
    }
    return {
        study_of_spec[spec_id]: _Judging(total, number, first_task, names.get(batch_id))
        for spec_id, total, number, first_task, batch_id in rows
    }


def _under_way(session: Session, study_ids: Sequence[int]) -> dict[int, StudyProgress]:
    """Return study → the progress of its round, audit or run under way."""
    stored = case((ShardRow.rendered_at.is_not(None), ShardRow.stop - ShardRow.start), else_=ShardRow.rendered_count)
    rows = session.execute(
        select(BatchRow.study_id, BatchRow.count, func.coalesce(func.sum(stored), 0))
        .join(ShardRow, ShardRow.batch_id == BatchRow.id)
        .where(
            BatchRow.study_id.in_(study_ids),
            BatchRow.kind.not_in(PARTS_OF_RUNS),
            BatchRow.state.in_([WorkState.RUNNING, WorkState.PAUSED]),
        )
        .group_by(BatchRow.id)
    )
    return {
        study_id: StudyProgress(done=min(done, count), total=count, unit="images") for study_id, count, done in rows
    }


def _paused_by(session: Session, study_ids: Sequence[int]) -> dict[int, str]:
    """Return study → the person who paused its run; those whose run its spot checks paused are left out."""
    if not study_ids:
        return {}
    rows = session.execute(
        select(BatchRow.study_id, BatchRow.paused_by).where(
            BatchRow.study_id.in_(study_ids), BatchRow.state == WorkState.PAUSED, BatchRow.paused_by.is_not(None)
        )
    )
    return {study_id: str(person) for study_id, person in rows}


def _input_counts(session: Session, studies: Sequence[StudyRow]) -> dict[int, dict[Role, int]]:
    """Return study → role → number of usable images."""
    rows = session.scalars(
        select(InputRow).where(InputRow.study_id.in_([study.id for study in studies])).order_by(InputRow.task_id)
    )
    by_study: dict[int, list[InputRow]] = defaultdict(list)
    for row in rows:
        by_study[row.study_id].append(row)
    counts = {}
    for study in studies:
        inputs = inputs_from_rows(by_study[study.id], study.labels)
        counts[study.id] = {role: inputs.count(role) for role in Role}
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCounts:
    """The verdicts on a batch that count."""

    good: int = 0
    bad: int = 0
    #: number of samples with a verdict, and of those whose verdicts are all good
    judged: int = 0
    all_good: int = 0


def verdict_counts(session: Session, batch_ids: Sequence[int]) -> dict[int, VerdictCounts]:
    """Return the verdicts on each batch by its id. Executes one statement."""
    is_bad = VerdictRow.opinion == Opinion.BAD
    sample_id = VerdictRow.sample_id
    rows = session.execute(
        select(
            SampleRow.batch_id,
            func.count(),
            func.count(case((is_bad, 1))),
            func.count(sample_id.distinct()),
            func.count(case((is_bad, sample_id)).distinct()),
        )
        .join(VerdictRow, sample_id == SampleRow.id)
        .where(SampleRow.batch_id.in_(batch_ids), verdict_sync.effective_verdicts())
        .group_by(SampleRow.batch_id)
    )
    return {
        batch_id: VerdictCounts(good=given - bad, bad=bad, judged=judged, all_good=judged - bad_samples)
        for batch_id, given, bad, judged, bad_samples in rows
    }


def newest_pictured(session: Session, study_ids: Sequence[int]) -> list[BatchRow]:
    """Return the newest batch of each study that has pictures. Executes one statement."""
    newest = (
        select(func.max(BatchRow.id))
        .where(
            BatchRow.study_id.in_(study_ids),
            BatchRow.kind.not_in(PARTS_OF_RUNS),
            exists().where(SampleRow.batch_id == BatchRow.id),
        )
        .group_by(BatchRow.study_id)
    )
    columns = load_only(
        BatchRow.study_id,
        BatchRow.kind,
        BatchRow.number,
        BatchRow.first,
        BatchRow.stride,
        BatchRow.count,
        BatchRow.name,
    )
    return list(session.scalars(select(BatchRow).where(BatchRow.id.in_(newest)).options(columns)))
