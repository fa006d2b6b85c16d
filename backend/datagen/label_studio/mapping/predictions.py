"""What we post about an image as Label Studio's predictions: labels of a sample, and numbers to begin a form with.

Pure: values in, the API's form out. Label Studio does not check predictions; the tests do, with the SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datagen.domain.geometry import Box, Polygon, to_percent
from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import Sample

#: The model version of everything we post. A project that takes tasks with predictions shows this version's.
MODEL_VERSION = "datagen"

#: Digits of a percentage: a ten-thousandth of a pixel on a picture 10,000 pixels wide.
_DIGITS = 6


def prediction(sample: Sample, project_kind: ProjectKind, score: float | None = None) -> dict[str, Any]:
    """A sample's labels for a desk: the outlines of its masks, and on Dataset also their boxes.

    The regions' ids say which instance and which of its outlines they are, so they are the same whenever posted.
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
    """A polygon on a picture of ``width`` by ``height`` pixels."""
    points = [[_percent(x, width), _percent(y, height)] for x, y in polygon.points]
    value = {"points": points, "closed": True, "polygonlabels": [label]}
    return _region(id_, control, "polygonlabels", value, width, height)


def box_region(id_: str, control: str, label: str, box: Box, width: int, height: int) -> dict[str, Any]:
    """An upright box on a picture of ``width`` by ``height`` pixels."""
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
    """A prediction of these regions, for example proposed outlines or areas."""
    return _posted(list(regions), score)


def form_prediction(*, count: int | None = None, name: str = "") -> dict[str, Any]:
    """What the form on the Decisions desk begins with."""
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
