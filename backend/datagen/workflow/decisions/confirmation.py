"""What a person has to confirm before it is done: consequences that nobody should set going by accident.

One mechanism for all of them: a check gives a sentence, or None; the sentences are shown together, and one tick on the
form (“I have looked”), or ``--confirm`` on the command line, confirms them all.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyEvent, StudyState, next_transition
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import NotConfirmed, StoreError
from datagen.store.tables import BatchKind, BatchRow, SampleRow, ShardRow, StudyRow, VerdictRow
from datagen.workflow.decisions.spec_versions import current_spec
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services
from datagen.workflow.study_options import options_of

#: So many images of the newest round are weighed to estimate the disk that a run takes.
_WEIGHED = 8


def check_confirmed(services: Services, study_id: int, wish: Decision) -> None:
    """Let a decision pass that has no grave consequence, or whose consequences are confirmed.

    Raises:
        Refused: the study's state does not allow it, so that there is nothing to confirm.
        NotConfirmed: it has to be confirmed; the sentence says why and how.
    """
    if wish.confirmed:
        return
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
    if study is None:
        return  # whoever locks it says so
    next_transition(study.state, wish.action)
    reasons = [reason for check in _CHECKS if (reason := check(services, study, wish)) is not None]
    if reasons:
        command = f"datagen {str(wish.action).replace('build ', '')} {shlex.quote(study.name)}"
        command += f" --count {wish.count}" if wish.count is not None else ""
        raise NotConfirmed(
            f"{' '.join(reasons)} To go on, tick “I have looked” and press Update, or run: {command} --confirm"
        )


def _large_run(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """A run of so many images that it may take days."""
    limit = options_of(study).confirm_above
    if wish.action is not StudyEvent.APPROVE or wish.count is None or limit is None or wish.count <= limit:
        return None
    measured = _measured(services, study.id)
    sentence = (
        f"{counted(wish.count, 'image')} {by_number(wish.count, 'was', 'were')} asked for; more than {limit:,} "
        f"{by_number(limit, 'has', 'have')} to be confirmed."
    )
    if measured.seconds is not None:
        hours = wish.count * measured.seconds / 3600
        sentence += (
            f" At {measured.seconds:.2g} s an image, as in this study's last preview round, they take one worker about "
            f"{_span(hours)}, several workers less."
        )
    if measured.size is not None:
        sentence += f" They need about {wish.count * measured.size / 2**30:,.1f} GiB in the image store."
    return sentence


def _little_judged(services: Services, study: StudyRow, wish: Decision) -> str | None:
    """A version of which few previews were judged, or few of the judged ones are good."""
    if wish.action is not StudyEvent.APPROVE or study.state is not StudyState.REVIEWING:
        return None  # an accepted version was looked at when it was accepted
    options = options_of(study)
    with services.database.read() as session:
        spec = current_spec(session, study.id)
        newest = session.scalar(
            select(BatchRow)
            .where(BatchRow.spec_id == (spec.id if spec else None), BatchRow.kind == BatchKind.ROUND)
            .order_by(BatchRow.number.desc())
            .limit(1)
        )
        if newest is None:
            return None
        said = session.execute(
            select(VerdictRow.sample_id, VerdictRow.opinion)
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .where(SampleRow.batch_id == newest.id, verdict_sync.effective_verdicts())
        ).all()
    judged = len({sample_id for sample_id, _ in said})
    good = sum(1 for _, opinion in said if opinion == Opinion.GOOD)
    enough = judged >= (options.least_judged or 0) * newest.count
    if enough and good >= (options.least_good or 0) * len(said):
        return None
    found = f"This approval stands on {judged} of {counted(newest.count, 'preview')} judged"
    return f"{found}, {good} of {counted(len(said), 'verdict')} good." if said else f"{found}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What an image of a study took in its newest preview round; None where it is not known."""

    seconds: float | None = None
    #: bytes, mask included
    size: float | None = None


def _measured(services: Services, study_id: int) -> _Measured:
    with services.database.read() as session:
        made = ShardRow.rendered_at.is_not(None)
        newest = session.scalar(
            select(func.max(BatchRow.id))
            .join(ShardRow, ShardRow.batch_id == BatchRow.id)
            .where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.ROUND, made)
        )
        if newest is None:
            return _Measured()
        seconds, images = session.execute(
            select(func.sum(ShardRow.seconds), func.sum(ShardRow.stop - ShardRow.start)).where(
                ShardRow.batch_id == newest, made
            )
        ).one()
        bodies = session.scalars(select(SampleRow.body).where(SampleRow.batch_id == newest).limit(_WEIGHED)).all()
    try:
        sizes = [sum(len(services.images.get(body[part]["digest"])) for part in ("image", "mask")) for body in bodies]
    except StoreError:
        sizes = []  # the question is asked all the same
    return _Measured(
        seconds=seconds / images if seconds and images else None,
        size=sum(sizes) / len(sizes) if sizes else None,
    )


def _span(hours: float) -> str:
    if hours < 1:
        return f"{max(round(hours * 60), 1)} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


_CHECKS: Sequence[Callable[[Services, StudyRow, Decision], str | None]] = (_little_judged, _large_run)
