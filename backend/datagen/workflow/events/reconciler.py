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

from datagen.domain.inputs import Desk
from datagen.domain.lifecycle import StudyState
from datagen.errors import LabelStudioError, LabelStudioFault, LabelStudioUnavailable, StoreUnavailable
from datagen.label_studio.api.models import Counts, Task
from datagen.store.tables import DeskRow, InputRow, StudyRow, now
from datagen.workflow import decision_points
from datagen.workflow.decisions import submit
from datagen.workflow.inputs import unreadable_tasks
from datagen.workflow.inputs.input_sync import mark_stale
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Door, Workshop

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


def reconcile(workshop: Workshop) -> None:
    """Look at every desk that people write at; one that cannot be read is named where people look, the others go on.

    A desk where nothing was made or deleted is looked at every second time.

    Raises:
        LabelStudioUnavailable: Label Studio is away; the next look sees the same changes.
        OperationalError, InterfaceError: the database is away.
    """
    moment = now()
    with workshop.database.read() as session:
        desks = session.scalars(
            select(DeskRow)
            .join(StudyRow, StudyRow.id == DeskRow.study_id)
            .where(
                DeskRow.desk != Desk.DATASET,
                (StudyRow.state != StudyState.STOPPED) | (DeskRow.desk == Desk.DECISIONS),
            )
            .order_by(DeskRow.study_id, DeskRow.project_id)
        ).all()
    if not desks:
        return
    counts = workshop.label_studio.counts([desk.project_id for desk in desks])
    seen: list[_Seen] = []
    try:
        for desk in _due(desks, counts, moment):
            there = counts[desk.project_id]
            try:
                seen.append(_look(workshop, desk, there, moment))
            except (LabelStudioUnavailable, OperationalError, InterfaceError):
                raise
            except LabelStudioFault as fault:
                log.warning("reconciler.fault", study=desk.study_id, desk=str(desk.desk), reason=str(fault))
                seen.append(_failed(desk, str(there), str(fault)))
            except (LabelStudioError, StoreUnavailable) as refusal:
                log.warning("reconciler.refused", study=desk.study_id, desk=str(desk.desk), reason=str(refusal))
                seen.append(_failed(desk, desk.counted, str(refusal)))
            except Exception as fault:  # of ours: told in the log and at the study, and the other desks go on
                log.exception("reconciler.failed", study=desk.study_id, desk=str(desk.desk))
                sentence = _OUR_FAULT.format(project=desk.project_id, desk=desk.desk, fault=type(fault).__name__)
                seen.append(_failed(desk, str(there), sentence))
    finally:
        _note(workshop, seen, moment)


def _due(desks: Sequence[DeskRow], counts: Mapping[int, Counts], moment: datetime) -> list[DeskRow]:
    """The desks to look at now: where something was made or deleted, and half of the others.

    Of the others those that the last look left out, and more only where that is less than half of them; none that
    could not be looked at a moment ago.
    """
    for desk in desks:
        if desk.project_id not in counts:
            log.warning("reconciler.project_is_gone", study=desk.study_id, desk=str(desk.desk), project=desk.project_id)
    there = [desk for desk in desks if desk.project_id in counts]
    changed = [desk for desk in there if desk.counted != str(counts[desk.project_id])]
    quiet = [desk for desk in there if desk.counted == str(counts[desk.project_id]) and not _pauses(desk, moment)]
    never = datetime.min.replace(tzinfo=UTC)
    last = max((desk.looked_at or never for desk in there), default=never)
    quiet.sort(key=lambda desk: desk.looked_at or never)
    left_out = sum(1 for desk in quiet if (desk.looked_at or never) < last)
    return changed + quiet[: max(left_out, (len(quiet) + 1) // 2)]


def _pauses(desk: DeskRow, moment: datetime) -> bool:
    """Whether a desk could not be looked at a moment ago; one of which only some tasks could not goes on."""
    return unreadable_tasks.is_fault(desk) and desk.looked_at is not None and moment - desk.looked_at < FAULT_PAUSE


def _look(workshop: Workshop, desk: DeskRow, counts: Counts, moment: datetime) -> _Seen:
    """Act on what was touched at one desk since the last look as on events; what is to be remembered of it."""
    since = _since(desk)
    stamps = workshop.label_studio.stamps(desk.project_id, updated_since=since) if counts.tasks else []
    until = max((when for _, when in stamps), default="")
    until = max(until, desk.seen_until)
    is_new = bool(stamps) and _digest(stamps, since) != desk.seen
    # what makes or deletes touches a task; where none was, tasks went, or Label Studio came back from a backup
    reread = counts.tasks != desk.tasks or (str(counts) != desk.counted and not is_new)
    reread = unreadable_tasks.recheck(workshop, desk) or reread
    match desk.desk:
        case Desk.PREVIEWS:
            if is_new:
                verdict_sync.follow(workshop, desk.project_id, updated_since=since)
            if reread:
                verdict_sync.follow_open_rounds(workshop, desk.study_id)
        case Desk.DECISIONS:
            if is_new:
                submit.follow_tasks(workshop, desk.project_id, updated_since=since)
            if reread:
                with workshop.unit() as unit:
                    decision_points.tell_open(unit, desk.study_id)
        case _:
            touched = read_tasks(workshop, desk.project_id, updated_since=since)[0] if is_new else ()
            _check_inputs(workshop, desk, touched, reread=reread)
    if is_new:
        seen = _digest(stamps, _before(until))
    else:
        was_long_ago = desk.looked_at is not None and moment - desk.looked_at >= OVERLAP
        seen = _SETTLED if was_long_ago else desk.seen
    return _Seen(
        project_id=desk.project_id,
        seen_until=until,
        seen=seen,
        counted=str(counts),
        tasks=counts.tasks if desk.desk.role is None else None,  # of inputs, whoever reads them all says how many
    )


def _failed(desk: DeskRow, counted: str, fault: str) -> _Seen:
    """What was touched meanwhile is to be seen by the next look; ``counted`` says whether that comes at once."""
    return _Seen(project_id=desk.project_id, seen_until=desk.seen_until, seen=desk.seen, counted=counted, fault=fault)


def _note(workshop: Workshop, seen: Sequence[_Seen], moment: datetime) -> None:
    if not seen:
        return
    with workshop.unit() as unit:
        for one in seen:
            desk = unit.session.get(DeskRow, one.project_id)
            if desk is None:
                continue  # deleted meanwhile
            desk.seen_until, desk.seen, desk.counted = one.seen_until, one.seen, one.counted
            desk.tasks = desk.tasks if one.tasks is None else one.tasks
            desk.looked_at = moment
            unreadable_tasks.refresh(unit, desk, one.fault)


def _check_inputs(workshop: Workshop, desk: DeskRow, touched: Sequence[Task], *, reread: bool) -> None:
    """Have the inputs read again where a task is new, was answered anew, or is gone."""
    if not (touched or reread):
        return
    with workshop.database.read() as session:
        of_desk = (InputRow.study_id == desk.study_id, InputRow.role == desk.desk.role)
        known = dict(session.execute(select(InputRow.task_id, InputRow.said_at).where(*of_desk)).all())
    changed = [task.id for task in touched if not _is_skip(task) and known.get(task.id) != _said_at(task)]
    skipped = [task.id for task in touched if _is_skip(task) and task.id in known]
    if not (changed or skipped or reread):
        return
    log.info("reconciler.inputs", study=desk.study_id, desk=str(desk.desk), changed=len(changed), all=reread)
    with workshop.unit() as unit:
        mark_stale(unit, desk.study_id)
        unit.later(Door.INPUTS, desk.study_id)


def _said_at(task: Task) -> str:
    return task.newest.updated_at if task.newest else ""


def _is_skip(task: Task) -> bool:
    return bool(task.annotations) and task.newest is None


def _since(desk: DeskRow) -> str | None:
    """From when on tasks are asked for; None: all."""
    if not desk.seen_until:
        return None
    return _before(desk.seen_until, -timedelta(microseconds=1) if desk.seen == _SETTLED else OVERLAP)


def _before(when: str, span: timedelta = OVERLAP) -> str:
    # the one form that Label Studio's filters take
    return (datetime.fromisoformat(when) - span).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(stamps: Sequence[tuple[int, str]], since: str | None) -> str:
    """Of what was touched from ``since`` on."""
    some = sorted(one for one in stamps if since is None or one[1] >= since)
    return hashlib.sha256(json.dumps(some).encode()).hexdigest()
