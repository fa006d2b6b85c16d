"""Common parts of all responses: errors as JSON with one sentence, and restrictive security headers."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

log = structlog.get_logger()

#: Key in the WSGI environment. Its value is a function ``delay(seconds)``, which delays the response.
DELAY = "datagen.delay_answer"
#: Key in the WSGI environment. Its value is a function without arguments. After its call, the thread that makes the
#: response waits for the client whenever much of it is not sent yet.
STREAM = "datagen.stream_answer"

#: Headers of every response. They forbid framing, scripts and content sniffing, because no response is a page. They
#: suppress the referrer, because a URL may contain the key of a link.
QUIET_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def quiet_headers(response: Response) -> Response:
    """Add ``QUIET_HEADERS`` to a response and return it. A header that the view has set is kept."""
    for name, value in QUIET_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def bounded_bodies(app: Flask) -> None:
    """Make the application refuse a request whose Content-Length is too large, before its view runs.

    Flask itself would refuse the body only when the view reads it. It still does this for a body without Content-Length
    (chunked).
    """
    max_bytes: int = app.config["MAX_CONTENT_LENGTH"]

    @app.before_request
    def check_length() -> None:
        if (request.content_length or 0) > max_bytes:
            raise RequestEntityTooLarge


def plain_errors(app: Flask) -> None:
    """Make the application answer HTTP errors and unhandled exceptions as JSON: no page, traceback or version."""

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
