"""Spot checks of a run: a few of its samples, drawn at random, that people judge while it is rendered.

Only a run whose approval stated what share is acceptable is checked. A check is a copy of a sample of the run: its
image and labels are the same, and its review task is in the project Previews. After each verdict the checks are
compared with the stated share by a bound that holds at every look (``learning.acceptance``). The first time that they
contradict it, the run is paused and waits for a decision; there is no second time.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.notification import NotificationEvent
from datagen.domain.verdict import Opinion
from datagen.domain.wording import counted
from datagen.learning.acceptance import ALARM_CONFIDENCE, evidence_below, percent, upper_bound_at_any_look
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import batch_end
from datagen.workflow.generation import run_warnings
from datagen.workflow.generation.companion_batches import add_companion, companion_of
from datagen.workflow.notifications.events import notify
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.sample_mapping import key_of
from datagen.workflow.services import Services, UnitOfWork

#: Number of spot checks of a run, on average; a run with more shards has checks in some of them.
MOST_CHECKS = 500
#: Why a run is paused; the alarm is one of its warnings, and stays there when it is resumed.
_PAUSED = (
    "the run is paused, because its spot checks contradict its approval: choose “go on”, or “cancel”, which keeps the "
    "finished images."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotChecks:
    """The spot checks of a run, as counts."""

    posted: int
    judged: int
    bad: int


def add(unit: UnitOfWork, run: BatchRow, shard: ShardRow, samples: Sequence[SampleRow], per_shard: int) -> None:
    """Add the spot checks of a shard that was rendered, and queue their review tasks for Label Studio.

    The draw depends on the version, the run and the shard alone, so that a repetition draws the same samples.
    """
    if run.promise is None or not per_shard or not samples:
        return
    spec = unit.session.get_one(SpecRow, run.spec_id)
    seed = hashlib.sha256(f"{spec.digest} {run.number} {shard.start}".encode()).digest()
    draw = random.Random(seed)  # noqa: S311 - reproducible
    shards = -(-run.count // len(samples))
    if draw.random() * shards * per_shard > MOST_CHECKS:
        return
    drawn = draw.sample(list(samples), min(per_shard, len(samples)))
    checks = companion_of(unit.session, run, BatchKind.SPOT) or add_companion(
        unit, run, BatchKind.SPOT, f"spot checks of run {run.number}"
    )
    part = ShardRow(
        batch_id=checks.id,
        start=shard.start,
        stop=shard.start + len(drawn),
        state=WorkState.DONE,
        rendered_at=now(),
        # the publication of a shard reads the tasks of its batch: with one name for all, those of every shard before it
        task_batch=f"{verdict_sync.batch_name(checks)}-{shard.start}",
    )
    unit.session.add(part)
    unit.session.flush()
    unit.session.add_all(
        SampleRow(
            key=key_of(checks, spec.version, sample.index),
            batch_id=checks.id,
            shard_id=part.id,
            index=sample.index,
            body=sample.body,
        )
        for sample in sorted(drawn, key=lambda sample: sample.index)
    )
    unit.session.flush()
    unit.add_to_outbox(run.study_id, OutboxKind.SAMPLES, part.id)


def checks_of(session: Session, run: BatchRow) -> SpotChecks | None:
    """Return the counts of a run's spot checks; None if it has none."""
    checks = companion_of(session, run, BatchKind.SPOT)
    if checks is None:
        return None
    samples = session.scalars(select(SampleRow.id).where(SampleRow.batch_id == checks.id)).all()
    verdicts = session.execute(
        select(VerdictRow.sample_id, VerdictRow.opinion).where(
            VerdictRow.sample_id.in_(select(SampleRow.id).where(SampleRow.batch_id == checks.id)),
            verdict_sync.effective_verdicts(),
        )
    ).all()
    bad = {sample_id for sample_id, opinion in verdicts if opinion == Opinion.BAD}
    return SpotChecks(posted=len(samples), judged=len({sample_id for sample_id, _ in verdicts}), bad=len(bad))


def watch(services: Services, study_id: int) -> None:
    """Compare the spot checks of a study's runs with what was stated; pause a run that they contradict, once.

    A run of which every sample is rendered is not paused: the alarm is a warning on its page.
    """
    with services.database.read() as session:
        checked = session.scalars(
            select(BatchRow.id).where(
                BatchRow.study_id == study_id,
                BatchRow.kind == BatchKind.SPOT,
                BatchRow.state == WorkState.DONE,
                BatchRow.problem == "",  # they have raised no alarm yet
            )
        ).all()
    for checks_id in checked:
        with services.unit() as unit:
            unit.lock_study(study_id)
            checks = unit.session.get_one(BatchRow, checks_id, populate_existing=True)
            run = unit.session.scalars(
                select(BatchRow).where(
                    BatchRow.study_id == study_id, BatchRow.kind == BatchKind.RUN, BatchRow.number == checks.number
                )
            ).one()
            _watch(unit, run, checks)


def _watch(unit: UnitOfWork, run: BatchRow, checks: BatchRow) -> None:
    counts = checks_of(unit.session, run)
    if counts is None or run.promise is None or checks.problem or not counts.judged:
        return
    stated = float(run.promise["lower"])
    if evidence_below(stated, counts.judged, counts.bad) < 1 / (1 - ALARM_CONFIDENCE):
        return
    upper = upper_bound_at_any_look(counts.judged, counts.bad)
    alarm = (
        f"{counts.bad} of {counted(counts.judged, 'spot check')} are bad: at most {percent(upper)} of this run are "
        f"acceptable, at {percent(ALARM_CONFIDENCE)} confidence, and its approval stated at least {percent(stated)}."
    )
    checks.problem = alarm[:1000]
    run_warnings.add_first(run, alarm)
    if run.state in (WorkState.RUNNING, WorkState.PAUSED) and not batch_end.is_rendered(unit.session, run):
        batch_end.pause(unit, run, _PAUSED, alarm)
        return
    decision_points.republish_decisions(unit, run)
    notify(unit, unit.session.get_one(StudyRow, run.study_id), NotificationEvent.RUN_ALARM, run, alarm)
