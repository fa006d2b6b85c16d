"""The gallery of a round, an audit, a run's spot checks or a run: its pictures, with filters and pages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.trace import Trace
from datagen.errors import Refused
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.decision_tasks.batch_view import BatchName, Progress, name_of, progress_of
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.study_pages.access import Visible, visible_study
from datagen.workflow.study_pages.batch_figures import Share, share_of
from datagen.workflow.study_pages.next_step import LabelStudioTarget
from datagen.workflow.study_pages.pictures import SamplePicture, picture_columns, picture_of
from datagen.workflow.study_pages.situations import VerdictCounts, verdict_counts

#: Number of pictures on a page.
PICTURES_A_PAGE = 60
#: Number of choices of a filter that are offered, the most frequent first.
MAX_CHOICES = 30


class Judgement(StrEnum):
    """The verdicts on a sample, as one word."""

    GOOD = "good"
    BAD = "bad"
    DISPUTED = "disputed"  #: good and bad at once
    UNJUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryFilter:
    """A filter of the images of a round or run; an empty value does not filter."""

    judgement: str = ""
    reason: str = ""
    concept: str = ""
    background: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is filtered."""
        return self == GalleryFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A value of a filter, and the number of pictures that have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """A picture in the gallery."""

    picture: SamplePicture
    judgement: Judgement
    reasons: tuple[str, ...]
    #: digest of the background, for the comparison before and after
    background_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryView:
    """A page of a gallery."""

    study_id: int
    study: str
    batch_id: int
    name: BatchName
    version: int
    count: int
    #: whether people judge its images
    is_reviewed: bool
    requested_by: str
    requested_at: datetime
    progress: Progress
    #: number of samples by their verdicts; empty for a run
    judgements: Mapping[Judgement, int]
    #: the share of good verdicts; None without verdicts
    share: Share | None
    changes: tuple[str, ...]
    filter: GalleryFilter
    #: filter's name → its choices
    choices: Mapping[str, tuple[Choice, ...]]
    items: tuple[GalleryItem, ...]
    #: number of the pictures that match the filter, on all pages
    matching: int
    #: the index after which the next page begins; None on the last page
    next_after: int | None
    #: the review task of the first picture without a verdict, or the project
    review: LabelStudioTarget | None


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample as the filters see it."""

    index: int
    picture: SamplePicture
    task_id: int | None
    background: str
    background_digest: str
    concepts: frozenset[str]
    judgement: Judgement
    reasons: tuple[str, ...]


def batch_of(session: Session, study_id: int, kind: BatchKind, number: int, project_ids: Visible) -> BatchRow:
    """Return a batch of a study.

    Raises:
        Refused: there is none of that kind and number, or the person may not see the study.
    """
    study = visible_study(session, study_id, project_ids)
    batch = session.scalar(
        select(BatchRow).where(BatchRow.study_id == study.id, BatchRow.kind == kind, BatchRow.number == number)
    )
    if batch is None:
        raise Refused(f"The study “{study.name}” has no {_WORDS[kind]} {number}.")
    return batch


_WORDS = {
    BatchKind.ROUND: "preview round",
    BatchKind.AUDIT: "audit",
    BatchKind.RUN: "run",
    BatchKind.SPOT: "spot checks of run",
    BatchKind.REJECTED: "rejected candidates of run",
}


def gallery_of(session: Session, batch: BatchRow, chosen: GalleryFilter, after: int | None = None) -> GalleryView:
    """Return a page of the gallery of a round, an audit or spot checks, which have at most 500 samples."""
    samples = _samples(session, batch)
    matching = [sample for sample in samples if _matches(sample, chosen)]
    page = [sample for sample in matching if after is None or sample.index > after]
    shown = page[:PICTURES_A_PAGE]
    judgements = Counter(sample.judgement for sample in samples)
    return GalleryView(
        study_id=batch.study_id,
        study=batch.study.name,
        batch_id=batch.id,
        name=name_of(batch),
        version=batch.spec.version,
        count=batch.count,
        is_reviewed=batch.kind.is_reviewed,
        requested_by=batch.requested_by,
        requested_at=batch.requested_at,
        progress=progress_of(session, batch),
        judgements={judgement: judgements[judgement] for judgement in Judgement},
        share=share_of(verdict_counts(session, [batch.id]).get(batch.id, VerdictCounts())),
        changes=tuple(batch.spec.notes),
        filter=chosen,
        choices={
            "judgement": _choices(sample.judgement for sample in samples),
            "reason": _choices(reason for sample in samples for reason in sample.reasons),
            "concept": _choices(concept for sample in samples for concept in sample.concepts),
            "background": _choices(sample.background for sample in samples),
        },
        items=tuple(
            GalleryItem(
                picture=sample.picture,
                judgement=sample.judgement,
                reasons=sample.reasons,
                background_digest=sample.background_digest,
            )
            for sample in shown
        ),
        matching=len(matching),
        next_after=shown[-1].index if len(page) > len(shown) else None,
        review=_review(session, batch, samples),
    )


def _samples(session: Session, batch: BatchRow) -> list[_Sample]:
    given = _verdicts(session, batch)
    provenance = ("provenance", "background", "name"), ("provenance", "background", "digest"), ("provenance", "steps")
    name, digest, steps = (SampleRow.body[path] for path in provenance)
    rows = session.execute(
        select(*picture_columns(), SampleRow.task_id, name.as_string(), digest.as_string(), steps)
        .where(SampleRow.batch_id == batch.id)
        .order_by(SampleRow.index)
    )
    samples = []
    for *values, task_id, background, background_digest, trace in rows:
        opinions, reasons = given.get(values[0], (set(), {}))
        samples.append(
            _Sample(
                index=values[1],
                picture=picture_of(batch, values),
                task_id=task_id,
                background=background,
                background_digest=background_digest,
                concepts=_concepts(trace),
                judgement=_judgement(opinions),
                reasons=tuple(reasons),
            )
        )
    return samples


def _verdicts(session: Session, batch: BatchRow) -> dict[int, tuple[set[str], dict[str, None]]]:
    """Return sample → the opinions and reasons of the verdicts that are in time."""
    rows = session.execute(
        select(VerdictRow.sample_id, VerdictRow.opinion, VerdictRow.reasons)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(SampleRow.batch_id == batch.id, verdict_sync.verdicts_in_time())
        .order_by(VerdictRow.annotation_id)
    )
    given: dict[int, tuple[set[str], dict[str, None]]] = defaultdict(lambda: (set(), {}))
    for sample_id, opinion, reasons in rows:
        given[sample_id][0].add(opinion)
        given[sample_id][1].update(dict.fromkeys(map(str, reasons)))
    return given


def _judgement(opinions: set[str]) -> Judgement:
    if not opinions:
        return Judgement.UNJUDGED
    if len(opinions) > 1:
        return Judgement.DISPUTED
    return Judgement(opinions.pop())


def _concepts(steps: Any) -> frozenset[str]:
    """Return the names of the concept photos that the instances of a sample were made from."""
    trace = Trace.from_json(steps if isinstance(steps, dict) else {})
    return frozenset(instance.concept.name for instance in trace.instances if instance.concept is not None)


def _matches(sample: _Sample, chosen: GalleryFilter) -> bool:
    return (
        chosen.judgement in ("", sample.judgement)
        and (not chosen.reason or chosen.reason in sample.reasons)
        and (not chosen.concept or chosen.concept in sample.concepts)
        and chosen.background in ("", sample.background)
    )


def _choices(values: Iterable[str]) -> tuple[Choice, ...]:
    return tuple(Choice(value=str(value), count=count) for value, count in Counter(values).most_common(MAX_CHOICES))


def _review(session: Session, batch: BatchRow, samples: Sequence[_Sample]) -> LabelStudioTarget | None:
    project_id = project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    if project_id is None or batch.state is not WorkState.DONE:
        return None
    unjudged = (
        sample.task_id for sample in samples if sample.judgement is Judgement.UNJUDGED and sample.task_id is not None
    )
    return LabelStudioTarget(project_id=project_id, task_id=next(unjudged, None))
