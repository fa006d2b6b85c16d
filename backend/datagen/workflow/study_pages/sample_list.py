"""Pages of the samples of a round or run, which may have a hundred thousand, with the verdicts on each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, String, cast, exists, func, select
from sqlalchemy.orm import Session

from datagen.domain.verdict import Opinion, Reason
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.study_pages.gallery_view import Judgement

#: Largest number of indices that one page with a filter looks at.
INDICES_A_PAGE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFilter:
    """Which samples; None selects all."""

    judgement: Judgement | None = None
    #: a reason that a verdict has
    reason: Reason | None = None
    #: name of the background
    background: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSample:
    """A sample in a list."""

    id: int
    index: int
    key: str
    #: SHA-256 of its image, and the image's size in pixels
    digest: str
    width: int
    height: int
    background: str
    #: label and box of each instance; x, y, width and height in pixels
    instances: tuple[tuple[str, dict[str, float]], ...]
    judgement: Judgement
    reasons: tuple[str, ...]
    task_id: int | None


def samples_of(
    session: Session, batch: BatchRow, chosen: SampleFilter, after: int | None, most: int
) -> tuple[list[ListedSample], int | None]:
    """Return samples of a batch that match a filter, in the order of their index, and where the next page begins.

    Args:
        session: a session for reading.
        batch: the round or run.
        chosen: the filter.
        after: the index behind which the page begins; None for the first page.
        most: largest number of samples. With a filter there may be fewer, even none, though more follow: at most
            ``INDICES_A_PAGE`` indices are looked at, so that no page of a large run takes long.

    Returns:
        The samples, and the index behind which the next page begins; None after the last page.
    """
    of_batch = SampleRow.batch_id == batch.id
    paths = ("image", "digest"), ("image", "width"), ("image", "height"), ("provenance", "background", "name")
    digest, width, height, background = (SampleRow.body[path] for path in paths)
    query = (
        select(
            *(SampleRow.id, SampleRow.index, SampleRow.key, SampleRow.task_id),
            *(digest.as_string(), width.as_integer(), height.as_integer(), background.as_string()),
            SampleRow.body["instances"],
        )
        .where(of_batch, *_conditions(chosen))
        .order_by(SampleRow.index)
        .limit(most + 1)
    )
    end: int | None = None
    first, last = session.execute(select(func.min(SampleRow.index), func.max(SampleRow.index)).where(of_batch)).one()
    if after is not None:
        query = query.where(SampleRow.index > after)
    if first is not None and chosen != SampleFilter():
        stop = (first if after is None else after + 1) + INDICES_A_PAGE
        query = query.where(SampleRow.index < stop)
        end = stop - 1 if stop <= last else None
    rows = session.execute(query).all()
    shown, next_after = keyset_page(rows, most, lambda row: row[1])
    given = _verdicts(session, [row[0] for row in shown])
    return [_listed(row, *given[row[0]]) for row in shown], end if next_after is None else next_after


def _conditions(chosen: SampleFilter) -> Iterator[ColumnElement[bool]]:
    of_sample = exists().where(VerdictRow.sample_id == SampleRow.id, verdict_sync.verdicts_in_time())
    good, bad = (of_sample.where(VerdictRow.opinion == opinion) for opinion in (Opinion.GOOD, Opinion.BAD))
    match chosen.judgement:
        case Judgement.GOOD:
            yield good & ~bad
        case Judgement.BAD:
            yield bad & ~good
        case Judgement.DISPUTED:
            yield good & bad
        case Judgement.UNJUDGED:
            yield ~of_sample
    if chosen.reason is not None:
        yield of_sample.where(cast(VerdictRow.reasons, String).contains(f'"{chosen.reason}"'))
    if chosen.background is not None:
        yield SampleRow.body["provenance", "background", "name"].as_string() == chosen.background


def _verdicts(session: Session, sample_ids: Sequence[int]) -> dict[int, tuple[set[str], dict[str, None]]]:
    """Return sample → the opinions and the reasons of the verdicts that are in time."""
    rows = session.execute(
        select(VerdictRow.sample_id, VerdictRow.opinion, VerdictRow.reasons)
        .where(VerdictRow.sample_id.in_(sample_ids), verdict_sync.verdicts_in_time())
        .order_by(VerdictRow.annotation_id)
    )
    given: dict[int, tuple[set[str], dict[str, None]]] = defaultdict(lambda: (set(), {}))
    for sample_id, opinion, reasons in rows:
        given[sample_id][0].add(opinion)
        given[sample_id][1].update(dict.fromkeys(map(str, reasons)))
    return given


def _listed(row: Any, opinions: set[str], reasons: dict[str, None]) -> ListedSample:
    sample_id, index, key, task_id, digest, width, height, background, instances = row
    judgement = Judgement.UNJUDGED
    if opinions:
        judgement = Judgement.DISPUTED if len(opinions) > 1 else Judgement(next(iter(opinions)))
    return ListedSample(
        id=sample_id,
        index=index,
        key=key,
        digest=digest,
        width=width,
        height=height,
        background=background,
        instances=tuple((instance["label"], instance["box"]) for instance in instances),
        judgement=judgement,
        reasons=tuple(reasons),
        task_id=task_id,
    )
