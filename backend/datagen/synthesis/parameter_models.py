"""Parameters of engines as pydantic models: reads them from a spec, and describes errors and limits.

The JSON schema of a model describes every parameter: its type, default, limits and effect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from datagen.domain.spec import Json
from datagen.errors import EngineError


class EngineParameters(BaseModel):
    """Base class of an engine's parameters, with the structure that they have in the engine's specs.

    Every field needs a default and a ``description``. A field whose type is another ``EngineParameters`` is a group: in
    a spec, its parameters are in a mapping under the field's name. Values are checked strictly. An invalid value raises
    an error and is never replaced or converted. Users see a validator's ``ValueError`` unchanged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    #: the name of the engine, for error messages
    engine: ClassVar[str]
    #: the key under which a spec holds these parameters, for error messages; "" if they are at its top level
    group: ClassVar[str] = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Json]) -> Self:
        """Return the parameters in a spec's mapping; missing ones get their default.

        Raises:
            EngineError: a name is unknown, or a value has the wrong type or is out of range.
        """
        try:
            return cls.model_validate(dict(body))
        except ValidationError as error:
            raise EngineError(_sentence(cls, error)) from None

    def to_json(self) -> dict[str, Json]:
        """Return the mapping that ``from_json`` reads.

        It holds only values that differ from the default, so that specs stay small.
        """
        defaults = type(self)().model_dump()
        return {name: value for name, value in self.model_dump().items() if value != defaults[name]}


def _without_fraction(value: object) -> object:
    """Return a float without a fraction as an integer, because JSON does not distinguish 3.0 from 3.

    Any other value is returned unchanged.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Makes a field of integers accept 3.0. In an ``Annotated`` type it must follow the limits; if it preceded them,
#: pydantic would leave them out of the JSON schema.
NoFraction = BeforeValidator(_without_fraction)
#: Type of a whole number; 3.0 is accepted, 3.5 and "3" are not.
Whole = Annotated[int, NoFraction]


def groups_of(model: type[EngineParameters]) -> dict[str, str]:
    """Return the group of every parameter, by the parameter's name: its key in a spec, or "" for the top level."""
    groups: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, EngineParameters):
            groups |= dict.fromkeys(field.annotation.model_fields, name)
        else:
            groups[name] = ""
    return groups


def ranges_of(model: type[EngineParameters]) -> dict[str, tuple[float, float]]:
    """Return the limits of every numeric parameter that has both: the smallest and the largest value, both allowed."""
    schemas = ((name, _schema_at(model, (name,))) for name in model.model_fields)
    return {name: (body["minimum"], body["maximum"]) for name, body in schemas if {"minimum", "maximum"} <= body.keys()}


def _sentence(model: type[EngineParameters], error: ValidationError) -> str:
    """Return a sentence about one problem of a failed validation; an unknown name precedes a wrong value."""
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
            noun = "numbers" if items in ("number", "integer") else "values"
            return f"{where} must be a mapping from names to {noun}, not {value!r}"
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
    """Return the JSON schema of a parameter, of a group, or of an entry of a mapping; empty if there is none.

    ``place`` is the path to it, as in pydantic's errors.
    """
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
    """Return the JSON schema of a mapping's values; empty for a group, which is no mapping of arbitrary names."""
    items = schema.get("additionalProperties")
    return items if isinstance(items, dict) else {}
