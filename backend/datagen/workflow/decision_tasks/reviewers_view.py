"""The reviewers of a round on a decision page: their agreement, the images on which they disagree, their comments."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.verdict import Opinion, VerdictRule
from datagen.learning.agreement import MIN_COMMON, OneSided, one_sided, pair_agreements
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.reviews.corrections import ReviewedImage
from datagen.workflow.study_options import options_of

#: Longest comment in the list of disputed images, in characters; the list of comments has all that is stored of it.
_LONGEST_COMMENT = 200


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    """A verdict on an image of a round, whether it counts or not."""

    index: int
    reviewer: str
    opinion: Opinion
    reasons: list[str]
    comment: str
    #: whether it is not late, and not the copy of another
    in_time: bool
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOpinion:
    """One verdict on a disputed image."""

    reviewer: str
    opinion: str
    #: its reasons and the beginning of its comment
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputedImage:
    """An image that has good and bad verdicts."""

    image: ReviewedImage
    opinions: tuple[OneOpinion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The agreement of two reviewers."""

    first: str
    second: str
    #: number of images that both judged, and of those on which their opinions are equal
    common: int
    agreed: int
    #: equal opinions as a share, 0 to 1
    share: float
    #: None if both gave one opinion only, the same one
    kappa: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewers:
    """The agreement of the people who judged a round."""

    #: number of verdicts that are in time, and of the images with at least one of them
    verdicts: int
    images: int
    rule: VerdictRule
    #: the images that have good and bad verdicts
    disputed: tuple[DisputedImage, ...]
    #: the pairs that have judged at least ``min_common`` of the images both, and the number of the other pairs
    pairs: tuple[Pair, ...]
    other_pairs: int
    min_common: int
    #: the reviewers with one opinion on everything, though others have another one on some of it
    one_sided: tuple[OneSided, ...]
    #: the study's name, quoted for a shell
    study_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A reviewer's comment on an image."""

    image: ReviewedImage
    reviewer: str
    text: str
    #: whether its verdict counts
    counts: bool


def given_verdicts(session: Session, batch: BatchRow) -> list[GivenVerdict]:
    """Return the verdicts on a round in the samples' order, those of a sample in the order of their time."""
    rows = session.execute(
        select(
            SampleRow.index,
            VerdictRow.reviewer,
            VerdictRow.opinion,
            VerdictRow.reasons,
            VerdictRow.comment,
            verdict_sync.verdicts_in_time(),
            verdict_sync.effective_verdicts(),
        )
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(SampleRow.batch_id == batch.id)
        .order_by(SampleRow.index, VerdictRow.given_at, VerdictRow.annotation_id)
    )
    return [GivenVerdict(*row) for row in rows]


def reviewers_of(batch: BatchRow, given: Sequence[GivenVerdict], images: Mapping[int, ReviewedImage]) -> Reviewers:
    """Return the agreement of a round's reviewers; ``images`` are its images by the index of their sample."""
    in_time = [verdict for verdict in given if verdict.in_time]
    opinions: dict[str, dict[int, str]] = {}
    for verdict in in_time:  # of a person's verdicts on an image, the last one overwrites the others
        opinions.setdefault(verdict.reviewer, {})[verdict.index] = verdict.opinion
    pairs = pair_agreements(opinions)
    return Reviewers(
        verdicts=len(in_time),
        images=len({verdict.index for verdict in in_time}),
        rule=options_of(batch.study).verdict_rule or VerdictRule.EACH,
        disputed=tuple(_disputed(in_time, images)),
        pairs=tuple(
            Pair(
                first=pair.first,
                second=pair.second,
                common=pair.common,
                agreed=pair.agreed,
                share=float(pair.share),
                kappa=None if pair.kappa is None else float(pair.kappa),
            )
            for pair in pairs
            if pair.is_enough
        ),
        other_pairs=sum(1 for pair in pairs if not pair.is_enough),
        min_common=MIN_COMMON,
        one_sided=one_sided(opinions),
        study_name=shlex.quote(batch.study.name),
    )


def comments_of(given: Sequence[GivenVerdict], images: Mapping[int, ReviewedImage]) -> tuple[Comment, ...]:
    """Return the comments of all verdicts on a round, also of those that do not count."""
    return tuple(
        Comment(image=images[verdict.index], reviewer=verdict.reviewer, text=verdict.comment, counts=verdict.counts)
        for verdict in given
        if verdict.comment
    )


def _disputed(in_time: Sequence[GivenVerdict], images: Mapping[int, ReviewedImage]) -> Iterator[DisputedImage]:
    for index, of_image in groupby(in_time, key=lambda verdict: verdict.index):
        verdicts = list(of_image)
        if len({verdict.opinion for verdict in verdicts}) > 1:
            yield DisputedImage(image=images[index], opinions=tuple(map(_opinion, verdicts)))


def _opinion(verdict: GivenVerdict) -> OneOpinion:
    comment = verdict.comment
    if len(comment) > _LONGEST_COMMENT:
        comment = comment[: _LONGEST_COMMENT - 1] + "…"
    quoted = [f"“{comment}”"] if comment else []
    return OneOpinion(
        reviewer=verdict.reviewer, opinion=str(verdict.opinion), remarks=(*map(str, verdict.reasons), *quoted)
    )
