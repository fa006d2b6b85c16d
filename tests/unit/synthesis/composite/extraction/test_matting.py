"""From a box to the object in it, on pictures whose true mask the test has drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction.exemplars import DOUBTFUL, candidates, choose, cut_out


def concept(picture, *boxes, outline=(), digest="d" * 64):
    ref = ImageRef(digest=digest, width=picture.shape[1], height=picture.shape[0], name="photo")
    return ConceptImage(image=ref, regions=tuple(ConceptRegion(label="x", box=b, outline=outline) for b in boxes))


def truth_in(exemplar, mask):
    return mask[exemplar.frame.slices]


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_a_disc_is_cut_out_of_its_box(plates, disc, kind):
    picture, mask = disc(plates(3, kind=kind), 90, 50, 9)
    (exemplar,), message = cut_out(concept(picture, Box(76, 36, 29, 29)), picture, {})
    assert mask_iou(exemplar.mask, truth_in(exemplar, mask)) > 0.85
    assert message == ()


def test_a_thin_line_on_streaks_is_cut_out_without_the_streaks():
    chance = np.random.default_rng(5)
    tones = np.repeat(chance.normal(130, 6, (120, 1)), 160, axis=1) + chance.normal(0, 2, (120, 160))
    mask = np.zeros((120, 160), np.uint8)
    cv2.line(mask, (60, 40), (95, 80), 1, 3)
    tones[mask > 0] -= 45
    picture = np.clip(tones, 0, 255).astype(np.uint8)
    (exemplar,), _ = cut_out(concept(picture, Box(56, 36, 44, 49)), picture, {})
    assert mask_iou(exemplar.mask, truth_in(exemplar, mask > 0)) > 0.5


def test_a_bite_into_an_edge_is_the_bite_and_not_the_edge():
    """Two levels: pixels that differ from the continued edge belong to the object."""
    picture = np.zeros((120, 120), np.uint8)
    picture[:, 60:] = 255
    mask = np.zeros_like(picture)
    mask[50:60, 60:70] = 1
    picture[mask > 0] = 0
    (exemplar,), _ = cut_out(concept(picture, Box(55, 45, 20, 20)), picture, {})
    assert mask_iou(exemplar.mask, truth_in(exemplar, mask > 0)) > 0.9


def test_a_ragged_bite_is_cut_out_to_the_pixel():
    """Smoothing methods removed the ragged edge of the bite, and filled the edge beside it with grey."""
    chance = np.random.default_rng(1)
    mask = np.zeros((120, 120), bool)
    for row in range(50, 62):
        mask[row, 60 : 64 + int(chance.integers(0, 9))] = True
    bright = np.zeros((120, 120), bool)
    bright[:, 60:] = True
    tones = np.where(bright & ~mask, 250, 6) + chance.normal(0, 2, mask.shape)
    picture = np.clip(tones, 0, 255).astype(np.uint8)
    (exemplar,), _ = cut_out(concept(picture, Box(58, 48, 16, 16)), picture, {})
    assert exemplar.method == "two-level"
    assert mask_iou(exemplar.mask, truth_in(exemplar, mask)) > 0.97


def test_a_soft_thing_is_labelled_out_to_its_box_and_fades():
    ys, xs = np.indices((120, 160))
    blob = 90 * np.exp(-((ys - 60) ** 2 + (xs - 80) ** 2) / (2 * 8.0**2))
    picture = np.clip(200 - blob + np.random.default_rng(0).normal(0, 1, blob.shape), 0, 255).astype(np.uint8)
    box = Box(62, 42, 37, 37)
    (exemplar,), _ = cut_out(concept(picture, box), picture, {})
    assert exemplar.method.endswith("to the box")
    assert exemplar.mask.sum() == pytest.approx(np.pi * (37 / 2) ** 2, rel=0.1)
    rim = exemplar.mask & ~cv2.erode(exemplar.mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert exemplar.opacity[rim].mean() < 0.5 < exemplar.opacity[exemplar.mask & ~rim].mean()


def test_a_ring_keeps_its_hole():
    chance = np.random.default_rng(2)
    mask = np.zeros((120, 160), np.uint8)
    cv2.circle(mask, (80, 60), 20, 1, 5)
    tones = 150 + chance.normal(0, 4, mask.shape) - 45 * mask
    picture = np.clip(tones, 0, 255).astype(np.uint8)
    (exemplar,), _ = cut_out(concept(picture, Box(54, 35, 53, 50)), picture, {})
    assert mask_iou(exemplar.mask, truth_in(exemplar, mask > 0)) > 0.8


def test_spots_with_bright_halos_are_not_labelled_out_to_their_boxes():
    """A halo is brighter than the background, unlike the spot, so it is not a soft edge of the spot."""
    extracted, masks = [], []
    ys, xs = np.indices((120, 160))
    for number in range(4):
        radius = np.hypot(ys - 60, xs - 80)
        mask = radius <= 9 + number
        halo = 22 * np.exp(-((np.maximum(radius - 9 - number, 0) / 6) ** 2))
        tones = np.where(mask, 90, 150 + halo) + np.random.default_rng(number).normal(0, 3, mask.shape)
        picture = np.clip(cv2.GaussianBlur(tones, (0, 0), 0.7), 0, 255).astype(np.uint8)
        extracted += candidates(concept(picture, Box(64, 44, 33, 33), digest=str(number) * 64), picture)[0]
        masks.append(mask)
    exemplars, _ = choose(extracted, {})
    assert not any(e.method.endswith("to the box") for e in exemplars)
    assert all(mask_iou(e.mask, truth_in(e, m)) > 0.85 for e, m in zip(exemplars, masks, strict=True))


def test_irregular_concepts_are_not_labelled_out_to_their_boxes():
    """The ellipse in the box is no label of an angular blot, however soft its edges."""
    extracted = []
    for number in range(4):
        chance = np.random.default_rng(number)
        mask = np.zeros((160, 200), np.uint8)
        corners = np.array([[70, 50], [130, 60], [96, 80], [128, 112], [82, 106]]) + chance.integers(-4, 5, (5, 2))
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
        tones = 180 - 90 * cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 3.5) + chance.normal(0, 1, mask.shape)
        picture = np.clip(tones, 0, 255).astype(np.uint8)
        (left, top), (right, bottom) = corners.min(axis=0) - 8, corners.max(axis=0) + 9
        box = Box(left, top, right - left, bottom - top)
        extracted += candidates(concept(picture, box, digest=str(number) * 64), picture)[0]
    assert not any(e.method.endswith("to the box") for e in choose(extracted, {})[0])


def test_a_clear_concept_is_not_in_doubt(plates, disc):
    picture, _ = disc(plates(3), 90, 50, 9)
    (exemplar,), warnings = cut_out(concept(picture, Box(76, 36, 29, 29)), picture, {})
    assert exemplar.doubt < DOUBTFUL / 2
    assert warnings == ()


def test_a_matte_that_other_methods_contradict_is_asked_about():
    chance = np.random.default_rng(0)
    tones = 130 + cv2.GaussianBlur(chance.normal(0, 60, (120, 160)), (0, 0), 2)
    picture = np.clip(tones, 0, 255).astype(np.uint8)
    extracted = candidates(concept(picture, Box(60, 40, 40, 40)), picture)[0]
    (exemplar,), warnings = choose(extracted, {})
    assert exemplar.doubt >= DOUBTFUL
    assert any("concept photo, box 1: more than one outline is possible" in line for line in warnings)


def cracked(seed):
    """A dark crack, bent once, on vertical streaks as strong as itself: picture, mask, box."""
    chance = np.random.default_rng(seed)
    tones = np.repeat(chance.normal(130, 9, (1, 160)), 120, axis=0) + chance.normal(0, 3, (120, 160))
    path = np.array([[50, 40 + 4 * seed], [75, 60], [105, 66 + 3 * seed]])
    mask = np.zeros((120, 160), np.uint8)
    cv2.polylines(mask, [path], False, 1, 2)
    tones[mask > 0] -= 32
    (left, top), (right, bottom) = path.min(axis=0) - 4, path.max(axis=0) + 5
    return np.clip(tones, 0, 255).astype(np.uint8), mask > 0, Box(left, top, right - left, bottom - top)


def test_cracks_are_not_labelled_out_to_their_boxes():
    """Pixels beside a line were counted as its soft edge, so whole boxes became masks of cracks."""
    extracted, masks = [], []
    for number in range(4):
        picture, mask, box = cracked(number)
        extracted += candidates(concept(picture, box, digest=str(number) * 64), picture)[0]
        masks.append(mask)
    exemplars, _ = choose(extracted, {})
    ious = [mask_iou(e.mask, truth_in(e, m)) for e, m in zip(exemplars, masks, strict=True)]
    assert not any(e.method.endswith("to the box") for e in exemplars)
    assert np.mean(ious) > 0.5


def test_a_drawn_outline_is_taken_pixel_for_pixel(plates):
    picture = plates(1)
    square = Polygon(((80, 40), (90, 40), (90, 52), (80, 52)))
    (exemplar,), _ = cut_out(concept(picture, Box(78, 38, 14, 16), outline=(square,)), picture, {})
    assert exemplar.method == "drawn"
    assert exemplar.mask.sum() == 120


def test_an_outline_beside_the_photo_is_said_and_the_box_used(plates, disc):
    picture, _ = disc(plates(3), 90, 50, 9)
    away = Polygon(((500, 500), (510, 500), (510, 510)))
    (exemplar,), message = cut_out(concept(picture, Box(76, 36, 29, 29), outline=(away,)), picture, {})
    assert exemplar.method != "drawn"
    assert "drawn outline covers no pixel" in message[0]


def test_the_next_best_matte_can_be_asked_for(plates, disc):
    picture, _ = disc(plates(3), 90, 50, 9)
    photo = concept(picture, Box(76, 36, 29, 29))
    (best,), _ = cut_out(photo, picture, {})
    (second,), _ = cut_out(photo, picture, {best.key: 1})
    (beyond,), _ = cut_out(photo, picture, {best.key: 99})
    assert second.method != best.method
    assert beyond.mask.any()


def test_concepts_that_disagree_with_all_others_lose_their_first_choice(plates, disc):
    """Four discs filling half their boxes, and agreement must not make any of them worse."""
    extracted, masks = [], []
    for number in range(4):
        picture, mask = disc(plates(number), 90, 50, 9)
        extracted += candidates(concept(picture, Box(76, 36, 29, 29)), picture)[0]
        masks.append(mask)
    exemplars, _ = choose(extracted, {})
    assert all(mask_iou(e.mask, truth_in(e, m)) > 0.85 for e, m in zip(exemplars, masks, strict=True))


def test_it_is_deterministic(plates, disc):
    """GrabCut draws from a generator of its own."""
    picture, _ = disc(plates(3), 90, 50, 9)
    photo = concept(picture, Box(76, 36, 29, 29))
    (first,), _ = cut_out(photo, picture, {})
    cv2.setRNGSeed(12345)
    (again,), _ = cut_out(photo, picture, {})
    assert np.array_equal(first.mask, again.mask)
    assert np.array_equal(first.clean, again.clean)
