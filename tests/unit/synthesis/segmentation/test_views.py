"""The windows in which a segmentation model sees the boxes of a picture."""

from __future__ import annotations

from datagen.domain.geometry import Box
from datagen.synthesis.segmentation.views import views


def test_large_boxes_are_segmented_in_the_whole_picture():
    (view,) = views([Box(10, 10, 300, 200), Box(500, 400, 80, 70)], 1000, 800)
    assert (view.slices, view.numbers) == ((slice(0, 800), slice(0, 1000)), [0, 1])


def test_small_box_is_segmented_in_a_window_of_its_own():
    whole, window = views([Box(10, 10, 300, 200), Box(3000, 2000, 40, 30)], 4000, 3000)
    assert (whole.numbers, window.numbers) == ([0], [1])
    assert window.right - window.left == window.bottom - window.top == 320
    assert (window.left + window.right) / 2 == 3020
    assert (window.top + window.bottom) / 2 == 2015


def test_window_at_a_corner_lies_in_the_picture():
    (window,) = views([Box(3980, -5, 40, 30)], 4000, 3000)
    assert (window.left, window.top, window.right, window.bottom) == (3680, 0, 4000, 320)


def test_neighbouring_small_boxes_share_a_window():
    (window,) = views([Box(1000 + 20 * n, 1000, 15, 15) for n in range(3)], 4000, 3000)
    assert window.numbers == [0, 1, 2]


def test_box_that_would_be_small_in_the_window_of_another_has_its_own():
    first, second = views([Box(1000, 1000, 200, 200), Box(1300, 1300, 40, 40)], 4000, 3000)
    assert (first.numbers, second.numbers) == ([0], [1])
    assert second.right - second.left == 320


def test_small_picture_is_never_enlarged_in_windows():
    (view,) = views([Box(10, 10, 5, 5)], 120, 100)
    assert view.slices == (slice(0, 100), slice(0, 120))
