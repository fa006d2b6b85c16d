"""Decisions about a study: the forms of its page, with the actions, rules and audit lines of a decision task."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from flask import request

from datagen.domain.decision import ACTIONS, MAX_AUDIT, Decision
from datagen.domain.foreign_text import plain, whole_number
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import DatagenError, NotConfirmed, Refused
from datagen.store.tables.studies import StudyRow
from datagen.web.pages.actions import Actions, Actor, Outcome, Question, sentence_of
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.forms import MOST_IN_FORM
from datagen.workflow.decision_tasks.decision_page import SUGGESTED_COUNT
from datagen.workflow.decisions.shown_state import ShownForm
from datagen.workflow.decisions.submit import DecisionCommand, decide
from datagen.workflow.outages import outage_of

#: The fields of a decision's form that people fill in.
_FIELDS = ("count", "audit_count", "name", "note")
#: Longest text that names a state.
_LONGEST_TOKEN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLimits:
    """The numbers on the forms of decisions."""

    #: number of samples of an audit, as it is filled in, and the largest
    audit_size: int
    most_audited: int = MAX_AUDIT
    #: number of images of a run, as it is filled in, and the largest
    count: int = SUGGESTED_COUNT
    most_images: int


def add_decisions(actions: Actions, to: Addresses) -> None:
    """Add the action to the pages."""

    def page_of_form(study_id: int) -> str:
        """Return the address of the page that the form was sent from: that of a run, or that of the study."""
        run = whole_number(request.form.get("run", ""), MOST_IN_FORM)
        return to.run(study_id, run) if run is not None else to.study(study_id)

    @actions.add("/studies/<int:study_id>/decide", page_of_form)
    def decide_study(actor: Actor, study_id: int) -> Outcome | Question:
        decision = _decision_of_form()
        form = ShownForm(study_id=study_id, token=request.form.get("state_token", "")[:_LONGEST_TOKEN])
        command = DecisionCommand(study_id=study_id, decision=decision, who=actor.email, submission=form)
        try:
            decide(actor.services, command)
        except NotConfirmed as refusal:
            return _question(actor, command, reasons=refusal.reasons)
        except DatagenError as fault:
            if outage_of(fault) is None:
                raise
            return _question(actor, command, problem=sentence_of(fault), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Outcome(page_of_form(study_id), f"“{decision.action}” was decided by {actor.email}.")


def _question(
    actor: Actor,
    command: DecisionCommand,
    *,
    reasons: tuple[str, ...] = (),
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Question:
    """Return the page of a decision that has to be confirmed (``reasons``), or could not be carried out now."""
    with actor.services.database.read() as session:
        name = session.get_one(StudyRow, command.study_id).name
    action = command.decision.action
    return Question(
        template="confirm",
        title=f"{action} · {name}",
        status=status,
        values={
            "study_id": command.study_id,
            "study": name,
            "action": action,
            "reasons": reasons,
            "problem": problem,
            "is_confirmed": command.decision.confirmed or bool(reasons),
            "state_token": request.form.get("state_token", "")[:_LONGEST_TOKEN],
            "given": {field: value for field in _FIELDS if (value := request.form.get(field, "").strip())},
        },
    )


def _decision_of_form() -> Decision:
    """Return the decision of the sent form.

    Raises:
        Refused: a field has a value that the form does not offer.
    """
    action = request.form.get("action", "")
    if action not in {*ACTIONS}:
        raise Refused("Choose what to do, and send the form again.")
    return Decision(
        action=StudyEvent(action),
        count=_number("count", "the number of images"),
        audit_count=_number("audit_count", "the number of samples to audit"),
        name=plain(request.form.get("name", "")).strip(),
        note=plain(request.form.get("note", "")).strip(),
        confirmed=request.form.get("confirmed", "") == "yes",
    )


def _number(name: str, meaning: str) -> int | None:
    """Return the number of that name in the sent form; None if the field is empty.

    Raises:
        Refused: it is no number; the sentence names its ``meaning``.
    """
    given = request.form.get(name, "").strip()
    if not given:
        return None
    number = whole_number(given, MOST_IN_FORM)
    if number is None:
        raise Refused(f"Give {meaning} as a whole number, with digits only.")
    return number
