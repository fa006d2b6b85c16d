"""Drawn regions become boxes, outlines and areas; an unusable one is reported, and the others are used."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon as ShapelyPolygon
from shapely.geometry import box as shapely_box
from shapely.ops import unary_union

from brush_code import mask2rle
from datagen.domain.geometry import Box, Polygon, clip_polygon, rotated_corners
from datagen.label_studio.mapping.predictions import box_region, polygon_region
from datagen.label_studio.mapping.region_limits import MAX_PROBLEMS, MAX_REGIONS
from datagen.label_studio.mapping.regions import canvas_areas, concept_regions
from drawn import HEIGHT, WIDTH, box, choice, polygon, region

LABELS = ("dent", "scratch")


def concepts(*result: Any) -> tuple[Any, tuple[str, ...]]:
    return concept_regions(list(result), WIDTH, HEIGHT, LABELS)


def areas(*result: Any) -> tuple[Any, tuple[str, ...]]:
    return canvas_areas(list(result), WIDTH, HEIGHT, LABELS)


def covered(parts: tuple[Polygon, ...]) -> Any:
    return unary_union([ShapelyPolygon(part.points) for part in parts])


def brush(mask: np.ndarray, label: str = "dent", **value: Any) -> dict[str, Any]:
    painted = {"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255), "brushlabels": [label], **value}
    return region("brush", "brushlabels", painted)


def test_a_box_in_percent_becomes_a_box_in_pixels() -> None:
    (concept,), problems = concepts(box(10, 20, 25, 50))
    assert (concept.label, concept.box, concept.outline, problems) == ("dent", Box(20.0, 20.0, 50.0, 50.0), (), ())


def test_a_turned_box_becomes_the_box_round_its_corners_with_itself_as_outline() -> None:
    (concept,), problems = concepts(box(50, 20, 10, 20, rotation=90))
    assert problems == ()
    assert (concept.box.x, concept.box.y) == pytest.approx((80, 20))
    assert (concept.box.width, concept.box.height) == pytest.approx((20, 20))
    assert covered(concept.outline).area == pytest.approx(400)


def test_a_box_that_leaves_the_image_is_cut_at_its_edge() -> None:
    (concept,), _ = concepts(box(90, 90, 50, 50))
    assert concept.box == Box(180.0, 90.0, 20.0, 10.0)


def test_predictions_and_answers_beside_the_boxes_are_not_taken_for_boxes() -> None:
    regions, problems = concepts(choice("verdict", "bad"), box(10, 10, 10, 10))
    assert len(regions) == 1
    assert problems == ()


def test_an_outline_overrides_the_matte_of_the_box_of_its_label_that_it_overlaps_most() -> None:
    outline = polygon((12, 12), (18, 12), (18, 30), (12, 30), control="outline", label="dent")
    regions, problems = concepts(
        box(10, 10, 10, 30), box(17, 10, 20, 30), box(10, 10, 10, 30, label="scratch"), outline
    )
    assert problems == ()
    assert [len(concept.outline) for concept in regions] == [1, 0, 0]
    assert covered(regions[0].outline).area == pytest.approx(12 * 18)


def test_an_outline_that_leaves_its_box_enlarges_it() -> None:
    outline = polygon((15, 15), (30, 15), (30, 25), control="outline", label="dent")
    (concept,), _ = concepts(box(10, 10, 10, 30), outline)
    assert (concept.box.x, concept.box.right) == (20, 60)


def test_an_outline_without_a_box_makes_its_own() -> None:
    (concept,), problems = concepts(polygon((50, 50), (60, 50), (60, 80), control="outline", label="scratch"))
    assert problems == ()
    assert (concept.label, concept.box) == ("scratch", Box(100.0, 50.0, 20.0, 30.0))


def test_a_brush_stroke_overrides_the_matte_of_its_box() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:50, 40:60] = True
    (concept,), problems = concepts(box(15, 20, 30, 50), brush(mask))
    assert problems == ()
    assert covered(concept.outline).area == pytest.approx(400, rel=0.01)


def test_two_brush_strokes_of_one_mask_belong_each_to_their_own_box() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 10:20] = mask[60:80, 150:170] = True
    regions, _ = concepts(box(4, 8, 8, 15), box(70, 50, 20, 40), brush(mask))
    assert [round(covered(concept.outline).area, -1) for concept in regions] == [100, 400]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (box(10, 10, 0, 10), "no area"),
        (box(10, 10, 0, 10, rotation=30), "no area"),
        (box(120, 10, 10, 10), "outside the image"),
        (box(200, 10, 10, 10, rotation=45), "the box lies outside the image"),
        (box(10, 10, 0.1, 0.1), "less than"),
        (box(10, 10, 10, 10, label="rust"), "its label “rust” is none of the study's"),
        (box(10, 10, 10, 10, label=None), "none of the study's"),
        (box(math.nan, 10, 10, 10), "not a number"),
        (box(math.inf, 10, 10, 10), "not a number"),
        (box("10", 10, 10, 10), "not a number"),
        (box(True, 10, 10, 10), "not a number"),
        (box(10**400, 10, 10, 10), "not a number"),
        (box(10, 10, 10, 10, rotation="x"), "not a number"),
        (box(10, 10, 10, 10, image_rotation=90), "turn the picture back"),
        (region("concept", "rectanglelabels", {"x": 1, "rectanglelabels": ["dent"]}), "not a number"),
        (region("concept", "rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9}), "no label"),
        ({"from_name": "concept", "type": "rectanglelabels"}, "is no box"),
        ({"from_name": "concept", "type": "rectanglelabels", "value": []}, "is no box"),
        (polygon((1, 1), (9, 9), control="outline", label="dent"), "2 different corners"),
        (region("brush", "brushlabels", {"rle": [1, 2, 3], "brushlabels": ["dent"]}), "cannot be read"),
        (region("brush", "brushlabels", {"rle": "abc", "brushlabels": ["dent"]}), "cannot be read"),
        (region("brush", "brushlabels", {"rle": [255] * 60, "brushlabels": ["dent"]}), "not painted on this picture"),
    ],
)
def test_a_bad_region_is_named_with_its_fix_and_the_good_one_is_kept(bad: dict[str, Any], sentence: str) -> None:
    regions, problems = concepts(bad, box(50, 50, 10, 10))
    assert len(regions) == 1
    assert len(problems) == 1
    assert sentence in problems[0]
    assert problems[0].startswith(("box 1", "outline 1", "brush mask 1"))


def test_a_polygon_is_an_area_for_every_concept_or_for_one() -> None:
    square = ((10, 10), (20, 10), (20, 30), (10, 30))
    found_areas, problems = areas(polygon(*square), polygon(*square, label="scratch"))
    assert problems == ()
    assert [area.label for area in found_areas] == [None, "scratch"]
    assert {area.polygon.area for area in found_areas} == {400.0}


def test_a_polygon_that_crosses_itself_becomes_its_simple_parts() -> None:
    found_areas, problems = areas(polygon((10, 10), (30, 50), (30, 10), (10, 50)))
    assert problems == ()
    assert len(found_areas) == 2
    assert all(ShapelyPolygon(area.polygon.points).is_valid for area in found_areas)


def test_a_polygon_that_leaves_the_image_is_cut_at_its_edge() -> None:
    (area,), _ = areas(polygon((-50, -50), (50, -50), (50, 50), (-50, 50)))
    assert area.polygon.bounds == Box(0.0, 0.0, 100.0, 50.0)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (polygon((10, 10), (20, 20)), "2 different corners"),
        (polygon((10, 10), (20, 20), (10, 10), (20, 20)), "2 different corners"),
        (polygon((10, 10), (20, 20), (30, 30)), "no area"),
        (polygon((110, 10), (120, 10), (120, 30)), "outside the image"),
        (polygon((10, 10), (10.1, 10), (10.1, 10.1)), "less than"),
        (polygon((10, 10), (20, math.nan), (20, 30)), "not a number"),
        (polygon((10, 10), (20,), (20, 30)), "no pair of numbers"),
        (polygon((10, 10), (20, 10), (20, 30), label="rust"), "none of the study's (area, dent, scratch)"),
        (region("canvas", "polygonlabels", {"points": 7, "polygonlabels": ["area"]}), "no corners"),
    ],
)
def test_a_bad_polygon_is_named_with_its_fix_and_the_good_one_is_kept(bad: dict[str, Any], sentence: str) -> None:
    found_areas, problems = areas(bad, polygon((50, 50), (60, 50), (60, 70)))
    assert len(found_areas) == 1
    assert len(problems) == 1
    assert problems[0].startswith("polygon 1")
    assert sentence in problems[0]


percent = st.floats(-150, 250, allow_nan=False)
corners = st.lists(st.tuples(percent, percent), min_size=3, max_size=9)
sizes = st.integers(1, 20_000)


@given(st.floats(0, 90), st.floats(0, 90), st.floats(2, 10), st.floats(4, 10))
def test_a_box_comes_back_from_percent_as_it_was(x: float, y: float, width: float, height: float) -> None:
    drawn = Box(x * WIDTH / 100, y * HEIGHT / 100, width * WIDTH / 100, height * HEIGHT / 100)
    (concept,), problems = concepts(box_region("i", "concept", "dent", drawn, WIDTH, HEIGHT))
    assert problems == ()
    assert (concept.box.x, concept.box.y, concept.box.width, concept.box.height) == pytest.approx(
        (drawn.x, drawn.y, drawn.width, drawn.height), abs=1e-5
    )


@given(
    st.lists(st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)), min_size=3, max_size=3, unique=True).filter(
        lambda points: ShapelyPolygon(points).area > 10
    )
)
def test_a_polygon_comes_back_from_percent_as_it_was(points: list[tuple[float, float]]) -> None:
    (area,), problems = areas(polygon_region("i", "canvas", "area", Polygon(tuple(points)), WIDTH, HEIGHT))
    assert problems == ()
    assert covered((area.polygon,)).symmetric_difference(ShapelyPolygon(points)).area == pytest.approx(0, abs=0.01)


@given(percent, percent, st.floats(1, 100), st.floats(1, 100), st.floats(-720, 720, allow_nan=False))
def test_rotated_box_is_clipped_to_the_image(x: float, y: float, width: float, height: float, degrees: float) -> None:
    regions, problems = concepts(box(x, y, width, height, rotation=degrees))
    assert len(regions) + len(problems) == 1
    raw = Box(x * WIDTH / 100, y * HEIGHT / 100, width * WIDTH / 100, height * HEIGHT / 100)
    seen = ShapelyPolygon(rotated_corners(raw, degrees)).intersection(shapely_box(0, 0, WIDTH, HEIGHT))
    for concept in regions:
        frame = shapely_box(concept.box.x, concept.box.y, concept.box.right, concept.box.bottom)
        assert frame.symmetric_difference(seen.envelope).area == pytest.approx(0, abs=5)
        assert concept.box.x >= -1e-6
        assert concept.box.right <= WIDTH + 1e-6
        assert concept.box.y >= -1e-6
        assert concept.box.bottom <= HEIGHT + 1e-6


@given(corners, sizes, sizes)
def test_any_polygon_becomes_simple_areas_inside_the_image_or_a_sentence(
    points: list[tuple[float, float]], width: int, height: int
) -> None:
    found_areas, problems = canvas_areas([polygon(*points)], width, height, LABELS)
    assert bool(found_areas) != bool(problems)
    for area in found_areas:
        shape = ShapelyPolygon(area.polygon.points)
        assert shape.is_valid
        assert shapely_box(0, 0, width, height).buffer(1e-6).contains(shape)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["concept", "outline", "brush", "canvas"])
kinds = st.sampled_from(["rectanglelabels", "polygonlabels", "brushlabels"])
values = st.fixed_dictionaries(
    {},
    optional={
        "x": junk,
        "y": junk,
        "width": junk,
        "height": junk,
        "rotation": junk,
        "points": junk | st.lists(st.lists(percent, min_size=2, max_size=2), max_size=6),
        "rle": junk | st.lists(st.integers(0, 255), max_size=40),
        "rectanglelabels": junk | st.just(["dent"]),
        "polygonlabels": junk | st.just(["dent"]),
        "brushlabels": junk | st.just(["dent"]),
    },
)
regions = st.fixed_dictionaries({"from_name": names | junk, "type": kinds | junk}, optional={"value": values | junk})


@given(st.lists(regions | junk, max_size=5), sizes, sizes)
def test_junk_becomes_sentences_and_never_an_exception(result: list[Any], width: int, height: int) -> None:
    for read in (concept_regions, canvas_areas):
        _, problems = read(result, width, height, LABELS)
        assert all(isinstance(problem, str) and problem.endswith(".") and len(problem) < 600 for problem in problems)


# -- bounded work: regions over a limit are reported, and the others are used


def tangle(corners: int, **more: Any) -> dict[str, Any]:
    draw = random.Random(corners)
    return polygon(*[(100 * draw.random(), 100 * draw.random()) for _ in range(corners)], **more)


@pytest.mark.parametrize("corners", [450, 1_000, 5_000])
def test_self_crossing_polygon_is_reported_and_the_others_are_used(corners: int) -> None:
    regions, problems = areas(tangle(corners), polygon((50, 50), (60, 50), (60, 70)))
    assert len(regions) == 1
    assert len(problems) == 1
    assert problems[0].startswith("polygon 1 (“area”): the polygon crosses itself more than 200 times; draw it")
    regions, problems = concepts(tangle(corners, control="outline", label="dent"), box(50, 50, 10, 10))
    assert len(regions) == 1
    assert problems[0].startswith("outline 1 (“dent”): the polygon crosses itself")


def test_a_polygon_of_a_million_corners_is_refused_before_they_are_read() -> None:
    many = polygon()
    many["value"]["points"] = [["no corner"]] * 1_000_000
    found_areas, problems = areas(many, polygon((50, 50), (60, 50), (60, 70)))
    assert len(found_areas) == 1
    assert "has 1,000,000 corners, at most 200,000 are read" in problems[0]


def test_brush_of_ten_thousand_strokes_is_reported_and_the_others_are_used() -> None:
    dots = np.zeros((HEIGHT, WIDTH), bool)
    for across in (0, 1):
        for down in (0, 1):
            dots[1 + down :: 4, 1 + across :: 4] = True
    stroke = np.zeros((HEIGHT, WIDTH), bool)
    stroke[30:50, 40:60] = True
    regions, problems = concepts(brush(dots), brush(stroke))
    assert len(regions) == 1
    assert len(problems) == 1
    assert problems[0].startswith("brush mask 1 (“dent”): the brush mask has 1,250 separate strokes")


def test_of_a_million_regions_the_first_are_used_and_the_rest_is_reported() -> None:
    regions, problems = concepts(*[box(2 * (n % 50), 5 * (n // 50), 1.5, 4) for n in range(1_000)] * 1_000)
    assert len(regions) == MAX_REGIONS
    assert tuple(sorted(problems)) == (
        "annotation: it has more than 5,000 results; the rest is not read.",
        "it has 5,000 of the kind “box”: the first 1,000 are read, the others are left out; draw fewer.",
    )


def test_very_many_problems_are_counted_and_not_listed() -> None:
    regions, problems = concepts(*[box(10, 10, 0, 10)] * 500, box(10, 10, 10, 10))
    assert len(regions) == 1
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == "480 more regions cannot be used, for reasons like these."


def test_corners_of_all_polygons_together_are_bounded_and_a_smaller_one_after_them_is_used() -> None:
    circle = [(50 + 40 * math.cos(n / 780), 50 + 40 * math.sin(n / 780)) for n in range(4_900)]
    found_areas, problems = areas(*[polygon(*circle)] * 12, polygon((50, 50), (60, 50), (60, 70)))
    assert 9 <= len(found_areas) <= 12
    assert len(found_areas[-1].polygon.points) == 3
    assert all(
        "with the regions before it, it has more than 50,000 corners; draw them with" in problem for problem in problems
    )
    assert len(found_areas) + len(problems) == 13


def test_regions_are_no_longer_worked_out_once_too_much_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out = 0

    def counting(*args: Any) -> Any:
        nonlocal worked_out
        worked_out += 1
        return clip_polygon(*args)

    monkeypatch.setattr("datagen.label_studio.mapping.regions.clip_polygon", counting)
    teeth = [(n, 60 if n % 2 else 40) for n in range(1, 99)]  # crosses the line that closes it 96 times
    found_areas, problems = areas(*[polygon(*teeth, (99, 50), (1, 50))] * 200)
    assert 0 < len(found_areas) <= 1_000
    assert worked_out < 60
    assert problems[-1].endswith("more regions cannot be used, for reasons like these.")


def test_large_brush_strokes_are_bounded_together_and_small_ones_are_used() -> None:
    wide = np.ones((3000, 4000), bool)
    small = np.zeros((3000, 4000), bool)
    small[10:30, 10:30] = True
    size = {"original_width": 4000, "original_height": 3000}
    drawn = [*[{**brush(wide), **size}] * 5, {**brush(small), **size}]
    regions, problems = concept_regions(drawn, 4000, 3000, LABELS)
    assert len(regions) == 4
    assert regions[-1].box.width == pytest.approx(20)
    assert len(problems) == 2
    assert "more than 40,000,000 pixels round what is painted" in problems[0]


def test_very_many_outlines_over_very_many_boxes_each_find_one() -> None:
    outline = [(50 + 40 * math.cos(n / 6), 50 + 40 * math.sin(n / 6)) for n in range(38)]
    shapes = [polygon(*outline, control="outline", label="dent")] * 500
    regions, problems = concepts(*(box(3 * (n % 27), 3 * (n // 27), 20, 20) for n in range(500)), *shapes)
    assert len(regions) == 500
    assert problems == ()
    assert sum(len(concept.outline) for concept in regions) == 500


def test_label_that_is_no_text_is_reported_at_any_depth() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    regions, problems = concepts(box(10, 10, 10, 10, label=deep), box(50, 50, 10, 10))
    assert len(regions) == 1
    assert "none of the study's" in problems[0]
    while deep:
        (deep,) = deep  # a list nested as deep as this must not be freed at one go


def test_very_many_labels_of_a_region_and_an_absurd_turn_are_read_as_one() -> None:
    labelled = box(10, 10, 10, 10, rotation=999_999)
    labelled["value"]["rectanglelabels"] = ["dent"] * 10_000
    regions, problems = concepts(labelled, box(50, 50, 10, 10, rotation=1e300))
    assert len(regions) == 1
    assert "rotation is not a number" in problems[0]
