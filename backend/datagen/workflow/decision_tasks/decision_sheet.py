"""The picture on a decision task: the contact sheet of what is decided on, or a notice; and the line that names it."""

from __future__ import annotations

from html import escape

from datagen.store.blob_store import digest_of
from datagen.store.tables import BatchKind, BatchRow, DecisionRow
from datagen.workflow.generation.contact_sheet import MOST_CELLS, notice_sheet


def sheet_of(decision: DecisionRow) -> str:
    """The digest of the picture that a decision task shows."""
    subject = _subject(decision)
    if subject is not None and subject.sheet is not None:
        return subject.sheet
    return digest_of(notice_sheet(_notice(subject)))


def sheet_to_store(decision: DecisionRow) -> bytes | None:
    """The notice that a decision task shows instead of a contact sheet; None where it has one.

    It is stored once the task is told: what is waited for is shown also while the image store is unavailable.
    """
    subject = _subject(decision)
    return None if subject is not None and subject.sheet is not None else notice_sheet(_notice(subject))


def caption_of(decision: DecisionRow) -> str:
    """A line of HTML that says what the picture below it shows; empty where it is a notice."""
    subject = _subject(decision)
    if subject is None or subject.sheet is None:
        return ""
    if subject.kind == BatchKind.ROUND:
        part = f"the first {MOST_CELLS} images of " if subject.count > MOST_CELLS else ""
        shown = f"{part}preview round {subject.number}"
    else:
        shown = f"the first images of run “{escape(subject.name)}”"
    return f"<p><b>Below:</b> {shown}, version {subject.spec.version}.</p>"


def _subject(decision: DecisionRow) -> BatchRow | None:
    """What the decision is about: the round or run it shows; at the first decision the round that it set going."""
    return decision.batch if decision.batch is not None else decision.started


def _notice(subject: BatchRow | None) -> str:
    if subject is None:
        return "No preview round yet."
    if subject.kind == BatchKind.RUN:
        return "No image of this run was made." if subject.rendered_at is None else "The images are in Dataset."
    return f"Preview round {subject.number} has no pictures yet."
