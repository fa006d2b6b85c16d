"""What was given up can be tried again; a deleted study takes its own with it and leaves what others share."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from datagen.domain.inputs import Role
from datagen.domain.lifecycle import Happening
from datagen.errors import Refused
from datagen.store.decode import encode_png
from datagen.store.rows import InputRow, OutboxRow, StudyRow, WorkState
from datagen.workflow import mending
from datagen.workflow.mending import delete_study, retry
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
