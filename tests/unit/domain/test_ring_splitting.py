"""A line through several parts and holes is split into them again."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.domain.geometry import Polygon, clip_polygon
from datagen.domain.outline_joining import joined
from datagen.domain.ring_splitting import split_rings
from datagen.synthesis.masks import rasterize

SQUARE = ((0.0, 0.0), (40.0, 0.0), (40.0, 40.0), (0.0, 40.0))


def moved(x: float, y: float, scale: float = 1.0) -> Polygon:
    return Polygon(tuple((x + scale * px, y + scale * py) for px, py in SQUARE))


def test_line_without_a_double_segment_stays_as_it_is() -> None:
    assert split_rings(SQUARE) == [list(SQUARE)]


def test_closing_corner_is_no_part() -> None:
    assert split_rings([*SQUARE, SQUARE[0]]) == [list(SQUARE)]


def test_joined_outlines_are_split_into_their_corners() -> None:
    outlines = [moved(0, 0), moved(60, 60), moved(10, 10, 0.5), moved(0, 60), moved(15, 15, 0.1)]
    rings = split_rings(joined(outlines))
    assert {frozenset(ring) for ring in rings} == {frozenset(outline.points) for outline in outlines}


def test_spike_is_dropped() -> None:
    assert split_rings([(0, 0), (9, 9), (0, 0), (5, 0), (5, 5)]) == [[(0, 0), (5, 0), (5, 5)]]


@pytest.mark.parametrize("seed", range(8))
def test_parts_whose_joints_cross_others_are_read_as_they_were(seed: int) -> None:
    """Shapely alone fills what the joints enclose together with the parts that they cross."""
    chance = np.random.default_rng(seed)
    cells = chance.permutation(16)[:7]
    outlines = [moved(50 * (cell % 4) + 2, 50 * (cell // 4) + 2, chance.uniform(0.3, 1)) for cell in cells]
    line = joined(outlines)
    expected = rasterize(np.array(line), (200, 200))
    covered = np.zeros((200, 200), bool)
    for part in clip_polygon(line, 200, 200):
        covered |= rasterize(np.array(part.points), (200, 200))
    np.testing.assert_array_equal(covered, expected)
