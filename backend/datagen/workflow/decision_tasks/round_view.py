"""A preview round on a decision page: its verdicts, and the details of its version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Opinion
from datagen.store.tables.base import WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow import decision_points
from datagen.workflow.generation import run_warnings
from datagen.workflow.reviews import verdict_rows, verdict_sync
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
    #: number of images without a verdict, and number of images whose review task a person deleted
    left: int
    deleted: int
    #: the Previews project; None before provisioning
    project_id: int | None
    #: the images that have both good and bad verdicts
    disputed: tuple[ReviewedImage, ...]
    #: reasons in bad verdicts (``wrong``) and in good verdicts (``noted``), the most frequent first
    wrong: tuple[ReasonCount, ...]
    noted: tuple[ReasonCount, ...]
    #: the images that have reached the largest number of verdicts that is kept, and that number
    full: tuple[ReviewedImage, ...]
    max_verdicts: int
    #: the outlines that reviewers corrected; None if they corrected none
    corrections: Corrections | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A reviewer's comment on an image."""

    image: ReviewedImage
    text: str


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
    """A preview round."""

    number: int
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
    problem: str


@dataclass(frozen=True, slots=True)
class _EffectiveVerdict:
    """A verdict that counts, with the index of its sample."""

    opinion: Opinion
    reasons: list[str]
    comment: str
    index: int


def round_of(session: Session, batch: BatchRow) -> Round:
    """Read a preview round."""
    verdicts = _effective_verdicts(session, batch)
    images = _images(session, batch)
    good = sum(1 for verdict in verdicts if verdict.opinion == Opinion.GOOD)
    ended_early = batch.state in (WorkState.FAILED, WorkState.CANCELLED)
    return Round(
        number=batch.number,
        version=batch.spec.version,
        count=batch.count,
        good=good,
        bad=len(verdicts) - good,
        judged=len({verdict.index for verdict in verdicts}),
        review=None if ended_early else _review(session, batch, verdicts, images),
        details=_details(batch, verdicts, images),
        problem=batch.problem,
    )


def _images(session: Session, batch: BatchRow) -> dict[int, ReviewedImage]:
    """Return the images of a round by the index of their sample."""
    project_id = decision_points.project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    rows = session.execute(select(SampleRow.index, SampleRow.task_id).where(SampleRow.batch_id == batch.id))
    return {
        index: ReviewedImage(number=shown_number(batch, index), task_id=task_id, project_id=project_id)
        for index, task_id in rows
    }


def _review(
    session: Session, batch: BatchRow, verdicts: Sequence[_EffectiveVerdict], images: Mapping[int, ReviewedImage]
) -> Review:
    deleted = _deleted_samples(session, batch)
    opinions: dict[int, set[Opinion]] = {}
    for verdict in verdicts:
        opinions.setdefault(verdict.index, set()).add(verdict.opinion)
    return Review(
        is_open=verdict_sync.takes_verdicts(batch.spec.state),
        left=max(batch.count - len(opinions.keys() | deleted), 0),
        deleted=len(deleted),
        project_id=decision_points.project_of(session, batch.study_id, ProjectKind.PREVIEWS),
        disputed=tuple(images[index] for index in sorted(opinions) if len(opinions[index]) > 1),
        wrong=_reasons(verdicts, Opinion.BAD),
        noted=_reasons(verdicts, Opinion.GOOD),
        full=tuple(images[index] for index in verdict_rows.full_samples(session, batch.id)),
        max_verdicts=verdict_rows.MAX_VERDICTS,
        corrections=corrections_of(session, batch),
    )


def _reasons(verdicts: Sequence[_EffectiveVerdict], opinion: Opinion) -> tuple[ReasonCount, ...]:
    counts = Counter(reason for verdict in verdicts if verdict.opinion == opinion for reason in verdict.reasons)
    return tuple(ReasonCount(reason=reason, count=count) for reason, count in counts.most_common())


def _details(batch: BatchRow, verdicts: Sequence[_EffectiveVerdict], images: Mapping[int, ReviewedImage]) -> Details:
    lines = run_warnings.by_purpose(batch.spec.findings)
    return Details(
        changes=tuple(batch.spec.notes),
        is_first=batch.spec.parent_id is None,
        comments=tuple(
            Comment(image=images[verdict.index], text=verdict.comment) for verdict in verdicts if verdict.comment
        ),
        warnings=tuple(lines.warnings),
        findings=tuple(lines.findings),
        methods=tuple(lines.details),
    )


def _effective_verdicts(session: Session, batch: BatchRow) -> list[_EffectiveVerdict]:
    """Return the verdicts on a round that count, in the samples' order."""
    rows = session.execute(
        select(VerdictRow.opinion, VerdictRow.reasons, VerdictRow.comment, SampleRow.index)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(SampleRow.batch_id == batch.id, verdict_sync.effective_verdicts())
        .order_by(SampleRow.index)
    )
    return [_EffectiveVerdict(*row) for row in rows]


def _deleted_samples(session: Session, batch: BatchRow) -> set[int]:
    """Return the indices of a round's samples whose review task a person deleted."""
    query = (
        select(SampleRow.index)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.batch_id == batch.id, SampleRow.task_id.is_(None), ShardRow.published_at.is_not(None))
    )
    return set(session.scalars(query))
