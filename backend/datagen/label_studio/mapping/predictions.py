"""Predictions in Label Studio's form: labels of a sample, and initial values of a form.

All functions are pure. Label Studio does not validate predictions; the tests validate them with the SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datagen.domain.geometry import Box, Polygon, to_percent
from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import Sample

#: Model version of all our predictions. A project that imports tasks with predictions shows this version.
MODEL_VERSION = "datagen"

#: Decimal places of a percentage: a ten-thousandth of a pixel on an image 10,000 pixels wide.
_DIGITS = 6


def prediction(sample: Sample, project_kind: ProjectKind, score: float | None = None) -> dict[str, Any]:
    """The labels of a sample for a project kind: the outlines of its masks, and in Dataset also their boxes.

    The ids of the regions are derived from the indices of the instance and the outline, so they are deterministic.
    """
    width, height = sample.image.width, sample.image.height
    regions: list[dict[str, Any]] = []
    for i, instance in enumerate(sample.instances):
        if project_kind is ProjectKind.DATASET:
            regions.append(box_region(f"i{i}b", "box", instance.label, instance.box, width, height))
        regions += (
            polygon_region(f"i{i}o{j}", "label", instance.label, outline, width, height)
            for j, outline in enumerate(instance.outlines)
        )
    return _posted(regions, score)


def polygon_region(id_: str, control: str, label: str, polygon: Polygon, width: int, height: int) -> dict[str, Any]:
    """A polygon on an image of ``width`` by ``height`` pixels."""
    points = [[_percent(x, width), _percent(y, height)] for x, y in polygon.points]
    value = {"points": points, "closed": True, "polygonlabels": [label]}
    return _region(id_, control, "polygonlabels", value, width, height)


def box_region(id_: str, control: str, label: str, box: Box, width: int, height: int) -> dict[str, Any]:
    """An upright box on an image of ``width`` by ``height`` pixels."""
    value = {
        "x": _percent(box.x, width),
        "y": _percent(box.y, height),
        "width": _percent(box.width, width),
        "height": _percent(box.height, height),
        "rotation": 0,
        "rectanglelabels": [label],
    }
    return _region(id_, control, "rectanglelabels", value, width, height)


def regions_prediction(regions: Sequence[dict[str, Any]], score: float | None = None) -> dict[str, Any]:
    """A prediction with these regions, for example proposed outlines or areas."""
    return _posted(list(regions), score)


def form_prediction(*, count: int | None = None, name: str = "") -> dict[str, Any]:
    """A prediction with the initial values of the form in the Decisions project."""
    result: list[dict[str, Any]] = []
    if count is not None:
        result.append(_answer("count", "number", {"number": count}))
    if name:
        result.append(_answer("name", "textarea", {"text": [name]}))
    return _posted(result, None)


def _posted(result: list[dict[str, Any]], score: float | None) -> dict[str, Any]:
    body: dict[str, Any] = {"model_version": MODEL_VERSION, "result": result}
    return body if score is None else body | {"score": score}


def _answer(control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": control, "from_name": control, "to_name": "summary", "type": kind, "value": value}


def _region(id_: str, control: str, kind: str, value: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    return {
        "id": id_,
        "from_name": control,
        "to_name": "image",
        "type": kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
    }


def _percent(px: float, extent: int) -> float:
    return round(to_percent(px, extent), _DIGITS)
