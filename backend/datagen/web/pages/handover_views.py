"""Downloads and pushes of a run: the forms on its page, and the view that sends a file."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from datagen.domain.foreign_text import plain, whole_number
from datagen.errors import InputProblem, LabelStudioError, Refused
from datagen.label_studio.api.models import Project
from datagen.store.database import Database
from datagen.web.download_sending import DownloadSender
from datagen.web.pages.actions import Actions, Actor, Outcome
from datagen.web.pages.addresses import DOWNLOADS, Addresses
from datagen.web.pages.forms import MOST_IN_FORM
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.run_views import ticked_images
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.generation.sample_table import TableFilter
from datagen.workflow.handovers import requests
from datagen.workflow.handovers.targets import push_targets
from datagen.workflow.handovers.wishes import DownloadWish, PushWish

log = structlog.get_logger()

#: Beginning of the names of the table's filters in the form for a download.
_FILTER = "filter_"


def add_handovers(
    blueprint: Blueprint,
    actions: Actions,
    writer: PageWriter,
    database: Database,
    downloads: DownloadSender,
    to: Addresses,
) -> None:
    """Add the views and actions to the pages."""

    def back(study_id: int, number: int, **_values: int) -> str:
        return to.handovers(study_id, number)

    @actions.add("/studies/<int:study_id>/run/<int:number>/download", back)
    def request_download(actor: Actor, study_id: int, number: int) -> Outcome:
        requests.request_download(actor.services, study_id, _download_wish(number), actor.email)
        return Outcome(back(study_id, number), "The download is being made. Its link appears here when it is complete.")

    @actions.add("/studies/<int:study_id>/run/<int:number>/push", back)
    def request_push(actor: Actor, study_id: int, number: int) -> Outcome:
        _check_sees_all()
        requests.request_push(actor.services, study_id, _push_wish(number), actor.email)
        return Outcome(back(study_id, number), "The images are being pushed. The project is linked here.")

    @actions.add(
        "/studies/<int:study_id>/run/<int:number>/handovers/<int:handover_id>/cancel",
        back,
    )
    def cancel_handover(actor: Actor, study_id: int, number: int, handover_id: int) -> Outcome:
        requests.cancel(actor.services, study_id, handover_id)
        return Outcome(back(study_id, number), "The download or push is cancelled.")

    @blueprint.get("/studies/<int:study_id>/run/<int:number>/push")
    def push_form(study_id: int, number: int) -> ResponseReturnValue:
        actor = actions.actor(study_id)
        with database.read() as session:
            run = requests.run_of(session, study_id, number)
            study, new_title = run.study.name, f"{run.study.name} run {run.number}"[:50]
        projects, problem = _projects(actor)
        return writer.page(
            "push",
            f"Push · {study}",
            study_id=study_id,
            study=study,
            number=number,
            new_title=new_title,
            projects=projects,
            problem=problem,
        )

    @blueprint.get(f"/{DOWNLOADS}/<int:study_id>/<int:handover_id>")
    def send_download(study_id: int, handover_id: int) -> ResponseReturnValue:
        return downloads.send(study_id, handover_id, g.session.account)


_NOT_ALL = (
    "Label Studio does not show you every project, so Datagen cannot check which projects you may change. Ask a person "
    "who sees all of them, or use the command line: datagen push"
)


def _check_sees_all() -> None:
    """Check that the person sees every project, because a push has Datagen's rights and could change a hidden project.

    Raises:
        Refused: the person does not.
    """
    if visible_projects() is not None:
        raise Refused(_NOT_ALL)


def _projects(actor: Actor) -> tuple[Sequence[Project], str]:
    """Return the projects that the person may push into, and why there are none."""
    try:
        _check_sees_all()
        return push_targets(actor.services), ""
    except Refused as refusal:
        return (), str(refusal)
    except LabelStudioError as fault:
        log.info("push.no_projects", reason=str(fault))
        return (), "Label Studio does not answer, so its projects cannot be listed. Try again in a moment."


def _download_wish(number: int) -> DownloadWish:
    """Return the download that the sent form asks for.

    Raises:
        InputProblem: a number is none.
        Refused: too many images are ticked.
    """
    form = request.form
    is_chosen, is_filtered = form.get("which") == "chosen", form.get("which") == "matching"
    matching = TableFilter.of(
        {name.removeprefix(_FILTER): value for name, value in form.items() if name.startswith(_FILTER)}
    ).given()
    return DownloadWish(
        run=number,
        indices=tuple(sorted(ticked_images())) if is_chosen else None,
        matching=matching if is_filtered else None,
        verdicts=tuple(form.getlist("verdict")),
        labels=tuple(form.getlist("label")),
        min_size=form.get("min_size", "").strip()[:20],
        max_size=form.get("max_size", "").strip()[:20],
        balance=tuple(form.getlist("balance")),
        real_percent=_optional_number("real_percent") or 0,
        formats=tuple(dict.fromkeys(form.getlist("format"))),
        split=form.get("split", "").strip()[:20],
        apart=form.get("apart", "both"),
        images=form.get("images", "png"),
        quality=_optional_number("quality"),
        tile=_optional_number("tile"),
        overlap=_optional_number("overlap") or 0,
    )


def _push_wish(number: int) -> PushWish:
    project = request.form.get("project", "")
    return PushWish(
        run=number,
        project_id=_number("project", project) if project else None,
        title=plain(request.form.get("title", "")).strip()[:50],
        annotations=request.form.get("annotations") == "yes",
    )


def _optional_number(name: str) -> int | None:
    """Return the number of that name in the sent form; None if the field is empty."""
    given = request.form.get(name, "").strip()
    return _number(name, given) if given else None


def _number(name: str, given: str) -> int:
    """Return a number of the sent form.

    Raises:
        InputProblem: it is no number; the sentence names the field.
    """
    number = whole_number(given, MOST_IN_FORM)
    if number is None:
        raise InputProblem(f"“{given[:40]}” is no {name.replace('_', ' ')}: give a whole number, with digits only.")
    return number
