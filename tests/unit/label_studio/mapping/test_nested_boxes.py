"""A loose and a tight box round one object count as one example."""

from __future__ import annotations

import pytest

from datagen.domain.geometry import Box
from datagen.label_studio.mapping.nested_boxes import looser_boxes
from datagen.label_studio.mapping.regions import concept_regions
from drawn import HEIGHT, WIDTH, box

LOOSE, TIGHT = Box(100, 100, 60, 60), Box(110, 110, 30, 30)


@pytest.mark.parametrize(
    ("boxes", "looser"),
    [
        ([("pit", LOOSE), ("pit", TIGHT)], {0: 1}),
        ([("pit", TIGHT), ("pit", LOOSE)], {1: 0}),
        ([("pit", TIGHT), ("pit", TIGHT)], {1: 0}),
        ([("pit", LOOSE), ("pit", Box(98, 110, 30, 30))], {0: 1}),  # 93 % of it inside
        ([("pit", LOOSE), ("pit", Box(105, 105, 40, 40)), ("pit", TIGHT)], {0: 2, 1: 2}),
        ([("pit", LOOSE), ("scratch", TIGHT)], {}),
        ([("pit", LOOSE), ("pit", Box(90, 110, 30, 30))], {}),  # two thirds of it inside
        ([("pit", Box(0, 0, 200, 200)), ("pit", TIGHT)], {}),  # 44 times larger
        ([("pit", LOOSE)], {}),
        ([], {}),
    ],
)
def test_box_that_holds_a_tighter_one_of_its_label_is_the_looser(
    boxes: list[tuple[str, Box]], looser: dict[int, int]
) -> None:
    assert looser_boxes(boxes) == looser


def test_two_boxes_round_one_object_are_one_example_and_a_sentence_says_so() -> None:
    drawn = [box(10, 10, 20, 20), box(12, 12, 10, 10), box(60, 60, 5, 5)]
    regions, problems = concept_regions(drawn, WIDTH, HEIGHT, ("dent", "scratch"))
    assert [round(region.box.x / WIDTH * 100) for region in regions] == [12, 60]
    assert problems == (
        "box 1 (“dent”): the same object has a tighter box inside it, box 2 (“dent”), which is used; delete one of the "
        "two.",
    )
