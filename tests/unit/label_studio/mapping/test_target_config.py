"""The control of a foreign project that takes a study's labels."""

from __future__ import annotations

import pytest

from datagen.errors import InputProblem
from datagen.label_studio.mapping.target_config import TargetControl, target_control

IMAGE = '<Image name="photo" value="$picture"/>'
POLYGONS = '<PolygonLabels name="shape" toName="photo"><Label value="pit"/><Label value="dent"/></PolygonLabels>'
BRUSH = '<BrushLabels name="mask" toName="photo"><Label value="pit"/></BrushLabels>'
BOXES = '<RectangleLabels name="box" toName="photo"><Label value="pit"/><Label value="hole"/></RectangleLabels>'


def control_of(*parts: str, labels: tuple[str, ...] = ("pit",)) -> TargetControl:
    return target_control(f"<View>{''.join(parts)}</View>", labels, "project 7")


def test_control_with_the_names_of_the_project() -> None:
    assert control_of(IMAGE, POLYGONS) == TargetControl(
        tag="PolygonLabels", name="shape", image="photo", data_key="picture"
    )


def test_polygons_are_preferred_to_masks_and_masks_to_boxes() -> None:
    assert control_of(IMAGE, BOXES, BRUSH, POLYGONS).tag == "PolygonLabels"
    assert control_of(IMAGE, BOXES, BRUSH).tag == "BrushLabels"


def test_control_without_a_label_is_passed_over() -> None:
    assert control_of(IMAGE, BOXES, POLYGONS, labels=("pit", "hole")).name == "box"


def test_missing_labels_are_named() -> None:
    with pytest.raises(
        InputProblem, match=r"“shape” of project 7 lacks 2 labels of the study: hole, rust; add them to"
    ):
        control_of(IMAGE, POLYGONS, labels=("pit", "hole", "rust"))


@pytest.mark.parametrize("parts", [(), (IMAGE,), (POLYGONS,), (IMAGE, '<Choices name="c" toName="photo"/>')])
def test_config_without_a_control_for_shapes_is_a_sentence(parts: tuple[str, ...]) -> None:
    with pytest.raises(InputProblem, match="project 7 has no PolygonLabels, BrushLabels or RectangleLabels for an im"):
        control_of(*parts)


def test_config_that_is_no_xml_is_a_sentence() -> None:
    with pytest.raises(InputProblem, match="the labeling interface of project 7 cannot be read"):
        target_control("<View", ("pit",), "project 7")
