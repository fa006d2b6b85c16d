"""The template of a decision page. It formats a view as HTML, and escapes all text."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from datagen.domain import wording
from datagen.workflow.decision_tasks.decision_view import DecisionView


def render(view: DecisionView) -> str:
    """Return the page as HTML."""
    return _template().render(view=view)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("datagen.workflow.decision_tasks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "by_number": wording.by_number,
        "counted": wording.counted,
        "sentence_case": wording.sentence_case,
        "span": wording.span,
    }
    return environment.get_template("decision.html.j2")
