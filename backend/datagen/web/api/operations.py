"""The operations of the API: one declaration is the view, the check of its request, and its part of the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.exceptions import NotFound

from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.web.api.idempotency import once
from datagen.web.api.limits import LARGEST_JSON, ROOT
from datagen.web.api.problems import Problem, wrong_request

#: Media type of JSON bodies.
JSON = "application/json"
#: Largest number that a path may contain; every column of ids and indices can be compared with it.
_MOST = 2**53


class Query(BaseModel):
    """Base of the queries of operations."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Body(BaseModel):
    """Base of the JSON bodies of requests; values are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resource(BaseModel):
    """Base of the JSON bodies of responses."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation.

    ``handler`` is called with the values of the path as keywords, and with ``account``, ``query`` and ``body`` if the
    operation has these. It returns a ``Resource`` or a response.
    """

    method: str
    #: path below ``ROOT``, as Flask writes it
    path: str
    handler: Callable[..., Resource | Response]
    query: type[Query] | None = None
    body: type[Body] | None = None
    #: media types of a body that is not JSON; largest size of a body, bytes
    media_types: tuple[str, ...] = ()
    largest_body: int = LARGEST_JSON
    #: the response's model, or its media type
    response: type[Resource] | str
    status: HTTPStatus = HTTPStatus.OK
    #: whether it is answered with the range of a file that the request names
    is_ranged: bool = False

    @property
    def name(self) -> str:
        """Its name in the document, and as a view."""
        return self.handler.__name__

    @property
    def texts(self) -> tuple[str, str]:
        """Its summary and its description: the first line of the handler's docstring, and the rest."""
        first, _, rest = (self.handler.__doc__ or "").strip().partition("\n")
        return first.rstrip("."), " ".join(rest.split())


@dataclass
class Operations:
    """The operations, by their declarations in the modules of the resources; ``database`` has the idempotency keys."""

    database: Database
    all: list[Operation] = field(default_factory=list)

    def get(self, path: str, response: type[Resource] | str, **declared: Any) -> Callable[..., Any]:
        """Return a decorator for the handler of a GET; ``declared`` are further fields of the operation."""
        return self._declared("GET", path, response, declared)

    def post(self, path: str, response: type[Resource], **declared: Any) -> Callable[..., Any]:
        """Return a decorator for the handler of a POST, which may be sent with an idempotency key."""
        return self._declared("POST", path, response, declared)

    def delete(self, path: str, response: type[Resource], **declared: Any) -> Callable[..., Any]:
        """Return a decorator for the handler of a DELETE, which has no body."""
        return self._declared("DELETE", path, response, declared)

    def _declared(
        self, method: str, path: str, response: type[Resource] | str, declared: dict[str, Any]
    ) -> Callable[..., Any]:
        def decorator(handler: Callable[..., Any]) -> Callable[..., Any]:
            self.all.append(Operation(method=method, path=path, handler=handler, response=response, **declared))
            return handler

        return decorator

    def add_to(self, app: Flask, account: Callable[[], Account]) -> None:
        """Add a view for each operation; ``account`` returns that of the current request."""
        for operation in self.all:
            app.add_url_rule(
                ROOT + operation.path,
                endpoint=operation.name,
                view_func=self._view(operation, account),
                methods=[operation.method],
                provide_automatic_options=False,
            )

    def _view(self, operation: Operation, account: Callable[[], Account]) -> Callable[..., Response]:
        def view(**path_values: Any) -> Response:
            request.max_content_length = operation.largest_body
            g.account = account()
            if any(isinstance(value, int) and value > _MOST for value in path_values.values()):
                raise NotFound
            given = {**path_values, "account": g.account, **dict(_checked(operation))}

            def carry_out() -> Response:
                return _response(operation, operation.handler(**given))

            return once(self.database, carry_out) if operation.method == "POST" else carry_out()

        return view


def _checked(operation: Operation) -> Iterator[tuple[str, BaseModel]]:
    """Yield the query and the body of the current request.

    Raises:
        Problem: the operation does not accept them.
    """
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    unknown = [name for name in request.args if operation.query is None]
    if repeated or unknown:
        named = ", ".join((repeated or unknown)[:10])[:200]
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The query has {'repeated' if repeated else 'unknown'} parameters: {named}.",
            "wrong-request",
        )
    try:
        if operation.query is not None:
            yield "query", operation.query.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise wrong_request(error, "query") from None
    accepted = (JSON,) if operation.body is not None else ()
    if operation.method == "POST" and request.mimetype not in (*accepted, *operation.media_types):
        types = " or ".join((*accepted, *operation.media_types))
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {types}.")
    if operation.body is not None and request.mimetype == JSON:
        try:
            yield "body", operation.body.model_validate_json(request.get_data())
        except ValidationError as error:
            raise wrong_request(error, "body") from None


def _response(operation: Operation, outcome: Resource | Response) -> Response:
    """Return a handler's result as a response. One to a GET has an ETag, and is 304 if the request has the same tag."""
    if isinstance(outcome, Response):
        return outcome
    response = Response(outcome.model_dump_json(), operation.status, content_type=JSON)
    if operation.method == "GET":
        response.headers["Cache-Control"] = "private, no-cache"
        response.add_etag()
        response.make_conditional(request)
    return response
