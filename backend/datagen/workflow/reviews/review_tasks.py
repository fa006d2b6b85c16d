"""Review tasks as their round stands: which of them wait for a verdict, and what their list shows.

Label Studio hands out every task without an annotation, whatever tab a person stands on. So the tasks of a round that
takes no more verdicts are closed by an annotation of ours, which is no verdict. A person may judge a closed task all
the same: that verdict comes too late, is kept, and the decision task says so. Where a round takes verdicts again, our
annotations are deleted. Running it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import SpecState
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.form_answers import closing, is_closing, verdict
from datagen.store.tables import BatchKind, BatchRow, OutboxKind, SampleRow, SpecRow, VerdictRow
from datagen.workflow import decision_points
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.sample_mapping import shown_number
from datagen.workflow.services import Services, UnitOfWork

#: Fields of a review task's data that its list shows; they are there from the beginning, so that they are columns.
EMPTY_COLUMNS: Mapping[str, str] = {"status": "to review", "verdict": "", "reasons": "", "comment": ""}
#: Longest comment in the list; the whole of it is in the annotation.
_LONGEST_COMMENT = 200
#: Why a round takes no more verdicts.
_CLOSED_BECAUSE = {
    SpecState.REFINED: "closed: refined",
    SpecState.SUPERSEDED: "closed: built anew",
    SpecState.ACCEPTED: "closed: approved",
    SpecState.STOPPED: "closed: stopped",
    SpecState.FAILED: "closed: failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """A round as its rows say."""

    project_id: int
    batch_name: str
    #: None while the round takes verdicts
    closed_because: str | None
    #: by the sample's key
    columns: Mapping[str, Mapping[str, str]]


def request(unit: UnitOfWork, spec: SpecRow) -> None:
    """Have the review tasks of a version's rounds brought up to date after this transaction."""
    rounds = unit.session.scalars(
        select(BatchRow.id).where(BatchRow.spec_id == spec.id, BatchRow.kind == BatchKind.ROUND)
    )
    for batch_id in rounds:
        unit.add_to_outbox(spec.study_id, OutboxKind.REVIEW_TASKS, batch_id)


def update(services: Services, batch_id: int) -> None:
    """Bring the review tasks of a round up to date: their columns, and whether they are closed."""
    with services.database.read() as session:
        batch = session.get(BatchRow, batch_id)
        found = _read(session, batch) if batch is not None else None
    if found is None:
        return  # deleted meanwhile
    client = services.label_studio
    tasks, _ = read_tasks(services, found.project_id, batch=found.batch_name)
    for task in tasks:
        columns = found.columns.get(str(task.data.get("datagen_key")))
        if columns is None:
            continue  # a copy of a task of ours whose key somebody changed
        if any(task.data.get(name) != value for name, value in columns.items()):
            client.update_task_data(task.id, {**task.data, **columns})
        _close_or_open(services, task, closed=found.closed_because is not None)


def _close_or_open(services: Services, task: Task, *, closed: bool) -> None:
    ours = [one.id for one in task.annotations if is_closing(one.result) and verdict(one.result) is None]
    if closed:
        if not any(not one.was_cancelled for one in task.annotations):
            services.label_studio.annotate(task.id, closing())
        return
    for annotation_id in ours:
        services.label_studio.delete_annotation(annotation_id)


def _read(session: Session, batch: BatchRow) -> _Round | None:
    project_id = decision_points.project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    if project_id is None:
        return None
    state = session.get_one(SpecRow, batch.spec_id).state
    because = None if verdict_sync.takes_verdicts(state) else _CLOSED_BECAUSE[state]
    said: dict[str, list[VerdictRow]] = {}
    numbers: dict[str, int] = {}
    rows = session.execute(
        select(SampleRow.key, SampleRow.index, VerdictRow)
        .outerjoin(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch.id)
        .order_by(SampleRow.index, VerdictRow.annotation_id)
    )
    for key, index, row in rows:
        numbers[key] = shown_number(batch, index)
        said.setdefault(key, []).extend([row] if row is not None else [])
    counted = set(
        session.scalars(
            select(VerdictRow.annotation_id)
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .where(SampleRow.batch_id == batch.id, verdict_sync.effective_verdicts())
        )
    )
    return _Round(
        project_id=project_id,
        batch_name=verdict_sync.batch_name(batch),
        closed_because=because,
        columns={
            # tasks that an earlier version made count from 0
            key: {"index": str(numbers[key]), **_columns(given, counted, because)}
            for key, given in said.items()
        },
    )


def _columns(given: Sequence[VerdictRow], counted: set[int], closed_because: str | None) -> dict[str, str]:
    """What the list shows of one sample; a late verdict is named as such."""
    in_time = [row for row in given if row.annotation_id in counted]
    late = [row for row in given if row.late]
    if any(row.changed_late for row in in_time):
        status = "reviewed; changed too late, counts as it was"
    elif in_time:
        status = "reviewed"
    elif late:
        status = "reviewed too late, does not count"
    else:
        status = closed_because or EMPTY_COLUMNS["status"]
    shown = in_time or late
    comment = " / ".join(row.comment for row in shown if row.comment)
    return {
        "status": status,
        "verdict": ", ".join(dict.fromkeys(str(row.opinion) for row in shown)),
        "reasons": ", ".join(dict.fromkeys(reason for row in shown for reason in row.reasons)),
        "comment": comment if len(comment) <= _LONGEST_COMMENT else comment[: _LONGEST_COMMENT - 1] + "…",
    }
