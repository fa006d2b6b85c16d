"""The views of log-in and log-out."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Blueprint, Response, g, redirect, request
from flask.typing import ResponseReturnValue

from datagen.errors import DatagenError, LabelStudioUnavailable, Refused
from datagen.store.database import Database
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.forms import safe_target
from datagen.web.pages.page_writer import PageWriter
from datagen.workflow.study_pages.access import known_projects

log = structlog.get_logger()

_FORGED = "This form is too old, or was not shown to you by these pages. Fill it in again."
_UNAVAILABLE = "Label Studio does not answer, so your log-in cannot be checked. Try again in a moment."
_NO_ACCESS = "Log-ins cannot be checked now: Datagen itself has no access to Label Studio. The log says why."


def add_log_in(blueprint: Blueprint, database: Database, writer: PageWriter, to: Addresses) -> None:
    """Add the views to a blueprint."""
    visitors = writer.visitors

    @blueprint.get("/log-in")
    def log_in() -> ResponseReturnValue:
        target = safe_target(request.args.get("next", ""))
        if g.session is not None:
            return redirect(target, 303)
        return writer.page("log_in", "Log in", target=target, problem="", email="")

    @blueprint.post("/log-in")
    def check_log_in() -> ResponseReturnValue:
        target = safe_target(request.form.get("next", ""))
        email = request.form.get("email", "")[:200]

        def again(status: int, problem: str) -> ResponseReturnValue:
            return writer.page("log_in", "Log in", status, target=target, problem=problem, email=email)

        if not visitors.is_own_form(request):
            return again(HTTPStatus.BAD_REQUEST, _FORGED)
        with database.read() as session:
            project_ids = known_projects(session)
        try:
            account = visitors.log_in(request, project_ids)
        except Refused as refusal:
            return again(HTTPStatus.UNAUTHORIZED, str(refusal))
        except LabelStudioUnavailable as away:
            log.warning("log_in.not_checked", reason=str(away))
            return again(HTTPStatus.SERVICE_UNAVAILABLE, _UNAVAILABLE)
        except DatagenError as fault:  # the installation's own token is missing or refused
            log.warning("log_in.not_checked", reason=str(fault))
            return again(HTTPStatus.SERVICE_UNAVAILABLE, _NO_ACCESS)
        log.info("log_in.done", account=account.id)
        response: Response = redirect(target, 303)  # type: ignore[assignment]
        visitors.begin(request, response, account)
        return response

    @blueprint.post("/log-out")
    def log_out() -> ResponseReturnValue:
        if not visitors.is_own_form(request):
            return writer.error(HTTPStatus.BAD_REQUEST, _FORGED)
        response: Response = redirect(to.log_in(), 303)  # type: ignore[assignment]
        visitors.end(request, response)
        response.headers["Clear-Site-Data"] = '"cache"'  # pictures are kept for a year by browsers
        return response
