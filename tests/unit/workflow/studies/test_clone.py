"""A clone of a study: the same inputs, engine and options, in projects of its own."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import LabelStudioUnavailable, Refused
from datagen.store.tables.studies import StudyRow
from datagen.workflow.studies import clone
from datagen.workflow.studies.audit import audit_lines
from datagen.workflow.studies.clone import clone_study
from datagen.workflow.studies.queries import describe
from fake_studio import ACCESS, FakeStudio
from studio import Study


def test_a_clone_has_the_inputs_with_their_drawings_and_the_options(studio: FakeStudio, study: Study) -> None:
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).min_good = 0.75
    cloned = clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    studio.settle()
    before, after = (describe(studio.services.database, name)[0] for name in (study.name, "a clone"))
    assert after["inputs"] == before["inputs"]
    assert (after["engine"], after["version"]) == (before["engine"], 0)
    assert {*cloned.opened.projects.values()}.isdisjoint(study.projects.values())
    with studio.rows() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.name == "a clone")).one()
        assert (row.min_good, row.labels) == (0.75, study.row().labels)
    assert f"cloned from “{study.name}”" in [line["what"] for line in audit_lines(studio.services.database, "a clone")]


def test_a_clone_that_was_interrupted_is_completed_by_the_next_call(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = clone.add_from_project

    def fail_at_the_backgrounds(*given: object) -> object:
        if given[2] is Role.BACKGROUND:
            raise LabelStudioUnavailable("no answer")
        return add(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(clone, "add_from_project", fail_at_the_backgrounds)
        with pytest.raises(LabelStudioUnavailable):
            clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    cloned = clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    assert (cloned.added[Role.CONCEPT].new, cloned.added[Role.CONCEPT].known) == (0, 6)
    assert cloned.added[Role.BACKGROUND].new == 6
    project = cloned.opened.projects[ProjectKind.CONCEPTS]
    assert len(list(studio.client.tasks(project))) == 6


def test_the_name_of_another_study_is_refused(studio: FakeStudio, study: Study) -> None:
    other = studio.open_study(inputs=False)
    with pytest.raises(Refused, match="give the clone another name"):
        clone_study(studio.services, study.name, other.name, "ann", ACCESS)
    assert list(studio.client.tasks(other.projects[ProjectKind.CONCEPTS])) == []
