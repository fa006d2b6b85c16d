"""Inputs are fitted before a preview is asked for, if one could be built."""

from __future__ import annotations

import threading

import pytest

from datagen.domain.inputs import Role
from datagen.domain.spec import Spec
from datagen.errors import EngineError
from datagen.store.tables.base import WorkState
from datagen.store.tables.inputs import ProposalMakingRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import FittedEngine, Pictures, Progress
from datagen.workflow.inputs import early_fit
from datagen.workflow.inputs.early_fit import fit_early
from datagen.workflow.leased_work import LeaseLost
from fake_studio import FakeStudio
from instant_engine import InstantEngine
from studio import Study, good_inputs


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """The specs that were fitted."""
    specs: list[Spec] = []
    original = InstantEngine.fit

    def fit(engine: InstantEngine, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        specs.append(spec)
        progress(0.5, "fitting")
        return original(engine, spec, pictures, progress)

    monkeypatch.setattr(InstantEngine, "fit", fit)
    return specs


def early(studio: FakeStudio, study: Study) -> bool:
    return fit_early(studio.services, studio.fitted_engines, study.id, threading.Event())


def test_round_uses_the_fit_that_was_made_when_its_inputs_were_read(studio: FakeStudio, fits: list[Spec]) -> None:
    study = studio.open_study()
    studio.settle()
    (fitted,) = fits
    study.decide("build preview")
    studio.settle()
    assert [spec.digest for spec in study.specs()] == [fitted.digest]
    assert fits.count(fitted) == 1


def test_nothing_is_fitted_before_a_preview_can_be_built(studio: FakeStudio, fits: list[Spec]) -> None:
    study = studio.open_study(inputs=False)
    for role, given in good_inputs().items():
        if role is not Role.BACKGROUND:
            study.give(role, given)
    studio.settle()
    assert not early(studio, study)
    assert fits == []


def test_inputs_that_changed_since_they_were_read_are_not_fitted(studio: FakeStudio, fits: list[Spec]) -> None:
    study = studio.open_study()
    studio.settle()
    fits.clear()
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).inputs_changed += 1
    assert not early(studio, study)
    assert fits == []


def test_engine_that_needs_a_gpu_is_not_fitted_early(
    studio: FakeStudio, fits: list[Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studio.open_study()
    monkeypatch.setattr(InstantEngine, "device", "gpu")
    studio.settle()
    assert not early(studio, study)
    assert fits == []


def test_inputs_that_cannot_be_fitted_do_not_fail_the_proposals(
    studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_args: object) -> FittedEngine:
        raise EngineError("no box can be cut out")

    monkeypatch.setattr(InstantEngine, "fit", fit)
    study = studio.open_study()
    studio.settle()
    with studio.rows() as session:
        assert session.get_one(ProposalMakingRow, study.id).state == WorkState.DONE


def test_fit_stops_when_another_worker_owns_the_proposals(studio: FakeStudio, fits: list[Spec]) -> None:
    study = studio.open_study()
    studio.settle()
    studio.fitted_engines._fitted.clear()
    lost = threading.Event()
    lost.set()
    with pytest.raises(LeaseLost):
        fit_early(studio.services, studio.fitted_engines, study.id, lost)
    assert len(studio.fitted_engines._fitted) == 0


def test_fit_that_takes_too_long_is_given_up(
    studio: FakeStudio, fits: list[Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studio.open_study()
    studio.settle()
    studio.fitted_engines._fitted.clear()
    monkeypatch.setattr(early_fit, "FITTING_SECONDS", -1.0)
    assert not early(studio, study)
    assert len(studio.fitted_engines._fitted) == 0


def test_deleted_study_is_not_fitted(studio: FakeStudio, fits: list[Spec]) -> None:
    assert not fit_early(studio.services, studio.fitted_engines, 999_999, threading.Event())
