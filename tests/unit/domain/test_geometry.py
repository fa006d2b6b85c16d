"""Geometry: percentages and pixels, rotated boxes, and regions clipped to their image."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from shapely.geometry import Point as ShapelyPoint
from shapely.geometry import Polygon as ShapelyPolygon

from datagen.domain.geometry import (
    SMALLEST_AREA_PX,
    Box,
    Point,
    Polygon,
    bounds,
    clip_box,
    clip_polygon,
    rotated_corners,
    to_percent,
    to_pixels,
)
from datagen.domain.ring_splitting import split_rings
from datagen.errors import BadRegion

WIDTH, HEIGHT = 640, 480

extents = st.integers(1, 100_000)
percents = st.floats(-50, 150)
coordinates = st.floats(-1000, 2000)
sizes = st.floats(0.01, 1500)
boxes = st.builds(Box, coordinates, coordinates, sizes, sizes)
#: to the millionth of a pixel: GEOS divides by zero at differences of 1e-300
corners = st.lists(st.tuples(*[coordinates.map(lambda value: round(value, 6))] * 2), min_size=3, max_size=12)
nowhere = [math.nan, math.inf, -math.inf]


def covered(polygons: tuple[Polygon, ...]) -> shapely.Geometry:
    return shapely.union_all([ShapelyPolygon(polygon.points) for polygon in polygons])


class TestPercentagesAndPixels:
    @given(percents, extents)
    def test_there_and_back(self, percent: float, extent: int) -> None:
        assert to_percent(to_pixels(percent, extent), extent) == pytest.approx(percent, rel=1e-12, abs=1e-12)

    def test_a_percentage_is_of_its_own_extent(self) -> None:
        assert to_pixels(25.0, 640) == 160.0
        assert to_percent(120.0, 480) == 25.0


class TestTurnedBoxes:
    def test_no_turn_gives_the_corners_clockwise_from_the_top_left(self) -> None:
        assert rotated_corners(Box(10, 20, 4, 2), 0) == ((10, 20), (14, 20), (14, 22), (10, 22))

    def test_a_quarter_turn_is_clockwise_about_the_top_left_corner(self) -> None:
        """On a screen, where y grows downwards: the top edge points down, the box lies to its left."""
        turned = rotated_corners(Box(10, 20, 4, 2), 90)
        assert [x for x, _ in turned] == pytest.approx([10, 10, 8, 8])
        assert [y for _, y in turned] == pytest.approx([20, 24, 24, 20])

    @given(boxes, st.floats(-720, 720))
    def test_turning_keeps_the_area_and_the_first_corner(self, upright: Box, degrees: float) -> None:
        turned = rotated_corners(upright, degrees)
        assert turned[0] == (upright.x, upright.y)
        assert Polygon(turned).area == pytest.approx(upright.area, rel=1e-6, abs=1e-6)

    @given(boxes, st.floats(-360, 360))
    def test_turning_back_gives_the_box_back(self, upright: Box, degrees: float) -> None:
        angle = math.radians(-degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        turned = rotated_corners(upright, degrees)
        back = [
            (
                upright.x + (x - upright.x) * cos - (y - upright.y) * sin,
                upright.y + (x - upright.x) * sin + (y - upright.y) * cos,
            )
            for x, y in turned
        ]
        for (x, y), (x0, y0) in zip(back, rotated_corners(upright, 0), strict=True):
            assert (x, y) == (pytest.approx(x0, abs=1e-6), pytest.approx(y0, abs=1e-6))

    @given(boxes)
    def test_a_whole_turn_changes_nothing(self, upright: Box) -> None:
        for (x, y), (x0, y0) in zip(rotated_corners(upright, 360), rotated_corners(upright, 0), strict=True):
            assert (x, y) == (pytest.approx(x0, abs=1e-6), pytest.approx(y0, abs=1e-6))


class TestBounds:
    @given(corners)
    def test_no_point_lies_outside_and_each_side_touches_one(self, points: list[Point]) -> None:
        around = bounds(points)
        assert (around.x, around.y) == (min(x for x, _ in points), min(y for _, y in points))
        assert around.right == pytest.approx(max(x for x, _ in points))
        assert around.bottom == pytest.approx(max(y for _, y in points))

    def test_a_polygon_knows_its_own(self) -> None:
        triangle = Polygon(((1, 5), (4, 1), (7, 9)))
        assert triangle.bounds == Box(1, 1, 6, 8)
        assert triangle.area == 18


class TestClipBox:
    @given(boxes)
    def test_clipped_box_is_inside_and_never_larger(self, raw: Box) -> None:
        try:
            clipped = clip_box(raw, WIDTH, HEIGHT)
        except BadRegion:
            return
        assert clipped.x >= 0
        assert clipped.y >= 0
        assert clipped.right <= WIDTH + 1e-9
        assert clipped.bottom <= HEIGHT + 1e-9
        assert SMALLEST_AREA_PX <= clipped.area <= raw.area * (1 + 1e-9)

    @given(st.integers(0, 600), st.integers(0, 440), st.integers(2, 40), st.integers(2, 40))
    def test_a_box_inside_is_left_as_it_is(self, x: int, y: int, width: int, height: int) -> None:
        assert clip_box(Box(x, y, width, height), WIDTH, HEIGHT) == Box(x, y, width, height)

    @given(boxes)
    def test_it_is_refused_only_where_too_little_lies_inside(self, raw: Box) -> None:
        inside = max(0.0, min(raw.right, WIDTH) - max(raw.x, 0)) * max(0.0, min(raw.bottom, HEIGHT) - max(raw.y, 0))
        assume(abs(inside - SMALLEST_AREA_PX) > 1e-6)
        if inside > SMALLEST_AREA_PX:
            assert clip_box(raw, WIDTH, HEIGHT).area == pytest.approx(inside)
        else:
            with pytest.raises(BadRegion):
                clip_box(raw, WIDTH, HEIGHT)

    def test_it_keeps_the_part_inside(self) -> None:
        assert clip_box(Box(-10, 470, 30, 100), WIDTH, HEIGHT) == Box(0, 470, 20, 10)

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (Box(10, 10, 0, 20), "has no area"),
            (Box(10, 10, 20, -5), "has no area"),
            (Box(700, 10, 20, 20), "outside the image"),
            (Box(-30, 10, 30, 20), "outside the image"),
            (Box(10, 10, 1, 1), "less than 4 square pixels"),
            (Box(639, 10, 50, 2), "less than 4 square pixels"),
            *((Box(bad, 1, 9, 9), "not a number") for bad in nowhere),
            *((Box(1, 1, 9, bad), "not a number") for bad in nowhere),
        ],
    )
    def test_a_useless_box_gets_a_sentence_with_the_fix(self, raw: Box, why: str) -> None:
        with pytest.raises(BadRegion, match=rf"{why}.*draw it"):
            clip_box(raw, WIDTH, HEIGHT)


class TestClipPolygon:
    @given(corners)
    def test_clipped_polygon_is_simple_inside_and_never_larger(self, points: list[Point]) -> None:
        assume(
            split_rings(points) == [points]
        )  # the others are in test_ring_splitting.py: Shapely fills them otherwise
        try:
            parts = clip_polygon(points, WIDTH, HEIGHT)
        except BadRegion:
            return
        drawn = shapely.make_valid(ShapelyPolygon(points))
        for part in parts:
            assert len(part.points) >= 3
            assert part.points[0] != part.points[-1]
            assert ShapelyPolygon(part.points).is_valid
            assert part.area >= SMALLEST_AREA_PX * (1 - 1e-9)
            assert part.bounds.x >= -1e-9
            assert part.bounds.y >= -1e-9
            assert part.bounds.right <= WIDTH + 1e-9
            assert part.bounds.bottom <= HEIGHT + 1e-9
        assert sum(part.area for part in parts) <= drawn.area * (1 + 1e-6)
        assert covered(parts).difference(drawn.buffer(1e-6)).area == pytest.approx(0, abs=1e-6)

    @given(corners)
    def test_parts_do_not_overlap_and_the_largest_comes_first(self, points: list[Point]) -> None:
        try:
            parts = clip_polygon(points, WIDTH, HEIGHT)
        except BadRegion:
            return
        areas = [part.area for part in parts]
        assert areas == sorted(areas, reverse=True)
        assert covered(parts).area == pytest.approx(sum(areas))

    @given(corners)
    def test_only_specks_are_lost(self, points: list[Point]) -> None:
        """Whatever of the drawn area lies inside is in a part, but for pieces below the smallest."""
        assume(split_rings(points) == [points])
        drawn = shapely.make_valid(ShapelyPolygon(points))
        inside = drawn.intersection(shapely.box(0, 0, WIDTH, HEIGHT))
        try:
            kept = covered(clip_polygon(points, WIDTH, HEIGHT))
        except BadRegion:
            kept = ShapelyPolygon()
        lost = inside.difference(kept.buffer(1e-6))
        assert all(piece.area < SMALLEST_AREA_PX for piece in shapely.get_parts(lost))

    def test_a_polygon_inside_keeps_its_corners(self) -> None:
        drawn = [(10.0, 10.0), (50.0, 12.0), (30.0, 40.0)]
        (part,) = clip_polygon(drawn, WIDTH, HEIGHT)
        assert set(part.points) == set(drawn)

    def test_parts_outside_the_image_are_cut_off(self) -> None:
        (part,) = clip_polygon([(-10, -10), (20, -10), (20, 20), (-10, 20)], WIDTH, HEIGHT)
        assert part.bounds == Box(0, 0, 20, 20)
        assert part.area == 400

    def test_a_bow_tie_becomes_its_two_triangles(self) -> None:
        parts = clip_polygon([(0, 0), (20, 20), (20, 0), (0, 20)], WIDTH, HEIGHT)
        assert [part.area for part in parts] == [100, 100]

    def test_a_star_drawn_in_one_stroke_is_hollow_as_label_studio_fills_it(self) -> None:
        tips = [(100 + 50 * math.sin(2 * math.pi * i / 5), 100 - 50 * math.cos(2 * math.pi * i / 5)) for i in range(5)]
        parts = clip_polygon([tips[i] for i in (0, 2, 4, 1, 3)], WIDTH, HEIGHT)
        assert not covered(parts).contains(ShapelyPoint(100, 100))
        assert len(parts) == 5

    def test_a_hole_is_cut_out_not_filled(self) -> None:
        """Drawn in one stroke: round the frame, along a slit, round the hole the other way, and back."""
        frame_with_hole = [(0, 0), (90, 0), (90, 90), (0, 90), (0, 0), (30, 30), (30, 60), (60, 60), (60, 30), (30, 30)]
        parts = clip_polygon(frame_with_hole, WIDTH, HEIGHT)
        assert sum(part.area for part in parts) == pytest.approx(90 * 90 - 30 * 30)
        assert not covered(parts).contains(ShapelyPoint(45, 45))

    def test_a_comb_that_leaves_the_image_becomes_its_teeth(self) -> None:
        comb = [(0, -20), (60, -20), (60, 10), (50, 10), (50, -5), (40, -5), (40, 10), (30, 10), (30, -5), (0, -5)]
        parts = clip_polygon(comb, WIDTH, HEIGHT)
        assert [part.bounds for part in parts] == [Box(30, 0, 10, 10), Box(50, 0, 10, 10)]

    def test_corners_given_twice_count_once(self) -> None:
        square = [(1.0, 1.0), (1.0, 1.0), (9.0, 1.0), (9.0, 9.0), (9.0, 9.0), (1.0, 9.0), (1.0, 1.0)]
        (part,) = clip_polygon(square, WIDTH, HEIGHT)
        assert part.area == 64

    @pytest.mark.parametrize(
        ("points", "why"),
        [
            ([], "0 different corners; it needs at least 3"),
            ([(1, 1), (5, 5)], "2 different corners"),
            ([(1, 1), (5, 5), (1, 1), (5, 5)], "2 different corners"),
            ([(1, 1), (5, 5), (9, 9)], "on one line"),
            ([(700, 1), (800, 1), (800, 90)], "outside the image"),
            ([(1, -9), (90, -9), (50, 0)], "outside the image"),
            ([(1, 1), (2, 1), (2, 2)], "less than 4 square pixels"),
            *(([(1, 1), (50, 1), (bad, 90)], "not a number") for bad in nowhere),
            *(([(bad, bad), (50, 1), (9, 90)], "not a number") for bad in nowhere),
        ],
    )
    def test_a_useless_polygon_gets_a_sentence(self, points: list[Point], why: str) -> None:
        with pytest.raises(BadRegion, match=why):
            clip_polygon(points, WIDTH, HEIGHT)

    @pytest.mark.parametrize("far", [1e10, 1e100, 1e200, 1e308])
    def test_a_corner_absurdly_far_away_is_refused_before_areas_overflow(self, far: float) -> None:
        with pytest.raises(BadRegion, match="absurdly far from the image"):
            clip_polygon([(10, 10), (far, 10), (10, -far)], WIDTH, HEIGHT)

    def test_a_corner_merely_far_away_is_cut_off(self) -> None:
        (part,) = clip_polygon([(10, 10), (1e8, 10), (10, 1e8)], WIDTH, HEIGHT)
        assert part.bounds == Box(10, 10, WIDTH - 10, HEIGHT - 10)
