"""The OpenAPI document of the API, made from its operations and their models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from datagen.web.api.idempotency import HEADER, PATTERN
from datagen.web.api.limits import ROOT
from datagen.web.api.operations import JSON, Operation
from datagen.web.api.problems import MEDIA_TYPE, ProblemDetails

_SCHEMAS = "#/components/schemas/"
#: A value in a path as Flask writes it: its converter with arguments, and its name.
_VALUE = re.compile(r"<(?:(?P<converter>\w+)(?:\((?P<arguments>[^)]*)\))?:)?(?P<name>\w+)>")
_INTEGER = {"type": "integer", "minimum": 0, "maximum": 2**53}
_DESCRIPTION = (
    "Studies with their inputs, versions, samples and decisions. Each request carries a token of a Label Studio "
    "account, and has access to the studies whose projects Label Studio shows to this account. See docs/api.md."
)
#: Statuses of refusals that every operation may answer with.
_ALWAYS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
#: … that an operation which changes something may answer with, too.
_OF_CHANGES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.BAD_GATEWAY,
)


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document, as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _VALUE.sub(lambda value: "{" + value["name"] + "}", operation.path)
        paths.setdefault(ROOT + path, {})[operation.method.lower()] = _described(operation)
    used = [(model, "validation") for model in _distinct(operation.body for operation in operations)]
    sent = [(model, "serialization") for model in _distinct(operation.response for operation in operations)]
    models: list[Any] = [*used, *sent, (ProblemDetails, "serialization")]
    _, definitions = models_json_schema(models, ref_template=_SCHEMAS + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Datagen for Label Studio",
            "version": version("label-studio-datagen"),
            "description": _DESCRIPTION,
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A Label Studio token."}},
        },
    }


def _distinct(models: Iterator[Any]) -> list[type[BaseModel]]:
    return list(dict.fromkeys(model for model in models if isinstance(model, type)))


def _described(operation: Operation) -> dict[str, Any]:
    summary, description = operation.texts
    described: dict[str, Any] = {"operationId": operation.name, "summary": summary}
    if description:
        described["description"] = description
    if parameters := [*_path_parameters(operation), *_query_parameters(operation), *_headers(operation)]:
        described["parameters"] = parameters
    if operation.method == "POST":
        described["requestBody"] = {"required": True, "content": dict(_bodies(operation))}
    described["responses"] = dict(_responses(operation))
    return described


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for value in _VALUE.finditer(operation.path):
        schema: dict[str, Any] = _INTEGER
        if value["converter"] == "any":
            schema = {"type": "string", "enum": [choice.strip() for choice in value["arguments"].split(",")]}
        yield {"name": value["name"], "in": "path", "required": True, "schema": schema}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    schema = operation.query.model_json_schema(ref_template=_SCHEMAS + "{model}")
    definitions = schema.get("$defs", {})
    for name, described in schema["properties"].items():
        described.pop("title", None)
        text = described.pop("description", "")
        yield {"name": name, "in": "query", "description": text, "schema": _inlined(described, definitions)}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with the definitions that it refers to in place of the references."""
    if isinstance(schema, dict):
        if (name := schema.get("$ref", "").removeprefix(_SCHEMAS)) in definitions:
            return _inlined(definitions[name], definitions)
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(value, definitions) for value in schema] if isinstance(schema, list) else schema


def _headers(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.method == "POST":
        text = "A key by which the request is carried out once, however often it is sent within a day."
        yield {"name": HEADER, "in": "header", "description": text, "schema": {"type": "string", "pattern": PATTERN}}


def _bodies(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    if operation.body is not None:
        yield JSON, {"schema": {"$ref": _SCHEMAS + operation.body.__name__}}
    for media_type in operation.media_types:
        files = {"type": "array", "items": {"type": "string", "format": "binary"}}
        is_form = media_type.startswith("multipart/")
        yield media_type, {"schema": {"type": "object", "properties": {"files": files}} if is_form else {}}


def _responses(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    response = operation.response
    content: dict[str, Any] = {}
    if isinstance(response, str):
        content[response] = {"schema": {"type": "string", "format": "binary"}}
    else:
        content[JSON] = {"schema": {"$ref": _SCHEMAS + response.__name__}}
    yield str(int(operation.status)), {"description": operation.status.phrase, "content": content}
    if operation.method == "GET":
        yield "304", {"description": "Not changed since the response with the tag in If-None-Match."}
    if operation.is_ranged:
        yield "206", {"description": "The range of the file that the header Range names.", "content": content}
        yield "416", {"description": "The range begins behind the end of the file."}
    refusals = [*_ALWAYS, HTTPStatus.UNPROCESSABLE_ENTITY, *(_OF_CHANGES if operation.method != "GET" else ())]
    if "<" in operation.path:
        refusals.append(HTTPStatus.NOT_FOUND)
    problem = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + ProblemDetails.__name__}}}
    for status in sorted(refusals):
        yield str(int(status)), {"description": status.phrase, "content": problem}
