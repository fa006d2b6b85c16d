"""Reading inputs from tasks: the newest annotation, the picture's given name, from any project."""

from __future__ import annotations

from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.region_conversion import convert
from datagen.label_studio.mapping.region_limits import Allowance
from datagen.label_studio.mapping.regions import concept_regions
from datagen.label_studio.mapping.task_inputs import image_of
from drawn import box, choice, polygon


@pytest.mark.parametrize(
    ("data", "image"),
    [
        ({"image": " /a.png "}, "/a.png"),
        ({"photo": "https://host/a.png", "batch": "b"}, "https://host/a.png"),
        ({"left": "/data/a.png", "right": "/data/b.png"}, ""),
        ({"image": 7}, ""),
        ({"text": "hello"}, ""),
        ({}, ""),
    ],
)
def test_the_image_is_found_in_the_data_of_any_project(data: dict[str, Any], image: str) -> None:
    assert image_of(Task(id=1, data=data)) == image


def test_regions_drawn_in_other_projects_are_read() -> None:
    elsewhere = (
        {**box(10, 10, 20, 20), "from_name": "bbox", "to_name": "img"},
        {**polygon((60, 60), (70, 60), (70, 80)), "from_name": "poly"},
        choice("quality", "high"),
        {"type": ["junk"]},
    )
    regions, problems = concept_regions(
        convert(elsewhere, ProjectKind.CONCEPTS, 200, 100, Allowance()).results[:1], 200, 100, ["dent"]
    )
    assert (len(regions), problems) == (1, ())
    converted = convert(elsewhere[:3], ProjectKind.CANVASES, 200, 100, Allowance())
    assert [region["from_name"] for region in converted.results] == ["canvas", "canvas"]
    assert convert(elsewhere[:3], ProjectKind.BACKGROUNDS, 200, 100, Allowance()).results == ()
