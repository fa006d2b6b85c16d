"""Conditions on what is exported: each chooses the images that it names, and says so where it leaves none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Instance, Sample
from datagen.domain.verdict import Opinion
from datagen.errors import InputProblem
from datagen.export.selection import Judged, Place, Selection, Size, chosen, judged, place_of

#: Label, left, top, width and height of each instance, in images of 90 by 60 pixels.
IMAGES: dict[str, list[tuple[str, int, int, int, int]]] = {
    "small scratch, top left": [("scratch", 2, 2, 6, 4)],
    "large dent, centre": [("dent", 30, 20, 30, 20)],
    "scratch and dent": [("scratch", 70, 2, 10, 4), ("dent", 70, 40, 12, 12)],
    "nothing": [],
}


@pytest.fixture
def drawn(sample: Sample) -> list[Sample]:
    def instance(label: str, x: int, y: int, width: int, height: int) -> Instance:
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        return Instance(label=label, box=Box(x, y, width, height), outlines=(Polygon(corners),))

    return [
        replace(
            sample,
            image=replace(sample.image, width=90, height=60, name=name),
            instances=tuple(instance(*values) for values in instances),
        )
        for name, instances in IMAGES.items()
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), set(IMAGES)),
        (Selection(labels=("scratch",)), {"small scratch, top left"}),
        (Selection(labels=("scratch", "dent")), set(IMAGES) - {"nothing"}),
        (Selection(min_size=Size(10)), {"large dent, centre", "scratch and dent"}),
        (Selection(max_size=Size(12)), {"small scratch, top left", "scratch and dent"}),
        (Selection(min_size=Size(5, is_share=True)), {"large dent, centre"}),
        (Selection(max_size=Size(0.5, is_share=True)), {"small scratch, top left"}),
        (Selection(places=(Place.CENTRE, Place.TOP_LEFT)), {"small scratch, top left", "large dent, centre"}),
        (Selection(places=(Place.TOP_RIGHT, Place.BOTTOM_RIGHT)), {"scratch and dent"}),
        (Selection(min_instances=1, max_instances=1), {"small scratch, top left", "large dent, centre"}),
        (Selection(max_instances=0), {"nothing"}),
        (Selection(labels=("dent",), min_size=Size(20), places=(Place.CENTRE,)), {"large dent, centre"}),
    ],
)
def test_images_whose_objects_all_meet_the_conditions_are_chosen(
    drawn: list[Sample], selection: Selection, expected: set[str]
) -> None:
    assert {sample.image.name for sample in chosen(drawn, selection)} == expected


def test_verdicts_choose_images(drawn: list[Sample]) -> None:
    verdicts = {"small scratch, top left": Judged.GOOD, "large dent, centre": Judged.BAD}

    def judgement(sample: Sample) -> Judged:
        return verdicts.get(sample.image.name, Judged.UNJUDGED)

    def names(*verdicts: Judged) -> set[str]:
        return {sample.image.name for sample in chosen(drawn, Selection(verdicts=verdicts), judgement)}

    assert names(Judged.GOOD) == {"small scratch, top left"}
    assert names(Judged.GOOD, Judged.UNJUDGED) == set(IMAGES) - {"large dent, centre"}


def test_one_bad_verdict_of_several_is_enough() -> None:
    assert judged([Opinion.GOOD, Opinion.BAD]) is Judged.BAD
    assert judged([Opinion.GOOD, Opinion.GOOD]) is Judged.GOOD
    assert judged([]) is Judged.UNJUDGED


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (
            Selection(labels=("scratch",), min_size=Size(10)),
            "the selection leaves no image: of 4 images, 1 has only objects of scratch, none of these has only objects "
            "of 10 px or more; change --min-size or leave it out",
        ),
        (
            Selection(min_instances=3),
            "the selection leaves no image: of 4 images, none has 3 objects or more; "
            "change --min-instances or leave it out",
        ),
        (Selection(verdicts=(Judged.GOOD,)), "of 4 images, none has the verdict good; change --verdict"),
    ],
)
def test_selection_that_leaves_nothing_names_the_condition(
    drawn: list[Sample], selection: Selection, sentence: str
) -> None:
    with pytest.raises(InputProblem) as refusal:
        list(chosen(drawn, selection))
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(("text", "size"), [("24px", Size(24)), ("24 PX", Size(24)), ("0.5%", Size(0.5, True))])
def test_size_is_read(text: str, size: Size) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["24", "px", "-3px", "1e9px", "120%", "", "٣px"])
def test_size_without_a_unit_or_number_is_refused(text: str) -> None:
    with pytest.raises(InputProblem, match="is no size: give the longer side of the box in pixels, for example 24px"):
        Size.parse(text)


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        ({"min_size": Size(9), "max_size": Size(3)}, "no object is at least 9 px and at most 3 px"),
        ({"min_instances": 2, "max_instances": 1}, "no image has at least 2 and at most 1 objects"),
    ],
)
def test_bounds_in_the_wrong_order_are_refused(bounds: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputProblem, match=sentence):
        Selection(**bounds)


def test_unknown_label_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputProblem, match="the study has no label 'pit'; there are: scratch, dent"):
        Selection(labels=("pit",)).check(("scratch", "dent"))


@pytest.mark.parametrize(
    ("place", "box"),
    [
        (Place.TOP_LEFT, Box(0, 0, 1, 1)),
        (Place.TOP, Box(44, 0, 2, 2)),
        (Place.RIGHT, Box(60, 25, 2, 2)),
        (Place.BOTTOM_RIGHT, Box(0, 0, 180, 120)),
        (Place.CENTRE, Box(0, 0, 90, 60)),
    ],
)
def test_place_is_the_ninth_of_the_centre(place: Place, box: Box) -> None:
    assert place_of(box, 90, 60) is place


def test_selection_is_described_in_an_export(drawn: list[Sample], export_to: Callable[..., Any]) -> None:
    words = Selection(runs=(2,), labels=("dent",), min_size=Size(1, is_share=True)).to_json()
    assert words == {
        "run": [2],
        "label": "only objects of dent",
        "min-size": "only objects of 1 % of the image or more",
    }
