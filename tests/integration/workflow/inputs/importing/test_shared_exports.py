"""Exports of other tools, one kind a folder: the content named in EXPECT.txt is read, or a sentence is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from datagen.domain.geometry import Box
from datagen.domain.inputs import Inputs, ProjectKind, Role
from datagen.workflow.inputs.import_files import Added, add_files
from datagen.workflow.inputs.input_sync import collect, refresh
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

EXPORTS = Path(__file__).parents[6] / "shared" / "data" / "exports"
KINDS = sorted(path.parent.name for path in EXPORTS.glob("*/EXPECT.txt"))
THE_BOX = Box(20, 20, 60, 40)


@pytest.fixture(scope="module")
def own(whole_studio: Studio) -> Study:
    return whole_studio.open_study(inputs=False, labels=("scratch",))


@pytest.fixture
def empty(own: Study) -> Iterator[Study]:
    yield own
    own.studio.client.delete_tasks(
        own.projects[ProjectKind.CONCEPTS], [task.id for task in own.tasks(ProjectKind.CONCEPTS)]
    )


def sources(folder: Path) -> list[Path]:
    """Return the path for ``datagen add``: the export, else the zip, else the folder."""
    files = [*folder.glob("concept.json"), *sorted(folder.glob("*.zip"))]
    return files[:1] or [folder]


def read(study: Study) -> Inputs:
    refresh(study.studio.services, study.id, force=True)
    with study.studio.rows() as session:
        return collect(session, study.row())


@pytest.mark.skipif(not KINDS, reason="there is no ../shared/data/exports")
@pytest.mark.parametrize("kind", KINDS)
def test_export_of_this_kind_is_read_or_reported(kind: str, empty: Study) -> None:
    folder = EXPORTS / kind
    expected = (folder / "EXPECT.txt").read_text()
    added: list[Added] = [
        add_files(empty.studio.services, empty.name, Role.CONCEPT, path) for path in sources(folder) for _ in range(2)
    ]
    boxes = [region.box for image in read(empty).concepts for region in image.regions]
    sentences = [*added[0].problems, *added[0].notes]
    if "no box" in expected:
        assert (boxes, bool(sentences)) == ([], True)
    elif "2 added" in expected:
        assert added[0].new == 2
    elif count := re.search(r"(\d+) boxes", expected):
        assert len(boxes) == int(count[1])
    else:
        place = re.search(r"(\d+),(\d+) (\d+)x(\d+)", expected)
        box = Box(*map(float, place.groups())) if place else THE_BOX
        if kind == "ellipse":
            box = Box(80, 40, 40, 20)
        if kind == "json-min":
            box = Box(2, 2, 6, 4)
        assert [(round(box.x), round(box.y), round(box.width), round(box.height)) for box in boxes] == [
            (box.x, box.y, box.width, box.height)
        ]
    if "told" in expected and "or" not in expected.split():
        assert sentences
    assert (added[1].new, added[1].completed, added[1].regions) == (0, 0, 0)
