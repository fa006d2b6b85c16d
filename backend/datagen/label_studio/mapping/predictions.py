"""Predictions in Label Studio's form: the labels of a sample, and the initial values of a form.

All functions are pure. Label Studio does not validate predictions; the tests do, with the SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datagen.domain.geometry import Box, Polygon, to_percent
from datagen.domain.inputs import ProjectKind
from datagen.domain.outline_joining import joined
from datagen.domain.sample import Sample

#: Model version of all Datagen's predictions. A project whose tasks were imported with predictions shows this version.
MODEL_VERSION = "datagen"

#: Decimal places of a percentage: on an image 10,000 pixels wide, the last one is a ten-thousandth of a pixel.
_DIGITS = 6


def prediction(
    sample: Sample, project_kind: ProjectKind, holes: Sequence[Sequence[Polygon]] = (), score: float | None = None
) -> dict[str, Any]:
    """The prediction with the labels of a sample, for a project kind, and its score if there is one.

    In Dataset each instance is one polygon, because Label Studio's exports count regions. The parts and the ``holes``
    of an instance are joined in it by lines of no width. In Previews each part is a polygon.

    The ids of regions are deterministic, because they are derived from the indices of instance and outline.
    """
    width, height = sample.image.width, sample.image.height
    if project_kind is ProjectKind.DATASET:
        rings_by_instance = holes or [()] * len(sample.instances)
        regions = [
            polygon_region(
                f"i{i}", "label", instance.label, Polygon(joined((*instance.outlines, *rings))), width, height
            )
            for i, (instance, rings) in enumerate(zip(sample.instances, rings_by_instance, strict=True))
        ]
    else:
        regions = [
            polygon_region(f"i{i}o{j}", "label", instance.label, outline, width, height)
            for i, instance in enumerate(sample.instances)
            for j, outline in enumerate(instance.outlines)
        ]
    return regions_prediction(regions) | ({"score": score} if score is not None else {})


def polygon_region(id_: str, control: str, label: str, polygon: Polygon, width: int, height: int) -> dict[str, Any]:
    """The region of a polygon on an image of ``width`` by ``height`` pixels; the polygon is in pixels."""
    points = [[_percent(x, width), _percent(y, height)] for x, y in polygon.points]
    value = {"points": points, "closed": True, "polygonlabels": [label]}
    return region(id_, control, "polygonlabels", value, width, height)


def box_region(id_: str, control: str, label: str, box: Box, width: int, height: int) -> dict[str, Any]:
    """The region of an upright box on an image of ``width`` by ``height`` pixels; the box is in pixels."""
    value = {
        "x": _percent(box.x, width),
        "y": _percent(box.y, height),
        "width": _percent(box.width, width),
        "height": _percent(box.height, height),
        "rotation": 0,
        "rectanglelabels": [label],
    }
    return region(id_, control, "rectanglelabels", value, width, height)


def regions_prediction(regions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A prediction with these regions, for example proposed outlines or areas.

    If regions have scores, the highest of them is the prediction's.
    """
    scores = [region["score"] for region in regions if "score" in region]
    return {
        "model_version": MODEL_VERSION,
        "result": list(regions),
        **({"score": max(scores)} if scores else {}),
    }


def form_prediction(count: int) -> dict[str, Any]:
    """A prediction for the form in the Decisions project: ``count`` is the initial value of the number of images."""
    number = {"id": "count", "from_name": "count", "to_name": "summary", "type": "number", "value": {"number": count}}
    return {"model_version": MODEL_VERSION, "result": [number]}


def region(id_: str, control: str, kind: str, value: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """A region of any kind on an image of ``width`` by ``height`` pixels."""
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
