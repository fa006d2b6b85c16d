"""A preview round or an audit on a decision page: its verdicts, and the details of its version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Opinion
from datagen.learning.critic import foretold
from datagen.learning.effect import Judged, effect_in_words
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.workflow import decision_points
from datagen.workflow.decision_tasks.batch_view import BatchName, name_of
from datagen.workflow.decision_tasks.reviewers_view import (
    Comment,
    GivenVerdict,
    Reviewers,
    comments_of,
    given_verdicts,
    reviewers_of,
)
from datagen.workflow.generation import run_warnings
from datagen.workflow.rejection import Rejections
from datagen.workflow.reviews import verdict_rows
from datagen.workflow.reviews.corrections import Corrections, ReviewedImage, corrections_of
from datagen.workflow.sample_mapping import shown_number


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """A reason, and the number of verdicts that name it."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The review of a completed round."""

    #: whether new verdicts count
    is_open: bool
    #: number of images without a verdict in time, and number of images whose review task a person deleted
    left: int
    deleted: int
    #: the Previews project; None before provisioning
    project_id: int | None
    #: the people who judged, and how far they agree
    reviewers: Reviewers
    #: reasons in bad verdicts (``wrong``) and in good verdicts (``noted``), the most frequent first
    wrong: tuple[ReasonCount, ...]
    noted: tuple[ReasonCount, ...]
    #: the images that have reached the largest number of verdicts that is kept, and that number
    full: tuple[ReviewedImage, ...]
    max_verdicts: int
    #: the outlines that reviewers corrected; None if they corrected none
    corrections: Corrections | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The details of a round: the changes of its version, the reviewers' comments, and the engine's findings."""

    changes: tuple[str, ...]
    #: whether the version was built from the inputs, not from another version
    is_first: bool
    comments: tuple[Comment, ...]
    warnings: tuple[str, ...]
    findings: tuple[str, ...]
    #: the methods that the engine used, and their numbers, as sentences
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A preview round, or an audit, which is reviewed like one."""

    name: BatchName
    version: int
    #: number of images
    count: int
    #: numbers of good and of bad verdicts that count, and number of images with at least one of them
    good: int
    bad: int
    judged: int
    #: None if the round failed or was cancelled
    review: Review | None
    details: Details
    #: whether the version is good more often than its parent; empty if that cannot be compared
    effect: str
    #: what the critic of the version predicted of a round, or rejected of an audit; empty if it has none
    critic: str
    problem: str


def round_of(session: Session, batch: BatchRow) -> Round:
    """Read a preview round or an audit."""
    given = given_verdicts(session, batch)
    verdicts = [verdict for verdict in given if verdict.counts]
    images = _images(session, batch)
    good = sum(1 for verdict in verdicts if verdict.opinion == Opinion.GOOD)
    ended_early = batch.state in (WorkState.FAILED, WorkState.CANCELLED)
    return Round(
        name=name_of(batch),
        version=batch.spec.version,
        count=batch.count,
        good=good,
        bad=len(verdicts) - good,
        judged=len({verdict.index for verdict in verdicts}),
        review=None if ended_early else _review(session, batch, given, images),
        details=_details(batch, comments_of(given, images)),
        effect=_effect(session, batch, Judged(version=batch.spec.version, good=good, count=len(verdicts))),
        critic=_critic(session, batch, verdicts),
        problem=batch.problem,
    )


def _critic(session: Session, batch: BatchRow, verdicts: Sequence[GivenVerdict]) -> str:
    """Return sentences about the critic's figures on a round or an audit."""
    if batch.kind != BatchKind.ROUND:
        return Rejections.from_json(batch.rejections).sentence
    rows = session.execute(
        select(SampleRow.index, SampleRow.body["probability"].as_float()).where(SampleRow.batch_id == batch.id)
    )
    predicted = {index: probability for index, probability in rows if probability is not None}
    pairs = [(predicted[v.index], v.opinion == Opinion.GOOD) for v in verdicts if v.index in predicted]
    return foretold(pairs, float(batch.spec.body.get("critic", {}).get("reject_below", 0)))


def _effect(session: Session, batch: BatchRow, child: Judged) -> str:
    """Return the comparison with the newest finished round of the version's parent; empty if there is none."""
    earlier = (
        select(BatchRow)
        .where(
            BatchRow.spec_id == batch.spec.parent_id,
            BatchRow.kind == BatchKind.ROUND,
            BatchRow.state == WorkState.DONE,
        )
        .order_by(BatchRow.number.desc())
    )
    parent = session.scalars(earlier).first() if batch.spec.parent_id is not None else None
    if parent is None:
        return ""
    verdicts = [verdict for verdict in given_verdicts(session, parent) if verdict.counts]
    good = sum(1 for verdict in verdicts if verdict.opinion == Opinion.GOOD)
    return effect_in_words(child, Judged(version=parent.spec.version, good=good, count=len(verdicts)))


def _images(session: Session, batch: BatchRow) -> dict[int, ReviewedImage]:
    """Return the images of a round by the index of their sample."""
    project_id = decision_points.project_in(batch.study, ProjectKind.PREVIEWS)
    rows = session.execute(select(SampleRow.index, SampleRow.task_id).where(SampleRow.batch_id == batch.id))
    return {
        index: ReviewedImage(number=shown_number(batch, index), task_id=task_id, project_id=project_id)
        for index, task_id in rows
    }


def _review(
    session: Session, batch: BatchRow, given: Sequence[GivenVerdict], images: Mapping[int, ReviewedImage]
) -> Review:
    deleted = _deleted_samples(session, batch)
    reviewed = {verdict.index for verdict in given if verdict.in_time}
    verdicts = [verdict for verdict in given if verdict.counts]
    return Review(
        is_open=verdict_rows.takes_verdicts(batch.spec.state, batch.kind, batch.state),
        left=max(batch.count - len(reviewed | deleted), 0),
        deleted=len(deleted),
        project_id=decision_points.project_in(batch.study, ProjectKind.PREVIEWS),
        reviewers=reviewers_of(batch, given, images),
        wrong=_reasons(verdicts, Opinion.BAD),
        noted=_reasons(verdicts, Opinion.GOOD),
        full=tuple(images[index] for index in verdict_rows.full_samples(session, batch.id)),
        max_verdicts=verdict_rows.MAX_VERDICTS,
        corrections=corrections_of(session, batch),
    )


def _reasons(verdicts: Sequence[GivenVerdict], opinion: Opinion) -> tuple[ReasonCount, ...]:
    counts = Counter(reason for verdict in verdicts if verdict.opinion == opinion for reason in verdict.reasons)
    return tuple(ReasonCount(reason=reason, count=count) for reason, count in counts.most_common())


def _details(batch: BatchRow, comments: tuple[Comment, ...]) -> Details:
    lines = run_warnings.by_purpose(batch.spec.findings)
    return Details(
        changes=tuple(batch.spec.notes),
        is_first=batch.spec.parent_id is None,
        comments=comments,
        warnings=tuple(lines.warnings),
        findings=tuple(lines.findings),
        methods=tuple(lines.details),
    )


def _deleted_samples(session: Session, batch: BatchRow) -> set[int]:
    """Return the indices of a round's samples whose review task a person deleted."""
    query = (
        select(SampleRow.index)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.batch_id == batch.id, SampleRow.task_id.is_(None), ShardRow.published_at.is_not(None))
    )
    return set(session.scalars(query))
