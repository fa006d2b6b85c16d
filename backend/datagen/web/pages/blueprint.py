"""The views of the pages. Each reads one view model and hands it to a template; none changes anything but a session."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from cachetools import LRUCache
from flask import Blueprint, Response, g, redirect, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException, NotFound

from datagen.domain.inputs import Role
from datagen.errors import DatagenError, LabelStudioUnavailable, Refused, StoreError
from datagen.operations.readiness import ReadinessCache
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.web.pages.addresses import PICTURES, VERSION_DIGITS, Addresses
from datagen.web.pages.forms import ROOT, safe_target
from datagen.web.pages.pictures import Picture, Pictures
from datagen.web.pages.rendering import Frame, Renderer
from datagen.web.pages.visitors import Visitors
from datagen.workflow.study_pages.access import Visible, known_projects
from datagen.workflow.study_pages.gallery_view import GalleryFilter, batch_of, gallery_of
from datagen.workflow.study_pages.home_view import home_of
from datagen.workflow.study_pages.inputs_page_view import inputs_page_of
from datagen.workflow.study_pages.run_view import RunFigures, figures_of, rendered_count, run_of
from datagen.workflow.study_pages.sample_view import sample_row_of, sample_view_of
from datagen.workflow.study_pages.study_view import study_of

log = structlog.get_logger()

#: Name of the blueprint.
NAME = "pages"
#: Views that need no session.
_OPEN = frozenset({f"{NAME}.{view}" for view in ("log_in", "check_log_in", "static_file")})
#: Largest form, bytes: an e-mail address, a password or a token.
_LARGEST_FORM = 16 * 1024
#: Largest number that an address may contain; every column of ids and indices can be compared with it.
_MOST = 2**53
_KINDS = ", ".join(BatchKind)
_ROLES = ", ".join(Role)
#: The policy of the pages: their own style sheet, script and pictures, and forms to themselves.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_FOR_GOOD = "private, max-age=31536000, immutable"
#: Ways to look at the pictures of a gallery, the first by default.
SHOWN = ("outline", "plain", "background")
#: Number of runs whose figures are kept.
_KEPT_FIGURES = 64
_FORGED = "This form is too old, or was not shown to you by these pages. Fill it in again."
_DATABASE_AWAY = "The database does not answer, so there is nothing to show. Try again in a moment."
_SESSIONS_AWAY = "The store of log-ins (Redis) does not answer, so nobody can be recognized. Try again in a moment."
_TITLES = {
    HTTPStatus.NOT_FOUND: "Not here",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """What the pages need."""

    database: Database
    visitors: Visitors
    pictures: Pictures
    addresses: Addresses
    readiness: ReadinessCache
    renderer: Renderer


def pages_blueprint(studio: Studio) -> Blueprint:
    """Return the blueprint of all pages."""
    blueprint = Blueprint(NAME, __name__, url_prefix=ROOT)
    figures: LRUCache[tuple[int, int], RunFigures | None] = LRUCache(_KEPT_FIGURES)
    figures_lock = threading.Lock()
    to = studio.addresses

    # -- around the pages

    @blueprint.before_request
    def admit() -> ResponseReturnValue | None:
        request.max_content_length = _LARGEST_FORM
        if any(isinstance(value, int) and value > _MOST for value in (request.view_args or {}).values()):
            raise NotFound
        g.session = studio.visitors.session_of(request) if request.endpoint != f"{NAME}.static_file" else None
        if g.session is not None or request.endpoint in _OPEN:
            return None
        if request.path.startswith(f"{ROOT}/{PICTURES}/"):
            return page_of_error(HTTPStatus.UNAUTHORIZED, "Log in to see pictures.")
        query = request.query_string.decode("ascii", "replace")
        return redirect(to.log_in(safe_target(f"{request.path}?{query}" if query else request.path)), 303)

    @blueprint.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        return studio.visitors.keep_cookie(response)

    def frame(title: str) -> Frame:
        parts = studio.readiness.latest()
        broken = [name.replace("_", " ") for name, works in parts.parts.items() if not works]
        health, lamp = (f"Not ready: {', '.join(broken)}", "broken") if broken else ("Everything works", "works")
        if parts.stale or not parts.parts:
            health, lamp = "Datagen's parts are being checked", "unknown"
        return Frame(
            title=title,
            email=g.session.account.email if g.get("session") is not None else "",
            form_token=studio.visitors.form_token(request),
            health=health,
            lamp=lamp,
        )

    def page(template: str, title: str, status: int = 200, **values: Any) -> ResponseReturnValue:
        return studio.renderer.render(template, frame(title), **values), status

    def page_of_error(status: int, sentence: str) -> ResponseReturnValue:
        title = _TITLES.get(HTTPStatus(status), HTTPStatus(status).phrase)
        return page("error", title, status, sentence=sentence)

    @blueprint.errorhandler(Refused)
    def not_there(refusal: Refused) -> ResponseReturnValue:
        return page_of_error(HTTPStatus.NOT_FOUND, str(refusal))

    @blueprint.errorhandler(StoreError)
    def no_store(fault: StoreError) -> ResponseReturnValue:
        log.warning("page.store_unavailable", reason=str(fault))
        return page_of_error(HTTPStatus.SERVICE_UNAVAILABLE, "The image store does not answer. Try again in a moment.")

    @blueprint.errorhandler(SQLAlchemyError)
    def no_database(fault: SQLAlchemyError) -> ResponseReturnValue:
        log.warning("page.database_unavailable", reason=type(fault).__name__)
        return page_of_error(HTTPStatus.SERVICE_UNAVAILABLE, _DATABASE_AWAY)

    @blueprint.errorhandler(RedisError)
    def no_sessions(fault: RedisError) -> ResponseReturnValue:
        log.warning("page.redis_unavailable", reason=type(fault).__name__)
        return page_of_error(HTTPStatus.SERVICE_UNAVAILABLE, _SESSIONS_AWAY)

    @blueprint.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        status = error.code or 500
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            sentence = "There were too many requests from your address. Try again in a minute."
            response = studio.renderer.render("error", frame(_TITLES[HTTPStatus(status)]), sentence=sentence)
            return response, status, {"Retry-After": "60"}
        sentence = "There is no page at this address." if status == HTTPStatus.NOT_FOUND else f"{error.name}."
        return page_of_error(status, sentence)

    @blueprint.errorhandler(Exception)
    def failed(error: Exception) -> ResponseReturnValue:
        log.error("page.failed", exc_info=error)
        return page_of_error(500, "Something is wrong here; the web process's log says what.")

    # -- log-in

    @blueprint.get("/log-in")
    def log_in() -> ResponseReturnValue:
        target = safe_target(request.args.get("next", ""))
        if g.session is not None:
            return redirect(target, 303)
        return page("log_in", "Log in", target=target, problem="", email="")

    @blueprint.post("/log-in")
    def check_log_in() -> ResponseReturnValue:
        target = safe_target(request.form.get("next", ""))
        email = request.form.get("email", "")[:200]

        def again(status: int, problem: str) -> ResponseReturnValue:
            return page("log_in", "Log in", status, target=target, problem=problem, email=email)

        if not studio.visitors.is_own_form(request):
            return again(HTTPStatus.BAD_REQUEST, _FORGED)
        with studio.database.read() as session:
            project_ids = known_projects(session)
        try:
            account = studio.visitors.log_in(request, project_ids)
        except Refused as refusal:
            return again(HTTPStatus.UNAUTHORIZED, str(refusal))
        except LabelStudioUnavailable as away:
            log.warning("log_in.not_checked", reason=str(away))
            sentence = "Label Studio does not answer, so your log-in cannot be checked. Try again in a moment."
            return again(HTTPStatus.SERVICE_UNAVAILABLE, sentence)
        except DatagenError as fault:  # the installation's own token is missing or refused
            log.warning("log_in.not_checked", reason=str(fault))
            return again(HTTPStatus.SERVICE_UNAVAILABLE, f"Log-ins cannot be checked: {fault}")
        log.info("log_in.done", account=account.id)
        response: Response = redirect(target, 303)  # type: ignore[assignment]
        studio.visitors.begin(request, response, account)
        return response

    @blueprint.post("/log-out")
    def log_out() -> ResponseReturnValue:
        if not studio.visitors.is_own_form(request):
            return page_of_error(HTTPStatus.BAD_REQUEST, _FORGED)
        response: Response = redirect(to.log_in(), 303)  # type: ignore[assignment]
        studio.visitors.end(request, response)
        return response

    # -- pages

    @blueprint.get("/")
    def home() -> ResponseReturnValue:
        with studio.database.read() as session:
            view = home_of(session, visible(), request.args.get("search", ""), number("before"))
        return page("home", "Studies", view=view)

    @blueprint.get("/studies/<int:study_id>")
    def study(study_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = study_of(session, study_id, visible())
        return page("study", view.name, view=view)

    @blueprint.get(f"/studies/<int:study_id>/inputs/<any({_ROLES}):role>")
    def inputs(study_id: int, role: str) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = inputs_page_of(session, study_id, visible(), Role(role), number("after"))
        return page("inputs", f"Inputs · {view.study}", view=view)

    @blueprint.get(f"/studies/<int:study_id>/<any({_KINDS}):kind>/<int:batch_number>")
    def batch(study_id: int, kind: str, batch_number: int) -> ResponseReturnValue:
        after = number("after")
        shown = request.args.get("show", "")
        shown = shown if shown in SHOWN else SHOWN[0]
        with studio.database.read() as session:
            row = batch_of(session, study_id, BatchKind(kind), batch_number, visible())
            title = f"{kind} {batch_number} · {row.study.name}".capitalize()
            if row.kind is BatchKind.RUN:
                run = run_of(session, row, figures_once(session, row), after)
                return page("run", title, view=run, shown=shown)
            chosen = GalleryFilter(
                **{name: request.args.get(name, "")[:500] for name in ("judgement", "reason", "concept", "background")}
            )
            view = gallery_of(session, row, chosen, after)
        return page("gallery", title, view=view, shown=shown, ways=SHOWN)

    @blueprint.get("/studies/<int:study_id>/samples/<int:sample_id>")
    def sample(study_id: int, sample_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = sample_view_of(session, sample_row_of(session, study_id, sample_id, visible()))
        shown = "plain" if request.args.get("show") == "plain" else "outline"
        return page("sample", f"Image {view.number} · {view.study}", view=view, shown=shown)

    # -- pictures and files

    @blueprint.get(f"/{PICTURES}/<int:study_id>/sample/<int:sample_id>/<string(maxlength=40):variant>")
    def sample_picture(study_id: int, sample_id: int, variant: str) -> ResponseReturnValue:
        with studio.database.read() as session:
            return sent(studio.pictures.of_sample(session, study_id, sample_id, variant, visible()))

    @blueprint.get(f"/{PICTURES}/<int:study_id>/input/<int:task_id>/<string(maxlength=40):variant>")
    def input_picture(study_id: int, task_id: int, variant: str) -> ResponseReturnValue:
        with studio.database.read() as session:
            return sent(studio.pictures.of_input(session, study_id, task_id, variant, visible()))

    @blueprint.get("/static/<string(maxlength=40):name>")
    def static_file(name: str) -> ResponseReturnValue:
        file = to.files.get(name)
        if file is None:
            return page_of_error(HTTPStatus.NOT_FOUND, "There is no file at this address.")
        return Response(file.data, content_type=file.media_type, headers=kept(request.args.get("v") == file.version))

    @blueprint.get("", strict_slashes=False)
    def without_slash() -> ResponseReturnValue:
        return redirect(to.home(), 303)

    @blueprint.get("/<path:_rest>")
    def nowhere(_rest: str) -> ResponseReturnValue:
        return page_of_error(HTTPStatus.NOT_FOUND, "There is no page at this address.")

    # -- parts of views

    def visible() -> Visible:
        project_ids: Visible = g.session.account.project_ids
        return project_ids

    def number(name: str) -> int | None:
        given = request.args.get(name, "")
        value = int(given) if given.isascii() and given.isdigit() and len(given) <= 16 else None
        return value if value is not None and value <= _MOST else None

    def figures_once(session: Session, row: BatchRow) -> RunFigures | None:
        key = (row.id, rendered_count(session, row))
        with figures_lock:
            if key in figures:
                return figures[key]
        computed = figures_of(session, row)
        with figures_lock:
            figures[key] = computed
        return computed

    return blueprint


def sent(picture: Picture) -> Response:
    """Return the response with a picture; it may be kept for good if its address has its digest."""
    is_versioned = request.args.get("v") == picture.digest[:VERSION_DIGITS]
    return Response(picture.data, content_type=picture.media_type, headers=kept(is_versioned))


def kept(for_good: bool) -> dict[str, str]:
    """Return the header that says how long a browser may keep a response."""
    return {"Cache-Control": _FOR_GOOD} if for_good else {}
