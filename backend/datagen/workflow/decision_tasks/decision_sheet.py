"""The picture on a decision task, and its caption. The picture is a contact sheet, or a notice if there is none."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.domain.wording import sentence_case
from datagen.store.blob_store import digest_of
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.reviews import DecisionRow
from datagen.workflow.decision_tasks.batch_view import BatchName, name_of
from datagen.workflow.generation.contact_sheet import MAX_CELLS, notice_sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The caption of a contact sheet; the sheet is shown below the decision page."""

    batch: BatchName
    version: int
    #: number of the images of a round or an audit that the sheet shows; None if it shows all
    first_images: int | None


def sheet_of(decision: DecisionRow) -> str:
    """Return the digest of the picture that a decision task shows."""
    subject = _subject(decision)
    if subject is not None and subject.sheet is not None:
        return subject.sheet
    return digest_of(notice_sheet(_notice(subject)))


def sheet_to_store(decision: DecisionRow) -> bytes | None:
    """Return the notice that a decision task shows instead of a contact sheet; None if it has a contact sheet.

    The notice is stored after the task is published, so that the page shows an outage even while the image store is
    unavailable.
    """
    subject = _subject(decision)
    return None if subject is not None and subject.sheet is not None else notice_sheet(_notice(subject))


def caption_of(decision: DecisionRow) -> Caption | None:
    """Return the caption of the contact sheet; None if the picture is a notice."""
    subject = _subject(decision)
    if subject is None or subject.sheet is None:
        return None
    shows_part = subject.kind.is_reviewed and subject.count > MAX_CELLS
    return Caption(batch=name_of(subject), version=subject.spec.version, first_images=MAX_CELLS if shows_part else None)


def _subject(decision: DecisionRow) -> BatchRow | None:
    """Return the round, audit or run that the decision shows; for the first decision, the round that it started."""
    return decision.batch if decision.batch is not None else decision.started


def _notice(subject: BatchRow | None) -> str:
    if subject is None:
        return "No preview round yet."
    if subject.kind == BatchKind.RUN:
        return "No image of this run was made." if subject.rendered_at is None else "The images are in Dataset."
    return sentence_case(f"{name_of(subject)} has no pictures yet.")
