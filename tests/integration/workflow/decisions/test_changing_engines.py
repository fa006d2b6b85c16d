"""A study that changes its engine and back: each version has its own engine's parameters, and nothing is poisoned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.entrypoints.bootstrap import build_services
from datagen.errors import EngineError, Refused
from datagen.queue.jobs import GPU
from datagen.store.tables.batches import SpecRow
from datagen.workflow.decisions import submit
from datagen.workflow.parameter_routing import remedy
from datagen.workflow.services import Services
from studio import Studio, Study, settings_of

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture
def own_study(studio: Studio) -> Study:
    """A study of one's own."""
    study = studio.open_study()
    studio.settle()
    return study


@contextmanager
def with_parameters(studio: Studio, given: Mapping[str, object]) -> Iterator[Services]:
    """The services of a process that was started with these parameters."""
    chosen = settings_of({**studio.environment, "DATAGEN_ENGINE_PARAMETERS": json.dumps(given)})
    services = build_services(chosen, studio.queues.enqueue)
    with closing(services.database), closing(services.label_studio):
        yield services


def build(services: Services, study: Study) -> SpecRow:
    """Build a preview and render it; return its version."""
    submit.decide(
        services,
        submit.DecisionCommand(study_id=study.id, decision=Decision(action=StudyEvent.BUILD_PREVIEW), who="tester"),
    )
    study.studio.work(GPU)
    study.studio.settle()
    return study.specs()[-1]


def test_a_study_goes_to_diffusion_and_back_with_the_parameters_still_set(studio: Studio, own_study: Study) -> None:
    given = {"weights": "/moved/away", "contrast": 0.8}
    with with_parameters(studio, given) as services:
        assert build(services, own_study).body["parameters"] == {"contrast": 0.8}
        assert own_study.row().state == StudyState.REVIEWING, own_study.shown()

        own_study.use_engine("diffusion")
        with pytest.raises(Refused, match="names the folder /moved/away, which is not on this machine") as refused:
            build(services, own_study)
        assert "the study can go on with the engine “composite”" in str(refused.value)
        unasked = replace(services, engine_problems=lambda engine, parameters: ())
        painted = build(unasked, own_study)  # its weights were removed after the check
        assert painted.body["parameters"] == {"diffusion": {"weights": "/moved/away"}, "contrast": 0.8}
        assert str(painted.state) == "failed"
        assert own_study.row().state == StudyState.REVIEWING  # of the version before it

        own_study.use_engine("composite")
        assert build(services, own_study).body["parameters"] == {"contrast": 0.8}
        assert own_study.row().state == StudyState.REVIEWING, own_study.shown()


def test_a_failed_version_poisons_none_after_it(studio: Studio, own_study: Study) -> None:
    """Versions contained {'composite': {'weights': …}}, which every later version inherited."""
    own_study.review()
    with studio.services.database.write() as session:
        row = session.get_one(SpecRow, own_study.specs()[-1].id)
        row.body = {**row.body, "parameters": {"composite": {"weights": "/models"}, "size_factor": 1.5}}
    assert own_study.review().body["parameters"] == {"size_factor": 1.5}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"contrast": 9}, r"Parameter “contrast” is 9; it must be from 0\.2 to 4\. An engine's parameters are set in"),
        ({"wieghts": "/models"}, "DATAGEN_ENGINE_PARAMETERS names 'wieghts', which is no engine's parameter"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_queued(
    given: Mapping[str, object], sentence: str, studio: Studio, own_study: Study
) -> None:
    with with_parameters(studio, given) as services, pytest.raises((Refused, EngineError), match=sentence):
        build(services, own_study)
    assert (own_study.specs(), own_study.row().state) == ([], StudyState.COLLECTING)


def test_an_engine_that_is_not_installed_is_refused_before_anything_is_queued(studio: Studio, own_study: Study) -> None:
    own_study.use_engine("no-such-engine")
    with pytest.raises(EngineError, match="no engine named 'no-such-engine' is installed; there are: composite"):
        build(studio.services, own_study)
    assert (own_study.specs(), own_study.row().state) == ([], StudyState.COLLECTING)
    own_study.use_engine("composite")


def test_every_refusal_of_a_new_version_ends_with_the_way_on(studio: Studio, own_study: Study) -> None:
    """The sentences about a wrong dtype and a missing GPU worker did not end with it."""
    own_study.use_engine("diffusion")
    with with_parameters(studio, {"weights": "/models", "dtype": "bf16"}) as services:
        no_worker = replace(services, engine_problems=lambda engine, parameters: ("No worker with a GPU is alive.",))
        for shop, sentence in (
            (services, "“diffusion.dtype” is 'bf16'; it must be one of: "),
            (no_worker, "No worker"),
        ):
            with pytest.raises(Refused, match=sentence) as refused:
                build(shop, own_study)
            assert str(refused.value).endswith(" ".join(remedy("diffusion")))
    own_study.use_engine("composite")


@pytest.mark.parametrize("action", [StudyEvent.REFINE, StudyEvent.APPROVE])
def test_a_frozen_version_is_not_told_to_change_settings_that_do_not_reach_it(
    action: StudyEvent, studio: Studio, own_study: Study
) -> None:
    version = own_study.review()
    with studio.services.database.write() as session:
        row = session.get_one(SpecRow, version.id)
        row.body = {**row.body, "engine": "diffusion", "parameters": {"diffusion": {"weights": "/moved/away"}}}
    with with_parameters(studio, {"weights": "/elsewhere"}) as services, pytest.raises(Refused) as refused:
        submit.decide(
            services,
            submit.DecisionCommand(study_id=own_study.id, decision=Decision(action=action, count=2), who="tester"),
        )
    message = str(refused.value)
    assert "names the folder /moved/away, which is not on this machine" in message
    assert f"Version {version.version} was made with the engine “diffusion” and what it names" in message
    assert message.endswith("choose “build preview” for a version with the engine and the parameters as they are now.")
    assert "DATAGEN_ENGINE" not in message
