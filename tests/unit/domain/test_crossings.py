"""A drawn polygon costs bounded work: clean ones are used however fine they are, tangles are refused at once."""

from __future__ import annotations

import math
import random
import time

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.crossings import MAX_CROSSINGS, check_crossings
from datagen.domain.geometry import MAX_CORNERS, MAX_CORNERS_READ, Point, clip_polygon
from datagen.errors import BadRegion

EXTENT = 3000


def ring(corners: int, wobble: float = 0.0) -> list[Point]:
    """A star-shaped polygon, which never crosses itself, of radius 1000 and less by up to ``wobble`` pixels."""
    draw = random.Random(7)
    angles = [2 * math.pi * number / corners for number in range(corners)]
    radii = [1000 - wobble * draw.random() for _ in angles]
    return [(1500 + r * math.cos(a), 1500 + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def tangle(corners: int) -> list[Point]:
    draw = random.Random(corners)
    return [(EXTENT * draw.random(), EXTENT * draw.random()) for _ in range(corners)]


def weave(lines: int) -> list[Point]:
    """A path of ``lines`` level lines and as many upright ones across them: about ``lines``² crossings."""
    steps = [100 + 2800 * number / lines for number in range(lines)]
    there_and_back = [((100, 2900), (2900, 100))[number % 2] for number in range(lines)]
    level = [(x, y) for y, ends in zip(steps, there_and_back, strict=True) for x in ends]
    upright = [(x, 3000.0 - y) for x, ends in zip(steps, there_and_back, strict=True) for y in ends]
    return [(float(x), float(y)) for x, y in level + upright]


def saw(teeth: int) -> list[Point]:
    """A path of slanting lines beside one another that never crosses itself, though all boxes round its sides meet."""
    path = [(10 + 0.1 * n + (1000 if n % 2 else 0), 2900.0 if n % 2 else 10.0) for n in range(teeth)]
    return [*path, (5000, 2900), (5000, -50), (-50, -50)]


@pytest.mark.parametrize("corners", [450, 1_000, 5_000])
def test_a_tangle_of_random_corners_is_refused_with_the_fix(corners: int) -> None:
    with pytest.raises(BadRegion, match=f"crosses itself more than {MAX_CROSSINGS} times; draw it with fewer"):
        clip_polygon(tangle(corners), EXTENT, EXTENT)


def test_the_same_line_drawn_to_and_fro_is_refused() -> None:
    to_and_fro = [(0.0, 0.0), (1000.0, 0.0)] * 200 + [(0.0, 1000.0)]
    with pytest.raises(BadRegion, match="crosses itself"):
        clip_polygon(to_and_fro, EXTENT, EXTENT)


def test_sides_that_all_lie_close_together_are_refused_though_none_crosses() -> None:
    assert shapely.is_valid(ShapelyPolygon(saw(600)))
    clip_polygon(saw(400), EXTENT, EXTENT)
    with pytest.raises(BadRegion, match="lie across or close to one another; draw it again with fewer corners"):
        clip_polygon(saw(4_000), EXTENT, EXTENT)


def test_a_polygon_with_some_crossings_is_split_as_before() -> None:
    parts = clip_polygon(weave(12), EXTENT, EXTENT)
    assert len(parts) > 40
    drawn = shapely.make_valid(ShapelyPolygon(weave(12)))
    assert sum(part.area for part in parts) == pytest.approx(drawn.area, rel=1e-3)


@pytest.mark.parametrize("far", [1.0, 1e4])
def test_crossings_are_found_however_large_the_numbers_are(far: float) -> None:
    with pytest.raises(BadRegion, match="crosses itself"):
        check_crossings([(far * x, far * y) for x, y in weave(20)])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20))
def test_hand_drawn_polygon_is_accepted(points: list[tuple[int, int]]) -> None:
    check_crossings([(float(x), float(y)) for x, y in points])  # 20 corners cannot cross more than 170 times


def test_a_clean_polygon_of_five_thousand_corners_is_used_as_it_is() -> None:
    points = ring(5_000, wobble=200)
    (part,) = clip_polygon(points, EXTENT, EXTENT)
    assert set(part.points) == set(points)


def test_a_clean_polygon_of_more_corners_is_thinned_and_covers_the_same() -> None:
    points = ring(100_000)
    (part,) = clip_polygon(points, EXTENT, EXTENT)
    assert len(part.points) <= MAX_CORNERS
    assert ShapelyPolygon(part.points).symmetric_difference(ShapelyPolygon(points)).area < 0.002 * part.area


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (ring(50_000, wobble=900), "even where its outline is drawn coarser; draw it again with fewer"),
        (ring(MAX_CORNERS_READ + 1), "has 200,001 corners, at most 200,000 are read"),
    ],
)
def test_more_corners_than_thinning_helps_are_refused(points: list[Point], sentence: str) -> None:
    with pytest.raises(BadRegion, match=sentence):
        clip_polygon(points, EXTENT, EXTENT)


def test_a_polygon_that_the_image_cuts_into_very_many_parts_is_refused() -> None:
    teeth = [(x, n + y) for n in range(1, 1_500) for x, y in ((-10.0, 0.0), (900.0, 0.2), (-10.0, 0.4))]
    with pytest.raises(BadRegion, match="falls into 1,499 separate parts, at most 200"):
        clip_polygon([*teeth, (-20.0, 1500.0), (-20.0, 0.0)], EXTENT, EXTENT)


def test_the_work_grows_about_as_the_corners_do() -> None:
    def seconds(corners: int) -> float:
        """Processor time, which the machine's other work does not lengthen much."""
        points = ring(corners, wobble=100_000 / corners)  # each side is as near to its neighbours as before
        took = []
        for _ in range(7):
            began = time.process_time()
            check_crossings(points)
            took.append(time.process_time() - began)
        return min(took)

    assert seconds(32_000) < 60 * seconds(2_000)  # sixteen times the corners; as their square it would be 256
