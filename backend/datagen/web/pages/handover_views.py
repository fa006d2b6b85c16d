"""Downloads and pushes of a run: the forms on its page, and the view that sends a file."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.http import quote_etag

from datagen.domain.foreign_text import plain
from datagen.domain.wording import counted
from datagen.errors import InputProblem, LabelStudioError, Refused, StoreMissing
from datagen.label_studio.api.models import Project
from datagen.store.database import Database
from datagen.store.download_files import DownloadFiles
from datagen.store.tables.base import HandoverKind, WorkState
from datagen.store.tables.handovers import HandoverRow
from datagen.web.pages.actions import Actions, Actor, Outcome
from datagen.web.pages.addresses import DOWNLOADS, Addresses
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.generation.sample_table import TableFilter
from datagen.workflow.handovers import requests
from datagen.workflow.handovers.targets import push_targets
from datagen.workflow.handovers.wishes import DownloadWish, PushWish
from datagen.workflow.study_pages.access import visible_study

log = structlog.get_logger()

#: Largest number of files of one study that are sent at the same time.
MAX_SENT_OF_STUDY = 4
#: Seconds after which a browser may ask for a file again that is not sent now.
RETRY_AFTER_SECONDS = 30
#: Beginning of the names of the table's filters in the form for a download.
_FILTER = "filter_"
_GONE = "The file of this download is not kept any more. Make the download again on the page of its run."
_TOO_MANY = (
    f"{counted(MAX_SENT_OF_STUDY, 'file')} of this study are being downloaded at this moment. Try again when one is "
    "complete."
)


class SendingSlots:
    """Counts the files of each study that are being sent; thread-safe."""

    def __init__(self, most: int = MAX_SENT_OF_STUDY) -> None:
        self._most, self._guard = most, threading.Lock()
        self._counts: Counter[int] = Counter()

    def take(self, study_id: int) -> bool:
        """Take a slot; return False if the study has none left."""
        with self._guard:
            if self._counts[study_id] >= self._most:
                return False
            self._counts[study_id] += 1
            return True

    def release(self, study_id: int) -> None:
        """Release a slot."""
        with self._guard:
            self._counts[study_id] -= 1


def add_handovers(
    blueprint: Blueprint,
    actions: Actions,
    writer: PageWriter,
    database: Database,
    files: DownloadFiles,
    to: Addresses,
) -> None:
    """Add the views and actions to the pages."""
    slots = SendingSlots()

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
        return Outcome(back(study_id, number), "It is cancelled.")

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
        with database.read() as session:
            study = visible_study(session, study_id, visible_projects())
            row = session.get(HandoverRow, handover_id)
            if row is None or row.study_id != study.id or row.kind is not HandoverKind.DOWNLOAD:
                raise Refused("There is no download at this address.")
            if row.state is not WorkState.DONE or not row.file:
                raise Refused(_GONE)
            file, name = row.file, f"{study.name} run {row.wish['run']}.zip"
        try:
            size = files.size(file)
        except StoreMissing as missing:
            raise Refused(_GONE) from missing
        response = _ranged(files, file, size)
        response.headers.set("Content-Disposition", "attachment", filename=file_name(name))
        if not slots.take(study_id):
            page = writer.error(HTTPStatus.SERVICE_UNAVAILABLE, _TOO_MANY)
            return *page, {"Retry-After": str(RETRY_AFTER_SECONDS)}
        response.call_on_close(lambda: slots.release(study_id))  # nothing that may fail follows
        return response


_NOT_ALL = (
    "Your account does not see every project, and Datagen cannot tell which of the others are yours. Ask a person who "
    "sees all of them, or use the command line: datagen push"
)


def _check_sees_all() -> None:
    """Check that the person sees every project: a push with Datagen's rights could reach a hidden one.

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


def _ranged(files: DownloadFiles, file: str, size: int) -> Response:
    """Return the response with a file, or with the range of it that the request names."""
    etag = file.removesuffix(".zip")[:16]
    headers = {"Accept-Ranges": "bytes", "ETag": quote_etag(etag), "Cache-Control": "private, no-cache"}
    start, stop, status = 0, size, HTTPStatus.OK
    wanted = request.range
    if wanted is not None and wanted.units == "bytes" and len(wanted.ranges) == 1 and _is_same(etag):
        part = wanted.range_for_length(size)
        if part is None:
            headers["Content-Range"] = f"bytes */{size}"
            return Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
        start, stop = part
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT
    headers["Content-Length"] = str(stop - start)
    pieces: Iterator[bytes] = files.pieces(file, start, stop) if request.method != "HEAD" else iter(())
    return Response(pieces, status=status, mimetype="application/zip", headers=headers)


def _is_same(etag: str) -> bool:
    """Return whether the request goes on with the same file, or does not say which file it goes on with."""
    condition = request.if_range
    if condition.date is not None:
        return False
    return condition.etag is None or condition.etag == etag


def file_name(name: str) -> str:
    """Return a file's name without characters that file systems do not accept."""
    return "".join("_" if character in '\\/:*?"<>|' or not character.isprintable() else character for character in name)


def _download_wish(number: int) -> DownloadWish:
    """Return the download that the sent form asks for.

    Raises:
        InputProblem: a number is none.
    """
    form = request.form
    is_chosen, is_filtered = form.get("which") == "chosen", form.get("which") == "matching"
    matching = TableFilter.of(
        {name.removeprefix(_FILTER): value for name, value in form.items() if name.startswith(_FILTER)}
    ).given()
    return DownloadWish(
        run=number,
        indices=tuple(sorted({_number("index", word) for word in form.getlist("index")})) if is_chosen else None,
        matching=matching if is_filtered else None,
        verdicts=tuple(form.getlist("verdict")),
        labels=tuple(form.getlist("label")),
        min_size=form.get("min_size", "").strip()[:20],
        max_size=form.get("max_size", "").strip()[:20],
        balance=tuple(form.getlist("balance")),
        real_percent=_optional("real_percent") or 0,
        formats=tuple(dict.fromkeys(form.getlist("format"))),
        split=form.get("split", "").strip()[:20],
        apart=form.get("apart", "both"),
        images=form.get("images", "png"),
        quality=_optional("quality"),
        tile=_optional("tile"),
        overlap=_optional("overlap") or 0,
    )


def _push_wish(number: int) -> PushWish:
    project = request.form.get("project", "")
    return PushWish(
        run=number,
        project_id=_number("project", project) if project else None,
        title=plain(request.form.get("title", "")).strip()[:50],
        annotations=request.form.get("annotations") == "yes",
    )


def _optional(name: str) -> int | None:
    given = request.form.get(name, "").strip()
    return _number(name, given) if given else None


def _number(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= 10):
        raise InputProblem(f"“{given[:40]}” is no {name.replace('_', ' ')}: give a whole number, with digits only.")
    return int(given)
