"""Outlines say exactly which pixels a mask has."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datagen.domain.geometry import Box
from datagen.synthesis.masks import outlines, tight_box


def without_holes(mask):
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    solid = mask.astype(np.uint8)
    cv2.drawContours(solid, contours, -1, 1, cv2.FILLED)
    return solid > 0


@settings(max_examples=200, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_rasterizing_the_outlines_gives_the_mask_back_but_for_its_holes(rasterized, mask):
    polygons = outlines(mask)
    assert all(shapely.Polygon(p.points).is_valid for p in polygons)
    assert np.array_equal(rasterized(polygons, mask.shape), without_holes(mask))


@pytest.mark.parametrize("radius", [1, 4, 15, 60])
def test_a_disc_needs_few_corners(radius):
    mask = np.zeros((2 * radius + 3, 2 * radius + 3), np.uint8)
    cv2.circle(mask, (radius + 1, radius + 1), radius, 1, -1)
    (polygon,) = outlines(mask > 0)
    assert len(polygon.points) <= 8 + 4 * radius


def test_the_largest_part_comes_first_and_the_offset_is_added():
    mask = np.zeros((10, 20), bool)
    mask[1, 1] = True
    mask[4:8, 10:18] = True
    big, small = outlines(mask, offset=(100, 200))
    assert big.bounds == Box(110, 204, 8, 4)
    assert small.bounds == Box(101, 201, 1, 1)


def test_the_box_is_tight():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 3:9] = True
    assert tight_box(mask) == Box(3, 2, 6, 3)
