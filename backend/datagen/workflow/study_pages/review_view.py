"""The review sheet on which a person judges a round, an audit or a run's spot checks.

The images are in the order in which Label Studio serves their tasks: what teaches most comes first. The sheet does not
show which images an audit added. Under the rule ``all-agree`` a person sees another's verdict on an image only after
giving one, so that the verdicts are independent. Under the other rules people share the work, and see at once which
images are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Reason, VerdictRule
from datagen.errors import Refused
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.decision_tasks.batch_view import BatchName, name_of
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.reviews.page_verdicts import LONGEST_COMMENT, LONGEST_COMMENT_BYTES, NO_SAMPLE
from datagen.workflow.reviews.verdict_rows import takes_verdicts
from datagen.workflow.study_options import options_of
from datagen.workflow.study_pages.next_step import LabelStudioTarget
from datagen.workflow.study_pages.pictures import SamplePicture, picture_columns, picture_of

#: Number of images on a page.
IMAGES_A_PAGE = 40
#: Number of other people's verdicts on an image that are shown.
MAX_OTHERS = 5
#: The reasons in the order of their numbers, which are their keys.
REASONS = tuple(map(str, Reason))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVerdict:
    """A verdict on an image."""

    reviewer: str
    opinion: str
    reasons: tuple[str, ...]
    comment: str
    is_late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """An image on the review sheet."""

    picture: SamplePicture
    #: the person's own verdict; None without one
    own: ShownVerdict | None
    #: the first verdicts of other people; empty while they are hidden
    others: tuple[ShownVerdict, ...]
    #: number of verdicts of other people that are hidden until the person has judged
    hidden: int
    #: whether verdicts in time that are shown are good and bad at once
    is_disputed: bool
    #: whether the person still has to judge it
    is_open: bool
    #: why it cannot be judged, as a sentence; else ""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewView:
    """A page of a review sheet."""

    study_id: int
    study: str
    name: BatchName
    version: int
    items: tuple[ReviewItem, ...]
    #: number of images, of those that the person has judged, and of those still to judge; on all pages
    count: int
    judged: int
    left: int
    #: whether others' verdicts are hidden until the person has judged
    is_blind: bool
    #: whether verdicts still count
    is_open: bool
    #: the place after which this page begins, and those of the previous and the next one; None if there is none
    after: int
    before: int | None
    next_after: int | None
    target: LabelStudioTarget | None
    reasons: tuple[str, ...] = REASONS
    longest_comment: int = LONGEST_COMMENT
    longest_comment_bytes: int = LONGEST_COMMENT_BYTES


def review_of(session: Session, batch: BatchRow, email: str, after: int = 0) -> ReviewView:
    """Return a page of the review sheet of a batch that is reviewed, for the person with this e-mail address.

    Raises:
        Refused: people do not judge a batch of its kind.
    """
    if not batch.kind.is_reviewed:
        raise Refused("The images of a run are not judged, except its spot checks.")
    is_blind = options_of(batch.study).verdict_rule is VerdictRule.ALL_AGREE
    items = _items(session, batch, email, is_blind=is_blind)
    page = items[after : after + IMAGES_A_PAGE]
    end = after + len(page)
    project_id = project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    return ReviewView(
        study_id=batch.study_id,
        study=batch.study.name,
        name=name_of(batch),
        version=batch.spec.version,
        items=tuple(page),
        count=batch.count,
        judged=sum(item.own is not None for item in items),
        left=sum(item.is_open for item in items),
        is_blind=is_blind,
        is_open=takes_verdicts(batch.spec.state, batch.kind, batch.state),
        after=after,
        before=max(after - IMAGES_A_PAGE, 0) if after else None,
        next_after=end if end < len(items) else None,
        target=LabelStudioTarget(project_id=project_id) if project_id is not None else None,
    )


def review_item_of(session: Session, study_id: int, sample_id: int, email: str) -> tuple[BatchRow, ReviewItem]:
    """Return an image as the review sheet shows it to a person, and its batch.

    Raises:
        Refused: there is no such image in the study.
    """
    batch = session.scalar(
        select(BatchRow)
        .join(SampleRow, SampleRow.batch_id == BatchRow.id)
        .where(SampleRow.id == sample_id, BatchRow.study_id == study_id)
    )
    if batch is None:
        raise Refused(NO_SAMPLE)
    is_blind = options_of(batch.study).verdict_rule is VerdictRule.ALL_AGREE
    [item] = _items(session, batch, email, is_blind=is_blind, sample_id=sample_id)
    return batch, item


def place_of(session: Session, batch: BatchRow, sample_id: int) -> int:
    """Return the place after which the page with an image of the batch begins."""
    ids = [values[0] for values in _ordered(session, batch)]
    return ids.index(sample_id) // IMAGES_A_PAGE * IMAGES_A_PAGE if sample_id in ids else 0


def _ordered(session: Session, batch: BatchRow, sample_id: int | None = None) -> list[tuple[object, ...]]:
    """Return ``picture_columns``, task and publication of the batch's samples, what teaches most first.

    It is the order of the tasks' scores; see ``sample_mapping.lateness_of``.
    """
    probability = SampleRow.body["probability"].as_float()
    rows = session.execute(
        select(*picture_columns(), SampleRow.task_id, ShardRow.published_at, probability)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.batch_id == batch.id, *([] if sample_id is None else [SampleRow.id == sample_id]))
        .order_by(SampleRow.index)
    ).all()
    if batch.kind is not BatchKind.ROUND:
        return [tuple(row) for row in rows]
    return [tuple(row) for row in sorted(rows, key=lambda row: abs(2 * (row[-1] if row[-1] is not None else 0.5) - 1))]


def _items(
    session: Session, batch: BatchRow, email: str, *, is_blind: bool, sample_id: int | None = None
) -> list[ReviewItem]:
    given = _verdicts(session, batch, sample_id)
    items = []
    for *values, task_id, published_at, _ in _ordered(session, batch, sample_id):
        picture = picture_of(batch, values)
        verdicts = given.get(picture.sample_id, ())
        own = next((shown for shown in reversed(verdicts) if _is_by(shown, email)), None)
        others = [shown for shown in verdicts if shown is not own]
        is_hidden = is_blind and own is None
        shown_others = () if is_hidden else others
        in_time = [shown for shown in ((own, *shown_others) if own else shown_others) if not shown.is_late]
        problem = ""
        if task_id is None:
            problem = "its review task was deleted" if published_at is not None else "its review task is being made"
        items.append(
            ReviewItem(
                picture=picture,
                own=own,
                others=tuple(shown_others[:MAX_OTHERS]),
                hidden=len(others) if is_hidden else 0,
                is_disputed=len({shown.opinion for shown in in_time}) > 1,
                is_open=not problem and own is None and (is_blind or not in_time),
                problem=problem,
            )
        )
    return items


def _verdicts(session: Session, batch: BatchRow, sample_id: int | None) -> Mapping[int, Sequence[ShownVerdict]]:
    """Return sample → its verdicts, those in copies of annotations left out."""
    rows = session.execute(
        select(
            VerdictRow.sample_id,
            VerdictRow.reviewer,
            VerdictRow.opinion,
            VerdictRow.reasons,
            VerdictRow.comment,
            VerdictRow.late,
        )
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(
            SampleRow.batch_id == batch.id,
            or_(verdict_sync.verdicts_in_time(), VerdictRow.late),
            *([] if sample_id is None else [SampleRow.id == sample_id]),
        )
        .order_by(VerdictRow.annotation_id)
    )
    given: dict[int, list[ShownVerdict]] = {}
    for of_sample, reviewer, opinion, reasons, comment, late in rows:
        shown = ShownVerdict(
            reviewer=reviewer,
            opinion=str(opinion),
            reasons=tuple(map(str, reasons)),
            comment=comment,
            is_late=late,
        )
        given.setdefault(of_sample, []).append(shown)
    return given


def _is_by(verdict: ShownVerdict, email: str) -> bool:
    """Return whether a verdict is by the person with this e-mail address, which ends the name of a reviewer."""
    return verdict.reviewer.rpartition(" ")[2].casefold() == email.casefold()
