"""What every answer has in common: errors as one sentence of JSON, and headers that take liberties away."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

log = structlog.get_logger()

#: Where a view finds, in WSGI's environment, the function that holds its answer back: ``delay(seconds)``.
DELAY = "datagen.delay_answer"

#: Nothing here is a page: nothing may be framed, run or sniffed, and no address (it may hold a link's key) passed on.
QUIET_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def quiet_headers(response: Response) -> Response:
    """The headers of every answer; a view that set one itself knows better."""
    for name, value in QUIET_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def bounded_bodies(app: Flask) -> None:
    """Have a body that announces too much refused before a view sees it, whether the view would read it or not.

    One that announces nothing (chunked) is cut by Flask while it is read.
    """
    most: int = app.config["MAX_CONTENT_LENGTH"]

    @app.before_request
    def check_length() -> None:
        if (request.content_length or 0) > most:
            raise RequestEntityTooLarge


def plain_errors(app: Flask) -> None:
    """Have refusals of Flask's and faults of ours answered without a page, a trace or a version."""

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        headers = {"Allow": ", ".join(sorted(allowed))} if (allowed := getattr(error, "valid_methods", None)) else {}
        if error.code == HTTPStatus.TOO_MANY_REQUESTS:
            headers["Retry-After"] = "1"  # rates count seconds
        return {"error": error.name.lower()}, error.code or 500, headers

    @app.errorhandler(Exception)
    def failed(error: Exception) -> ResponseReturnValue:
        log.error("request.failed", exc_info=error)
        return {"error": "something is wrong here; the web process's log says what"}, 500
