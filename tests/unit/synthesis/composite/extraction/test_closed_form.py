"""Closed-form matting: from a core to the end of the concept's tones."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction import closed_form as closed_form_module
from datagen.synthesis.composite.extraction.closed_form import closed_form


def blob(tones: tuple[int, ...], size: int = 90):
    """A shaded blob on a bright slope: its tones [h, w, c], true mask and box."""
    chance = np.random.default_rng(3)
    mask = np.zeros((size, size), np.uint8)
    cv2.ellipse(mask, (size // 2, size // 2), (size // 4, size // 6), 25, 0, 360, 1, -1)
    slope = np.linspace(150, 210, size)[:, None, None] + chance.normal(0, 3, (size, size, len(tones)))
    shaded = np.array(tones) + np.linspace(-25, 25, size)[None, :, None] + chance.normal(0, 3, slope.shape)
    picture = np.where(mask[:, :, None] > 0, shaded, slope).astype(np.float32)
    hole = np.zeros(mask.shape, bool)
    hole[size // 5 : -(size // 5), size // 5 : -(size // 5)] = True
    return picture, mask > 0, hole


def core(mask):
    return cv2.erode(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0


def test_the_whole_of_a_shaded_blob_is_found_from_its_core():
    for tones in ((80,), (120, 70, 40)):
        picture, mask, hole = blob(tones)
        matte = closed_form(picture, hole, core(mask))
        assert mask_iou(core(mask), mask) < 0.4
        assert mask_iou(matte, mask) > 0.9


def test_a_window_larger_than_is_solved_gives_a_mask_of_its_own_size():
    picture, mask, hole = blob((80,), size=300)
    matte = closed_form(picture, hole, core(mask))
    assert matte.shape == mask.shape
    assert mask_iou(matte, mask) > 0.9


def test_the_equations_are_the_sum_of_those_of_all_windows():
    tones = np.random.default_rng(8).random((6, 7, 3))
    expected = np.zeros((42, 42))
    numbers = np.lib.stride_tricks.sliding_window_view(np.arange(42).reshape(6, 7), (3, 3)).reshape(-1, 9)
    for window in numbers:
        centred = tones.reshape(-1, 3)[window] - tones.reshape(-1, 3)[window].mean(axis=0)
        inverse = np.linalg.inv(centred.T @ centred / 9 + closed_form_module._EPSILON / 9 * np.eye(3))
        expected[np.ix_(window, window)] += np.eye(9) - (1 + centred @ inverse @ centred.T) / 9
    equations = np.zeros((42, 42))
    for entry, values in enumerate(closed_form_module._laplacian(tones)):
        y, x = divmod(entry, 5)
        for row, column in np.argwhere(values):
            equations[7 * row + column, 7 * (row + y - 2) + column + x - 2] = values[row, column]
    assert np.allclose(equations, expected)


def test_nothing_outside_the_box_is_found():
    picture, mask, hole = blob((80,))
    hole[:, mask.shape[1] // 2 :] = False
    matte = closed_form(picture, hole, core(mask))
    assert matte.any()
    assert not (matte & ~hole).any()


def test_without_a_core_or_surroundings_there_is_no_matte():
    picture, mask, hole = blob((80,))
    assert closed_form(picture, hole, np.zeros_like(mask)) is None
    assert closed_form(picture, np.ones_like(hole), core(mask)) is None
