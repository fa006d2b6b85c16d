"""The README's table of settings, made from the Settings class: ``PYTHONPATH=scripts python -m stage.settings_table``.

The table is between two markers in the README. The command writes it there. A test compares it with the class."""

from __future__ import annotations

import sys

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from datagen.settings import Settings
from stage.layout import ROOT

#: The lines of the README before and after the table.
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def settings_table() -> str:
    """Return a Markdown table with one row for each setting, in the order of the class."""
    rows = [
        f"| `{_variable(field)}` | {_default(field)} | {field.description} |"
        for field in Settings.model_fields.values()
    ]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])


def with_table(readme: str) -> str:
    """Return the text of the README with its table brought up to date.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _variable(field: FieldInfo) -> str:
    return str(field.validation_alias)


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return f"`{value}`" if str(value) else "(empty)"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    if "--print" in sys.argv or not readme.exists():
        sys.stdout.write(settings_table() + "\n")
    else:
        readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
