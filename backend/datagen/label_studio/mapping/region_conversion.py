"""Conversion of regions of any Label Studio project into results of the controls of a study's project.

A region is recognized by its type, never by the name of its control. Shapes with an area are converted: for example, an
ellipse becomes a polygon, and a rectangle on a canvas becomes an area. A shape without an area is reported as a
problem. Labels are unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datagen.domain.inputs import ProjectKind
from datagen.errors import BadRegion
from datagen.label_studio.mapping import brush_encoding, brush_masks
from datagen.label_studio.mapping.region_limits import Allowance
from datagen.label_studio.mapping.region_parts import RegionPart, parts_of
from datagen.label_studio.mapping.region_shapes import (
    bitmask,
    ellipse_corners,
    percentages,
    rectangle_corners,
    upright_extent,
    vector_corners,
)

#: Controls of a study's projects, by project kind: type of a result → name of the control.
CONTROLS: dict[ProjectKind, dict[str, str]] = {
    ProjectKind.CONCEPTS: {"rectanglelabels": "concept", "polygonlabels": "outline", "brushlabels": "brush"},
    ProjectKind.CANVASES: {"polygonlabels": "canvas"},
    ProjectKind.BACKGROUNDS: {"choices": "use"},
}
_WORDS = {
    "rectangle": "box",
    "brush": "brush mask",
    "ellipse": "ellipse",
    "polygon": "polygon",
    "keypoint": "keypoint",
    "vector": "vector",
    "bitmask": "bitmask",
}
_USES = ("use", "exclude")
#: Maximum number of painted regions that are decoded for one annotation.
MAX_PAINTED = 200
#: Largest relative difference between two aspect ratios that count as equal.
_PROPORTION = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The regions of an annotation, converted to results of a study's controls."""

    results: tuple[dict[str, Any], ...]
    #: a sentence for each unusable region
    problems: tuple[str, ...] = ()
    #: number of regions that were scaled, because they were drawn on a copy of the image in another size
    scaled: int = 0


def convert(result: Any, project_kind: ProjectKind, width: int, height: int, left: Allowance) -> Converted:
    """The regions of a result, converted for a project kind and an image of ``width`` by ``height`` pixels.

    A region of the study's own controls is returned unchanged; it is a problem if it was drawn on an image with another
    aspect ratio. ``left`` is the remaining allowance for painted regions. The reader of the converted regions must get
    the same allowance.
    """
    parts = parts_of(result)
    if project_kind is ProjectKind.BACKGROUNDS:
        return Converted(results=tuple(filter(None, map(_use, parts.answers))))
    controls = CONTROLS.get(project_kind, {})
    results: list[dict[str, Any]] = []
    problems = list(parts.problems)
    scaled = 0
    numbers: dict[str, int] = {}
    decoded = 0
    for part in parts.regions:
        word = _WORDS.get(part.shape, part.shape or "region")
        numbers[word] = numbers.get(word, 0) + 1
        try:
            scaled += check_size(part.result, part.value, width, height)
            control = controls.get(str(part.result.get("type")))
            if control is not None and part.result.get("from_name") == control:
                results.append(dict(part.result))
                continue
            decoded += part.shape == "bitmask" or (part.shape == "brush" and project_kind is not ProjectKind.CONCEPTS)
            _check_decoded(decoded)
            results += _shaped(part, project_kind, width, height, left)
        except BadRegion as problem:
            label = f" (“{part.labels[0]}”)" if part.labels else ""
            problems.append(f"{word} {numbers[word]}{label}: {problem}.")
    return Converted(results=tuple(results), problems=tuple(problems), scaled=scaled)


def check_size(result: Mapping[str, Any], value: Mapping[str, Any], width: int, height: int) -> bool:
    """Whether a region was drawn on a copy of the image in another size than ``width`` by ``height`` pixels.

    Raises:
        BadRegion: The image that it was drawn on was rotated, or has another aspect ratio.
    """
    across, down = (_side(result, value, name) for name in ("original_width", "original_height"))
    if not across or not down or (across, down) == (width, height):
        return False
    here = f"this picture is {width} × {height} pixels"
    # the sides of a scaled copy may be rounded by up to a pixel
    if abs(across * height - down * width) <= max(_PROPORTION * across * height, across, height, down, width):
        return True
    if abs(across * width - down * height) <= max(_PROPORTION * across * width, across, height, down, width):
        raise BadRegion(
            f"it was drawn on a turned copy ({across} × {down} pixels), {here}; bring the picture that it was drawn on"
        )
    raise BadRegion(
        f"it was drawn on a picture of {across} × {down} pixels, {here}; bring the picture that it was drawn on"
    )


def _check_decoded(count: int) -> None:
    if count > MAX_PAINTED:
        raise BadRegion(f"of one picture at most {MAX_PAINTED} painted regions are read; paint fewer")


def region(control: str, kind: str, value: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """A result of a study's control, with this value and these labels."""
    return {"from_name": control, "to_name": "image", "type": kind, "value": {**value, kind: list(labels)}}


def _shaped(
    part: RegionPart, project_kind: ProjectKind, width: int, height: int, left: Allowance
) -> list[dict[str, Any]]:
    """The results that one region of another project becomes in this project kind: one for each of its areas.

    Raises:
        BadRegion: The region cannot be converted.
    """
    if part.result.get("image_rotation") not in (None, 0, 360):
        raise BadRegion("it was drawn on the picture turned round; turn the picture back and draw it again")
    if part.shape == "keypoint":
        raise BadRegion("a keypoint has no area; draw a box or a polygon round the object")
    if part.shape not in _WORDS:
        raise BadRegion("it is no region of a picture, and is not used")
    polygon = CONTROLS[project_kind]["polygonlabels"]
    if part.shape == "rectangle" and project_kind is ProjectKind.CONCEPTS:
        return [region("concept", "rectanglelabels", upright_extent(part.value, width, height), part.labels)]
    if part.shape == "brush" and project_kind is ProjectKind.CONCEPTS:
        value = {"format": "rle", "rle": part.value.get("rle", part.result.get("rle"))}
        return [region("brush", "brushlabels", value, part.labels)]
    if part.shape == "bitmask" and project_kind is ProjectKind.CONCEPTS:
        # converted to one mask, so that an object with a hole stays one object
        mask = _mask(part, width, height, left)
        brush_masks.check_edges(mask)
        value = {"format": "rle", "rle": brush_encoding.encode(mask)}
        return [region("brush", "brushlabels", value, part.labels)]
    return [
        region(polygon, "polygonlabels", {"points": corners, "closed": True}, part.labels)
        for corners in _corners(part, width, height, left)
    ]


def _corners(part: RegionPart, width: int, height: int, left: Allowance) -> list[list[list[float]]]:
    """The polygons that cover the area of a region: a list of corners [x, y] in percent for each polygon."""
    match part.shape:
        case "rectangle":
            return [rectangle_corners(part.value, width, height)]
        case "ellipse":
            return [ellipse_corners(part.value, width, height)]
        case "vector":
            return [vector_corners(part.value)]
        case "polygon":
            points = part.value.get("points")
            if not isinstance(points, list):
                raise BadRegion("the polygon has no corners; draw it again")
            return [points]
    mask = _mask(part, width, height, left)
    left.take("painted", brush_masks.extent(mask))
    shapes = [percentages(outline.points, width, height) for stroke in brush_masks.outlines(mask) for outline in stroke]
    if not shapes:
        raise BadRegion("it covers too few pixels to be seen; paint it larger")
    return shapes


def _mask(part: RegionPart, width: int, height: int, left: Allowance) -> npt.NDArray[np.bool_]:
    """The mask [height, width] of a painted region, that is a brush mask or a bitmask."""
    left.check()
    if part.shape == "bitmask":
        left.take("bitmask pixels", width * height)
        return bitmask(part.value, width, height)
    rle = part.value.get("rle", part.result.get("rle"))
    left.take("brush bytes", len(rle) if isinstance(rle, list) else 0)
    left.take("brush pixels", width * height)
    return brush_masks.decode(rle, width, height)


def _use(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result for the “use” or “exclude” answer of a background; None if ``answer`` is another answer.

    The answer may come from a control of any name.
    """
    value = answer.get("value")
    chosen = value.get("choices") if isinstance(value, Mapping) else None
    known = [word for word in _USES if isinstance(chosen, list) and word in chosen]
    if len(known) != 1:
        return None
    return {"from_name": "use", "to_name": "image", "type": "choices", "value": {"choices": known}}


def _side(result: Mapping[str, Any], value: Mapping[str, Any], name: str) -> int:
    side = result.get(name, value.get(name))
    if isinstance(side, bool) or not isinstance(side, int | float) or not 0 < side < 1e9:
        return 0
    return int(side)
