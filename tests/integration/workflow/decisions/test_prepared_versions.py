"""A new version's spec is worked out before the transaction that adds it: others write meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from datagen.domain import spec as specs
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Spec
from datagen.store.tables import AuditRow, SpecRow
from datagen.workflow.decisions import actions
from studio import Studio, Study, said

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture
def worked_out(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The specs that are worked out from now on; each writes a row over another connection while it is."""
    done: list[str] = []
    asdict = specs.asdict

    def writing(spec: Any) -> Any:
        with studio.services.database.write() as session:  # would wait in vain for a transaction that worked it out
            session.add(AuditRow(study="none", who="a test", what="wrote"))
        done.append(type(spec).__name__)
        return asdict(spec)

    monkeypatch.setattr(specs, "asdict", writing)
    return done


def test_build_preview_and_refine_work_a_version_out_once_and_not_under_the_lock(
    studio: Studio, worked_out: list[str]
) -> None:
    study: Study = studio.open_study()
    study.act(StudyEvent.BUILD_PREVIEW)
    assert worked_out == ["Spec"]
    studio.settle()
    study.judge(said("bad", "too small"), said("bad", "too small"))
    studio.settle()
    worked_out.clear()

    study.act(StudyEvent.REFINE)

    assert worked_out == ["Spec"]
    first, second = study.specs()
    for row in (first, second):
        assert Spec.from_json(json.loads(json.dumps(row.body))).digest == row.digest
    assert second.body["parameters"] != first.body["parameters"]


def test_a_version_whose_parameters_changed_after_it_was_worked_out_is_worked_out_anew(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.review()
    prepare = actions.prepare

    def then_changed(*args: Any) -> Any:
        prepared = prepare(*args)
        parent = study.specs()[-1]
        with studio.services.database.write() as session:
            body = parent.body | {"parameters": parent.body["parameters"] | {"contrast": 1.5}}
            session.execute(update(SpecRow).where(SpecRow.id == parent.id).values(body=body))
        return prepared

    monkeypatch.setattr("datagen.workflow.decisions.submit.prepare", then_changed)
    study.act(StudyEvent.REFINE)
    newest = study.specs()[-1]
    assert newest.body["parameters"]["contrast"] == 1.5
    assert Spec.from_json(json.loads(json.dumps(newest.body))).digest == newest.digest
