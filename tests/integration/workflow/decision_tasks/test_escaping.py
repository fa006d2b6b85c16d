"""Names and comments from people and files are shown as text, never as markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from datagen import cli
from datagen.domain.inputs import ProjectKind, Role
from datagen.entrypoints.bootstrap import server_access_of
from datagen.imaging.png_encoder import encode_png
from datagen.workflow.studies.open import open_study
from stage.label_studio_server import LabelStudio as Server
from studio import Studio

pytest_plugins = ("studio_fixtures",)


LABEL = "<b>\"&'"


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


class Tags(HTMLParser):
    """The tags and attributes of a text, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.integration
def test_label_studio_takes_a_label_of_markup_and_holds_it_literally(studio: Studio, label_studio: Server) -> None:
    study = studio.open_study(inputs=False, labels=[LABEL, "$image", "{label}"])
    for kind, control in (
        (ProjectKind.CONCEPTS, "concept"),
        (ProjectKind.CANVASES, "canvas"),
        (ProjectKind.PREVIEWS, "label"),
        (ProjectKind.DATASET, "label"),
    ):
        answer = httpx.get(
            f"{label_studio.url}/api/projects/{study.projects[kind]}/",
            headers={"Authorization": f"Token {label_studio.token}"},
            timeout=60,
        ).json()
        config = ET.fromstring(answer["label_config"])
        values = [element.get("value") for element in config.find(f".//*[@name='{control}']")]  # type: ignore[union-attr]
        assert values[-3:] == [LABEL, "$image", "{label}"]
        # … and so does its own reading of it, which the editor and the exports go by
        assert set(answer["parsed_label_config"][control]["labels"]) >= {LABEL, "$image", "{label}"}


@pytest.mark.integration
def test_a_decision_task_shows_names_and_comments_as_words(studio: Studio) -> None:
    study = studio.open_study(labels=[LABEL])
    picture = encode_png(np.zeros((4, 4), np.uint8))
    study.give(Role.CONCEPT, [(SCRIPT + ".png", picture, [])])
    study.give(Role.CONCEPT, [(f"{SCRIPT} 2.png", b"<svg onload=alert(1)>", [])])
    studio.settle()
    page = Tags(study.shown())
    assert page.tags.isdisjoint({"script", "img", "svg", "iframe", "b>"})
    assert not [name for name in page.attributes if name.startswith("on")]
    assert SCRIPT in page.words


@pytest.mark.integration
def test_a_study_with_a_name_of_markup_is_opened_and_shown_as_it_is(studio: Studio) -> None:
    name = f"<i>&'\" [red]{studio.settings.port}"
    studio.opened.append(name)
    created = open_study(
        studio.services, name, ["pit"], server_access_of(studio.settings), engine="composite", preview_size=3
    )
    assert studio.client.project(created.projects[ProjectKind.CONCEPTS]).title.startswith(name)
    assert any(project.title.startswith(name) for project in studio.client.find_projects(name))
    with studio.as_process():
        shown = CliRunner().invoke(cli.app, ["status", name])
        reported = json.loads(CliRunner().invoke(cli.app, ["status", name, "--json"]).stdout)
    assert shown.exit_code == 0, shown.output
    assert reported["studies"][0]["study"] == name
