"""Regions of other controls: used if they have an area, reported if they have none."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shapely.geometry import Polygon as ShapelyPolygon
from shapely.ops import unary_union

from brush_code import mask2rle
from datagen.domain.inputs import ProjectKind
from datagen.errors import InputProblem
from datagen.label_studio.mapping import brush_masks, region_conversion, region_limits
from datagen.label_studio.mapping.region_conversion import check_size
from datagen.label_studio.mapping.region_mapping import LabelNames, digest, map_regions
from datagen.label_studio.mapping.region_shapes import upright_extent
from datagen.label_studio.mapping.regions import canvas_areas, concept_regions
from drawn import HEIGHT, WIDTH, box, choice, polygon, region

LABELS = ("dent", "scratch")
NAMES = LabelNames(labels=LABELS, aliases={"crack": "scratch"})


def theirs(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A region of another project's control."""
    return region("their_control", kind, {**value, kind: ["dent"]} if kind.endswith("labels") else value, **more)


def covered(*results: Any) -> float:
    """Square pixels that the areas of a canvas cover."""
    areas, problems = canvas_areas(list(results), WIDTH, HEIGHT, LABELS)
    assert problems == ()
    return float(unary_union([ShapelyPolygon(area.polygon.points) for area in areas]).area)


def painted() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:60, 20:80] = 255
    mask[30:40, 40:50] = 0
    return mask


def bitmask_url(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    rgba = np.dstack([np.full_like(mask, 255)] * 3 + [mask])
    Image.fromarray(rgba).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


SQUARE = ((10, 20), (40, 20), (40, 60), (10, 60))
AREAS: dict[str, tuple[dict[str, Any], float]] = {
    "rectangle": (theirs("rectanglelabels", {"x": 10, "y": 20, "width": 30, "height": 40}), 2400),
    "turned rectangle": (theirs("rectanglelabels", {"x": 50, "y": 20, "width": 10, "height": 20, "rotation": 90}), 400),
    "ellipse": (theirs("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20}), math.pi * 20 * 20),
    "turned ellipse": (
        theirs("ellipselabels", {"x": 50, "y": 50, "radiusX": 15, "radiusY": 10, "rotation": 30}),
        math.pi * 30 * 10,
    ),
    "polygon": (theirs("polygonlabels", {"points": [list(point) for point in SQUARE]}), 2400),
    "brush": (theirs("brushlabels", {"format": "rle", "rle": mask2rle(painted())}), 2300),
    "magic wand": (theirs("magicwand", {"rle": mask2rle(painted()), "brushlabels": ["dent"]}), 2300),
    "bitmask": (theirs("bitmasklabels", {"imageDataURL": bitmask_url(painted())}), 2300),
    "closed vector": (
        theirs("vectorlabels", {"closed": True, "vertices": [{"x": x, "y": y} for x, y in SQUARE]}),
        2400,
    ),
}


@pytest.mark.parametrize("shape", AREAS)
def test_region_with_an_area_is_a_canvas_area_or_a_concept_example(shape: str) -> None:
    drawn, area = AREAS[shape]
    assert covered(drawn) == pytest.approx(area, rel=0.01)
    regions, problems = concept_regions([drawn], WIDTH, HEIGHT, LABELS)
    assert (len(regions), problems, regions[0].label) == (1, (), "dent")
    for project_kind in (ProjectKind.CONCEPTS, ProjectKind.CANVASES):
        mapped = map_regions([drawn], project_kind, WIDTH, HEIGHT, NAMES)
        assert (bool(mapped.results), mapped.problems) == (True, ())


def test_a_curved_vector_follows_its_curve() -> None:
    """A circle of radius 20 pixels in four Bézier curves."""
    k = 0.5523
    vertices = []
    for x, y, dx, dy in ((60, 50, 0, 1), (50, 70, -1, 0), (40, 50, 0, -1), (50, 30, 1, 0)):
        before, after = ((x - s * dx * 10 * k, y - s * dy * 20 * k) for s in (1, -1))
        control = [{"x": px, "y": py} for px, py in (before, after)]
        vertices.append({"x": x, "y": y, "isBezier": True, "controlPoint1": control[0], "controlPoint2": control[1]})
    drawn = theirs("vectorlabels", {"closed": True, "vertices": vertices})
    assert covered(drawn) == pytest.approx(math.pi * 400, rel=0.01)


@pytest.mark.parametrize(
    ("drawn", "sentence"),
    [
        (theirs("keypointlabels", {"x": 5, "y": 5, "width": 1}), "keypoint 1 (“dent”): a keypoint has no area"),
        (theirs("vectorlabels", {"vertices": [{"x": 1, "y": 1}] * 3}), "an open line has no area"),
        (theirs("vectorlabels", {"closed": True, "vertices": [{"x": 1}]}), "its y is not a number"),
        (theirs("vectorlabels", {"closed": True, "vertices": 7}), "has no vertices"),
        (theirs("videorectangle", {}), "it is no region of a picture"),
        (theirs("ellipselabels", {"x": 5, "y": 5, "radiusX": 0, "radiusY": 1}), "the ellipse has no area"),
        (theirs("ellipselabels", {"x": 5, "y": 5, "radiusX": None, "radiusY": 1}), "its radiusX is not a number"),
        (theirs("bitmasklabels", {"imageDataURL": "data:image/png;base64,AAAA"}), "the bitmask is damaged"),
        (theirs("bitmasklabels", {"imageDataURL": "https://x"}), "the bitmask is no PNG"),
        (theirs("bitmasklabels", {"imageDataURL": bitmask_url(painted()[1:])}), "of another size"),
        (theirs("bitmasklabels", {"imageDataURL": bitmask_url(painted() * 0)}), "the bitmask is empty"),
        (theirs("polygonlabels", {"points": 7}), "the polygon has no corners"),
    ],
)
def test_region_without_an_area_is_reported_and_the_other_is_used(drawn: dict[str, Any], sentence: str) -> None:
    regions, problems = concept_regions([drawn, box(50, 50, 10, 10)], WIDTH, HEIGHT, LABELS)
    assert len(regions) == 1
    assert len(problems) == 1
    assert sentence in problems[0]
    _, problems = canvas_areas([drawn], WIDTH, HEIGHT, LABELS)
    assert len(problems) == 1


def test_answers_beside_the_regions_are_no_regions() -> None:
    answers = [choice("quality", "high"), {"type": "rating", "value": {"rating": 4}}, {"type": "relation"}]
    assert concept_regions([*answers, box(50, 50, 10, 10)], WIDTH, HEIGHT, LABELS)[1] == ()


@pytest.mark.parametrize("degrees", [0, 30, 90, 200])
@given(
    st.floats(5, 60), st.floats(5, 60), st.floats(-40, 40).filter(lambda v: abs(v) > 1), st.floats(-40, 40).filter(bool)
)
def test_a_negative_extent_covers_the_same(degrees: float, x: float, y: float, width: float, height: float) -> None:
    """Corners of the box as drawn, width and height with their signs, against those of the box made upright."""

    def corners(extent: dict[str, float]) -> list[tuple[float, float]]:
        angle = math.radians(extent["rotation"])
        a, b = extent["width"] * WIDTH / 100, extent["height"] * HEIGHT / 100
        left, top = extent["x"] * WIDTH / 100, extent["y"] * HEIGHT / 100
        return [
            (left + u * math.cos(angle) - v * math.sin(angle), top + u * math.sin(angle) + v * math.cos(angle))
            for u, v in ((0, 0), (a, 0), (a, b), (0, b))
        ]

    drawn = {"x": x, "y": y, "width": width, "height": height, "rotation": degrees}
    upright = upright_extent(drawn, WIDTH, HEIGHT)
    assert upright["width"] >= 0
    assert upright["height"] >= 0
    for corner in corners(drawn):
        assert min(math.dist(corner, other) for other in corners(upright)) == pytest.approx(0, abs=1e-9)


def test_a_box_drawn_to_the_left_and_upwards_is_used() -> None:
    (concept,), problems = concept_regions([box(40, 60, -30, -40)], WIDTH, HEIGHT, LABELS)
    assert problems == ()
    assert (concept.box.x, concept.box.y, concept.box.width, concept.box.height) == pytest.approx((20, 20, 60, 40))


@pytest.mark.parametrize(
    ("size", "fate"),
    [
        ((200, 100), False),
        ((400, 200), True),
        ((100, 50), True),
        ((133, 67), True),
        ((0, 100), False),
        ((None, None), False),
        (("200", 100), False),
        ((100, 200), "a turned copy (100 × 200 pixels)"),
        ((400, 800), "a turned copy (400 × 800 pixels)"),
        ((300, 300), "a picture of 300 × 300 pixels"),
    ],
)
def test_the_picture_that_a_region_was_drawn_on_is_compared(size: tuple[Any, Any], fate: bool | str) -> None:
    drawn = box(10, 10, 10, 10) | {"original_width": size[0], "original_height": size[1]}
    if isinstance(fate, str):
        with pytest.raises(InputProblem) as caught:
            check_size(drawn, drawn["value"], WIDTH, HEIGHT)
        assert fate in str(caught.value)
        _, problems = concept_regions([drawn], WIDTH, HEIGHT, LABELS)
        assert fate in problems[0]
    else:
        assert check_size(drawn, drawn["value"], WIDTH, HEIGHT) is fate


def test_a_brush_painted_on_a_turned_copy_gives_no_region() -> None:
    """It has as many pixels as the picture, and was cut into dozens of stripes."""
    turned = np.ascontiguousarray(np.rot90(painted()))
    drawn = theirs("brushlabels", {"format": "rle", "rle": mask2rle(turned)})
    drawn |= {"original_width": HEIGHT, "original_height": WIDTH, "from_name": "brush"}
    regions, problems = concept_regions([drawn], WIDTH, HEIGHT, LABELS)
    assert (regions, len(problems)) == ((), 1)
    assert "a turned copy" in problems[0]


def test_only_the_regions_of_a_foreign_annotation_are_kept() -> None:
    odd = {**polygon((10, 10), (30, 10), (30, 40), label="crack"), "meta": {"text": ["\ud83d"]}, "parentID": "x"}
    odd["value"]["secret"] = "\ud83d"
    mapped = map_regions([odd], ProjectKind.CONCEPTS, WIDTH, HEIGHT, NAMES)
    [result] = mapped.results
    assert sorted(result) == [
        "from_name", "id", "image_rotation", "original_height", "original_width", "to_name", "type", "value",
    ]  # fmt: skip
    assert result["value"] == {
        "points": [[10, 10], [30, 10], [30, 40]],
        "closed": True,
        "polygonlabels": ["scratch"],
    }


def test_the_same_region_has_the_same_digest_however_it_is_written() -> None:
    concept, other = box(10, 20, 30, 40), box(10.0000001, 20.0, 30, 40)
    assert digest(concept) == digest(other) != digest(box(11, 20, 30, 40))


def test_a_background_s_answer_is_kept_and_its_drawings_are_not_asked_for() -> None:
    answers = [choice("their_choice", "exclude"), choice("quality", "high"), box(1, 1, 10, 10)]
    [result] = map_regions(answers, ProjectKind.BACKGROUNDS, WIDTH, HEIGHT, NAMES).results
    assert (result["from_name"], result["value"]) == ("use", {"choices": ["exclude"]})


@pytest.mark.parametrize(
    "bad",
    [
        theirs("polygonlabels", {"points": [[1, 2], {"x": 3, "y": 4}, [5, 60]]}),
        theirs("polygonlabels", {"points": [[1, 2], 5, [50, 60]]}),
        theirs("polygonlabels", {"points": [[1, 2], ["3", "4"], [50, 60]]}),
        theirs("polygonlabels", {"points": [[1, 2], [[3], 4], [50, 60]]}),
        theirs("polygonlabels", {"points": [[1, 2], [True, 90], [50, 60]]}),
        theirs("polygonlabels", {"points": [[1, 2], [1e400, 90], [50, 60]]}),
        theirs("rectanglelabels", {"x": True, "y": 2, "width": 30, "height": 40}),
        theirs("brushlabels", {"rle": [[1], 2, 3, 4, 5]}),
        theirs("brushlabels", {"rle": [["a"], 2, 3, 4, 5]}),
        theirs("brushlabels", {"rle": {"a": 1}}),
    ],
)
@pytest.mark.parametrize("project_kind", [ProjectKind.CONCEPTS, ProjectKind.CANVASES])
def test_a_value_of_another_form_costs_its_region_alone(bad: dict[str, Any], project_kind: ProjectKind) -> None:
    """Values were rounded before their type was checked, which ended the whole import."""
    mapped = map_regions(
        [bad, theirs("rectanglelabels", box(10, 20, 30, 40)["value"])], project_kind, WIDTH, HEIGHT, NAMES
    )
    assert (len(mapped.results), len(mapped.problems)) == (1, 1)
    assert "draw it again" in mapped.problems[0] or "paint it again" in mapped.problems[0]


def brushes(count: int) -> list[dict[str, Any]]:
    value = {"format": "rle", "rle": mask2rle(painted())}
    return [theirs("brushlabels", value, id=str(number)) for number in range(count)]


@pytest.mark.parametrize(
    ("project_kind", "kind"),
    [
        (ProjectKind.CONCEPTS, "brush"),
        (ProjectKind.CONCEPTS, "bitmask"),
        (ProjectKind.CANVASES, "brush"),
        (ProjectKind.CANVASES, "bitmask"),
    ],
)
def test_painted_regions_of_one_picture_share_one_allowance(
    project_kind: ProjectKind, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 5 * WIDTH * HEIGHT
    bound = (most, "pixels of masks", "paint fewer")
    monkeypatch.setattr(region_limits, "_WHAT", {**region_limits._WHAT, f"{kind} pixels": bound})
    value = {"imageDataURL": bitmask_url(painted())}
    masks = brushes(9) if kind == "brush" else [theirs("bitmasklabels", value)] * 9
    square = theirs("rectanglelabels", box(10, 20, 30, 40)["value"])
    mapped = map_regions([*masks, square], project_kind, WIDTH, HEIGHT, NAMES)
    assert any(f"has more than {most:,} pixels of masks" in problem for problem in mapped.problems)
    assert len(mapped.problems) == 4
    assert mapped.results[-1]["type"] == (
        "rectanglelabels" if project_kind is ProjectKind.CONCEPTS else "polygonlabels"
    )


def test_a_bitmask_of_dust_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brush_masks, "MAX_EDGES", 1_000)
    dust = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), np.uint8) * 255
    drawn = theirs("bitmasklabels", {"imageDataURL": bitmask_url(dust)})
    mapped = map_regions([drawn], ProjectKind.CONCEPTS, WIDTH, HEIGHT, NAMES)
    assert mapped.results == ()
    assert "at most 1,000 are accepted" in mapped.problems[0]


def test_very_many_labels_of_a_foreign_region_are_read_up_to_a_bound() -> None:
    good, late = (
        region(
            "theirs",
            "rectanglelabels",
            box(10, 20, 30, 40)["value"] | {"rectanglelabels": ["rust"] * others + ["Dent "]},
        )
        for others in (99, 100_000)
    )
    mapped = map_regions([late, good], ProjectKind.CONCEPTS, WIDTH, HEIGHT, NAMES)
    assert [result["value"]["rectanglelabels"] for result in mapped.results] == [["dent"]]
    assert "the study has no label “rust”" in mapped.problems[0]


def test_painted_regions_that_must_be_decoded_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_conversion, "MAX_PAINTED", 2)
    drawn = [AREAS["bitmask"][0]] * 4
    converted = region_conversion.convert(drawn, ProjectKind.CANVASES, WIDTH, HEIGHT, region_limits.Allowance())
    assert len(converted.problems) == 2
    assert "at most 2 painted regions are read" in converted.problems[0]
