"""Verdicts that people give on the studio's pages. Each becomes an annotation in Label Studio, the source of truth.

The annotation is the person's, though it is written with the installation's own token. Only an annotation that the
person submitted is ever changed or deleted. The verdict rows follow at once by the same synchronization that follows a
webhook, so that the webhook of the same annotation changes nothing.

A request may arrive twice, and two at once. Requests of one person take turns, and each first looks for the person's
annotation, so there is never a second one on a task.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import Sample
from datagen.domain.verdict import Verdict
from datagen.domain.wording import counted
from datagen.errors import LabelStudioMissing, NotReady, Refused
from datagen.label_studio.api.authorship import marked
from datagen.label_studio.api.models import Annotation, Task
from datagen.label_studio.api.transport import deadline
from datagen.label_studio.mapping.form_answers import is_closing
from datagen.label_studio.mapping.form_answers import verdict as verdict_of
from datagen.label_studio.mapping.predictions import prediction
from datagen.label_studio.mapping.verdict_forms import as_shown, has_drawing, with_verdict
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.reviews.verdict_rows import MAX_VERDICTS, takes_verdicts
from datagen.workflow.sample_mapping import sample_of, shown_number
from datagen.workflow.services import Services

#: Longest comment: characters, as a row keeps them, and bytes of UTF-8, so that its request stays below 16 KB.
LONGEST_COMMENT, LONGEST_COMMENT_BYTES = 4_000, 14_000
#: First key of the locks by which the requests of one person take turns, and their number: people whose ids differ by a
#: multiple of it share one.
_FIRST_LOCK, _LOCKS = 7_302_000, 16
#: Seconds for which a request waits for the person's earlier one, and for which Label Studio may take to store one.
_WAIT_SECONDS, _LABEL_STUDIO_SECONDS = 4.0, 24.0

NO_SAMPLE = "There is no image at this address: it was deleted with its study, or its round was made anew."
TOO_LONG = (
    f"A comment may have {LONGEST_COMMENT:,} characters, and {LONGEST_COMMENT_BYTES:,} bytes: shorten it, and send the "
    "verdict again."
)
LATE = "This round accepts no more verdicts: yours is kept as a late one, and does not count."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reviewed:
    """A sample and its review task, as its rows have it."""

    number: int
    project_id: int
    task_id: int
    sample: Sample
    is_late: bool


def judge(services: Services, study_id: int, sample_id: int, verdict: Verdict | None, account_id: int) -> str:
    """Give a person's verdict on a sample, change it, or with None take it back.

    Args:
        services: the services.
        study_id: the sample's study.
        sample_id: the sample.
        verdict: what the person's annotation is to contain; None: there is to be no annotation.
        account_id: the person's id in Label Studio.

    Return a sentence if the verdict is stored but does not count; else "".

    Raises:
        Refused: it cannot be stored, now or later; the sentence says why.
        NotReady: it cannot be stored yet.
        LabelStudioUnavailable: Label Studio does not answer. The same request may be sent again later.
    """
    verdict = _checked(verdict) if verdict is not None else None
    with services.database.read() as session:
        reviewed = _reviewed(session, study_id, sample_id)
    with services.database.one_at_a_time(_FIRST_LOCK + account_id % _LOCKS, _WAIT_SECONDS) as is_alone:
        if not is_alone:
            raise NotReady("An earlier verdict of yours is still being saved. Send this one again in a moment.")
        with deadline(_LABEL_STUDIO_SECONDS):
            try:
                task = services.label_studio.task(reviewed.task_id, reviewed.project_id)
                _write(services, reviewed, task, verdict, account_id)
            except LabelStudioMissing:
                raise Refused(_deleted(reviewed.number)) from None
            verdict_sync.sync_tasks(services, reviewed.project_id, [reviewed.task_id])
    return LATE if reviewed.is_late else ""


def _checked(verdict: Verdict) -> Verdict:
    """Return a verdict with its comment as Label Studio will return it."""
    comment = plain(verdict.comment).replace("\r\n", "\n").strip()
    if len(comment) > LONGEST_COMMENT or len(comment.encode()) > LONGEST_COMMENT_BYTES:
        raise Refused(TOO_LONG)
    return Verdict(opinion=verdict.opinion, reasons=verdict.reasons, comment=comment)


def _reviewed(session: Session, study_id: int, sample_id: int) -> _Reviewed:
    record = session.execute(
        select(SampleRow, ShardRow.published_at)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.id == sample_id, BatchRow.study_id == study_id)
    ).one_or_none()
    project_id = project_of(session, study_id, ProjectKind.PREVIEWS)
    if record is None or not record[0].batch.kind.is_reviewed or project_id is None:
        raise Refused(NO_SAMPLE)
    row, published_at = record
    number = shown_number(row.batch, row.index)
    if row.task_id is None:
        if published_at is not None:
            raise Refused(_deleted(number))
        raise NotReady(f"Image {number} has no review task in Label Studio yet. Send the verdict again in a moment.")
    return _Reviewed(
        number=number,
        project_id=project_id,
        task_id=row.task_id,
        sample=sample_of(row),
        is_late=not takes_verdicts(row.batch.spec.state, row.batch.kind, row.batch.state),
    )


def _deleted(number: int) -> str:
    return (
        f"The review task of image {number} was deleted in Label Studio, which took the image out of its round: it "
        "needs no verdict any more."
    )


def _write(services: Services, reviewed: _Reviewed, task: Task, verdict: Verdict | None, account_id: int) -> None:
    """Make the person's annotation of a task contain the verdict."""
    client, own = services.label_studio, _own(task.annotations, account_id)
    if verdict is None:
        if own is None:
            return
        if has_drawing(own.result):
            raise Refused(
                f"Your verdict on image {reviewed.number} also corrects its outline, which was drawn in Label Studio: "
                "delete it there, or change it."
            )
        client.delete_annotation(own.id)
        return
    if own is None:
        if sum(_is_verdict(annotation) for annotation in task.annotations) >= MAX_VERDICTS:
            raise Refused(
                f"Image {reviewed.number} has {counted(MAX_VERDICTS, 'verdict')} already, which are the most. One of "
                "them has to be deleted in Label Studio first."
            )
        shown = as_shown(prediction(reviewed.sample, ProjectKind.PREVIEWS)["result"])
        result = marked(with_verdict(shown, verdict), account_id)
        client.annotate(task.id, result, completed_by=account_id)
    elif verdict_of(own.result) != verdict:
        client.update_annotation(own.id, marked(with_verdict(own.result, verdict), account_id))


def _own(annotations: Iterable[Annotation], account_id: int) -> Annotation | None:
    """Return the newest annotation that a person submitted and that is no skip; None if there is none."""
    own = [
        annotation
        for annotation in annotations
        if annotation.submitted_by == account_id
        and not annotation.was_cancelled
        and (_is_verdict(annotation) or not is_closing(annotation.result))
    ]
    return max(own, key=lambda annotation: (annotation.updated_at, annotation.id), default=None)


def _is_verdict(annotation: Annotation) -> bool:
    return not annotation.was_cancelled and verdict_of(annotation.result) is not None
