"""Parameters of engines as pydantic models: reading them from a spec, errors as sentences, and what a model declares.

A model's JSON schema describes every parameter: its type, default, limits and effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from datagen.domain.spec import Json
from datagen.errors import EngineError


class EngineParameters(BaseModel):
    """Base class of an engine's parameters, structured as in the engine's specs.

    Every field needs a default and a ``description``. A field whose type is another ``EngineParameters`` is a group:
    in a spec its parameters lie under the field's name. Values are checked strictly: an invalid one raises an error and
    is never replaced or converted. A validator's ``ValueError`` is shown to users as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    #: the name of the engine, for error messages
    engine: ClassVar[str]
    #: the group that the parameters lie in if they are read by themselves, for error messages; "" for none
    group: ClassVar[str] = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Json]) -> Self:
        """Read parameters from a spec's mapping; missing ones get their default.

        Raises:
            EngineError: a name is unknown, or a value has the wrong type or is out of range.
        """
        try:
            return cls.model_validate(dict(body))
        except ValidationError as error:
            raise EngineError(_sentence(cls, error)) from None

    def to_json(self) -> dict[str, Json]:
        """Return the mapping that ``from_json`` reads, with non-default values only, so that specs stay small."""
        defaults = type(self)().model_dump()
        return {name: value for name, value in self.model_dump().items() if value != defaults[name]}


def _without_fraction(value: object) -> object:
    """Return 3 for 3.0, because JSON does not distinguish them; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Accepts 3.0 for a whole number. In an ``Annotated`` type it follows the limits: before them, pydantic leaves these
#: out of the JSON schema.
NoFraction = BeforeValidator(_without_fraction)
#: A whole number; 3.0 is accepted, 3.5 and "3" are not.
Whole = Annotated[int, NoFraction]


def groups_of(model: type[EngineParameters]) -> dict[str, str]:
    """Return the group of every parameter: the key of the spec's parameters that contains it, "" for the top level."""
    groups: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, EngineParameters):
            groups |= dict.fromkeys(field.annotation.model_fields, name)
        else:
            groups[name] = ""
    return groups


def ranges_of(model: type[EngineParameters]) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value, both inclusive, of every numeric parameter that has both limits."""
    schemas = ((name, _schema_at(model, (name,))) for name in model.model_fields)
    return {name: (body["minimum"], body["maximum"]) for name, body in schemas if {"minimum", "maximum"} <= body.keys()}


def _sentence(model: type[EngineParameters], error: ValidationError) -> str:
    """Return the first problem of a failed validation, an unknown name before any wrong value."""
    problems = error.errors(include_url=False)
    unknown = sorted((problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"), key=str)
    if unknown:
        names = sorted(_schema_at(model, unknown[0][:-1])["properties"])
        return f"the {model.engine} engine has no parameter {_quoted(model, unknown[0])}; there are: {', '.join(names)}"
    problem = problems[0]
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    value, where = problem["input"], f"parameter {_quoted(model, problem['loc'])}"
    schema = _schema_at(model, problem["loc"])
    match schema.get("type"):
        case "number" | "integer":
            return f"{where} {_number_problem(value, schema, problem['msg'])}"
        case "boolean":
            return f"{where} must be true or false, not {value!r}"
        case "string" if not isinstance(value, str):
            return f"{where} must be a text, not {value!r}"
        case "string" if "enum" in schema:
            return f"{where} is {value!r}; it must be one of: {', '.join(schema['enum'])}"
        case "object":
            items = _items_of(schema).get("type")
            what = "numbers" if items in ("number", "integer") else "values"
            return f"{where} must be a mapping from names to {what}, not {value!r}"
        case _:
            return f"{where} is {value!r}: {problem['msg']}"


def _number_problem(value: object, schema: Mapping[str, Any], message: str) -> str:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    limits = " ".join(
        [*([f"from {low:g}"] if math.isfinite(low) else []), *([f"to {high:g}"] if math.isfinite(high) else [])]
    )
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return " ".join(filter(None, ["must be a number", limits])) + f", not {value!r}"
    if not low <= value <= high:
        return f"is {value:g}; it must be {limits}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        return f"is {value:g}; it must be more than {schema['exclusiveMinimum']:g}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        return f"is {value:g}; it must be less than {schema['exclusiveMaximum']:g}"
    if schema["type"] == "integer" and value != int(value):
        return f"must be a whole number, not {value!r}"
    if "multipleOf" in schema:
        return f"is {value:g}; it must be a multiple of {schema['multipleOf']}"
    return f"is {value:g}: {message}"


def _quoted(model: type[EngineParameters], place: tuple[int | str, ...]) -> str:
    return f"“{'.'.join(map(str, filter(None, (model.group, *place))))}”"


def _schema_at(model: type[EngineParameters], place: tuple[int | str, ...]) -> dict[str, Any]:
    """Return the JSON schema of a parameter or group, or of an item of a mapping; empty if there is none."""
    whole = model.model_json_schema()
    schema: dict[str, Any] = whole
    for name in place:
        schema = schema.get("properties", {}).get(name) or _items_of(schema)
        if "anyOf" in schema:  # a value that may be missing
            schema = next(kind for kind in schema["anyOf"] if kind.get("type") != "null")
        if "$ref" in schema:
            schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _items_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a mapping's items; empty for a group, which has no other parameters."""
    items = schema.get("additionalProperties")
    return items if isinstance(items, dict) else {}
