"""Confirmation of decisions with large consequences, so that they are not made by accident.

Each check returns the reason why a decision has to be confirmed, as a sentence, or None. The sentences are shown
together. One tick on the form (“I have looked”) or ``--confirm`` on the command line confirms all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyEvent, StudyState, next_transition
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import NotConfirmed, StoreError
from datagen.learning.acceptance import confidence_after, percent
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions.command_line import command_of
from datagen.workflow.decisions.spec_versions import current_spec
from datagen.workflow.reviews import audits, verdict_sync
from datagen.workflow.services import Services
from datagen.workflow.study_options import options_of

#: Number of images of the newest round whose sizes are averaged to estimate the disk space of a run.
_SIZED_IMAGES = 8


def check_confirmed(services: Services, study_id: int, wish: Decision) -> None:
    """Check that the decision is confirmed, if it needs a confirmation.

    Raises:
        Refused: the study's state does not allow the decision, so there is nothing to confirm.
        NotConfirmed: the decision must be confirmed; the message gives the reasons and the command.
    """
    if wish.confirmed:
        return
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
    if study is None:
        return  # locking the study raises the error
    next_transition(study.state, wish.action)
    reasons = [reason for check in _CHECKS if (reason := check(services, study, wish)) is not None]
    if reasons:
        command = command_of(study.name, wish, confirm=True)
        raise NotConfirmed(reasons, f"To go on, tick “I have looked” and press Update, or run: {command}")


def _large_run(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """Return a sentence if the decision starts a run of more images than the study's ``confirm_above``; else None."""
    limit = options_of(study).confirm_above
    if wish.action is not StudyEvent.APPROVE or wish.count is None or limit is None or wish.count <= limit:
        return None
    measured = _measure(services, study.id)
    sentence = (
        f"{counted(wish.count, 'image')} {by_number(wish.count, 'was', 'were')} asked for; more than {limit:,} "
        f"{by_number(limit, 'has', 'have')} to be confirmed."
    )
    if measured.seconds is not None:
        hours = wish.count * measured.seconds / 3600
        sentence += (
            f" At {measured.seconds:.2g} s an image, as in this study's last preview round, they take one worker about "
            f"{_format_hours(hours)}, several workers less."
        )
    if measured.size is not None:
        sentence += f" They need about {wish.count * measured.size / 2**30:,.1f} GiB in the image store."
    return sentence


def _nothing_judged(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """Return a sentence if the decision refines a version whose newest round has no verdict; else None.

    Such a refinement learns nothing new, and costs a round.
    """
    if wish.action is not StudyEvent.REFINE:
        return None
    newest = _newest_round(services, study.id)
    if newest is None or newest.verdicts:
        return None
    if newest.disputed:
        return (
            f"On every judged image of preview round {newest.number} the verdicts disagree, and by this study's rule "
            f"none of them counts, so “refine” would only make {newest.count:,} new samples and learn nothing new. "
            "Settle some of them in the project Previews first, then refine."
        )
    return (
        f"No image of preview round {newest.number} is judged yet, so “refine” would only make {newest.count:,} new "
        "samples and learn nothing new. Judge some images in the project Previews first, then refine."
    )


def _nothing_to_measure(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """Check for an audit of a version whose newest round has no verdict: it may be far from good."""
    if wish.action is not StudyEvent.AUDIT:
        return None
    newest = _newest_round(services, study.id)
    if newest is None or newest.verdicts:
        return None
    return (
        f"No image of preview round {newest.number} is judged yet. An audit measures a version and improves nothing: "
        "judge some images in the project Previews first, and refine until most are good."
    )


def _further_audit(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """Check for a further audit of a version: it lowers the confidence, and samples may be left unjudged."""
    if wish.action is not StudyEvent.AUDIT:
        return None
    with services.database.read() as session:
        spec = current_spec(session, study.id)
        audited = audits.acceptance_of(session, spec.id, begun=False) if spec is not None else None
    if audited is None:
        return None
    left, disputed = audited.unjudged, audited.disputed
    unjudged = (
        f" {counted(left, 'sample')} of it {by_number(left, 'waits', 'wait')} for a verdict, and "
        f"{by_number(left, 'counts', 'count')} as bad until then."
        if left
        else ""
    )
    if disputed:
        unjudged += (
            f" On {counted(disputed, 'sample')} of it the verdicts disagree, and "
            f"{by_number(disputed, 'it counts', 'they count')} as bad until somebody settles it."
        )
    return (
        f"This version was audited already.{unjudged} A further audit is a second chance, so what both promise "
        f"together holds at {percent(confidence_after(audited.audits + 1))} confidence."
    )


def _little_judged(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """Return a sentence if the decision approves a version with few judged previews or few good verdicts; else None."""
    if wish.action is not StudyEvent.APPROVE or study.state is not StudyState.REVIEWING:
        return None  # an accepted version was checked when it was accepted
    options = options_of(study)
    newest = _newest_round(services, study.id)
    if newest is None:
        return None
    enough = newest.judged >= (options.min_judged or 0) * newest.count
    if enough and newest.good >= (options.min_good or 0) * newest.verdicts:
        return None
    basis = f"This approval stands on {newest.judged} of {counted(newest.count, 'preview')} judged"
    if newest.disputed:
        basis += f" ({newest.disputed} more {by_number(newest.disputed, 'is', 'are')} disputed, so that none counts)"
    return f"{basis}, {newest.good} of {counted(newest.verdicts, 'verdict')} good." if newest.verdicts else f"{basis}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _JudgedRound:
    """The newest round of a study's current version, with the number of its verdicts that count."""

    number: int
    #: number of samples
    count: int
    #: number of samples with a verdict that counts, and of those with other verdicts only, which disagree
    judged: int
    disputed: int
    verdicts: int
    good: int


def _newest_round(services: Services, study_id: int) -> _JudgedRound | None:
    with services.database.read() as session:
        spec = current_spec(session, study_id)
        newest = session.scalar(
            select(BatchRow)
            .where(BatchRow.spec_id == (spec.id if spec else None), BatchRow.kind == BatchKind.ROUND)
            .order_by(BatchRow.number.desc())
            .limit(1)
        )
        if newest is None:
            return None
        verdicts = session.execute(
            select(VerdictRow.sample_id, VerdictRow.opinion)
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .where(SampleRow.batch_id == newest.id, verdict_sync.effective_verdicts())
        ).all()
        given = session.scalars(
            select(VerdictRow.sample_id)
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .where(SampleRow.batch_id == newest.id, verdict_sync.verdicts_in_time())
        ).all()
    judged = {sample_id for sample_id, _ in verdicts}
    return _JudgedRound(
        number=newest.number,
        count=newest.count,
        judged=len(judged),
        disputed=len(set(given) - judged),
        verdicts=len(verdicts),
        good=sum(1 for _, opinion in verdicts if opinion == Opinion.GOOD),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """The average cost of an image, measured in a study's newest rendered preview round. None: unknown."""

    seconds: float | None = None
    #: size of the image and its mask in the image store, bytes
    size: float | None = None


def _measure(services: Services, study_id: int) -> _Measured:
    with services.database.read() as session:
        is_rendered = ShardRow.rendered_at.is_not(None)
        newest = session.scalar(
            select(func.max(BatchRow.id))
            .join(ShardRow, ShardRow.batch_id == BatchRow.id)
            .where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND, is_rendered)
        )
        if newest is None:
            return _Measured()
        seconds, images = session.execute(
            select(func.sum(ShardRow.seconds), func.sum(ShardRow.stop - ShardRow.start)).where(
                ShardRow.batch_id == newest, is_rendered
            )
        ).one()
        bodies = session.scalars(select(SampleRow.body).where(SampleRow.batch_id == newest).limit(_SIZED_IMAGES)).all()
    try:
        sizes = [sum(len(services.images.get(body[part]["digest"])) for part in ("image", "mask")) for body in bodies]
    except StoreError:
        sizes = []  # confirmation is required all the same
    return _Measured(
        seconds=seconds / images if seconds and images else None,
        size=sum(sizes) / len(sizes) if sizes else None,
    )


def _format_hours(hours: float) -> str:
    if hours < 1:
        return f"{max(round(hours * 60), 1)} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


_CHECKS: Sequence[Callable[[Services, StudyRow, Decision], str | None]] = (
    _nothing_judged,
    _nothing_to_measure,
    _further_audit,
    _little_judged,
    _large_run,
)
