"""The engine contract: required and optional members, and classes that are refused."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from datagen.errors import EngineError
from datagen.synthesis import engine as contract
from datagen.synthesis.engine import (
    Engine,
    FitReport,
    check_engine,
    engine_names,
    gpu_engine_names,
    installed_gpus,
    load_engine,
    needs_gpu,
)


class Own(Engine):
    """An engine of another package with the least that the contract asks for."""

    name, version = "own", "1"

    def fit(self, spec, pictures, progress):
        raise EngineError("it renders nothing")


class OnTwoGpus(Own):
    """An engine that renders on GPUs."""

    device = "gpu"

    def gpus(self):
        return ("GPU-1", "GPU-2")


class NoEngine:
    """Something else under the entry point."""


@pytest.fixture
def install(monkeypatch):
    """Install engines beside nothing else; each under a name."""

    def offer(**classes):
        points = {
            name: EntryPoint(name=name, value=f"{__name__}:{engine.__name__}", group="datagen.engines")
            for name, engine in classes.items()
        }
        monkeypatch.setattr(EntryPoint, "load", lambda point: classes[point.name])
        monkeypatch.setattr(contract, "_installed", lambda: points)

    return offer


def test_an_engine_need_only_fit(install):
    install(own=Own)
    engine = load_engine("own")
    assert (engine.device, engine.parameters_model) == ("cpu", None)
    assert (engine.check({}), engine.gpus()) == ((), ())


def test_an_engine_without_fit_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        type("Unfit", (Engine,), {"name": "unfit", "version": "1"})()


def test_what_is_not_derived_from_the_contract_is_refused_with_a_sentence(install):
    install(other=NoEngine)
    with pytest.raises(EngineError, match=r"the engine 'other' is not derived from datagen\.synthesis\.engine\.Engine"):
        load_engine("other")
    assert check_engine("other", {})[0].startswith("The engine 'other' is not derived")


def test_the_gpus_of_all_engines_are_named_once(install):
    install(own=Own, one=OnTwoGpus, two=OnTwoGpus)
    assert gpu_engine_names() == ["one", "two"]
    assert installed_gpus() == ("GPU-1", "GPU-2")


def test_an_engine_that_is_not_installed_needs_nothing_here(install):
    install(own=Own)
    assert engine_names() == ["own"]
    assert not needs_gpu("sculpt")
    assert check_engine("sculpt", {}) == ("No engine named 'sculpt' is installed; there are: own.",)


def test_sum_of_reports_has_the_lines_of_both_in_order():
    first = FitReport(findings=("a",), details=("b",), warnings=("c",), figures={"examples": 1.0, "rendered": 0.0})
    second = FitReport(findings=("d",), details=("e",), warnings=("f",), figures={"rendered": 2.0})
    total = first + second
    assert (total.findings, total.details, total.warnings) == (("a", "d"), ("b", "e"), ("c", "f"))
    assert total.figures == {"examples": 1.0, "rendered": 2.0}
    assert first.figures == {"examples": 1.0, "rendered": 0.0}


def test_engine_that_is_installed_while_the_process_runs_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for number, name in enumerate(("first", "second"), start=1):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[datagen.engines]\n{name} = nowhere:Engine\n")
        os.utime(tmp_path, (number, number))  # the file system's clock may not have ticked between the two
        assert name in engine_names()
