"""Parameters given for all engines: each takes its own, and a name that none has is a sentence."""

from __future__ import annotations

import pytest

from datagen.errors import EngineError
from datagen.synthesis.engine import Engine, check_engine, engine_class
from datagen.workflow import parameter_routing
from datagen.workflow.parameter_routing import keep_known_parameters, remedy, select_parameters

BOTH = {"weights": "owner/name", "steps": 8, "contrast": 0.8}


def test_each_engine_takes_its_own_where_its_specs_hold_it():
    assert select_parameters("composite", BOTH) == {"contrast": 0.8}
    assert select_parameters("diffusion", BOTH) == {"contrast": 0.8, "diffusion": {"weights": "owner/name", "steps": 8}}
    assert select_parameters("composite", {"weights": "owner/name"}) == {}
    assert select_parameters("diffusion", {}) == {}


@pytest.mark.parametrize("engine", ["composite", "diffusion"])
def test_a_misspelt_parameter_is_refused_and_not_taken_for_another_engines(engine):
    with pytest.raises(EngineError, match="names 'wieghts', which is no engine's parameter; those of") as refused:
        select_parameters(engine, {"wieghts": "owner/name"})
    assert "DATAGEN_ENGINE_PARAMETERS" in str(refused.value)
    assert "restart “datagen up” and the workers" in str(refused.value)


def test_what_a_version_got_by_a_fault_is_not_inherited():
    assert keep_known_parameters("composite", {"composite": {"weights": "x"}, "contrast": 0.8}) == {"contrast": 0.8}
    assert keep_known_parameters("diffusion", {"diffusion": {"steps": 8}, "size_factor": 2}) == {
        "diffusion": {"steps": 8},
        "size_factor": 2,
    }


def test_an_engine_that_is_not_installed_is_named():
    with pytest.raises(EngineError, match="no engine named 'sculpt' is installed"):
        select_parameters("sculpt", {})


class Silent(Engine):
    """An engine that declares no parameters."""

    name, version = "silent", "1"

    def fit(self, spec, pictures, progress):
        raise EngineError("it renders nothing")


@pytest.fixture
def with_silent(monkeypatch):
    """A third-party package that offers such an engine."""
    monkeypatch.setattr(parameter_routing, "engine_names", lambda: ["composite", "silent"])
    monkeypatch.setattr(
        parameter_routing, "engine_class", lambda name: Silent if name == "silent" else engine_class(name)
    )


def test_an_engine_that_does_not_say_what_it_takes_is_given_all_under_its_name(with_silent):
    assert select_parameters("silent", BOTH) == {"silent": BOTH}
    assert select_parameters("silent", {}) == {}
    assert keep_known_parameters("silent", {"silent": BOTH}) == {"silent": BOTH}
    assert select_parameters("composite", {"hue": 3, "contrast": 0.8}) == {"contrast": 0.8}  # hue may be the other's


def test_a_wrong_value_for_composite_is_found_before_anything_is_rendered():
    assert check_engine("composite", {"contrast": 0.8}) == ()
    assert check_engine("composite", {"contrast": 9}) == ("Parameter “contrast” is 9; it must be from 0.2 to 4.",)


def test_the_way_on_says_where_parameters_are_set_and_leads_back_to_composite():
    where, back = remedy("diffusion")
    assert where.startswith("What is named “diffusion.…” is set in DATAGEN_ENGINE_PARAMETERS; restart “datagen up”")
    assert "the study can go on with the engine “composite”" in back
    assert len(remedy("composite")) == 1
