"""The review sheet on which a person judges, and the address that verdicts are sent to.

Without JavaScript, a form redirects back to the sheet; if its verdict cannot be saved, a page shows the verdict with a
button that sends it again. The page's script requests JSON. The status of the response determines what the script does
with the verdict that it keeps: it is saved (200), refused for good (409), to be sent again after the log-in (401) or
from a new page (400), or later (any other status).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from http import HTTPStatus

import structlog
from flask import Blueprint, Response, g, redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import DatagenError, Refused
from datagen.store.database import Database
from datagen.store.tables.base import REVIEWED_KINDS, BatchKind
from datagen.web.pages.actions import FORGED, Actions, sentence_of
from datagen.web.pages.addresses import VERDICTS, Addresses
from datagen.web.pages.forms import number_of
from datagen.web.pages.notices import Notice
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.reviews.page_verdicts import judge
from datagen.workflow.study_pages.gallery_view import batch_of
from datagen.workflow.study_pages.review_view import place_of, review_item_of, review_of

log = structlog.get_logger()

_KINDS = ", ".join(REVIEWED_KINDS)
#: Value of the field ``opinion`` that takes a verdict back.
_NONE = "none"
DATABASE_UNAVAILABLE = "The database does not answer, so your verdict was not saved. Try again in a moment."
LOGGED_OUT = "Your log-in ended. Log in, then send the verdict again."


@dataclass(frozen=True, slots=True)
class _Answer:
    """The outcome of a sent verdict: a sentence, and the HTTP status."""

    sentence: str
    status: HTTPStatus = HTTPStatus.OK
    #: the sentence if the verdict is saved and does not count; else ""
    note: str = ""


def add_review(blueprint: Blueprint, database: Database, writer: PageWriter, actions: Actions, to: Addresses) -> None:
    """Add the sheet and the address of verdicts to the pages."""

    @blueprint.get(f"/studies/<int:study_id>/<any({_KINDS}):kind>/<int:batch_number>/review")
    def review(study_id: int, kind: str, batch_number: int) -> ResponseReturnValue:
        place = number_of("after") or 0
        shown = "plain" if request.args.get("show") == "plain" else "outline"
        with database.read() as session:
            row = batch_of(session, study_id, BatchKind(kind), batch_number, visible_projects())
            view = review_of(session, row, g.session.account.email, place)
        return writer.page("review", f"Review {kind} {batch_number} · {view.study}", view=view, shown=shown)

    @blueprint.post(f"/{VERDICTS}/<int:study_id>/<int:sample_id>")
    def verdict(study_id: int, sample_id: int) -> ResponseReturnValue:
        answer = save(study_id, sample_id)
        if request.accept_mimetypes.best == "application/json":
            return as_json(answer, study_id, sample_id)
        if answer.status is not HTTPStatus.OK:
            fields = [("opinion", request.form.get("opinion", "")), ("comment", request.form.get("comment", ""))]
            fields += [("reason", reason) for reason in request.form.getlist("reason")]
            values = {"study_id": study_id, "sample_id": sample_id, "fields": fields, "sentence": answer.sentence}
            return writer.page("unsaved_verdict", "Not saved", answer.status, **values)
        response: Response = redirect(sheet(study_id, sample_id), HTTPStatus.SEE_OTHER)  # type: ignore[assignment]
        writer.visitors.leave_notice(request, response, Notice(answer.sentence))
        return response

    def save(study_id: int, sample_id: int) -> _Answer:
        """Save the verdict of the sent form."""
        if g.session is None:
            return _Answer(LOGGED_OUT, HTTPStatus.UNAUTHORIZED)
        if not writer.visitors.is_own_form(request):
            return _Answer(FORGED, HTTPStatus.BAD_REQUEST)
        try:
            actor, verdict = actions.actor(study_id), _verdict_of_form()
            note = judge(actor.services, study_id, sample_id, verdict, actor.id)
        except DatagenError as fault:
            log.info("verdict.refused", account=g.session.account.id, sample=sample_id, reason=str(fault))
            is_final = isinstance(fault, Refused)
            return _Answer(sentence_of(fault), HTTPStatus.CONFLICT if is_final else HTTPStatus.SERVICE_UNAVAILABLE)
        except SQLAlchemyError as fault:
            log.warning("verdict.database_unavailable", reason=type(fault).__name__)
            return _Answer(DATABASE_UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE)
        done = f"Your verdict “{verdict.opinion}” is saved." if verdict is not None else "Your verdict is taken back."
        return _Answer(note or done, note=note)

    def as_json(answer: _Answer, study_id: int, sample_id: int) -> ResponseReturnValue:
        if answer.status is not HTTPStatus.OK:
            return {"sentence": answer.sentence}, answer.status
        with database.read() as session:
            _, item = review_item_of(session, study_id, sample_id, g.session.account.email)
        others = [asdict(other) for other in item.others]
        return {"note": answer.note, "others": others, "is_disputed": item.is_disputed}

    def sheet(study_id: int, sample_id: int) -> str:
        """Return the address of the sheet, at the image."""
        with database.read() as session:
            row, _ = review_item_of(session, study_id, sample_id, g.session.account.email)
            return to.review(study_id, row.kind, row.number, place_of(session, row, sample_id), sample_id)


def _verdict_of_form() -> Verdict | None:
    """Return the verdict of the sent form; None if it takes a verdict back.

    Raises:
        Refused: a field has a value that the form does not offer.
    """
    opinion, reasons = request.form.get("opinion", ""), request.form.getlist("reason")
    if opinion == _NONE:
        return None
    if opinion not in {*Opinion} or not {*reasons} <= {*Reason}:
        raise Refused("Choose good or bad, and reasons of the list.")
    return Verdict(
        opinion=Opinion(opinion), reasons=frozenset(map(Reason, reasons)), comment=request.form.get("comment", "")
    )
