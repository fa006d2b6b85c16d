"""Cloning of a study: a page states the consequences and asks; then the clone is made in the background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import request

from datagen.domain.foreign_text import whole_number
from datagen.errors import DatagenError, LabelStudioUnavailable, Refused, StoreError
from datagen.web.pages.actions import Actions, Actor, Outcome, Question
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.background import BackgroundWork
from datagen.web.pages.forms import MOST_IN_FORM
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.outages import shown
from datagen.workflow.services import Services
from datagen.workflow.studies.clone import Cloned, ClonePlan, plan_clone

#: Longest name that is read, characters; the check of names states the limit.
_LONGEST = 200
_NOT_ALL = (
    "Label Studio does not show you every project of Datagen, so you may not create a study. Ask somebody who sees "
    "them all, or run: datagen clone"
)

#: Clones a study: called with its id, the new name, the person and the version; see ``workflow.studies.clone``.
CloneStudy = Callable[[int, str, str, int | None], Cloned]


def add_clone(actions: Actions, to: Addresses, background: BackgroundWork, clone: CloneStudy) -> None:
    """Add the action to the pages."""

    @actions.add("/studies/<int:study_id>/clone", to.study)
    def clone_a_study(actor: Actor, study_id: int) -> Outcome | Question:
        if visible_projects() is not None:
            raise Refused(_NOT_ALL)
        plan = plan_clone(actor.services, study_id, request.form.get("name", "")[:_LONGEST], _version_of_form())
        if request.form.get("confirmed") != "yes":
            values = {"study_id": study_id, "plan": plan}
            return Question(template="clone", title=f"Clone · {plan.source}", values=values)
        work = partial(_clone, actor.services, study_id, plan, actor.email, clone)
        if not background.start(("clone", plan.name), work):
            raise Refused(f"“{plan.name}” is being created already.")
        return Outcome(
            to.home(),
            f"“{plan.name}” is being created from “{plan.source}”. It is in this list as soon as its projects exist, "
            f"and its inputs follow. If that stops, the history of “{plan.source}” says why.",
        )


def _version_of_form() -> int | None:
    """Return the version that the sent form names; None if it names none.

    Raises:
        Refused: it is no number.
    """
    given = request.form.get("version", "").strip()
    version = whole_number(given, MOST_IN_FORM)
    if given and version is None:
        raise Refused("Give the version as a number, or leave it out.")
    return version


def _clone(services: Services, study_id: int, plan: ClonePlan, who: str, clone: CloneStudy) -> None:
    """Clone a study. A fault becomes a line of its history."""
    try:
        clone(study_id, plan.name, who, plan.version)
    except Exception as fault:
        reason = _reason(fault)
        with services.unit() as unit:
            study = unit.lock_study(study_id)
            unit.note(study, who, f"cloning as “{plan.name}” stopped, and can be begun again: {reason}")
        if not isinstance(fault, DatagenError):
            raise


def _reason(fault: Exception) -> str:
    """Return why a clone stopped, without an address. Other than in ``sentence_of``, something was changed before."""
    if isinstance(fault, LabelStudioUnavailable):
        return "Label Studio does not answer."
    if isinstance(fault, StoreError):
        return "The image store does not answer."
    return str(fault) if isinstance(fault, DatagenError) else shown(fault)
