"""The views of the pages. Each reads one view model and hands it to a template; ``actions`` adds those that act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from flask import Blueprint, Response, g, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from datagen.domain.inputs import Role
from datagen.domain.wording import sentence_case
from datagen.operations.readiness import ReadinessCache
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.web.download_sending import DownloadSender
from datagen.web.pages.actions import Actions, Actor, Outcome
from datagen.web.pages.addresses import PICTURES, Addresses
from datagen.web.pages.background import BackgroundWork
from datagen.web.pages.background_search import add_background_search
from datagen.web.pages.clone_views import CloneStudy, add_clone
from datagen.web.pages.compression import compress
from datagen.web.pages.decision_views import FormLimits, add_decisions
from datagen.web.pages.forms import MOST, ROOT, number_of, safe_target
from datagen.web.pages.handover_views import add_handovers
from datagen.web.pages.live_views import add_live
from datagen.web.pages.log_in_views import add_log_in
from datagen.web.pages.notification_views import add_notifications
from datagen.web.pages.page_writer import PageWriter, answer_faults
from datagen.web.pages.picture_views import add_pictures
from datagen.web.pages.pictures import Pictures
from datagen.web.pages.rendering import Renderer
from datagen.web.pages.reproductions import Reproductions
from datagen.web.pages.review_views import add_review
from datagen.web.pages.run_views import add_runs
from datagen.web.pages.study_settings import add_study_settings
from datagen.web.pages.visitors import Visitors, visible_projects
from datagen.workflow.generation.fit_pictures import MOST_BACKGROUNDS
from datagen.workflow.inputs.task_search import Operator
from datagen.workflow.services import Services
from datagen.workflow.study_pages.compare_view import compare
from datagen.workflow.study_pages.gallery_view import GalleryFilter, batch_of, gallery_of
from datagen.workflow.study_pages.history_view import history_of
from datagen.workflow.study_pages.home_view import home_of
from datagen.workflow.study_pages.inputs_page_view import inputs_page_of
from datagen.workflow.study_pages.notifications_view import notifications_of
from datagen.workflow.study_pages.sample_view import sample_row_of, sample_view_of
from datagen.workflow.study_pages.study_view import study_of

#: Name of the blueprint.
NAME = "pages"
#: Views that need no session; without one, ``verdict`` returns a page with the verdict and a link to the log-in.
_OPEN = frozenset({f"{NAME}.{view}" for view in ("log_in", "check_log_in", "licences", "static_file", "verdict")})
#: Largest form, bytes: an e-mail address, a password or a token.
_LARGEST_FORM = 16 * 1024
#: The kinds of batches that have a gallery; a run has a page of its own.
_KINDS = ", ".join(kind for kind in BatchKind if kind is not BatchKind.RUN)
_ROLES = ", ".join(Role)
#: The policy of the pages: their own style sheet, scripts and pictures, and forms and requests to themselves.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
#: Ways to look at the pictures of a gallery, the first by default.
SHOWN = ("outline", "plain", "background")


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """Dependencies of the pages."""

    database: Database
    visitors: Visitors
    pictures: Pictures
    addresses: Addresses
    readiness: ReadinessCache
    renderer: Renderer
    downloads: DownloadSender
    #: returns the services that carry out actions; it is called at the first action
    services: Callable[[], Services]
    #: clones a study in the name of a person
    clone_study: CloneStudy
    #: the numbers on the forms of decisions
    limits: FormLimits
    #: runs what takes longer than a request
    background: BackgroundWork
    reproductions: Reproductions


def pages_blueprint(studio: Studio) -> Blueprint:
    """Return the blueprint of all pages."""
    blueprint = Blueprint(NAME, __name__, url_prefix=ROOT)
    to = studio.addresses
    writer = PageWriter(studio.renderer, studio.visitors, studio.readiness)
    answer_faults(blueprint, writer)
    add_log_in(blueprint, studio.database, writer, to)
    actions = Actions(blueprint, writer, studio.services)
    add_decisions(actions, to)
    add_notifications(actions, to)
    add_handovers(blueprint, actions, writer, studio.database, studio.downloads, to)
    add_live(blueprint, studio.database, writer)
    add_runs(blueprint, studio.database, writer, studio.downloads)
    add_background_search(actions, to)
    add_clone(actions, to, studio.background, studio.clone_study)
    add_study_settings(actions, studio.database, writer, to, studio.background)
    add_review(blueprint, studio.database, writer, actions, to)
    add_pictures(blueprint, studio.database, studio.pictures, writer, to)

    # -- around the pages

    @blueprint.before_request
    def admit() -> ResponseReturnValue | None:
        request.max_content_length = _LARGEST_FORM
        if any(isinstance(value, int) and value > MOST for value in (request.view_args or {}).values()):
            raise NotFound
        g.session = studio.visitors.session_of(request) if request.endpoint != f"{NAME}.static_file" else None
        if g.session is not None or request.endpoint in _OPEN:
            return None
        if request.path.startswith(f"{ROOT}/{PICTURES}/"):
            return writer.error(HTTPStatus.UNAUTHORIZED, "Log in to see pictures.")
        query = request.query_string.decode("ascii", "replace")
        return redirect(to.log_in(safe_target(f"{request.path}?{query}" if query else request.path)), 303)

    @blueprint.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        return compress(studio.visitors.keep_cookies(response))

    # -- pages

    @blueprint.get("/")
    def home() -> ResponseReturnValue:
        with studio.database.read() as session:
            archived = request.args.get("archived") == "yes"
            search = request.args.get("search", "")
            view = home_of(session, visible_projects(), search, number_of("before"), archived=archived)
        return writer.page("home", "Studies", view=view)

    @blueprint.get("/studies/<int:study_id>")
    def study(study_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = study_of(session, study_id, visible_projects())
        return writer.page("study", view.name, view=view, limits=studio.limits)

    @blueprint.get("/studies/<int:study_id>/history")
    def history(study_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = history_of(session, study_id, visible_projects(), number_of("before"))
        return writer.page("history", f"History · {view.study}", view=view)

    @blueprint.get(f"/studies/<int:study_id>/inputs/<any({_ROLES}):role>")
    def inputs(study_id: int, role: str) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = inputs_page_of(session, study_id, visible_projects(), Role(role), number_of("after"))
        learned = request.args.get("learned") == "yes"
        return writer.page(
            "inputs",
            f"Inputs · {view.study}",
            view=view,
            is_learned_shown=learned,
            after=number_of("after"),
            most_backgrounds=MOST_BACKGROUNDS,
            operators=[*Operator],
        )

    @blueprint.get("/studies/<int:study_id>/notifications")
    def notifications(study_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = notifications_of(session, study_id, visible_projects(), number_of("before"))
        return writer.page("notifications", f"Notifications · {view.study}", view=view)

    @blueprint.get("/studies/<int:study_id>/compare")
    def versions(study_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = compare(session, study_id, visible_projects(), number_of("left"), number_of("right"))
        return writer.page("compare", f"Versions · {view.study}", view=view)

    @blueprint.get(f"/studies/<int:study_id>/<any({_KINDS}):kind>/<int:batch_number>")
    def batch(study_id: int, kind: str, batch_number: int) -> ResponseReturnValue:
        after = number_of("after")
        shown = request.args.get("show", "")
        shown = shown if shown in SHOWN else SHOWN[0]
        with studio.database.read() as session:
            row = batch_of(session, study_id, BatchKind(kind), batch_number, visible_projects())
            title = f"{sentence_case(kind)} {batch_number} · {row.study.name}"
            chosen = GalleryFilter(
                **{name: request.args.get(name, "")[:500] for name in ("judgement", "reason", "concept", "background")}
            )
            view = gallery_of(session, row, chosen, after)
        return writer.page("gallery", title, view=view, shown=shown, ways=SHOWN)

    @blueprint.get("/studies/<int:study_id>/samples/<int:sample_id>")
    def sample(study_id: int, sample_id: int) -> ResponseReturnValue:
        with studio.database.read() as session:
            view = sample_view_of(session, sample_row_of(session, study_id, sample_id, visible_projects()))
        shown = "plain" if request.args.get("show") == "plain" else "outline"
        again = studio.reproductions
        return writer.page(
            "sample",
            f"Image {view.number} · {view.study}",
            view=view,
            shown=shown,
            is_rendering=again.is_running(view.key),
            again=again.result(view.key),
        )

    @actions.add("/studies/<int:study_id>/samples/<int:sample_id>/reproduce", to.sample)
    def reproduce_sample(actor: Actor, study_id: int, sample_id: int) -> Outcome:
        with actor.services.database.read() as session:
            key = sample_row_of(session, study_id, sample_id, visible_projects()).key
        begun = studio.reproductions.start(key)
        sentence = "It is being rendered again." if begun else "It is being rendered again already."
        return Outcome(f"{to.sample(study_id, sample_id)}#again", sentence)

    @blueprint.get("/licences")
    def licences() -> ResponseReturnValue:
        return writer.page("licences", "Licences", packages=to.files.packages)

    @blueprint.get("", strict_slashes=False)
    def without_slash() -> ResponseReturnValue:
        return redirect(to.home(), 303)

    @blueprint.get("/<path:_rest>")
    def nowhere(_rest: str) -> ResponseReturnValue:
        return writer.error(HTTPStatus.NOT_FOUND, "There is no page at this address.")

    return blueprint
