"""The outbox dispatcher: publishes review tasks, dataset tasks, decision tasks, tabs and proposals to Label Studio.

The rows are read at the time of publication, so that a late publication contains the newest state. Every publication
is idempotent: a task is looked up by its key before it is created, so a killed publication can be repeated.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import Sample
from datagen.errors import NotReady
from datagen.label_studio.mapping.predictions import form_prediction
from datagen.label_studio.projects import task_publisher
from datagen.label_studio.projects.provisioning import ensure_preview_tabs
from datagen.label_studio.projects.task_publisher import TaskDraft
from datagen.store import leases
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.inputs import ProposalRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decision_tasks import decision_page, decision_sheet
from datagen.workflow.decisions import batch_end
from datagen.workflow.inputs import unreadable_tasks
from datagen.workflow.leased_work import LeasedJob, Write, leased_work
from datagen.workflow.outbox.import_turn import ImportTurn
from datagen.workflow.reviews import review_tasks
from datagen.workflow.reviews.verdict_sync import batch_name
from datagen.workflow.sample_labels import labels_of
from datagen.workflow.sample_mapping import lateness_of, sample_of, shown_number
from datagen.workflow.services import Services, UnitOfWork, outbox_job_kind
from datagen.workflow.study_options import options_of

log = structlog.get_logger()

#: Number of failures after which a publication is given up. The reason is shown to people.
MAX_REFUSALS = 8
#: A publication that took more than one attempt is repeated once more, after this many lease durations. The reason:
#: Label Studio may continue a request whose client was killed or timed out, and create its tasks after those of a later
#: attempt.
LEASES_TO_LAST_LOOK = 2
#: The rows that the page of a decision shows, which are read with it in one query.
_SHOWN_WITH_A_DECISION = (
    joinedload(DecisionRow.study),
    joinedload(DecisionRow.batch).joinedload(BatchRow.spec),
    joinedload(DecisionRow.started),
)


def dispatch(services: Services, outbox_id: int) -> None:
    """Publish one outbox row to Label Studio, if it is due and no other worker owns it."""
    leased_work(services, _Publication(services), outbox_id)


class _Publication(LeasedJob[OutboxRow]):
    """The publication of an outbox row."""

    table = OutboxRow
    max_failures = MAX_REFUSALS

    def __init__(self, services: Services) -> None:
        self._services = services

    def work(self, row: OutboxRow, lost: threading.Event) -> Write[OutboxRow]:  # noqa: ARG002
        """Publish the row, and return a function that ends the publication."""
        _PUBLISHERS[row.kind](self._services, row.subject_id, ImportTurn(self._services, row.waiting_since))
        return partial(self._end, row)

    def put_off(self, unit: UnitOfWork, row: OutboxRow) -> None:
        """Enqueue the row again: events come first."""
        unit.enqueue_after_commit(outbox_job_kind(row.kind), row.id)

    def _end(self, published: OutboxRow, unit: UnitOfWork, row: OutboxRow) -> None:
        """Make the row due again if it changed during the publication, or if this was not the first attempt.

        ``published`` is the row as it was when the publication began.
        """
        row.published_at = now()
        if row.revision != published.revision:  # it changed during the publication
            leases.repeat(row, now())
            unit.enqueue_after_commit(outbox_job_kind(row.kind), row.id)
        elif published.attempts > 1:  # a request of an earlier attempt may still create tasks: check once more
            seconds = LEASES_TO_LAST_LOOK * self._services.lease_seconds
            leases.repeat(row, now() + timedelta(seconds=seconds))


def _publish_samples(services: Services, shard_id: int, turn: ImportTurn) -> None:
    """Create the review or dataset tasks of a shard. If it is the last shard of its batch, end the batch."""
    with services.database.read() as session:
        shard = session.get_one(ShardRow, shard_id)
        batch = shard.batch
        spec, study = batch.spec, batch.study
        project_kind = ProjectKind.PREVIEWS if batch.kind.is_reviewed else ProjectKind.DATASET
        project_id = _project(study, project_kind)
        of_shard = select(SampleRow).where(SampleRow.shard_id == shard_id).order_by(SampleRow.index)
        # people judge review tasks in the order of their creation
        rows = sorted(session.scalars(of_shard), key=lambda row: lateness_of(row) or 0.0)
        if shard.published_at is not None:  # a published sample without a task: a person deleted the task
            rows = [row for row in rows if row.task_id is not None]
        round_number = _shown_round(session, batch)
    drafts = [_draft(services, study, spec, batch, row, round_number) for row in rows]
    of_batch = batch_name(batch) if project_kind is ProjectKind.PREVIEWS else f"{batch_name(batch)}-{shard.start}"
    name = shard.task_batch or of_batch
    is_dataset = project_kind is ProjectKind.DATASET
    task_ids = _ensure_tasks(services, project_id, name, drafts, turn, replace_incomplete=is_dataset)
    with services.unit() as unit:
        unit.lock_study(study.id)
        shard = unit.session.get_one(ShardRow, shard_id, populate_existing=True)
        for row in unit.session.scalars(select(SampleRow).where(SampleRow.shard_id == shard_id)):
            if row.key in task_ids and (row.task_id is not None or shard.published_at is None):
                row.task_id = task_ids[row.key]
        shard.published_at = now()
        unit.session.flush()
        batch = unit.session.get_one(BatchRow, batch.id, populate_existing=True)
        if batch_end.finish(unit, batch):
            return
        decision_points.republish_decisions(unit, batch)
        has_ended = batch.kind != BatchKind.SPOT or batch.state == WorkState.CANCELLED
        if batch.kind.is_reviewed and batch.state != WorkState.RUNNING and has_ended:
            # it ended before its tasks were created, so they are still open
            unit.add_to_outbox(study.id, OutboxKind.REVIEW_TASKS, batch.id)


def _ensure_tasks(
    services: Services,
    project_id: int,
    name: str,
    drafts: Sequence[TaskDraft],
    turn: ImportTurn,
    *,
    replace_incomplete: bool = False,
    with_data: bool = False,
) -> dict[str, int]:
    """Create a task for each draft that has none, and return task ids by key; see ``ensure_tasks``.

    Existing tasks that Label Studio cannot send are recorded, and do not prevent the publication of the others.
    """
    unreadable: list[int] = []
    task_ids = task_publisher.ensure_tasks(
        services.label_studio,
        project_id,
        name,
        drafts,
        unreadable=unreadable,
        replace_incomplete=replace_incomplete,
        with_data=with_data,
        importing=turn,
    )
    unreadable_tasks.note(services, project_id, unreadable)
    return task_ids


def _shown_round(session: Session, batch: BatchRow) -> int | None:
    """Return the round to which the review tasks of a batch belong in the lists; None for a run.

    The samples of an audit, and spot checks, are shown as further ones of the version's newest round, whose tab then
    has them: reviewers are not to judge them otherwise.
    """
    if batch.kind in (BatchKind.ROUND, BatchKind.RUN):
        return batch.number if batch.kind == BatchKind.ROUND else None
    return session.scalar(
        select(func.max(BatchRow.number)).where(BatchRow.spec_id == batch.spec_id, BatchRow.kind == BatchKind.ROUND)
    )


def _draft(
    services: Services, study: StudyRow, spec: SpecRow, batch: BatchRow, row: SampleRow, round_number: int | None
) -> TaskDraft:
    sample = sample_of(row)
    project_kind = ProjectKind.PREVIEWS if round_number is not None else ProjectKind.DATASET
    data = {
        "image": services.links.make(sample.image.digest),
        **_columns(batch, sample),
        "study": study.name,
        "version": str(spec.version),
        **({"run": str(batch.number)} if round_number is None else {"round": str(round_number)}),
        "index": str(shown_number(batch, row.index)),
        "background": sample.provenance.background.name,
    }
    label = labels_of(services.images, sample, project_kind, lateness_of(row))
    # Label Studio's own export contains annotations only
    annotated = project_kind is ProjectKind.DATASET and batch.count <= (options_of(study).annotate_up_to or 0)
    annotations = [{"result": label["result"]}] if annotated else []
    return TaskDraft(key=row.key, data=data, predictions=[label], annotations=annotations)


def _columns(batch: BatchRow, sample: Sample) -> dict[str, str]:
    """Return the keys of a task's data that differ between rounds and runs, with their values.

    Most of them are shown in the task list, not in the form.
    """
    if batch.kind.is_reviewed:
        number = f"image {shown_number(batch, sample.provenance.index)}"
        return {"round_size": str(batch.count), "number": number, **review_tasks.EMPTY_COLUMNS}
    return {"run_name": batch.name, "file": f"{sample.provenance.file_stem}.png"}


def _publish_decision(services: Services, decision_id: int, turn: ImportTurn) -> None:
    """Create or update the task of a decision point."""
    with services.database.read() as session:
        decision = session.get_one(DecisionRow, decision_id, options=_SHOWN_WITH_A_DECISION)
        project_id = _project(decision.study, ProjectKind.DECISIONS)
        data = decision_page.decision_data(session, services, decision)
        sheet = decision_sheet.sheet_to_store(decision)
        key = decision_points.key_of(decision)
    draft = TaskDraft(key=key, data=data, predictions=[form_prediction(decision_page.SUGGESTED_COUNT)])
    task_id = _ensure_tasks(services, project_id, key, [draft], turn, with_data=True)[key]
    if decision.task_id != task_id:  # the task is new, or a person deleted the old one
        with services.unit() as unit:
            row = unit.session.get_one(DecisionRow, decision_id)
            row.task_id = task_id
            decision_points.republish_previous(unit, row)
    if sheet is not None:
        services.images.put(sheet)


def _publish_tabs(services: Services, batch_id: int, _turn: ImportTurn) -> None:
    """Make the tabs of the Previews project show the study's newest round."""
    with services.database.read() as session:
        batch = session.get_one(BatchRow, batch_id)
        newest = session.scalar(
            select(func.max(BatchRow.number)).where(
                BatchRow.study_id == batch.study_id, BatchRow.kind == BatchKind.ROUND, BatchRow.state == WorkState.DONE
            )
        )
        project_id = _project(batch.study, ProjectKind.PREVIEWS)
    ensure_preview_tabs(services.label_studio, project_id, newest or batch.number)


def _project(study: StudyRow, project_kind: ProjectKind) -> int:
    project_id = decision_points.project_in(study, project_kind)
    if project_id is None:
        raise NotReady(
            f"{study.name!r} has no {project_kind} project; run: datagen provision {shlex.quote(study.name)}"
        )
    return project_id


def _publish_proposal(services: Services, task_id: int, _turn: ImportTurn) -> None:
    """Replace the proposal that Label Studio stores for a task.

    If Label Studio stores none, do nothing: Label Studio then requests the proposal when the task is opened.
    """
    with services.database.read() as session:
        proposal = session.get(ProposalRow, task_id)
    if proposal is not None and services.label_studio.predictions(task_id):
        services.label_studio.replace_predictions(task_id, [proposal.prediction])


def _publish_review_tasks(services: Services, batch_id: int, _turn: ImportTurn) -> None:
    """Update the review tasks of a round."""
    review_tasks.update(services, batch_id)


_PUBLISHERS = {
    OutboxKind.SAMPLES: _publish_samples,
    OutboxKind.DECISION: _publish_decision,
    OutboxKind.TABS: _publish_tabs,
    OutboxKind.REVIEW_TASKS: _publish_review_tasks,
    OutboxKind.PROPOSAL: _publish_proposal,
}
