"""A painted mask is read within limits, and its outlines cover what was painted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import Point
from shapely.geometry import Polygon as ShapelyPolygon
from shapely.ops import unary_union

from brush_code import decode_rle, mask2rle
from datagen.errors import BadRegion
from datagen.label_studio.mapping import brush_masks
from datagen.label_studio.mapping.brush_masks import MAX_STROKES, decode, outlines


def rle_of(mask: np.ndarray) -> list[int]:
    return list(mask2rle(mask.astype(np.uint8) * 255))


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_mask_comes_back_as_it_was_painted(mask: np.ndarray) -> None:
    height, width = mask.shape
    if not mask.any():
        with pytest.raises(BadRegion, match="empty"):
            decode(rle_of(mask), width, height)
        return
    assert (decode(rle_of(mask), width, height) == mask).all()


def test_a_mask_that_claims_to_be_huge_is_refused_before_memory_is_taken() -> None:
    claim = list((2**32 - 1).to_bytes(4, "big"))
    with pytest.raises(BadRegion, match="not painted on this picture"):
        decode(claim + [255] * 100, 10, 10)


def test_a_mask_of_another_picture_is_refused() -> None:
    with pytest.raises(BadRegion, match="10 × 20"):
        decode(rle_of(np.ones((5, 5))), 10, 20)


@pytest.mark.parametrize("rle", [None, "text", [], [1, 2, 3], [256] * 9, [-1] * 9, [1.5] * 9, [True] * 9, [None] * 9])
def test_data_that_is_no_mask_is_refused(rle: object) -> None:
    with pytest.raises(BadRegion, match="cannot be read"):
        decode(rle, 10, 10)


@given(st.lists(st.integers(0, 255), max_size=60))
def test_a_damaged_mask_is_a_sentence_or_a_mask(tail: list[int]) -> None:
    try:
        mask = decode([*(4 * 6 * 5).to_bytes(4, "big"), *tail], 6, 5)
    except BadRegion:
        return
    assert mask.shape == (5, 6)


def test_each_stroke_has_its_own_outlines_and_a_hole_stays_a_hole() -> None:
    mask = np.zeros((40, 60), np.uint8)
    cv2.circle(mask, (15, 20), 12, 1, -1)
    cv2.circle(mask, (15, 20), 5, 0, -1)
    mask[5:15, 40:55] = 1
    ring, square = sorted(outlines(mask > 0), key=lambda parts: parts[0].bounds.x)
    assert not unary_union([ShapelyPolygon(part.points) for part in ring]).contains(Point(15.5, 20.5))
    assert sum(part.area for part in ring) == pytest.approx(mask[:, :35].sum(), rel=0.05)
    assert square[0].bounds.x == pytest.approx(40)
    assert square[0].area == pytest.approx(150, abs=1)


def test_specks_are_left_out() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2, 2] = True
    assert outlines(mask) == ()


def test_the_middle_of_every_painted_pixel_is_inside_the_outlines() -> None:
    rng = np.random.default_rng(7)
    noise = cv2.GaussianBlur(rng.random((50, 60)), (0, 0), 4)
    mask = noise > np.median(noise)
    shape = unary_union([ShapelyPolygon(part.points) for parts in outlines(mask) for part in parts])
    wrong = sum(shape.contains(Point(x + 0.5, y + 0.5)) != mask[y, x] for y in range(50) for x in range(60))
    assert wrong <= 0.01 * mask.size


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(0, 2**32 - 1))
def test_values_are_those_that_the_sdk_decodes(mask: np.ndarray, seed: int) -> None:
    soft = (mask * np.random.default_rng(seed).integers(128, 256, mask.shape)).astype(np.uint8)
    if not soft.any():
        return
    rle = list(mask2rle(soft))
    height, width = mask.shape
    expected = decode_rle(rle).reshape(height, width, 4)[:, :, 3] > 127
    np.testing.assert_array_equal(decode(rle, width, height), expected)


def dots(side: int, every: int) -> np.ndarray:
    """A mask with a square of 2 by 2 pixels at each crossing of a grid."""
    mask = np.zeros((side, side), bool)
    for down in (0, 1):
        for across in (0, 1):
            mask[1 + down :: every, 1 + across :: every] = True
    return mask


def test_ten_thousand_strokes_in_a_small_mask_are_refused() -> None:
    mask = dots(400, 4)
    assert len(rle_of(mask)) < 110_000
    with pytest.raises(BadRegion, match=f"has 10,000 separate strokes, at most {MAX_STROKES} are accepted"):
        outlines(decode(rle_of(mask), 400, 400))


def test_a_mask_of_dust_is_refused_before_its_outlines_are_traced() -> None:
    dust = np.random.default_rng(1).random((700, 700)) > 0.5
    with pytest.raises(BadRegion, match="pixels long, at most 200,000 are accepted; paint it coarser"):
        outlines(dust)


def test_very_many_holes_are_refused_and_pinholes_are_filled() -> None:
    with pytest.raises(BadRegion, match="has 10,000 holes, at most 200"):
        outlines(~dots(400, 4))
    pinholes = np.ones((300, 300), bool)
    pinholes[1:-1:3, 1:-1:3] = False
    ((part,),) = outlines(pinholes)
    assert part.area == pytest.approx(300 * 300, abs=1)


def test_strokes_round_one_another_are_traced_a_bounded_number_of_times() -> None:
    nested = np.zeros((1000, 1000), bool)
    for inset in range(0, 480, 8):
        nested[inset : 1000 - inset, inset : 1000 - inset] = (inset // 8) % 2 == 0
    assert len(outlines(nested[:80, :80])) > 0
    with pytest.raises(BadRegion, match="lie round one another"):
        outlines(nested)


def test_rings_are_put_together_without_the_corners_on_their_straight_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """With these, a mask of a few kilobytes with long teeth and many holes took a minute."""
    seen = []

    def counted(shape: Any, other: Any) -> Any:
        seen.append(shapely.get_num_coordinates(other))
        return shapely.symmetric_difference(shape, other)

    monkeypatch.setattr(brush_masks, "symmetric_difference", counted)
    mask = np.ones((300, 300), bool)
    mask[50:250, 50:250] = False
    (parts,) = outlines(mask)
    assert sum(part.area for part in parts) == pytest.approx(300 * 300 - 200 * 200, abs=5)
    assert seen == [9]
