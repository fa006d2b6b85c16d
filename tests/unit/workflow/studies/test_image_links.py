"""Renewal of the image links of tasks that were pushed into a project of the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.errors import InputProblem, LabelStudioMissing
from datagen.store.signed_urls import SignedUrls, is_link_to
from datagen.workflow.studies import image_links
from datagen.workflow.studies.image_links import mend_links
from datagen.workflow.studies.push import PushOptions, push_to_project
from fake_studio import FakeStudio
from studio import Study

CONFIG = (
    '<View><Image name="photo" value="$picture"/>'
    '<PolygonLabels name="shape" toName="photo"><Label value="pit"/></PolygonLabels></View>'
)
STRANGER = SignedUrls("http://former.test", b"a key that the web process does not have", 365)


@pytest.fixture
def _prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A study with a finished run."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.close()


@pytest.fixture
def project_id(studio: FakeStudio) -> int:
    return studio.client.create_project("mine", {"label_config": CONFIG}).id


def tasks(studio: FakeStudio, project_id: int) -> dict[int, Any]:
    return {task.id: task for task in studio.client.tasks(project_id)}


def invalidate(studio: FakeStudio, task: Any) -> None:
    digest = task.data["picture"].partition(".png")[0].rpartition("/")[2]
    studio.client.update_task_data(task.id, {**task.data, "picture": STRANGER.make(digest)})


def test_invalid_links_of_pushed_tasks_are_renewed_and_nothing_else_of_the_project_is_changed(
    studio: FakeStudio, study: Study, project_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_links, "LINKS_AT_ONCE", 2)
    push_to_project(studio.services, study.name, project_id, PushOptions(annotations=True))
    first, *_, last = tasks(studio, project_id).values()
    (own,) = studio.client.import_tasks(project_id, [{"data": {"picture": first.data["picture"], "note": "mine"}}])
    before = tasks(studio, project_id)
    for task in (first, last):
        invalidate(studio, task)
    mended = mend_links(studio.services, study.name, [project_id])
    after = tasks(studio, project_id)
    assert mended.mended == 2
    assert {number: task.data for number, task in after.items()} == {n: task.data for n, task in before.items()}
    assert after[last.id].annotations == before[last.id].annotations
    assert own in after
    assert mend_links(studio.services, study.name, [project_id]).mended == 0


def test_pushed_project_that_is_not_named_is_left_alone(studio: FakeStudio, study: Study, project_id: int) -> None:
    push_to_project(studio.services, study.name, project_id)
    first, *_ = tasks(studio, project_id).values()
    invalidate(studio, first)
    assert mend_links(studio.services, study.name).mended == 0


def test_images_of_an_export_are_not_replaced_by_links(studio: FakeStudio, study: Study, project_id: int) -> None:
    push_to_project(studio.services, study.name, project_id, PushOptions(images_at="s3://b/set"))
    before = tasks(studio, project_id)
    assert mend_links(studio.services, study.name, [project_id]).mended == 0
    assert tasks(studio, project_id) == before


def test_project_of_a_study_and_a_missing_project_are_refused(studio: FakeStudio, study: Study) -> None:
    with pytest.raises(InputProblem, match="belongs to the study"):
        mend_links(studio.services, study.name, [study.projects[ProjectKind.DATASET]])
    with pytest.raises(LabelStudioMissing):
        mend_links(studio.services, study.name, [987_654])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"http://former.test/images/{'a' * 64}.png?key=x", True),
        (f"http://former.test/images/{'b' * 64}.png?key=x", False),
        (f"s3://set/images/{'a' * 64}.png", False),
        ("", False),
    ],
)
def test_link_is_recognized_by_its_picture(text: str, expected: bool) -> None:
    assert is_link_to(text, "a" * 64) == expected
