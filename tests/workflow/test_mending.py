"""What was given up can be tried again; a deleted study takes its own with it and leaves what others share."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import select

from datagen.domain.inputs import Desk, Role
from datagen.domain.lifecycle import Happening
from datagen.errors import Refused
from datagen.store.decode import encode_png
from datagen.store.links import Links
from datagen.store.rows import InputRow, OutboxRow, StudyRow, WorkState
from datagen.workflow import mending
from datagen.workflow.mending import delete_study, mend_links, retry
from studio import Studio, Study, plate

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def test_a_telling_that_was_given_up_is_told_after_a_retry(studio: Studio, study: Study) -> None:
    row = study.outbox()[0]
    with studio.workshop.database.write() as session:
        given_up = session.get_one(OutboxRow, row.id)
        given_up.state, given_up.error = WorkState.FAILED, "Label Studio refused"
    assert retry(studio.workshop, study.name) == 1
    studio.settle()
    with studio.rows() as session:
        told = session.get_one(OutboxRow, row.id)
    assert told.state is WorkState.DONE
    assert told.error == ""


def test_a_study_with_work_under_way_is_not_deleted(studio: Studio, study: Study) -> None:
    study.review()
    study.act(Happening.APPROVE, count=4)
    with pytest.raises(Refused, match="datagen cancel"):
        delete_study(studio.workshop, study.name, "ann", with_projects=False)
    study.act(Happening.CANCEL)


def test_deleting_a_study_keeps_the_pictures_that_another_study_has(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "SAMPLES_AT_A_TIME", 2)
    gone, kept = studio.open_study(), studio.open_study()
    # a background of its own: with the same inputs the same samples would be made in both, and be shared too
    gone.give(Role.BACKGROUND, [("own.png", encode_png(plate(4711)), [])])
    studio.settle()
    gone.review()
    sample = gone.samples_of(gone.batches()[-1])[0]
    with studio.rows() as session:
        shared = session.scalars(select(InputRow.digest).where(InputRow.study_id == kept.id)).all()

    delete_study(studio.workshop, gone.name, "ann", with_projects=True)

    with studio.rows() as session:
        assert session.scalar(select(StudyRow.id).where(StudyRow.name == gone.name)) is None
    assert studio.client.find_projects(gone.name) == []
    assert not studio.workshop.images.exists(sample.body["image"]["digest"])
    assert all(studio.workshop.images.exists(digest) for digest in shared if digest)
    assert gone.audit()[-1] == "ann: deleted with its Label Studio projects"
    kept.review()  # it can still be used


def test_links_that_were_signed_with_a_lost_key_are_signed_anew_and_the_others_left_alone(
    studio: Studio, study: Study
) -> None:
    study.review()
    study.act(Happening.APPROVE, count=3)
    studio.settle()
    stranger = Links(studio.settings.own_url, b"a key that the web process does not have", 365)
    wrong = [*study.round_tasks()[:2], *study.tasks(Desk.DATASET)[-1:]]
    for task in wrong:
        digest = str(task.data["image"]).partition(".png")[0].rpartition("/")[2]
        studio.client.update_task_data(task.id, {**task.data, "image": stranger.make(digest)})
    decision = study.decision_tasks()[-1]
    studio.client.update_task_data(decision.id, {**decision.data, "sheet": "http://127.0.0.1:1/images/x.png?key=y"})
    before = {task.id: task for desk in (Desk.PREVIEWS, Desk.DATASET) for task in study.tasks(desk)}
    assert httpx.get(str(before[wrong[0].id].data["image"])).status_code == 403

    found = mend_links(studio.workshop, study.name)

    assert (found.looked_at, found.mended) == (len(before), len(wrong))
    studio.settle()
    for desk in (Desk.PREVIEWS, Desk.DATASET):
        for task in study.tasks(desk):
            assert httpx.get(str(task.data["image"])).status_code == 200
            if task.id not in [one.id for one in wrong]:
                assert task == before[task.id]
            else:
                assert {**task.data, "image": ""} == {**before[task.id].data, "image": ""}
    for task in study.decision_tasks():
        assert httpx.get(str(task.data["sheet"])).status_code == 200
    assert mend_links(studio.workshop, study.name).mended == 0


def test_links_are_looked_at_a_page_at_a_time(studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.review()
    monkeypatch.setattr(mending, "LINKS_AT_ONCE", 2)
    count = len(study.tasks(Desk.PREVIEWS)) + len(study.tasks(Desk.DATASET))
    assert mend_links(studio.workshop, study.name).looked_at == count


def test_a_task_that_was_deleted_does_not_keep_the_others_from_being_mended(studio: Studio, study: Study) -> None:
    study.review()
    gone, wrong, *_ = study.round_tasks()
    studio.client.update_task_data(wrong.id, {**wrong.data, "image": "http://127.0.0.1:1/x"})
    studio.client.delete_tasks(study.projects[Desk.PREVIEWS], [gone.id])
    assert mend_links(studio.workshop, study.name).mended == 1
    studio.settle()
