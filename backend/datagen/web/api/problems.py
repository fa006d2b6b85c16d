"""Errors of the API as problem details (RFC 9457), with the sentences that pages show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import structlog
from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from datagen.errors import (
    DatagenError,
    InputProblem,
    LabelStudioError,
    LabelStudioUnavailable,
    NotConfirmed,
    NotReady,
    StoreError,
)
from datagen.web.outage_sentences import LABEL_STUDIO_UNAVAILABLE, STORE_UNAVAILABLE

log = structlog.get_logger()

#: Media type of a problem.
MEDIA_TYPE = "application/problem+json"
#: Beginning of the types of problems that programs may want to distinguish beyond their status.
_TYPES = "urn:datagen:problem:"
#: Seconds after which a part that does not answer, or a client that sent too much, may be tried again.
RETRY_AFTER_SECONDS = 60
OUTAGE_RETRY_SECONDS = 10
#: Largest number of faults of one request that are named.
_MAX_FAULTS = 20
HOW_TO_CONFIRM = "Send the request again with “confirmed”: true, and a new Idempotency-Key if it had one."
_DATABASE_UNAVAILABLE = "The database does not answer. Try again in a moment."
_QUEUE_UNAVAILABLE = "Redis does not answer. What was to be queued is queued when it is back. Try again in a moment."
_FAULT = "Something is wrong here; the web process's log says what."
_SENTENCES = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take this method; the header Allow has those that it takes.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The request is too large. Send less at once.",
    HTTPStatus.TOO_MANY_REQUESTS: "There were too many requests from your address. Try again in a minute.",
}


class Fault(BaseModel):
    """A part of a request that cannot be accepted."""

    where: str = Field(description="The field, or the parameter.")
    why: str


class ProblemDetails(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    type: str = Field("about:blank", description="What kind of problem it is, for programs.")
    title: str
    status: int
    detail: str = Field("", description="A sentence with the reason, and what to do.")
    faults: list[Fault] = Field([], description="The parts of the request that cannot be accepted.")
    reasons: list[str] = Field([], description="What has to be confirmed, one sentence or more each.")
    confirm: str = Field("", description="How it is confirmed.")


class Problem(Exception):
    """A request that cannot be carried out; it becomes the response."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        kind: str = "",
        *,
        faults: Sequence[Fault] = (),
        reasons: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.details = ProblemDetails(
            type=_TYPES + kind if kind else "about:blank",
            title=status.phrase,
            status=status,
            detail=detail,
            faults=list(faults),
            reasons=list(reasons),
            confirm=HOW_TO_CONFIRM if reasons else "",
        )

    @property
    def response(self) -> Response:
        """The problem as a response."""
        body = self.details.model_dump_json()
        return Response(body, self.details.status, headers=self.headers, content_type=MEDIA_TYPE)


def wrong_request(error: ValidationError, part: str) -> Problem:
    """Return the problem of a request that the models do not accept; ``part`` is “query” or “body”."""
    faults = [
        Fault(where=".".join(map(str, (part, *fault["loc"]))), why=fault["msg"])
        for fault in error.errors(include_url=False, include_input=False, include_context=False)[:_MAX_FAULTS]
    ]
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"The {part} of the request does not match the document at /api/v1/openapi.json; “faults” names the fields.",
        "wrong-request",
        faults=faults,
    )


def of_fault(fault: DatagenError) -> Problem:
    """Return the problem of a request that the workflow refused or could not carry out."""
    match fault:
        case NotConfirmed():
            return Problem(HTTPStatus.CONFLICT, " ".join(fault.reasons), "not-confirmed", reasons=fault.reasons)
        case NotReady():
            return Problem(HTTPStatus.CONFLICT, str(fault), "not-ready")
        case InputProblem():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(fault), "unusable-input")
        case LabelStudioUnavailable():
            return _unavailable(LABEL_STUDIO_UNAVAILABLE)
        case StoreError():
            return _unavailable(STORE_UNAVAILABLE)
        case LabelStudioError():
            return Problem(HTTPStatus.BAD_GATEWAY, str(fault), "label-studio-refused")
    return Problem(HTTPStatus.CONFLICT, str(fault), "refused")


def _unavailable(sentence: str) -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, sentence, "unavailable", headers={"Retry-After": str(OUTAGE_RETRY_SECONDS)}
    )


def answer_with_problems(app: Flask) -> None:
    """Make an application answer every refusal and fault with a problem."""

    @app.errorhandler(Problem)
    def answered(problem: Problem) -> Response:
        return problem.response

    @app.errorhandler(DatagenError)
    def refused(fault: DatagenError) -> Response:
        log.info("api.refused", reason=str(fault))
        return of_fault(fault).response

    outages: tuple[tuple[type[Exception], str], ...] = (
        (SQLAlchemyError, _DATABASE_UNAVAILABLE),
        (RedisError, _QUEUE_UNAVAILABLE),
    )
    for kind, sentence in outages:
        app.register_error_handler(kind, _answer_unavailable(sentence))

    @app.errorhandler(HTTPException)
    def failed_request(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 500)
        headers = {"Allow": ", ".join(sorted(allowed))} if (allowed := getattr(error, "valid_methods", None)) else {}
        if status is HTTPStatus.TOO_MANY_REQUESTS:
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return Problem(status, _SENTENCES.get(status, f"{error.name}."), headers=headers).response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        log.error("api.failed", exc_info=error)
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, _FAULT).response


def _answer_unavailable(sentence: str) -> Callable[[Exception], Response]:
    def answer(fault: Exception) -> Response:
        log.warning("api.unavailable", reason=type(fault).__name__)
        return _unavailable(sentence).response

    return answer
