"""An aligned clean photo among the backgrounds: found if there is one, and never otherwise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ConceptRegion
from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction.background_inpainting import Frame, clean_fill, inside
from datagen.synthesis.composite.extraction.exemplars import candidates, choose, cut_out
from datagen.synthesis.composite.extraction.matting import mattes
from datagen.synthesis.composite.extraction.reference_alignment import Templates


def board(seed, *, height=180, width=220):
    """A board of bright traces of its own layout on a dark ground, tones as float."""
    chance = np.random.default_rng(seed)
    tones = np.full((height, width), 70.0, np.float32)
    for _ in range(14):
        x, y = int(chance.integers(0, width)), int(chance.integers(0, height))
        size = (int(chance.integers(20, 90)), 6) if chance.random() < 0.5 else (6, int(chance.integers(20, 90)))
        cv2.rectangle(tones, (x, y), (x + size[0], y + size[1]), 170.0, -1)
    return cv2.GaussianBlur(tones, (0, 0), 0.8)


def photographed(tones, seed, *, shift=(0.0, 0.0), degrees=0.0, gain=1.0):
    """A photo of the board: moved, turned a little, at some exposure, with noise."""
    matrix = cv2.getRotationMatrix2D((110, 90), degrees, 1.0)
    matrix[:, 2] += shift
    moved = cv2.warpAffine(tones, matrix, tones.shape[::-1], borderMode=cv2.BORDER_REFLECT)
    noisy = gain * moved + np.random.default_rng(seed).normal(0, 2, tones.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.fixture
def stained(study):
    """A photo of board 0 with a faint, ragged stain across traces, its true mask and its box; and a shelf."""
    _, shelf = study()
    tones = board(0)
    mask = np.zeros(tones.shape, np.uint8)
    corners = np.array([[96, 70], [128, 64], [133, 84], [118, 80], [124, 104], [101, 98]])
    cv2.fillPoly(mask, [corners], 1)
    picture = photographed(tones - 10.0 * mask, 1)
    box = Box(92, 60, 46, 49)
    ref = shelf.add(picture, "photo")
    return ConceptImage(image=ref, regions=(ConceptRegion(label="stain", box=box),)), picture, mask > 0, shelf


def cut(stained, backgrounds):
    concept, picture, mask, shelf = stained
    refs = [shelf.add(background, f"background {n}") for n, background in enumerate(backgrounds)]
    (candidate,), _ = candidates(concept, picture, Templates(refs, shelf))
    (exemplar,), _ = choose([candidate], {})
    return candidate, exemplar, mask_iou(exemplar.mask, mask[exemplar.frame.slices])


def test_the_thing_is_what_differs_from_a_clean_photo_of_the_same_part(stained):
    """Moved, turned and brighter: still the same part, and the stain's outline is found across the traces."""
    clean = photographed(board(0), 2, shift=(3.4, -2.3), degrees=0.6, gain=1.06)
    others = [photographed(board(n), n) for n in range(3, 9)]
    without, _, _ = cut(stained, others)
    aligned, _, iou = cut(stained, [*others, clean])
    assert [without.clean.method == "template", aligned.clean.method == "template"] == [False, True]
    assert "template difference" in {matte.method for matte in aligned.ranked}
    assert iou > 0.9


def test_what_lies_under_the_thing_is_what_the_clean_photo_shows(stained):
    _, exemplar, _ = cut(stained, [photographed(board(0), 2, shift=(1.5, 0.8))])
    assert np.abs(exemplar.clean[:, :, 0] - board(0)[exemplar.frame.slices])[exemplar.mask].mean() < 3


def test_backgrounds_of_the_same_kind_are_no_clean_photos(stained):
    """Photos with equal grain and another layout are not used as references, so the mattes do not change."""
    concept, picture, _, _ = stained
    plain, _ = cut_out(concept, picture, {})
    _, exemplar, _ = cut(stained, [photographed(board(n), n) for n in range(3, 15)])
    assert np.array_equal(exemplar.mask, plain[0].mask)
    assert np.array_equal(exemplar.clean, plain[0].clean)


@pytest.mark.parametrize(
    "background",
    [
        np.full((180, 220), 90, np.uint8),
        np.zeros((178, 221), np.uint8),
        np.full((180, 220, 3), 90, np.uint8),
        np.random.default_rng(0).integers(0, 60000, (180, 220), np.uint16),
        np.full((40, 40), 90, np.uint8),
    ],
)
def test_flat_deep_coloured_and_small_backgrounds_are_passed_by(stained, background):
    exemplar, _, _ = cut(stained, [background])
    assert exemplar.clean.method != "template"


def test_a_flat_photo_has_no_template(study):
    _, shelf = study()
    flat = np.full((60, 80), 120, np.uint8)
    assert Templates([shelf.add(flat, "flat")], shelf).aligned(flat, [Box(10, 10, 8, 8)], "photo") is None


def test_a_clean_photo_in_colour_serves_a_grey_one(stained):
    clean = photographed(board(0), 2, shift=(2.0, 1.0))
    exemplar, _, iou = cut(stained, [np.repeat(clean[:, :, None], 3, axis=2)])
    assert exemplar.clean.method == "template"
    assert iou > 0.9


def test_a_large_photo_is_not_searched_for_long(study, monkeypatch):
    """Backgrounds beyond the budget of pixels are not decoded; those named like the photo come first."""
    _, shelf = study()
    monkeypatch.setattr("datagen.synthesis.composite.extraction.reference_alignment._DECODED_PX", 3 * 60 * 80)
    plates = {
        name: np.random.default_rng(n).integers(0, 255, (60, 80), np.uint8)
        for n, name in enumerate(["a", "b", "part7 clean", "c", "d", "e"])
    }
    refs = [shelf.add(picture, name) for name, picture in plates.items()]
    shelf.loads.clear()
    assert Templates(refs, shelf).aligned(board(1, height=60, width=80).astype(np.uint8), [], "part7") is None
    assert set(shelf.loads) == {"part7 clean", "a", "b"}


def test_a_faint_thing_across_traces_is_found_by_difference_alone():
    """Nine tones on traces of a hundred: only the known background under it shows the object."""
    tones = board(0)
    mask = np.zeros(tones.shape, np.uint8)
    cv2.circle(mask, (115, 84), 14, 1, -1)
    frame = Frame(left=80, top=50, right=150, bottom=120)
    box = Box(98, 67, 35, 35)
    picture = photographed(tones + 9.0 * mask, 1)
    clean = clean_fill(picture, box, frame, [box], photographed(tones, 2)[frame.slices][:, :, None].astype(np.float32))
    ranked = mattes(picture[frame.slices][:, :, None].astype(np.float32), clean, inside(box, frame))
    ious = {matte.method: mask_iou(matte.mask, mask[frame.slices] > 0) for matte in ranked}
    assert clean.method == "template"
    assert ious["template difference"] > 0.6
