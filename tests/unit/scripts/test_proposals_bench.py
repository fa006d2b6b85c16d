"""Recall of proposed boxes at a number of false boxes a photo."""

from __future__ import annotations

import math

from benches.proposals import recall_at
from datagen.domain.geometry import Box

FIRST, SECOND, ELSEWHERE = Box(0, 0, 10, 10), Box(50, 50, 10, 10), Box(80, 0, 10, 10)


def test_all_boxes_found_is_a_recall_of_one():
    assert recall_at([([FIRST, SECOND], [(SECOND, 0.9), (FIRST, 0.8)])], 0.5) == 1.0


def test_box_that_overlaps_too_little_is_false():
    beside = Box(4, 0, 10, 10)  # IoU 0.43
    assert recall_at([([FIRST], [(beside, 0.9)])], 0.33) == 1.0
    assert recall_at([([FIRST], [(beside, 0.9)])], 0.5) == 0.0


def test_second_box_on_the_same_object_is_false():
    assert recall_at([([FIRST, SECOND], [(FIRST, 0.9), (FIRST, 0.8), (SECOND, 0.7)])], 0.5, false_boxes=0) == 0.5


def test_boxes_after_the_last_allowed_false_one_do_not_count():
    photos = [([FIRST], [(ELSEWHERE, 0.9), (SECOND, 0.8), (FIRST, 0.7)]), ([], [])]
    assert recall_at(photos, 0.5, false_boxes=1) == 1.0
    assert recall_at(photos, 0.5, false_boxes=0.5) == 0.0


def test_false_box_comes_before_a_right_one_with_the_same_score():
    assert recall_at([([FIRST], [(FIRST, 0.5), (ELSEWHERE, 0.5)])], 0.5, false_boxes=0) == 0.0


def test_recall_without_drawn_boxes_is_undefined():
    assert math.isnan(recall_at([([], [(FIRST, 0.9)])], 0.5))
