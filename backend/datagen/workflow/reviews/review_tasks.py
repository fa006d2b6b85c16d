"""Updates of review tasks: whether they are closed, and the columns of their list.

Label Studio assigns every task that is not finished, whichever tab a person has open. If a round accepts no more
verdicts, its review tasks are therefore closed: they are set to finished. They are not closed by an annotation, because
it would count as a verdict of the token's user.

A person may still judge a closed task. Its heading says that the verdict does not count. The verdict is kept as a late
one, and the decision task shows this. If a round accepts verdicts again, its tasks without a verdict are opened again.
The update is idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import SpecState
from datagen.label_studio.api.models import Task
from datagen.label_studio.api.port import LabelStudioPort
from datagen.label_studio.mapping.form_answers import is_closing, verdict
from datagen.store.tables.base import REVIEWED_KINDS, BatchKind, OutboxKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow import decision_points
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.reviews.verdict_rows import takes_verdicts
from datagen.workflow.sample_mapping import shown_number
from datagen.workflow.services import Services, UnitOfWork

#: Fields of a review task's data that the task list shows as columns, with their values in a new task. New tasks
#: contain them so that the columns exist.
EMPTY_COLUMNS: Mapping[str, str] = {"status": "to review", "verdict": "", "reasons": "", "comment": ""}
#: The end of the status of a closed task. The heading of the task shows the status.
_TOO_LATE = "a verdict no longer counts"
#: The status of a sample on which verdicts disagree that have to agree.
_DISPUTED = "good and bad, so none counts"
#: Longest comment in the task list, in characters. The annotation contains the full comment.
_LONGEST_COMMENT = 200
#: State of a version → the status of its review tasks, which says why its rounds accept no more verdicts.
_CLOSED_BECAUSE = {
    SpecState.REFINED: "closed: refined",
    SpecState.SUPERSEDED: "closed: built anew",
    SpecState.ACCEPTED: "closed: approved",
    SpecState.STOPPED: "closed: stopped",
    SpecState.FAILED: "closed: failed",
}
#: The status of the samples of an audit that ended while its version is under review, and of ended spot checks.
_ENDED = "closed: cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """The state of a round according to its rows."""

    project_id: int
    #: the selection of its review tasks
    selection: Mapping[str, Any]
    #: why the round accepts no more verdicts; None while it accepts some
    closed_because: str | None
    #: key of a sample → the values of its columns
    columns: Mapping[str, Mapping[str, str]]


def request(unit: UnitOfWork, spec: SpecRow) -> None:
    """Add outbox rows, so that the review tasks of a version's rounds and audits are updated after this transaction."""
    rounds = unit.session.scalars(
        select(BatchRow.id).where(BatchRow.spec_id == spec.id, BatchRow.kind.in_(REVIEWED_KINDS))
    )
    for batch_id in rounds:
        unit.add_to_outbox(spec.study_id, OutboxKind.REVIEW_TASKS, batch_id)


def update(services: Services, batch_id: int) -> None:
    """Update the review tasks of a round: their columns, and whether they are closed."""
    with services.database.read() as session:
        batch = session.get(BatchRow, batch_id)
        round_state = _read(session, batch) if batch is not None else None
    if round_state is None:
        return  # deleted meanwhile
    client = services.label_studio
    tasks, _ = read_tasks(services, round_state.project_id, **round_state.selection)
    for task in tasks:
        columns = round_state.columns.get(str(task.data.get("datagen_key")))
        if columns is None:
            continue  # a copy of a review task whose key a person changed
        finished = _close_or_open(client, task, closed=round_state.closed_because is not None)
        if any(task.data.get(name) != value for name, value in columns.items()):
            client.update_task_data(task.id, {**task.data, **columns}, finished=finished)
        elif finished is not None:
            client.set_finished(task.id, finished)


def _close_or_open(client: LabelStudioPort, task: Task, *, closed: bool) -> bool | None:
    """Return whether a task is to be finished, so that it is closed or open; None if it is so already.

    The annotations by which an earlier version closed it are deleted.
    """
    closing_ids = {
        annotation.id
        for annotation in task.annotations
        if is_closing(annotation.result) and verdict(annotation.result) is None
    }
    submitted = {annotation.id for annotation in task.annotations if not annotation.was_cancelled} - closing_ids
    for annotation_id in sorted(closing_ids):
        client.delete_annotation(annotation_id)
    # the deletion of its last annotation opens a task
    is_finished = bool(submitted) if closing_ids else task.is_finished
    return closed if is_finished != closed and not (submitted and not closed) else None


def _read(session: Session, batch: BatchRow) -> _Round | None:
    project_id = decision_points.project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    if project_id is None:
        return None
    state = session.get_one(SpecRow, batch.spec_id).state
    closed_because = None
    if not takes_verdicts(state, batch.kind, batch.state):
        closed_because = _ENDED if batch.kind == BatchKind.SPOT else _CLOSED_BECAUSE.get(state, _ENDED)
    verdicts: dict[str, list[VerdictRow]] = {}
    numbers: dict[str, int] = {}
    rows = session.execute(
        select(SampleRow.key, SampleRow.index, VerdictRow)
        .outerjoin(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch.id)
        .order_by(SampleRow.index, VerdictRow.annotation_id)
    )
    for key, index, row in rows:
        numbers[key] = shown_number(batch, index)
        verdicts.setdefault(key, []).extend([row] if row is not None else [])
    in_time, effective = (
        set(
            session.scalars(
                select(VerdictRow.annotation_id)
                .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
                .where(SampleRow.batch_id == batch.id, condition)
            )
        )
        for condition in (verdict_sync.verdicts_in_time(), verdict_sync.effective_verdicts())
    )
    return _Round(
        project_id=project_id,
        selection=verdict_sync.selection_of(session, batch),
        closed_because=closed_because,
        columns={
            # tasks created by an earlier version count from 0, and do not say of how many
            key: {
                "index": str(numbers[key]),
                "number": f"image {numbers[key]}",
                "round_size": str(batch.count),
                **_columns(sample_verdicts, in_time, effective, closed_because),
            }
            for key, sample_verdicts in verdicts.items()
        },
    )


def _columns(
    verdicts: Sequence[VerdictRow], in_time_ids: set[int], effective_ids: set[int], closed_because: str | None
) -> dict[str, str]:
    """Return the columns of one sample in the task list.

    Args:
        verdicts: all verdicts on the sample. If none is in time, the late ones are shown and marked as late.
        in_time_ids: the annotation ids of the verdicts that are in time.
        effective_ids: the annotation ids of the verdicts that count.
        closed_because: why the round accepts no more verdicts; None while it accepts some.
    """
    in_time = [row for row in verdicts if row.annotation_id in in_time_ids]
    late = [row for row in verdicts if row.late]
    if any(row.changed_late for row in in_time):
        status = "reviewed; changed too late, counts as it was"
    elif in_time and not any(row.annotation_id in effective_ids for row in in_time):
        status = f"reviewed; {_DISPUTED}; {closed_because}" if closed_because else f"reviewed; {_DISPUTED}"
    elif in_time:
        status = f"reviewed; {closed_because}" if closed_because else "reviewed"
    elif late:
        status = "reviewed too late, does not count"
    else:
        status = f"{closed_because}; {_TOO_LATE}" if closed_because else EMPTY_COLUMNS["status"]
    shown = in_time or late
    comment = " / ".join(row.comment for row in shown if row.comment)
    return {
        "status": status,
        "verdict": ", ".join(dict.fromkeys(str(row.opinion) for row in shown)),
        "reasons": ", ".join(dict.fromkeys(reason for row in shown for reason in row.reasons)),
        "comment": comment if len(comment) <= _LONGEST_COMMENT else comment[: _LONGEST_COMMENT - 1] + "…",
    }
