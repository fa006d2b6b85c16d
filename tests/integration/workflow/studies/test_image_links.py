"""Renewal of image links: invalid ones are replaced, valid ones and everything else of a task are left as they are."""

from __future__ import annotations

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.store.signed_urls import SignedUrls
from datagen.workflow.studies import image_links
from datagen.workflow.studies.image_links import mend_links
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def test_links_that_were_signed_with_a_lost_key_are_signed_anew_and_the_others_left_alone(
    studio: Studio, study: Study
) -> None:
    study.review()
    study.act(StudyEvent.APPROVE, count=3)
    studio.settle()
    stranger = SignedUrls(studio.settings.own_url, b"a key that the web process does not have", 365)
    wrong = [*study.round_tasks()[:2], *study.tasks(ProjectKind.DATASET)[-1:]]
    for task in wrong:
        digest = str(task.data["image"]).partition(".png")[0].rpartition("/")[2]
        studio.client.update_task_data(task.id, {**task.data, "image": stranger.make(digest)})
    decision = study.decision_tasks()[-1]
    studio.client.update_task_data(decision.id, {**decision.data, "sheet": "http://127.0.0.1:1/images/x.png?key=y"})
    before = {task.id: task for kind in (ProjectKind.PREVIEWS, ProjectKind.DATASET) for task in study.tasks(kind)}
    assert httpx.get(str(before[wrong[0].id].data["image"])).status_code == 403

    result = mend_links(studio.services, study.name)

    assert (result.looked_at, result.mended) == (len(before), len(wrong))
    studio.settle()
    for kind in (ProjectKind.PREVIEWS, ProjectKind.DATASET):
        for task in study.tasks(kind):
            assert httpx.get(str(task.data["image"])).status_code == 200
            if task.id not in [wrong_task.id for wrong_task in wrong]:
                assert task == before[task.id]
            else:
                assert {**task.data, "image": ""} == {**before[task.id].data, "image": ""}
    for task in study.decision_tasks():
        assert httpx.get(str(task.data["sheet"])).status_code == 200
    assert mend_links(studio.services, study.name).mended == 0


def test_links_are_looked_at_a_page_at_a_time(studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.review()
    monkeypatch.setattr(image_links, "LINKS_AT_ONCE", 2)
    count = len(study.tasks(ProjectKind.PREVIEWS)) + len(study.tasks(ProjectKind.DATASET))
    assert mend_links(studio.services, study.name).looked_at == count


def test_a_task_that_was_deleted_does_not_keep_the_others_from_being_mended(studio: Studio, study: Study) -> None:
    study.review()
    gone, wrong, *_ = study.round_tasks()
    studio.client.update_task_data(wrong.id, {**wrong.data, "image": "http://127.0.0.1:1/x"})
    studio.client.delete_tasks(study.projects[ProjectKind.PREVIEWS], [gone.id])
    assert mend_links(studio.services, study.name).mended == 1
    studio.settle()
