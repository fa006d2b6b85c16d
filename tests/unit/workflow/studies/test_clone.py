"""A clone of a study: the same inputs, engine and options, in projects of its own."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import LabelStudioUnavailable, Refused
from datagen.store.tables.batches import SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import spec_versions
from datagen.workflow.decisions.submit import DecisionCommand, decide
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


def first_version(studio: FakeStudio, name: str) -> SpecRow:
    with studio.rows() as session:
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()
        return session.scalars(select(SpecRow).where(SpecRow.study_id == study_id)).one()


def with_settings(studio: FakeStudio, study: Study, **settings: object) -> None:
    """Give the first version of a study these settings."""
    with studio.services.database.write() as session:
        spec = session.scalars(select(SpecRow).where(SpecRow.study_id == study.id)).one()
        spec.body = {**spec.body, **settings}


def clone_of_version(studio: FakeStudio, study: Study, version: int | None) -> SpecRow:
    """Clone a study, build the first version of the clone, and return it."""
    clone_study(studio.services, study.name, "a clone", "ann", ACCESS, version=version)
    studio.settle()
    with studio.rows() as session:
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == "a clone")).one()
    wish = Decision(action=StudyEvent.BUILD_PREVIEW)
    decide(studio.services, DecisionCommand(study_id=study_id, decision=wish, who="ann"))
    return first_version(studio, "a clone")


def test_the_first_version_of_a_clone_begins_with_the_settings_of_the_chosen_version(
    studio: FakeStudio, study: Study
) -> None:
    with_settings(studio, study, parameters={"variety": 0.3}, critic={"learned": "from verdicts"})
    spec = clone_of_version(studio, study, 1)
    assert spec.body["parameters"] == {"variety": 0.3}
    assert spec.body["critic"] == {"learned": "from verdicts"}
    assert spec.parent_id is None
    assert f"It begins with the settings of “{study.name}”, version 1." in spec.notes
    lines = [line["what"] for line in audit_lines(studio.services.database, "a clone")]
    assert f"cloned from “{study.name}”, version 1" in lines
    assert "cloning as “a clone” began" in [line["what"] for line in audit_lines(studio.services.database, study.name)]


def test_a_clone_without_a_version_begins_with_the_settings_of_the_installation(
    studio: FakeStudio, study: Study
) -> None:
    with_settings(studio, study, parameters={"variety": 0.3})
    spec = clone_of_version(studio, study, None)
    assert spec.body["parameters"] == {}
    assert "critic" not in spec.body


def test_settings_of_another_engine_are_not_used(studio: FakeStudio, study: Study) -> None:
    with_settings(studio, study, parameters={"variety": 0.3})
    clone_study(studio.services, study.name, "a clone", "ann", ACCESS, version=1)
    with studio.services.database.write() as session:
        session.scalars(select(StudyRow).where(StudyRow.name == "a clone")).one().engine = "another"
    with studio.rows() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.name == "a clone")).one()
        assert spec_versions._settings_before(row, None) is None


def test_a_version_that_does_not_exist_is_refused_and_nothing_is_created(studio: FakeStudio, study: Study) -> None:
    with pytest.raises(Refused, match="has no version 7"):
        clone_study(studio.services, study.name, "a clone", "ann", ACCESS, version=7)
    with studio.rows() as session:
        assert session.scalar(select(StudyRow.id).where(StudyRow.name == "a clone")) is None
    assert studio.client.find_projects("a clone") == []


def test_the_name_of_another_study_is_refused(studio: FakeStudio, study: Study) -> None:
    other = studio.open_study(inputs=False)
    with pytest.raises(Refused, match="give the clone another name"):
        clone_study(studio.services, study.name, other.name, "ann", ACCESS)
    assert list(studio.client.tasks(other.projects[ProjectKind.CONCEPTS])) == []


def test_clone_that_is_completed_keeps_what_was_set_in_it_since(studio: FakeStudio, study: Study) -> None:
    clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    with studio.services.database.write() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.name == "a clone")).one()
        row.engine, row.min_good = "another", 0.6
    clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    with studio.rows() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.name == "a clone")).one()
        assert (row.engine, row.min_good) == ("another", 0.6)


def test_study_that_gets_the_name_meanwhile_is_left_as_it_is(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_study = clone.open_study

    def after_another(*given: object, **options: object) -> object:
        with studio.services.database.write() as session:
            session.add(StudyRow(name="a clone", labels=study.row().labels, engine="another", preview_size=3))
        return open_study(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(clone, "open_study", after_another)
    with pytest.raises(Refused, match="There is a study named"):
        clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    with studio.rows() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.name == "a clone")).one()
        assert (row.engine, row.starting_point) == ("another", None)


def test_clone_that_stopped_while_its_projects_were_created_can_be_begun_again(
    studio: FakeStudio, study: Study
) -> None:
    def fail_at_the_second(name: str) -> bool:
        created.append(name == "create_project")
        return sum(created) == 2

    created: list[bool] = []
    studio.client.after_request = fail_at_the_second
    with pytest.raises(LabelStudioUnavailable):
        clone_study(studio.services, study.name, "a clone", "ann", ACCESS)
    studio.client.after_request = None
    assert studio.client.find_projects("a clone · ") != []
    plan = clone.plan_clone(studio.services, study.id, "a clone", None)
    clone_study(studio.services, study.id, plan.name, "ann", ACCESS)
    assert len(studio.client.find_projects("a clone · ")) == len(ProjectKind)
