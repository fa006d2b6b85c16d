"""Inputs: missing ones are reported by role, in sentences that name the fix."""

from __future__ import annotations

import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import (
    CanvasArea,
    CanvasImage,
    ConceptImage,
    ConceptRegion,
    ImageRef,
    Inputs,
    Problem,
    ProjectKind,
    Role,
)


def ref(number: int) -> ImageRef:
    return ImageRef(digest=f"{number:064x}", width=10, height=10, name=f"{number}.png")


def given(concepts: int = 6, canvases: int = 6, backgrounds: int = 50) -> Inputs:
    region = ConceptRegion(label="scratch", box=Box(1, 1, 5, 5))
    area = CanvasArea(polygon=Polygon(((0, 0), (9, 0), (9, 9))))
    return Inputs(
        concepts=tuple(ConceptImage(image=ref(i), regions=(region,)) for i in range(concepts)),
        canvases=tuple(CanvasImage(image=ref(i), areas=(area,)) for i in range(canvases)),
        backgrounds=tuple(ref(i) for i in range(backgrounds)),
    )


def test_six_of_each_are_enough() -> None:
    assert given(6, 6, 6).missing() == ()


def test_every_role_counts_its_own() -> None:
    inputs = given(1, 2, 3)
    assert [inputs.count(role) for role in Role] == [1, 2, 3]


def test_nothing_given_names_all_three() -> None:
    assert Inputs().missing() == (
        "6 more concept images with a box round the concept (there are 0, at least 6 needed)",
        "6 more canvas images with a polygon where it may appear (there are 0, at least 6 needed)",
        "6 more background images without the concept (there are 0, at least 6 needed)",
    )


@pytest.mark.parametrize(
    ("have", "sentence"),
    [
        (5, "1 more background image without the concept (there are 5, at least 6 needed)"),
        (4, "2 more background images without the concept (there are 4, at least 6 needed)"),
        (1, "5 more background images without the concept (there is 1, at least 6 needed)"),
    ],
)
def test_one_image_is_spoken_of_in_the_singular(have: int, sentence: str) -> None:
    assert given(backgrounds=have).missing() == (sentence,)


@pytest.mark.parametrize("have", [50, 51, 1000])
def test_fifty_backgrounds_need_no_advice(have: int) -> None:
    assert given(backgrounds=have).advice() == ()


@pytest.mark.parametrize("have", [6, 49])
def test_fewer_than_fifty_backgrounds_are_advised_against_not_refused(have: int) -> None:
    inputs = given(backgrounds=have)
    assert inputs.missing() == ()
    assert inputs.advice() == (f"{have} backgrounds will do; 50 are recommended, for variety.",)


def test_what_is_missing_is_not_also_advised() -> None:
    assert given(backgrounds=5).advice() == ()


def test_a_problem_names_the_item_as_its_giver_knows_it() -> None:
    problem = Problem(role=Role.CANVAS, item="task 12 (plate 7.jpg)", reason="the polygon has 2 different corners")
    assert str(problem) == "canvas task 12 (plate 7.jpg): the polygon has 2 different corners"


def test_input_projects_have_a_role_and_the_others_have_none() -> None:
    assert {kind: kind.role for kind in ProjectKind} == {
        ProjectKind.CONCEPTS: Role.CONCEPT,
        ProjectKind.CANVASES: Role.CANVAS,
        ProjectKind.BACKGROUNDS: Role.BACKGROUND,
        ProjectKind.PREVIEWS: None,
        ProjectKind.DECISIONS: None,
        ProjectKind.DATASET: None,
    }
