"""Decisions about a study: the form of the study's page, with the actions, rules and audit lines of a decision task."""

from __future__ import annotations

from flask import request

from datagen.domain.decision import ACTIONS, Decision
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import Refused
from datagen.web.pages.actions import Actions, Actor, Outcome
from datagen.web.pages.addresses import Addresses
from datagen.workflow.decisions.submit import DecisionCommand, decide


def add_decisions(actions: Actions, to: Addresses) -> None:
    """Add the action to the pages."""

    @actions.add("/studies/<int:study_id>/decide", to.study)
    def decide_study(actor: Actor, study_id: int) -> Outcome:
        decision = _decision_of_form()
        decide(actor.services, DecisionCommand(study_id=study_id, decision=decision, who=actor.email))
        return Outcome(to.study(study_id), f"“{decision.action}” was decided by {actor.email}.")


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
        name=request.form.get("name", ""),
        note=request.form.get("note", ""),
        confirmed=request.form.get("confirmed", "") == "yes",
    )


def _number(name: str, what: str) -> int | None:
    given = request.form.get(name, "").strip()
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise Refused(f"Give {what} as a whole number, with digits only.")
    return int(given)
