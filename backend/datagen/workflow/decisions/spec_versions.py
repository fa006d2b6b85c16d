"""Rows of spec versions, batches and shards, which decisions add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from datagen.domain.inputs import Inputs
from datagen.domain.lifecycle import SpecState
from datagen.domain.spec import Json, Spec
from datagen.errors import Refused
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import needs_gpu
from datagen.workflow import rejection
from datagen.workflow.parameter_routing import keep_known_parameters, select_parameters
from datagen.workflow.services import LOCK, JobKind, UnitOfWork

#: Largest number of a batch's shards that are pending or running at a time. Each finished shard is followed by a new
#: one. The number is larger than the number of workers, and small enough to write, list and cancel the shards in
#: milliseconds.
AHEAD = 200
#: Largest number of a batch's shards that are enqueued at once. The recovery scan enqueues the others.
MAX_QUEUED = 1000
#: Number of a run's first images that are rendered before upkeep, because people wait for them: two shards of the
#: default size. They are few, because the previews of other studies wait for them.
FIRST_IMAGES = 100
#: States of a shard that is still to be rendered.
UNFINISHED = (WorkState.PENDING, WorkState.RUNNING)


def current_spec(session: Session, study_id: int) -> SpecRow | None:
    """Return the newest spec version whose preview round is done or running; None before the first."""
    of_study = (BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND)
    rounds = select(BatchRow.spec_id).where(*of_study, BatchRow.state.in_([WorkState.RUNNING, WorkState.DONE]))
    return session.scalar(select(SpecRow).where(SpecRow.id.in_(rounds)).order_by(SpecRow.version.desc()).limit(1))


def spec_of_version(session: Session, study: StudyRow, version: int) -> SpecRow:
    """Return a version of a study.

    Raises:
        Refused: the study has no such version.
    """
    spec = session.scalar(select(SpecRow).where(SpecRow.study_id == study.id, SpecRow.version == version))
    if spec is None:
        raise Refused(f"The study “{study.name}” has no version {version}.")
    return spec


def spec_from_inputs(
    study: StudyRow, parent: SpecRow | None, inputs: Inputs, version: int, parameters: Mapping[str, Json]
) -> Spec:
    """Return the inputs frozen as a spec. Its seed is ``version``, so that each version shows new samples.

    It has the critic of its parent, or of what the study was cloned from, if there is one with the same engine.
    """
    before = _settings_before(study, parent)
    return Spec(
        labels=tuple(study.labels),
        concepts=inputs.concepts,
        canvases=inputs.canvases,
        backgrounds=inputs.backgrounds,
        engine=study.engine,
        parameters=parameters,
        seed=version,
        critic=before.get("critic") if before is not None else None,
    )


def parameters_for(study: StudyRow, parent: SpecRow | None, given: Mapping[str, Json]) -> dict[str, Json]:
    """Return the initial parameters of a new version: its parent's, overridden by the given ones.

    The first version of a clone has those of the version that was cloned in place of its parent's. Only parameters that
    the study's engine declares are included; those of other engines are ignored.

    Raises:
        EngineError: there is no such engine, or a given parameter belongs to no engine.
    """
    before = _settings_before(study, parent)
    kept = keep_known_parameters(study.engine, before["parameters"]) if before is not None else {}
    return {**kept, **select_parameters(study.engine, given)}


def _settings_before(study: StudyRow, parent: SpecRow | None) -> Mapping[str, Any] | None:
    """Return the settings that a new version begins with: ``engine``, ``parameters`` and perhaps ``critic``.

    They are those of its parent, or of what the study was cloned from. None: there are none of the study's engine.
    """
    before = parent.body if parent is not None else study.starting_point
    return before if before is not None and before["engine"] == study.engine else None


def next_version(session: Session, study_id: int) -> int:
    """Return the number of a study's next spec version."""
    return (session.scalar(select(func.max(SpecRow.version)).where(SpecRow.study_id == study_id)) or 0) + 1


def add_version(
    unit: UnitOfWork, study: StudyRow, spec: Spec, *, parent: SpecRow | None, who: str, notes: Sequence[str]
) -> SpecRow:
    """Add and return a new version of a study's spec; its number is the spec's seed."""
    row = SpecRow(
        study_id=study.id,
        version=spec.seed,
        parent_id=parent.id if parent else None,
        state=SpecState.RENDERING,
        digest=spec.digest,
        body=spec.to_json(),
        notes=list(notes),
        created_by=who,
    )
    unit.session.add(row)
    unit.session.flush()
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """A round or run as a person requested it."""

    kind: BatchKind
    #: number of samples
    count: int
    who: str
    #: the batch's name; empty: the name is made of its kind and its number, such as “run 2”
    name: str = ""
    note: str = ""


def add_batch(unit: UnitOfWork, study: StudyRow, spec: SpecRow, request: BatchRequest, shard_size: int) -> BatchRow:
    """Add and return the requested round or run of a version, divided into shards (see ``add_shards``).

    The batch's sample indices follow those of the version's earlier batches, and of their candidates.
    """
    session = unit.session
    number = session.scalar(
        select(func.max(BatchRow.number)).where(BatchRow.study_id == study.id, BatchRow.kind == request.kind)
    )
    first = session.scalar(select(func.max(BatchRow.first + BatchRow.reserved)).where(BatchRow.spec_id == spec.id)) or 0
    stride = rejection.stride_of(spec.body, request.kind, request.count)
    batch = BatchRow(
        study_id=study.id,
        spec_id=spec.id,
        kind=request.kind,
        number=(number or 0) + 1,
        name=request.name[:200] or f"{request.kind} {(number or 0) + 1}",
        note=request.note[:2000],
        first=first,
        count=request.count,
        stride=stride,
        reserved=stride * rejection.candidates_of_place(spec.body, request.kind),
        state=WorkState.RUNNING,
        requested_by=request.who,
    )
    session.add(batch)
    session.flush()
    add_shards(unit, batch, shard_size, shard_job_kind(str(spec.body["engine"]), batch.kind))
    return batch


def add_shards(unit: UnitOfWork, batch: BatchRow, shard_size: int, job_kind: JobKind) -> None:
    """Add the next shards of a batch, until ``AHEAD`` of them are pending or running or no samples are left.

    The transaction that finishes a shard calls this function, too. A batch with samples left therefore always has an
    unfinished shard, and it continues even if a process is killed. If two concurrent calls add the same shard, only one
    of them succeeds.
    """
    session = unit.session
    session.flush()
    start, end = sharded_until(session, batch), batch.first + batch.count
    if start >= end:
        return
    unfinished = session.scalar(
        select(func.count()).where(ShardRow.batch_id == batch.id, ShardRow.state.in_(UNFINISHED))
    )
    starts = range(start, end, shard_size)[: max(AHEAD - (unfinished or 0), 0)]
    shards = [ShardRow(batch_id=batch.id, start=first, stop=min(first + shard_size, end)) for first in starts]
    session.add_all(shards)
    session.flush()
    for shard in shards:
        unit.enqueue_after_commit(_sooner_if_first(job_kind, batch, shard.start), shard.id)


def resume_shards(unit: UnitOfWork, batch: BatchRow) -> None:
    """Make the failed and cancelled shards of a batch pending again; finished ones are kept."""
    session = unit.session
    unfinished = (ShardRow.batch_id == batch.id, ShardRow.state.in_([WorkState.FAILED, WorkState.CANCELLED]))
    shards = session.execute(select(ShardRow.id, ShardRow.start).where(*unfinished).order_by(ShardRow.id)).all()
    pending_values = {"state": WorkState.PENDING, "token": None, "due_at": now(), "error": "", "rendered_count": 0}
    session.execute(
        update(ShardRow)
        .where(*unfinished)
        .values(**pending_values, attempts=0, waits=0, waiting_since=None)
        .execution_options(synchronize_session=False)
    )
    job_kind = shard_job_kind(str(session.get_one(SpecRow, batch.spec_id).body["engine"]), batch.kind)
    for shard_id, start in shards[:MAX_QUEUED]:
        unit.enqueue_after_commit(_sooner_if_first(job_kind, batch, start), shard_id)


def sharded_until(session: Session, batch: BatchRow) -> int:
    """Return the index of the first sample of a batch that is in no shard yet."""
    last = select(ShardRow.stop).where(ShardRow.batch_id == batch.id).order_by(ShardRow.start.desc()).limit(1)
    return session.scalar(last) or batch.first


def shard_job_kind(engine: str, batch_kind: BatchKind, *, is_first: bool = False) -> JobKind:
    """Return the kind of the jobs that render shards of such a batch with that engine.

    ``is_first`` is whether the shards are those of a run's first images; see ``begins_with_first_images``.
    """
    if needs_gpu(engine):
        return JobKind.GPU_SHARD
    return JobKind.PREVIEW_SHARD if batch_kind.is_reviewed or is_first else JobKind.SHARD


def begins_with_first_images() -> ColumnElement[bool]:
    """Return the condition for shards that begin with one of the first ``FIRST_IMAGES`` images of their batch."""
    return ShardRow.start < BatchRow.first + FIRST_IMAGES


def _sooner_if_first(job_kind: JobKind, batch: BatchRow, start: int) -> JobKind:
    """Return the kind of the job for the shard at ``start``, if further shards of the batch have ``job_kind``."""
    is_first = start < batch.first + FIRST_IMAGES
    return JobKind.PREVIEW_SHARD if job_kind is JobKind.SHARD and is_first else job_kind


def lock_batch(unit: UnitOfWork, batch_id: int) -> BatchRow:
    """Return the batch, locked until the transaction ends; see ``UnitOfWork`` for the order of locks."""
    return unit.session.get_one(BatchRow, batch_id, populate_existing=True, with_for_update=LOCK)


def running_batch(session: Session, study_id: int) -> BatchRow | None:
    """Return the running or paused batch of a study, which has at most one; None if there is none."""
    under_way = BatchRow.state.in_([WorkState.RUNNING, WorkState.PAUSED])
    return session.scalar(select(BatchRow).where(BatchRow.study_id == study_id, under_way).limit(1))
