"""Label configs contain any label names, and Label Studio's own checker accepts them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from datagen.domain.decision import ACTIONS
from datagen.domain.inputs import ProjectKind
from datagen.domain.verdict import Reason
from datagen.errors import InputProblem
from datagen.label_studio.projects.label_configs import colour, render, same

CONTROLS = {
    ProjectKind.CONCEPTS: {"concept": "RectangleLabels", "outline": "PolygonLabels", "brush": "BrushLabels"},
    ProjectKind.CANVASES: {"canvas": "PolygonLabels"},
    ProjectKind.BACKGROUNDS: {"use": "Choices"},
    ProjectKind.PREVIEWS: {
        "label": "PolygonLabels",
        "verdict": "Choices",
        "reasons": "Choices",
        "comment": "TextArea",
        "status": "Choices",
    },
    ProjectKind.DECISIONS: {
        "action": "Choices",
        "audit_count": "Number",
        "count": "Number",
        "name": "TextArea",
        "note": "TextArea",
        "confirm": "Choices",
    },
    ProjectKind.DATASET: {"label": "PolygonLabels"},
}


def values(config: str, control: str) -> list[str | None]:
    element = ET.fromstring(config).find(f".//*[@name='{control}']")
    assert element is not None
    return [child.get("value") for child in element]


@pytest.mark.parametrize("kind", ProjectKind)
@pytest.mark.parametrize("labels", [["scratch"], ["scratch", "dent"], ['<b>&"x"', "$image", "{label}", "ü 中", "a'b"]])
def test_the_sdk_accepts_every_config(kind: ProjectKind, labels: list[str]) -> None:
    interface = LabelInterface(render(kind, labels))
    interface.validate()
    assert {control.name: control.tag for control in interface.controls} == CONTROLS[kind]


@pytest.mark.parametrize(
    ("kind", "control"),
    [
        (ProjectKind.CONCEPTS, "concept"),
        (ProjectKind.CONCEPTS, "outline"),
        (ProjectKind.CONCEPTS, "brush"),
        (ProjectKind.PREVIEWS, "label"),
        (ProjectKind.DATASET, "label"),
    ],
)
def test_labels_are_the_studys_in_their_order(kind: ProjectKind, control: str) -> None:
    labels = ["dent", '<View name="x"/>', "a & b"]
    assert values(render(kind, labels), control) == labels


def test_a_canvas_of_one_concept_has_one_label_and_of_several_one_more_for_each() -> None:
    assert values(render(ProjectKind.CANVASES, ["dent"]), "canvas") == ["area"]
    assert values(render(ProjectKind.CANVASES, ["dent", "rust"]), "canvas") == ["area", "dent", "rust"]
    assert values(render(ProjectKind.CANVASES, ["area", "rust"]), "canvas") == ["area", "rust"]


def test_choices_are_the_domains() -> None:
    assert values(render(ProjectKind.PREVIEWS, ["dent"]), "reasons") == [str(reason) for reason in Reason]
    assert values(render(ProjectKind.DECISIONS, ["dent"]), "action") == [str(action) for action in ACTIONS]


def test_good_and_bad_have_hotkeys() -> None:
    verdict = ET.fromstring(render(ProjectKind.PREVIEWS, ["dent"])).find(".//*[@name='verdict']")
    assert verdict is not None
    assert [(choice.get("value"), choice.get("hotkey")) for choice in verdict] == [("good", "g"), ("bad", "b")]


def test_the_colours_of_twenty_labels_differ() -> None:
    assert len({colour(number) for number in range(20)}) == 20


@pytest.mark.parametrize("labels", [[], [""], ["  "], ["a\nb"], ["a\x00b"], ["a\x1fb"], ["a\ud800b"]])
def test_a_label_that_xml_cannot_carry_is_a_sentence(labels: list[str]) -> None:
    with pytest.raises(InputProblem, match="label"):
        render(ProjectKind.CONCEPTS, labels)


@given(
    st.lists(
        st.text(min_size=1, max_size=12).filter(lambda label: label.strip() and label.isprintable()),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_printable_label_survives_the_config(labels: list[str]) -> None:
    assert values(render(ProjectKind.CONCEPTS, labels), "concept") == labels


def test_blanks_and_the_order_of_attributes_make_no_other_config() -> None:
    assert same('<View><Image name="a" value="$b"/></View>', '<View>\n <Image value="$b" name="a" />\n</View>')
    assert not same('<View><Image name="a" value="$b"/></View>', '<View><Image name="a" value="$c"/></View>')
    assert not same("<View/>", "not XML")
