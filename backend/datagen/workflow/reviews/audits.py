"""The verdicts on a version's audits, as counts of samples.

A sample is good if at least one verdict on it counts and all that count are good. A sample that is not judged, whose
verdicts disagree so that none counts, or whose review task a person deleted, is not good: whoever audits cannot choose
which samples count.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.verdict import Opinion
from datagen.learning.acceptance import AuditedAcceptance, ThresholdAcceptance
from datagen.learning.critic import Critic, threshold_of
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.reviews import verdict_sync


def acceptance_of(session: Session, spec_id: int, *, begun: bool = True) -> AuditedAcceptance | None:
    """Return the audited acceptance of a version; None if it was not audited.

    Args:
        begun: leave out audits without any verdict, about which nobody knows anything yet.
    """
    sizes = _audit_sizes(session, spec_id)
    opinions = _opinions(session, sizes)
    given = samples_with_verdicts(session, sizes)
    counted_ids = set(given) if begun else set(sizes)
    if not counted_ids:
        return None
    return AuditedAcceptance(
        audits=len(counted_ids),
        samples=sum(sizes[batch_id] for batch_id in counted_ids),
        judged=len(opinions),
        good=sum(1 for of_sample in opinions.values() if of_sample == {Opinion.GOOD}),
        disputed=sum(given.values()) - len(opinions),
    )


def threshold_acceptance_of(session: Session, spec: SpecRow) -> ThresholdAcceptance | None:
    """Return the promise of a version's audits at a higher threshold of its critic; None if there is nothing to state.

    There is nothing to state without an audit verdict, without a critic that predicts well enough to reject, and if no
    threshold is expected to promise more.
    """
    body = spec.body.get("critic")
    critic = Critic.from_json(body) if body is not None else None
    if critic is None or not critic.can_reject:
        return None
    sizes = _audit_sizes(session, spec.id)
    begun = samples_with_verdicts(session, sizes)
    rounds = session.scalars(
        select(BatchRow.id).where(BatchRow.spec_id == spec.id, BatchRow.kind == BatchKind.ROUND)
    ).all()
    threshold = threshold_of(list(_predictions(session, rounds).values()), critic.reject_below)
    if threshold is None or not begun:
        return None
    opinions = _opinions(session, begun)
    kept = {sample_id for sample_id, probability in _predictions(session, begun).items() if probability >= threshold}
    return ThresholdAcceptance(
        threshold=threshold,
        audits=len(begun),
        samples=sum(sizes[batch_id] for batch_id in begun),
        kept=len(kept),
        good=sum(1 for sample_id in kept if opinions.get(sample_id) == {Opinion.GOOD}),
    )


def _audit_sizes(session: Session, spec_id: int) -> dict[int, int]:
    """Return batch id → number of samples of a version's completed audits."""
    of_version = (BatchRow.spec_id == spec_id, BatchRow.kind == BatchKind.AUDIT, BatchRow.state == WorkState.DONE)
    return dict(session.execute(select(BatchRow.id, BatchRow.count).where(*of_version)).all())


def _opinions(session: Session, batch_ids: Collection[int]) -> dict[int, set[Opinion]]:
    """Return sample id → opinions of the verdicts on it that count; samples without one are not in it."""
    rows = session.execute(
        select(VerdictRow.sample_id, VerdictRow.opinion)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(SampleRow.batch_id.in_(batch_ids), verdict_sync.effective_verdicts())
    )
    opinions: dict[int, set[Opinion]] = {}
    for sample_id, opinion in rows:
        opinions.setdefault(sample_id, set()).add(opinion)
    return opinions


def _predictions(session: Session, batch_ids: Collection[int]) -> dict[int, float]:
    """Return sample id → probability of a good verdict that the version's critic predicted."""
    probability = SampleRow.body["probability"].as_float()
    rows = session.execute(select(SampleRow.id, probability).where(SampleRow.batch_id.in_(batch_ids)))
    return {sample_id: predicted for sample_id, predicted in rows if predicted is not None}


def samples_with_verdicts(session: Session, batch_ids: Collection[int]) -> dict[int, int]:
    """Return batch id → number of its samples with a verdict, also one that does not count because others disagree."""
    rows = session.execute(
        select(SampleRow.batch_id, func.count(VerdictRow.sample_id.distinct()))
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id.in_(batch_ids), verdict_sync.verdicts_in_time())
        .group_by(SampleRow.batch_id)
    )
    return dict(rows.all())


def round_verdicts(session: Session, spec_id: int) -> tuple[int, int]:
    """Return the numbers of good and of all verdicts that count on a version's newest round; 0, 0 while any is open."""
    newest = session.scalar(
        select(BatchRow)
        .where(BatchRow.spec_id == spec_id, BatchRow.kind == BatchKind.ROUND, BatchRow.state == WorkState.DONE)
        .order_by(BatchRow.number.desc())
        .limit(1)
    )
    if newest is None:
        return 0, 0
    rows = session.execute(
        select(SampleRow.id, VerdictRow.opinion)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == newest.id, verdict_sync.effective_verdicts())
    ).all()
    if len({sample_id for sample_id, _ in rows}) < newest.count:
        return 0, 0
    return sum(1 for _, opinion in rows if opinion == Opinion.GOOD), len(rows)
