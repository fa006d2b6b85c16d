"""A new version's spec is computed before the transaction that adds it, because others write meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from datagen.domain import spec as specs
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Spec
from datagen.learning.refinement import LEAST_VERDICTS
from datagen.store.tables.batches import SpecRow
from datagen.store.tables.installation import AuditRow
from datagen.workflow.decisions import actions
from fake_studio import FakeStudio
from studio import Study, verdict_result


@pytest.fixture
def computed(studio: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The specs that are computed from now on; each writes a row over another connection while it is."""
    done: list[str] = []
    asdict = specs.asdict

    def writing(spec: Any) -> Any:
        with studio.services.database.write() as session:  # would wait in vain for a transaction that computes it
            session.add(AuditRow(study="none", who="a test", what="wrote"))
        done.append(type(spec).__name__)
        return asdict(spec)

    monkeypatch.setattr(specs, "asdict", writing)
    return done


def test_build_preview_and_refine_compute_a_version_once_and_outside_the_transaction(
    studio: FakeStudio, computed: list[str]
) -> None:
    study: Study = studio.open_study()
    study.act(StudyEvent.BUILD_PREVIEW)
    assert computed == ["Spec"]
    studio.settle()
    study.judge(*[verdict_result("bad", "too small")] * LEAST_VERDICTS)
    studio.settle()
    computed.clear()

    study.act(StudyEvent.REFINE)

    assert computed == ["Spec"]
    first, second = study.specs()
    for row in (first, second):
        assert Spec.from_json(json.loads(json.dumps(row.body))).digest == row.digest
    assert second.body["parameters"] != first.body["parameters"]


def test_version_whose_parameters_changed_after_it_was_computed_is_computed_again(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = actions.prepare

    def then_changed(*args: Any) -> Any:
        prepared = prepare(*args)
        parent = study.specs()[-1]
        with studio.services.database.write() as session:
            body = parent.body | {"parameters": parent.body["parameters"] | {"contrast": 1.5}}
            session.execute(update(SpecRow).where(SpecRow.id == parent.id).values(body=body))
        return prepared

    monkeypatch.setattr("datagen.workflow.decisions.submit.prepare", then_changed)
    study.act(StudyEvent.BUILD_PREVIEW)
    newest = study.specs()[-1]
    assert newest.body["parameters"]["contrast"] == 1.5
    assert Spec.from_json(json.loads(json.dumps(newest.body))).digest == newest.digest
