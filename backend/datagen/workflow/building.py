"""Spec versions and batches: what a decision sets going, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import Inputs
from datagen.domain.lifecycle import SpecState
from datagen.domain.spec import Json, Spec
from datagen.store.rows import BatchKind, BatchRow, ShardRow, SpecRow, StudyRow, WorkState
from datagen.synthesis.engine import needs_gpu
from datagen.synthesis.given import known_parameters, own_parameters
from datagen.workflow.workshop import Door, Unit


def current_spec(session: Session, study_id: int) -> SpecRow | None:
    """The newest version of a study's spec whose preview round is made or being made; None before the first."""
    of_study = (BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND)
    rounds = select(BatchRow.spec_id).where(*of_study, BatchRow.state.in_([WorkState.RUNNING, WorkState.DONE]))
    return session.scalar(select(SpecRow).where(SpecRow.id.in_(rounds)).order_by(SpecRow.version.desc()).limit(1))


def spec_from_inputs(study: StudyRow, inputs: Inputs, version: int, parameters: Mapping[str, Json]) -> Spec:
    """The inputs frozen as a spec. The version is its seed: a later round shows new samples."""
    return Spec(
        labels=tuple(study.labels),
        concepts=inputs.concepts,
        canvases=inputs.canvases,
        backgrounds=inputs.backgrounds,
        engine=study.engine,
        parameters=parameters,
        seed=version,
    )


def parameters_for(study: StudyRow, parent: SpecRow | None, given: Mapping[str, Json]) -> dict[str, Json]:
    """What a new version's parameters are before anyone judged it: its parent's, and over them what is given now.

    Of both only what the study's engine has a name for: what is another engine's is left alone.

    Raises:
        EngineError: there is no such engine, or something is given that is no engine's.
    """
    before = parent.body["parameters"] if parent is not None and parent.body["engine"] == study.engine else {}
    return {**known_parameters(study.engine, before), **own_parameters(study.engine, given)}


def next_version(session: Session, study_id: int) -> int:
    """The number of a study's next spec version."""
    return (session.scalar(select(func.max(SpecRow.version)).where(SpecRow.study_id == study_id)) or 0) + 1


def add_version(
    unit: Unit, study: StudyRow, spec: Spec, *, parent: SpecRow | None, who: str, notes: Sequence[str]
) -> SpecRow:
    """A new version of a study's spec; its seed is its number."""
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


def add_batch(
    unit: Unit,
    study: StudyRow,
    spec: SpecRow,
    kind: BatchKind,
    count: int,
    *,
    who: str,
    shard_size: int,
    name: str = "",
    note: str = "",
) -> BatchRow:
    """A round or run of ``count`` samples, cut into shards; its indices follow those this version has made already."""
    session = unit.session
    number = session.scalar(
        select(func.max(BatchRow.number)).where(BatchRow.study_id == study.id, BatchRow.kind == kind)
    )
    first = session.scalar(select(func.max(BatchRow.first + BatchRow.count)).where(BatchRow.spec_id == spec.id)) or 0
    batch = BatchRow(
        study_id=study.id,
        spec_id=spec.id,
        kind=kind,
        number=(number or 0) + 1,
        name=name[:200] or f"{kind} {(number or 0) + 1}",
        note=note[:2000],
        first=first,
        count=count,
        state=WorkState.RUNNING,
        requested_by=who,
    )
    session.add(batch)
    session.flush()
    shards = [
        ShardRow(batch_id=batch.id, start=start, stop=min(start + shard_size, first + count))
        for start in range(first, first + count, shard_size)
    ]
    session.add_all(shards)
    session.flush()
    for shard in shards:
        unit.later(shard_door(str(spec.body["engine"])), shard.id)
    return batch


def shard_door(engine: str) -> Door:
    """Whose door is knocked on for a shard of that engine."""
    return Door.GPU_SHARD if needs_gpu(engine) else Door.SHARD


def running_batch(session: Session, study_id: int) -> BatchRow | None:
    """The batch under way; a study has at most one."""
    return session.scalar(
        select(BatchRow).where(BatchRow.study_id == study_id, BatchRow.state == WorkState.RUNNING).limit(1)
    )


def cancel_batch(unit: Unit, batch: BatchRow, reason: str) -> None:
    """Cancel a batch and those of its shards that are not finished; what is finished is kept."""
    batch.state, batch.problem = WorkState.CANCELLED, reason[:1000]
    unfinished = unit.session.scalars(
        select(ShardRow).where(
            ShardRow.batch_id == batch.id, ShardRow.state.in_([WorkState.PENDING, WorkState.RUNNING])
        )
    )
    for shard in unfinished:
        shard.state, shard.token = WorkState.CANCELLED, None
