"""The reconciler: finds what was made, changed or deleted in Label Studio while nobody listened.

A webhook is sent once and may be lost. How much there is in all projects is one question; where that changed, something
was made or deleted, and the desk is looked at. What was edited changes no count, but tasks remember when they were
touched, so every other desk is looked at every second time: asked for the numbers of the tasks touched since the last
look, and only those that were are read. The cost grows with what changed, not with what exists.
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
from datagen.store.tables import InputRow, ProjectRow, StudyRow, now
from datagen.workflow import decision_points
from datagen.workflow.decisions import submit
from datagen.workflow.inputs import unreadable_tasks
from datagen.workflow.inputs.input_sync import mark_stale
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import JobKind, Services

log = structlog.get_logger()

#: Looked at again behind the newest change seen, until so long after it was first seen: Label Studio stamps a change
#: before it commits it, a slow commit comes to light after a faster, later one, and where it runs on several machines
#: their clocks differ.
OVERLAP = timedelta(seconds=15)
#: A project that Label Studio fails at is left alone for so long, unless something is made or deleted there.
FAULT_PAUSE = timedelta(seconds=60)
_OUR_FAULT = (
    "Project {project} ({desk}) could not be read for a reason of ours ({fault}); the workers' log has it. "
    "It is tried again; its inputs, verdicts and decisions of the last moments may be missing until then."
)
#: Nothing is to be looked at again.
_SETTLED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a look saw of a desk: fields of its row."""

    project_id: int
    seen_until: str
    seen: str
    counted: str
    #: None: as it was
    tasks: int | None = None
    #: why it could not be looked at, as a sentence
    fault: str = ""


def reconcile(services: Services) -> None:
    """Look at every desk that people write at; one that cannot be read is named where people look, the others go on.

    A desk where nothing was made or deleted is looked at every second time.

    Raises:
        LabelStudioUnavailable: Label Studio is away; the next look sees the same changes.
        OperationalError, InterfaceError: the database is away.
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
    seen: list[_Seen] = []
    try:
        for project_row in _due(projects, counts, moment):
            there = counts[project_row.project_id]
            try:
                seen.append(_look(services, project_row, there, moment))
            except (LabelStudioUnavailable, OperationalError, InterfaceError):
                raise
            except LabelStudioFault as fault:
                log.warning(
                    "reconciler.fault", study=project_row.study_id, kind=str(project_row.kind), reason=str(fault)
                )
                seen.append(_failed(project_row, str(there), str(fault)))
            except (LabelStudioError, StoreUnavailable) as refusal:
                log.warning(
                    "reconciler.refused", study=project_row.study_id, kind=str(project_row.kind), reason=str(refusal)
                )
                seen.append(_failed(project_row, project_row.counted, str(refusal)))
            except Exception as fault:  # of ours: told in the log and at the study, and the other desks go on
                log.exception("reconciler.failed", study=project_row.study_id, kind=str(project_row.kind))
                sentence = _OUR_FAULT.format(
                    project=project_row.project_id, kind=project_row.kind, fault=type(fault).__name__
                )
                seen.append(_failed(project_row, str(there), sentence))
    finally:
        _note(services, seen, moment)


def _due(projects: Sequence[ProjectRow], counts: Mapping[int, Counts], moment: datetime) -> list[ProjectRow]:
    """The desks to look at now: where something was made or deleted, and half of the others.

    Of the others those that the last look left out, and more only where that is less than half of them; none that
    could not be looked at a moment ago.
    """
    for project_row in projects:
        if project_row.project_id not in counts:
            log.warning(
                "reconciler.project_is_gone",
                study=project_row.study_id,
                kind=str(project_row.kind),
                project=project_row.project_id,
            )
    there = [project_row for project_row in projects if project_row.project_id in counts]
    changed = [project_row for project_row in there if project_row.counted != str(counts[project_row.project_id])]
    quiet = [
        project_row
        for project_row in there
        if project_row.counted == str(counts[project_row.project_id]) and not _pauses(project_row, moment)
    ]
    never = datetime.min.replace(tzinfo=UTC)
    last = max((project_row.looked_at or never for project_row in there), default=never)
    quiet.sort(key=lambda project_row: project_row.looked_at or never)
    left_out = sum(1 for project_row in quiet if (project_row.looked_at or never) < last)
    return changed + quiet[: max(left_out, (len(quiet) + 1) // 2)]


def _pauses(project: ProjectRow, moment: datetime) -> bool:
    """Whether a desk could not be looked at a moment ago; one of which only some tasks could not goes on."""
    return (
        unreadable_tasks.is_fault(project)
        and project.looked_at is not None
        and moment - project.looked_at < FAULT_PAUSE
    )


def _look(services: Services, project: ProjectRow, counts: Counts, moment: datetime) -> _Seen:
    """Act on what was touched at one desk since the last look as on events; what is to be remembered of it."""
    since = _since(project)
    stamps = services.label_studio.stamps(project.project_id, updated_since=since) if counts.tasks else []
    until = max((when for _, when in stamps), default="")
    until = max(until, project.seen_until)
    is_new = bool(stamps) and _digest(stamps, since) != project.seen
    # what makes or deletes touches a task; where none was, tasks went, or Label Studio came back from a backup
    reread = counts.tasks != project.tasks or (str(counts) != project.counted and not is_new)
    reread = unreadable_tasks.recheck(services, project) or reread
    match project.kind:
        case ProjectKind.PREVIEWS:
            if is_new:
                verdict_sync.sync(services, project.project_id, updated_since=since)
            if reread:
                verdict_sync.sync_open_rounds(services, project.study_id)
        case ProjectKind.DECISIONS:
            if is_new:
                submit.handle_answered_tasks(services, project.project_id, updated_since=since)
            if reread:
                with services.unit() as unit:
                    decision_points.republish_open_decision(unit, project.study_id)
        case _:
            touched = read_tasks(services, project.project_id, updated_since=since)[0] if is_new else ()
            _check_inputs(services, project, touched, reread=reread)
    if is_new:
        seen = _digest(stamps, _before(until))
    else:
        was_long_ago = project.looked_at is not None and moment - project.looked_at >= OVERLAP
        seen = _SETTLED if was_long_ago else project.seen
    return _Seen(
        project_id=project.project_id,
        seen_until=until,
        seen=seen,
        counted=str(counts),
        tasks=counts.tasks if project.kind.role is None else None,  # of inputs, whoever reads them all says how many
    )


def _failed(project: ProjectRow, counted: str, fault: str) -> _Seen:
    """What was touched meanwhile is to be seen by the next look; ``counted`` says whether that comes at once."""
    return _Seen(
        project_id=project.project_id, seen_until=project.seen_until, seen=project.seen, counted=counted, fault=fault
    )


def _note(services: Services, seen: Sequence[_Seen], moment: datetime) -> None:
    if not seen:
        return
    with services.unit() as unit:
        for one in seen:
            project = unit.session.get(ProjectRow, one.project_id)
            if project is None:
                continue  # deleted meanwhile
            project.seen_until, project.seen, project.counted = one.seen_until, one.seen, one.counted
            project.tasks = project.tasks if one.tasks is None else one.tasks
            project.looked_at = moment
            unreadable_tasks.refresh(unit, project, one.fault)


def _check_inputs(services: Services, project: ProjectRow, touched: Sequence[Task], *, reread: bool) -> None:
    """Have the inputs read again where a task is new, was answered anew, or is gone."""
    if not (touched or reread):
        return
    with services.database.read() as session:
        of_desk = (InputRow.study_id == project.study_id, InputRow.role == project.kind.role)
        known = dict(session.execute(select(InputRow.task_id, InputRow.updated_at).where(*of_desk)).all())
    changed = [task.id for task in touched if not _is_skip(task) and known.get(task.id) != _said_at(task)]
    skipped = [task.id for task in touched if _is_skip(task) and task.id in known]
    if not (changed or skipped or reread):
        return
    log.info("reconciler.inputs", study=project.study_id, kind=str(project.kind), changed=len(changed), all=reread)
    with services.unit() as unit:
        mark_stale(unit, project.study_id)
        unit.enqueue_after_commit(JobKind.INPUTS, project.study_id)


def _said_at(task: Task) -> str:
    return task.newest.updated_at if task.newest else ""


def _is_skip(task: Task) -> bool:
    return bool(task.annotations) and task.newest is None


def _since(project: ProjectRow) -> str | None:
    """From when on tasks are asked for; None: all."""
    if not project.seen_until:
        return None
    return _before(project.seen_until, -timedelta(microseconds=1) if project.seen == _SETTLED else OVERLAP)


def _before(when: str, span: timedelta = OVERLAP) -> str:
    # the one form that Label Studio's filters take
    return (datetime.fromisoformat(when) - span).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(stamps: Sequence[tuple[int, str]], since: str | None) -> str:
    """Of what was touched from ``since`` on."""
    some = sorted(one for one in stamps if since is None or one[1] >= since)
    return hashlib.sha256(json.dumps(some).encode()).hexdigest()
