"""Writes a verdict as the form of a review task; ``form_answers`` reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datagen.domain.verdict import Reason, Verdict

#: Value of ``origin`` in a region that was copied from a prediction and not changed.
_OF_PREDICTION = "prediction"
#: The controls of the form that have the verdict. Everything else in an annotation is left as it is.
_CONTROLS = frozenset({"verdict", "reasons", "comment"})


def with_verdict(result: Sequence[Mapping[str, Any]], verdict: Verdict) -> list[dict[str, Any]]:
    """Return the result of an annotation with this verdict in place of the one that it contains, if any.

    Drawn regions are kept: an annotation without the outlines that were shown would look as if they had been deleted.
    """
    form = [_entry("verdict", "choices", {"choices": [str(verdict.opinion)]})]
    if verdict.reasons:
        chosen = [str(reason) for reason in Reason if reason in verdict.reasons]
        form.append(_entry("reasons", "choices", {"choices": chosen}))
    if verdict.comment:
        form.append(_entry("comment", "textarea", {"text": [verdict.comment]}))
    return [*form, *(dict(entry) for entry in result if entry.get("from_name") not in _CONTROLS)]


def as_shown(predicted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the regions of a prediction as Label Studio copies them into the annotation that it submits."""
    return [{**region, "origin": _OF_PREDICTION} for region in predicted]


def has_drawing(result: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a person drew or changed a region of a review task's annotation."""
    return any(entry.get("from_name") == "label" and entry.get("origin") != _OF_PREDICTION for entry in result)


def _entry(control: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": control, "from_name": control, "to_name": "image", "type": kind, "value": dict(value)}
