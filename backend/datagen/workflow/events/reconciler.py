"""The reconciler: finds what was created, changed or deleted in Label Studio if the webhook event was lost.

A webhook is sent once and may be lost. In each pass, one request returns the counts of all projects. If the counts of a
project changed, something was created or deleted, and the project is checked. An edit changes no count, so the projects
whose counts did not change are checked too, each in every second pass.

A check requests the ids of the tasks that were updated since the last check, and reads only those tasks. The cost grows
with the number of changes, not with the number of tasks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.errors import LabelStudioError, LabelStudioFault, LabelStudioUnavailable, StoreUnavailable
from datagen.label_studio.api.models import Counts, Task
from datagen.store.tables.base import now
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import submit
from datagen.workflow.generation import spot_checks
from datagen.workflow.inputs import unreadable_tasks
from datagen.workflow.inputs.input_requests import request_reading
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services

log = structlog.get_logger()

#: A check also requests the tasks that were updated up to this long before the newest update seen. This ends
#: with a check that finds nothing new, at least this long after the previous check. Label Studio stamps a change
#: before it commits it, so a change with an earlier stamp may become visible later. The clocks of several machines with
#: Label Studio may differ, too.
OVERLAP = timedelta(seconds=15)
#: Time for which a project that could not be read is skipped, unless something is created or deleted in it.
FAULT_PAUSE = timedelta(seconds=60)
_OUR_FAULT = (
    "Project {project} ({kind}) could not be read for a reason of ours ({fault}); the workers' log has it. "
    "It is tried again; its inputs, verdicts and decisions of the last moments may be missing until then."
)
#: Value of ``ProjectRow.seen`` if no update that was seen needs to be requested again.
_SETTLED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CheckResult:
    """The result of a check of a project: new values for the fields of its row."""

    project_id: int
    seen_until: str
    seen: str
    counted: str
    #: None: unchanged
    tasks: int | None = None
    #: the reason why the project could not be checked, as a sentence
    fault: str = ""


def reconcile(services: Services) -> None:
    """Check every project in which people create, edit or delete tasks.

    A project without creations or deletions is checked in every second pass. If a project cannot be read, the decision
    task names it, and the other projects are still checked.

    Raises:
        LabelStudioUnavailable: Label Studio is unavailable; the next pass finds the same changes.
        OperationalError, InterfaceError: the database is unavailable.
    """
    moment = now()
    with services.database.read() as session:
        projects = session.scalars(
            select(ProjectRow)
            .join(StudyRow, StudyRow.id == ProjectRow.study_id)
            .where(
                ProjectRow.kind != ProjectKind.DATASET,
                (StudyRow.state != StudyState.STOPPED) | (ProjectRow.kind == ProjectKind.DECISIONS),
            )
            .order_by(ProjectRow.study_id, ProjectRow.project_id)
        ).all()
    if not projects:
        return
    counts = services.label_studio.counts([project_row.project_id for project_row in projects])
    results: list[_CheckResult] = []
    try:
        for project_row in _due(projects, counts, moment):
            current = counts[project_row.project_id]
            try:
                results.append(_check(services, project_row, current, moment))
            except (LabelStudioUnavailable, OperationalError, InterfaceError):
                raise
            except LabelStudioFault as fault:
                log.warning(
                    "reconciler.fault", study=project_row.study_id, kind=str(project_row.kind), reason=str(fault)
                )
                results.append(_failed(project_row, str(current), str(fault)))
            except (LabelStudioError, StoreUnavailable) as refusal:
                log.warning(
                    "reconciler.refused", study=project_row.study_id, kind=str(project_row.kind), reason=str(refusal)
                )
                results.append(_failed(project_row, project_row.counted, str(refusal)))
            except Exception as fault:  # a bug: it is logged and shown at the study, and the other projects are checked
                log.exception("reconciler.failed", study=project_row.study_id, kind=str(project_row.kind))
                sentence = _OUR_FAULT.format(
                    project=project_row.project_id, kind=project_row.kind, fault=type(fault).__name__
                )
                results.append(_failed(project_row, str(current), sentence))
    finally:
        _store(services, results, moment)


def _due(projects: Sequence[ProjectRow], counts: Mapping[int, Counts], moment: datetime) -> list[ProjectRow]:
    """Return the projects to check now: those with creations or deletions, and half of the others.

    The half begins with the projects that were checked longest ago. It contains all of those that the last pass
    omitted. A project of which a check failed less than ``FAULT_PAUSE`` ago is left out of the half.
    """
    for project_row in projects:
        if project_row.project_id not in counts:
            log.warning(
                "reconciler.project_is_gone",
                study=project_row.study_id,
                kind=str(project_row.kind),
                project=project_row.project_id,
            )
    existing = [project_row for project_row in projects if project_row.project_id in counts]
    changed = [project_row for project_row in existing if project_row.counted != str(counts[project_row.project_id])]
    quiet = [
        project_row
        for project_row in existing
        if project_row.counted == str(counts[project_row.project_id]) and not _is_paused(project_row, moment)
    ]
    never = datetime.min.replace(tzinfo=UTC)
    last = max((project_row.looked_at or never for project_row in existing), default=never)
    quiet.sort(key=lambda project_row: project_row.looked_at or never)
    omitted = sum(1 for project_row in quiet if (project_row.looked_at or never) < last)
    return changed + quiet[: max(omitted, (len(quiet) + 1) // 2)]


def _is_paused(project: ProjectRow, moment: datetime) -> bool:
    """Return whether the last check of a project failed less than ``FAULT_PAUSE`` ago.

    A check that failed to read only some tasks does not count as failed.
    """
    return (
        unreadable_tasks.is_fault(project)
        and project.looked_at is not None
        and moment - project.looked_at < FAULT_PAUSE
    )


def _check(services: Services, project: ProjectRow, counts: Counts, moment: datetime) -> _CheckResult:
    """Handle the tasks of a project that were updated since the last check, as their events would have been handled."""
    since = _since(project)
    stamps = services.label_studio.stamps(project.project_id, updated_since=since) if counts.tasks else []
    until = max((updated_at for _, updated_at in stamps), default="")
    until = max(until, project.seen_until)
    is_new = bool(stamps) and _digest(stamps, since) != project.seen
    # creating a task, and creating or deleting an annotation, updates a task; if the counts changed without an updated
    # task, tasks were deleted or Label Studio was restored from a backup
    is_restored = counts.tasks == project.tasks and str(counts) != project.counted and not is_new
    reread = counts.tasks != project.tasks or is_restored
    reread = unreadable_tasks.recheck(services, project) or reread
    match project.kind:
        case ProjectKind.PREVIEWS:
            if is_new:
                verdict_sync.sync(services, project.project_id, updated_since=since)
            if reread:
                verdict_sync.sync_open_rounds(services, project.study_id, ended_runs=is_restored)
            if is_new or reread:
                spot_checks.watch(services, project.study_id)
        case ProjectKind.DECISIONS:
            if is_new:
                submit.handle_answered_tasks(services, project.project_id, updated_since=since)
            if reread:
                with services.unit() as unit:
                    decision_points.republish_open_decision(unit, project.study_id)
        case _:
            updated = read_tasks(services, project.project_id, updated_since=since)[0] if is_new else ()
            _check_inputs(services, project, updated, reread=reread)
    if is_new:
        seen = _digest(stamps, _before(until))
    else:
        was_long_ago = project.looked_at is not None and moment - project.looked_at >= OVERLAP
        seen = _SETTLED if was_long_ago else project.seen
    return _CheckResult(
        project_id=project.project_id,
        seen_until=until,
        seen=seen,
        counted=str(counts),
        tasks=counts.tasks if project.kind.role is None else None,  # a full reading of inputs sets it
    )


def _failed(project: ProjectRow, counted: str, fault: str) -> _CheckResult:
    """Return the result of a failed check. It leaves the position unchanged, so the next check finds the same updates.

    ``counted`` are the counts to store for the project. If they differ from its counts in the next pass, that pass
    checks the project.
    """
    return _CheckResult(
        project_id=project.project_id, seen_until=project.seen_until, seen=project.seen, counted=counted, fault=fault
    )


def _store(services: Services, results: Sequence[_CheckResult], moment: datetime) -> None:
    if not results:
        return
    with services.unit() as unit:
        for result in results:
            project = unit.session.get(ProjectRow, result.project_id)
            if project is None:
                continue  # deleted meanwhile
            project.seen_until, project.seen, project.counted = result.seen_until, result.seen, result.counted
            project.tasks = project.tasks if result.tasks is None else result.tasks
            project.looked_at = moment
            unreadable_tasks.refresh(unit, project, result.fault)


def _check_inputs(services: Services, project: ProjectRow, updated: Sequence[Task], *, reread: bool) -> None:
    """Enqueue a reading of the inputs if a task is new, has a new answer, or was deleted."""
    if not (updated or reread):
        return
    with services.database.read() as session:
        of_project = (InputRow.study_id == project.study_id, InputRow.role == project.kind.role)
        known = dict(session.execute(select(InputRow.task_id, InputRow.updated_at).where(*of_project)).all())
    changed = [task.id for task in updated if not _is_skip(task) and known.get(task.id) != _answered_at(task)]
    skipped = [task.id for task in updated if _is_skip(task) and task.id in known]
    if not (changed or skipped or reread):
        return
    log.info("reconciler.inputs", study=project.study_id, kind=str(project.kind), changed=len(changed), all=reread)
    with services.unit() as unit:
        request_reading(unit, unit.lock_study(project.study_id))


def _answered_at(task: Task) -> str:
    return task.newest.updated_at if task.newest else ""


def _is_skip(task: Task) -> bool:
    return bool(task.annotations) and task.newest is None


def _since(project: ProjectRow) -> str | None:
    """Return the time since which updated tasks are requested, in Label Studio's format; None: request all tasks."""
    if not project.seen_until:
        return None
    return _before(project.seen_until, -timedelta(microseconds=1) if project.seen == _SETTLED else OVERLAP)


def _before(timestamp: str, span: timedelta = OVERLAP) -> str:
    # the only format that Label Studio's filters accept
    return (datetime.fromisoformat(timestamp) - span).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(stamps: Sequence[tuple[int, str]], since: str | None) -> str:
    """Return a digest of the stamps (task id, time of update) from ``since`` on."""
    recent = sorted(stamp for stamp in stamps if since is None or stamp[1] >= since)
    return hashlib.sha256(json.dumps(recent).encode()).hexdigest()
