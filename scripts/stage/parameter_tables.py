"""The documents' tables of parameters, made from the engines' JSON schemas: ``python -m stage.parameter_tables``.

A document has its table between two markers. The command writes the table there; it needs ``PYTHONPATH=scripts``, as
``stage.settings_table`` does. A test compares the tables with the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.synthesis.engine import load_engine
from stage.layout import ROOT

#: The lines of a document before and after the table.
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
#: For each document: the engine, and the group of its parameters ("" for those at the top level).
TABLES: dict[Path, tuple[str, str]] = {
    ROOT / "docs" / "engine.md": ("composite", ""),
    ROOT / "docs" / "diffusion.md": ("diffusion", "diffusion"),
}


def parameter_table(engine: str, group: str) -> str:
    """Return a Markdown table with one row for each parameter of an engine's group, in the order of the model."""
    model = load_engine(engine).parameters_model
    assert model is not None
    schema = model.model_json_schema()
    if group:
        schema = schema["$defs"][schema["properties"][group]["$ref"].rpartition("/")[2]]
    rows = [
        f"| `{name}` | {_default(field)} | {_values(field)} | {field['description']} |"
        for name, field in schema["properties"].items()
    ]
    return "\n".join(["| parameter | default | values | meaning |", "|---|---|---|---|", *rows])


def with_table(document: Path) -> str:
    """Return the text of a document of ``TABLES`` with its table brought up to date.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{parameter_table(*TABLES[document])}\n{END}{after}"


def _default(field: Mapping[str, Any]) -> str:
    default = field["default"]
    if default is None or default in ("", {}):
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _values(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:  # a value that may be missing
        return _values(field["anyOf"][0])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "object":
        return f"from names to: {_values(field['additionalProperties'])}"
    limits = f" from {field['minimum']:g} to {field['maximum']:.10g}" if "minimum" in field else ""
    multiple = f", a multiple of {field['multipleOf']}" if "multipleOf" in field else ""
    if field["type"] == "array":
        return f"list of: {_values(field['items'])}"
    kind = {"number": "number", "integer": "whole number", "boolean": "true or false", "string": "text"}[field["type"]]
    return f"{kind}{limits}{multiple}"


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(with_table(path), encoding="utf-8")
