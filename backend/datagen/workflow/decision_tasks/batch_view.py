"""Rounds, audits and runs on a decision page: their names, the progress of their work, and the result of a run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.learning.acceptance import sentence_of
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.store.tables.messages import OutboxRow
from datagen.workflow import decision_points
from datagen.workflow.generation import batch_status, spot_checks
from datagen.workflow.generation.spot_checks import SpotChecks
from datagen.workflow.rejection import Rejections
from datagen.workflow.study_options import options_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchName:
    """The name of a batch: a round or an audit is shown by its number, a run by its name."""

    kind: BatchKind
    number: int
    name: str

    def __str__(self) -> str:
        match self.kind:
            case BatchKind.ROUND:
                return f"preview round {self.number}"
            case BatchKind.AUDIT:
                return f"audit {self.number}"
            case BatchKind.RUN:
                return f"run “{self.name}”"
            case BatchKind.SPOT:
                return f"spot checks of run {self.number}"
            case BatchKind.REJECTED:
                return f"rejected candidates of run {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a batch that a decision started."""

    batch: BatchName
    state: WorkState
    #: number of samples, and number of those that are rendered
    count: int
    rendered: int
    #: estimated time for the samples that are not rendered; None if it is unknown, or if the batch waits or has ended
    time_left: timedelta | None
    #: the current activity or the reason for a wait; empty once the batch has ended
    status_text: str
    #: progress of the engine's fit, 0 to 1; None unless a fit is in progress
    fit_progress: float | None
    #: the Label Studio project of its samples; None before provisioning
    project_id: int | None
    #: the spot checks of a run; None if it has none
    spot_checks: SpotChecks | None
    #: the Previews project; None before provisioning
    previews_id: int | None
    warnings: tuple[str, ...]
    problem: str
    #: since when a person has paused the run, which ``problem`` names; None if no person has
    paused_at: datetime | None
    #: why Label Studio refused a change of this study; empty if it refused none
    refused_because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A generation run, and how much of it is in Label Studio."""

    name: str
    version: int
    state: WorkState
    #: number of images, and number of those that are in the Dataset project
    count: int
    published: int
    #: the Dataset project; None before provisioning
    project_id: int | None
    #: the study's name, quoted for a shell
    export_name: str
    #: whether its labels are published as annotations, too. Label Studio's own export contains only annotations
    annotated: bool
    #: what its approval stated about the share of acceptable images; empty if it stated nothing
    promise: str
    #: its spot checks; None if it has none
    spot_checks: SpotChecks | None
    #: how many candidates the critic rejected, and why; empty if its version rejects nothing
    rejections: str
    #: whether rejected candidates can be exported
    has_rejected: bool
    #: the Previews project; None before provisioning
    previews_id: int | None
    warnings: tuple[str, ...]
    problem: str
    #: since when a person has paused it, which ``problem`` names; None if no person has
    paused_at: datetime | None


def name_of(batch: BatchRow) -> BatchName:
    """Return the name of a batch."""
    return BatchName(kind=batch.kind, number=batch.number, name=batch.name)


def progress_of(session: Session, batch: BatchRow) -> Progress:
    """Read the progress of a batch."""
    stored, in_progress = _count_rendered(session, batch)
    rendered = stored + in_progress
    running = batch.state == WorkState.RUNNING
    status_text = batch_status.status_of(session, batch) if running else ""
    waiting = batch_status.is_waiting(status_text)
    refused_because = session.scalar(
        select(OutboxRow.error).where(
            OutboxRow.study_id == batch.study_id, OutboxRow.state == WorkState.FAILED, OutboxRow.error != ""
        )
    )
    project_kind = ProjectKind.PREVIEWS if batch.kind.is_reviewed else ProjectKind.DATASET
    return Progress(
        batch=name_of(batch),
        state=batch.state,
        count=batch.count,
        rendered=rendered,
        time_left=_time_left(session, batch, rendered) if running and not waiting else None,
        status_text=status_text,
        fit_progress=batch.fit_progress if running and not rendered and batch.fit_progress > 0 else None,
        project_id=decision_points.project_in(batch.study, project_kind),
        spot_checks=spot_checks.checks_of(session, batch) if batch.kind == BatchKind.RUN else None,
        previews_id=decision_points.project_in(batch.study, ProjectKind.PREVIEWS),
        warnings=tuple(batch.warnings),
        problem=batch.problem,
        paused_at=batch.paused_at if batch.paused_by is not None else None,
        refused_because=refused_because or "",
    )


def run_of(session: Session, batch: BatchRow) -> Run:
    """Read a generation run."""
    return Run(
        name=batch.name,
        version=batch.spec.version,
        state=batch.state,
        count=batch.count,
        published=batch_status.count_published(session, batch),
        project_id=decision_points.project_in(batch.study, ProjectKind.DATASET),
        export_name=shlex.quote(batch.study.name),
        promise=sentence_of(batch.promise),
        spot_checks=spot_checks.checks_of(session, batch),
        rejections=Rejections.from_json(batch.rejections).sentence,
        has_rejected=Rejections.from_json(batch.rejections).rejected > 0,
        previews_id=decision_points.project_in(batch.study, ProjectKind.PREVIEWS),
        annotated=batch.count <= (options_of(batch.study).annotate_up_to or 0),
        warnings=tuple(batch.warnings),
        problem=batch.problem,
        paused_at=batch.paused_at if batch.paused_by is not None else None,
    )


def _count_rendered(session: Session, batch: BatchRow) -> tuple[int, int]:
    """Return the number of stored samples, and the number of samples rendered so far in running shards."""
    stored, in_progress = session.execute(
        select(
            func.sum(ShardRow.stop - ShardRow.start).filter(ShardRow.rendered_at.is_not(None)),
            func.sum(ShardRow.rendered_count).filter(
                ShardRow.rendered_at.is_(None), ShardRow.state == WorkState.RUNNING
            ),
        ).where(ShardRow.batch_id == batch.id)
    ).one()
    return stored or 0, in_progress or 0


def _time_left(session: Session, batch: BatchRow, rendered: int) -> timedelta | None:
    """Return the estimated time for the remaining samples; None before the first shard is stored, and at the end.

    The estimate uses only the rendering times of the stored shards. The whole time since the start may contain waits:
    in the queue, for an outage, or for a fit.
    """
    seconds, images = session.execute(
        select(func.sum(ShardRow.seconds), func.sum(ShardRow.stop - ShardRow.start)).where(
            ShardRow.batch_id == batch.id, ShardRow.seconds.is_not(None)
        )
    ).one()
    if not images or seconds is None or rendered >= batch.count:
        return None
    running_shards = max(_count_running_shards(session, batch), 1)
    return timedelta(seconds=seconds / images * (batch.count - rendered) / running_shards)


def _count_running_shards(session: Session, batch: BatchRow) -> int:
    """Return the number of the batch's shards that a worker holds a lease on."""
    query = select(func.count()).where(
        ShardRow.batch_id == batch.id, ShardRow.state == WorkState.RUNNING, ShardRow.due_at > now()
    )
    return session.scalar(query) or 0
