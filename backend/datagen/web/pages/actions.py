"""Views that change something. Each is a form that is sent by POST, and leads back to a page with one sentence.

An action runs in the name of the person who is logged in, for a study that this person may see, by the same function
that the command line calls. A refusal changes nothing, and its reason is shown above the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

import structlog
from flask import Blueprint, Response, g, redirect, request
from flask.typing import ResponseReturnValue

from datagen.domain.wording import sentence_case
from datagen.errors import DatagenError, LabelStudioUnavailable, StoreError
from datagen.web.outage_sentences import LABEL_STUDIO_UNAVAILABLE, STORE_UNAVAILABLE_UNCHANGED
from datagen.web.pages.notices import Notice
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.services import Services
from datagen.workflow.study_pages.access import visible_study

log = structlog.get_logger()

FORGED = "This form is too old, or was not shown to you by these pages. Load the page again, and repeat the action."


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an action, as a sentence, and the address of the page that shows it."""

    target: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Actor:
    """The person whose action a view carries out, and the services to do it with."""

    services: Services
    #: the person's e-mail address, and id in Label Studio
    email: str
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page instead of an outcome: it asks for a confirmation, or keeps the values of a form. Nothing was changed."""

    template: str
    title: str
    #: the names in the template
    values: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK


Action = Callable[..., Outcome | Question]


@dataclass(frozen=True, slots=True)
class Actions:
    """Adds actions to a blueprint.

    Args:
        blueprint: The pages.
        writer: Writes the page of an error.
        services: Returns the services. They are built at the first action, because pages are served without an API key
            of Label Studio, too.
    """

    blueprint: Blueprint
    writer: PageWriter
    services: Callable[[], Services]

    def add(self, path: str, back: Callable[..., str]) -> Callable[[Action], Action]:
        """Return a decorator that adds an action at ``path``, which begins with ``/studies/<int:study_id>``.

        The action is called with an ``Actor`` and the values of the path as keywords. ``back`` is called with the same
        values, and returns the address to go back to if the action is refused.

        An action may raise any DatagenError: its sentence is shown on the page to go back to.
        """

        def decorator(action: Action) -> Action:
            @wraps(action)
            def view(**values: Any) -> ResponseReturnValue:
                if not self.writer.visitors.is_own_form(request):
                    return self.writer.error(HTTPStatus.BAD_REQUEST, FORGED)
                try:
                    result = action(self.actor(values["study_id"]), **values)
                except DatagenError as fault:
                    log.info("action.refused", action=action.__name__, account=g.session.account.id, reason=str(fault))
                    return self._refused(back(**values), sentence_of(fault))
                if isinstance(result, Question):
                    return self.writer.page(result.template, result.title, result.status, **result.values)
                return self._done(result)

            self.blueprint.add_url_rule(path, endpoint=action.__name__, view_func=view, methods=["POST"])
            return action

        return decorator

    def actor(self, study_id: int) -> Actor:
        """Return the person of the current request, who may act on the study.

        Raises:
            Refused: there is no such study, or the person may not see it.
        """
        services, account = self.services(), g.session.account
        with services.database.read() as session:
            visible_study(session, study_id, visible_projects())
        return Actor(services=services, email=account.email, id=account.id)

    def _done(self, outcome: Outcome) -> Response:
        return self._back(outcome.target, Notice(outcome.sentence))

    def _refused(self, target: str, sentence: str) -> Response:
        return self._back(target, Notice(sentence_case(sentence), is_problem=True))

    def _back(self, target: str, notice: Notice) -> Response:
        response: Response = redirect(target, HTTPStatus.SEE_OTHER)  # type: ignore[assignment]
        self.writer.visitors.leave_notice(request, response, notice)
        return response


def sentence_of(fault: DatagenError) -> str:
    """Return why an action was refused. That of an outage names no address."""
    if isinstance(fault, LabelStudioUnavailable):
        return LABEL_STUDIO_UNAVAILABLE
    if isinstance(fault, StoreError):
        return STORE_UNAVAILABLE_UNCHANGED
    return str(fault)
