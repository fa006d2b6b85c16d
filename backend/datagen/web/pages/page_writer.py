"""Writes pages as responses, and answers faults with a page that has one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from datagen.errors import Refused, StoreError
from datagen.operations.readiness import ReadinessCache
from datagen.web.download_sending import RETRY_AFTER_SECONDS as SENT_LATER_SECONDS
from datagen.web.download_sending import TooManySent
from datagen.web.outage_sentences import STORE_UNAVAILABLE
from datagen.web.pages.rendering import Frame, Renderer
from datagen.web.pages.visitors import Visitors

log = structlog.get_logger()

#: Seconds after which a client that sent too many requests may try again.
RETRY_AFTER_SECONDS = 60
_DATABASE_UNAVAILABLE = "The database does not answer, so there is nothing to show. Try again in a moment."
_SESSIONS_UNAVAILABLE = (
    "Redis, which stores the sessions, does not answer, so no log-in can be checked. Try again in a moment."
)
_TOO_MANY = "There were too many requests from your address. Try again in a minute."
_NO_PAGE = "There is no page at this address."
_FAULT = "Something is wrong here; the web process's log says what."
_TITLES = {
    HTTPStatus.NOT_FOUND: "Not here",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


@dataclass(frozen=True, slots=True)
class PageWriter:
    """Writes the pages for the visitor of the current request."""

    renderer: Renderer
    visitors: Visitors
    readiness: ReadinessCache

    def page(self, template: str, title: str, status: int = 200, **values: Any) -> tuple[str, int]:
        """Return a page; ``values`` are the names in its template."""
        return self.renderer.render(template, self._frame(title), **values), status

    def error(self, status: int, sentence: str) -> tuple[str, int]:
        """Return a page with the reason why the requested page is not shown."""
        title = _TITLES.get(HTTPStatus(status), HTTPStatus(status).phrase)
        return self.page("error", title, status, sentence=sentence)

    def _frame(self, title: str) -> Frame:
        parts = self.readiness.latest()
        broken = [name.replace("_", " ") for name, works in parts.parts.items() if not works]
        health, lamp = (f"Not ready: {', '.join(broken)}", "broken") if broken else ("Everything works", "works")
        if parts.stale or not parts.parts:
            health, lamp = "Datagen's parts are being checked", "unknown"
        return Frame(
            title=title,
            email=g.session.account.email if g.get("session") is not None else "",
            form_token=self.visitors.form_token(request),
            notice=self.visitors.notice(request) if g.get("session") is not None else None,
            health=health,
            lamp=lamp,
        )


def answer_faults(blueprint: Blueprint, writer: PageWriter) -> None:
    """Make the views of a blueprint answer refusals and faults with a page."""

    @blueprint.errorhandler(Refused)
    def not_there(refusal: Refused) -> ResponseReturnValue:
        return writer.error(HTTPStatus.NOT_FOUND, str(refusal))

    @blueprint.errorhandler(TooManySent)
    def too_many_sent(refusal: TooManySent) -> ResponseReturnValue:
        page = writer.error(HTTPStatus.SERVICE_UNAVAILABLE, str(refusal))
        return *page, {"Retry-After": str(SENT_LATER_SECONDS)}

    @blueprint.errorhandler(StoreError)
    def no_store(fault: StoreError) -> ResponseReturnValue:
        log.warning("page.store_unavailable", reason=str(fault))
        return writer.error(HTTPStatus.SERVICE_UNAVAILABLE, STORE_UNAVAILABLE)

    @blueprint.errorhandler(SQLAlchemyError)
    def no_database(fault: SQLAlchemyError) -> ResponseReturnValue:
        log.warning("page.database_unavailable", reason=type(fault).__name__)
        return writer.error(HTTPStatus.SERVICE_UNAVAILABLE, _DATABASE_UNAVAILABLE)

    @blueprint.errorhandler(RedisError)
    def no_sessions(fault: RedisError) -> ResponseReturnValue:
        log.warning("page.redis_unavailable", reason=type(fault).__name__)
        return writer.error(HTTPStatus.SERVICE_UNAVAILABLE, _SESSIONS_UNAVAILABLE)

    @blueprint.errorhandler(HTTPStatus.TOO_MANY_REQUESTS)
    def too_many(_error: HTTPException) -> ResponseReturnValue:
        return *writer.error(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY), {"Retry-After": str(RETRY_AFTER_SECONDS)}

    @blueprint.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        status = error.code or 500
        return writer.error(status, _NO_PAGE if status == HTTPStatus.NOT_FOUND else f"{error.name}.")

    @blueprint.errorhandler(Exception)
    def failed(error: Exception) -> ResponseReturnValue:
        log.error("page.failed", exc_info=error)
        return writer.error(HTTPStatus.INTERNAL_SERVER_ERROR, _FAULT)
