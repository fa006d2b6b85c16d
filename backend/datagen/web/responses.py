"""Common parts of all responses: errors as JSON with one sentence, and restrictive security headers."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

log = structlog.get_logger()

#: Key in the WSGI environment of the function that delays the response: ``delay(seconds)``.
DELAY = "datagen.delay_answer"

#: No response is a page, so framing, scripts and content sniffing are forbidden. No referrer is sent, because a URL may
#: contain a link's key.
QUIET_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def quiet_headers(response: Response) -> Response:
    """Add the headers of every response; a header that the view has set is kept."""
    for name, value in QUIET_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def bounded_bodies(app: Flask) -> None:
    """Refuse a body whose Content-Length is too large before the view runs, even if the view would not read it.

    Flask limits a body without Content-Length (chunked) while it is read.
    """
    max_bytes: int = app.config["MAX_CONTENT_LENGTH"]

    @app.before_request
    def check_length() -> None:
        if (request.content_length or 0) > max_bytes:
            raise RequestEntityTooLarge


def plain_errors(app: Flask) -> None:
    """Answer HTTP errors and unhandled exceptions with JSON, without a page, a traceback or a version."""

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        headers = {"Allow": ", ".join(sorted(allowed))} if (allowed := getattr(error, "valid_methods", None)) else {}
        if error.code == HTTPStatus.TOO_MANY_REQUESTS:
            headers["Retry-After"] = "1"  # rate limits are per second
        return {"error": error.name.lower()}, error.code or 500, headers

    @app.errorhandler(Exception)
    def failed(error: Exception) -> ResponseReturnValue:
        log.error("request.failed", exc_info=error)
        return {"error": "something is wrong here; the web process's log says what"}, 500
