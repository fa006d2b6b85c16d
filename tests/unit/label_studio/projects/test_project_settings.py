"""Settings of projects that an earlier version wrote are brought up to date; what a person changed is left."""

from __future__ import annotations

from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.models import View
from datagen.label_studio.projects import former_settings, project_settings
from datagen.label_studio.projects.label_configs import render
from datagen.label_studio.projects.project_settings import digest, outdated, tab_digest
from datagen.label_studio.projects.project_templates import MUST_BE, TEMPLATES, Tab, description, preview_tabs

LABELS = ["scratch"]
#: The instructions and the tab of a project Dataset that a former version provisioned.
FORMER_TEXT = "<h3>Dataset: before</h3>"
FORMER_TAB = Tab(title="List", grid=False).data()


def options_of(kind: ProjectKind, **changed: Any) -> dict[str, Any]:
    texts = {"expert_instruction": TEMPLATES[kind].instruction, "description": description(kind)}
    return {**MUST_BE, **texts, "label_config": render(kind, LABELS), **changed}


def views_of(*tabs: dict[str, Any]) -> list[View]:
    return [View.from_json({"id": number, "data": data}) for number, data in enumerate(tabs, 1)]


@pytest.mark.parametrize("kind", list(ProjectKind))
def test_every_text_and_tab_is_among_those_that_provisioning_recognizes(kind: ProjectKind) -> None:
    """Fails after a change of a text or tab: add its digest to ``former_settings``, and keep the old one."""
    texts = (TEMPLATES[kind].instruction, description(kind))
    assert {digest(text) for text in texts} <= former_settings.TEXTS
    assert {tab_digest(tab.data()) for tab in TEMPLATES[kind].tabs} <= former_settings.TABS


def test_instructions_of_canvases_say_that_an_area_is_proposed() -> None:
    text = TEMPLATES[ProjectKind.CANVASES].instruction
    assert "From the second picture on an area is proposed: correct it or delete it" in text


@pytest.mark.parametrize("kind", list(ProjectKind))
def test_a_project_of_this_version_is_not_outdated(kind: ProjectKind) -> None:
    tabs = preview_tabs(7) if kind is ProjectKind.PREVIEWS else TEMPLATES[kind].tabs
    differences = outdated(kind, "a study", LABELS, options_of(kind), views_of(*(tab.data() for tab in tabs)))
    assert (differences.in_words(), list(differences.changed_by_people)) == ("", [])


def test_texts_and_tabs_of_an_earlier_version_are_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_settings, "TEXTS", {digest(FORMER_TEXT)})
    monkeypatch.setattr(former_settings, "TABS", {tab_digest(FORMER_TAB)})
    kind = ProjectKind.DATASET
    options = options_of(kind, expert_instruction=FORMER_TEXT, description="Dataset of the study a study")
    differences = outdated(kind, "a study", LABELS, options, views_of(TEMPLATES[kind].tabs[0].data(), FORMER_TAB))
    assert differences.options == {"expert_instruction": TEMPLATES[kind].instruction, "description": description(kind)}
    assert differences.tabs == {2: TEMPLATES[kind].tabs[1].data()}
    assert differences.in_words() == "description, instructions, tab “List”"
    assert differences.changed_by_people == []


def test_what_a_person_changed_is_named_and_left() -> None:
    kind = ProjectKind.DATASET
    own_tab = Tab(title="Mine", ordering="-tasks:id").data()
    sorted_anew = {**TEMPLATES[kind].tabs[0].data(), "ordering": ["-tasks:id"]}
    differences = outdated(kind, "s", LABELS, options_of(kind, description="ours"), views_of(sorted_anew, own_tab))
    assert (differences.options, differences.tabs) == ({}, {})
    assert differences.changed_by_people == ["description", "tab “All”"]


def test_a_tab_of_previews_is_brought_up_to_date_for_the_round_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    former = {**preview_tabs(3)[0].data(), "ordering": ["tasks:inner_id"]}
    monkeypatch.setattr(former_settings, "TABS", {tab_digest(former)})
    differences = outdated(ProjectKind.PREVIEWS, "s", LABELS, options_of(ProjectKind.PREVIEWS), views_of(former))
    assert differences.tabs == {1: preview_tabs(3)[0].data()}


def test_dataset_with_images_of_an_earlier_version_keeps_its_control_for_boxes() -> None:
    kind = ProjectKind.DATASET
    control = '<RectangleLabels name="box" toName="image"><Label value="scratch"/></RectangleLabels>'
    boxes = f'<Header value="Boxes" size="5"/>{control}'
    former = render(kind, LABELS).replace('<Header value="Outlines"', f'{boxes}<Header value="Outlines"')
    for count, changed in ((0, {"label_config": render(kind, LABELS)}), (1, {})):
        options = options_of(kind, label_config=former, task_number=count)
        assert outdated(kind, "s", LABELS, options, []).options == changed
    broken = options_of(kind, label_config=former.replace("PolygonLabels", "Labels"), task_number=1)
    assert outdated(kind, "s", LABELS, broken, []).options == {"label_config": render(kind, LABELS)}


def test_every_option_has_words() -> None:
    differences = outdated(ProjectKind.CONCEPTS, "s", LABELS, {"description": "Concepts of the study s"}, [])
    assert differences.in_words() == "description, display of labels, form"
    assert project_settings.tab_digest({}) not in former_settings.TABS
