"""An engine in a package of its own goes the whole way: GPU queue, preview, refine, approve, export."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.errors import Refused
from datagen.export.archive import ExportOptions
from datagen.queue.jobs import GPU
from datagen.queue.live_workers import live_workers
from datagen.store.tables.base import BatchKind
from datagen.synthesis.engine import engine_names, gpu_engine_names
from datagen.workflow.studies.export import export_study
from stage.processes import Processes
from studio import PATIENCE_S, ROUND, Studio, Study, end_process, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

SOURCE = Path(__file__).parents[2] / "support" / "engine_package"
#: Settings of the installation that are about the engine.
SETTINGS = {"DATAGEN_ENGINE_PARAMETERS": '{"thickness": 5, "weights": "owner/name"}'}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, built and installed with pip into a folder that Python looks in."""
    source, folder = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(SOURCE, source)
    options = [
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--target",
        str(folder),
    ]
    pip = [sys.executable, "-m", "pip", "install", *options, str(source)]
    subprocess.run(pip, check=True, capture_output=True, text=True, timeout=300)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("stripes", None)


@pytest.fixture
def gpu_worker(studio: Studio, package: Path, processes: Processes, tmp_path: Path) -> Iterator[Studio]:
    """The studio with a GPU worker as its own process, which finds the package too."""
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    worker = processes.start(
        "gpu-of-stripes",
        [sys.executable, "-m", "datagen", "worker", "--gpu"],
        env=studio.environment | SETTINGS | {"PYTHONPATH": path},
        cwd=tmp_path,
        ready=lambda: any(GPU in alive.queues for alive in live_workers(studio.queues)),
        within=PATIENCE_S,
    )
    end_process()  # whatever this process did with other settings
    given = json.loads(SETTINGS["DATAGEN_ENGINE_PARAMETERS"])
    yield replace(
        studio,
        environment=studio.environment | SETTINGS,
        services=replace(studio.services, engine_parameters=given),
    )
    end_process()
    processes.stop(worker)


def settled(study: Study, state: str) -> None:
    """Work on all queues but the GPU's until the study is in this state and nothing is left to do."""
    studio = study.studio
    studio.work_until(lambda: study.row().state == state, f"The state “{state}”")
    studio.settle()


def test_an_engine_of_another_package_goes_the_whole_way(gpu_worker: Studio, tmp_path: Path) -> None:
    assert "stripes" in engine_names()
    assert "stripes" in gpu_engine_names()
    study = gpu_worker.open_study()
    gpu_worker.settle()
    study.use_engine("stripes")

    study.decide("build preview", settle=False)
    settled(study, "reviewing")
    first = study.specs()[-1]
    assert (first.body["engine"], first.body["parameters"]) == ("stripes", {"thickness": 5})
    assert "Stripes of 5 pixels are drawn." in study.page()
    assert (gpu_worker.settings.data_dir / "stripes" / "fitted").read_text() == "GPU-of-stripes"
    tops = [row.body["provenance"]["steps"]["instances"][0]["top"] for row in study.samples_of(study.batches()[-1])]
    assert len(tops) == ROUND

    study.judge(verdict_result("bad", "too small"), verdict_result("bad", "too small"), verdict_result("good"))
    gpu_worker.settle()
    study.decide("refine", settle=False)
    settled(study, "reviewing")
    second = study.specs()[-1]
    assert (second.version, second.body["parameters"]) == (first.version + 1, {"thickness": 7})
    of_engine, of_critic = second.notes
    assert of_engine == "Stripes are 7 pixels thick, because 2 of 3 are called too small."
    assert of_critic.startswith("The critic cannot tell yet: 3 verdicts, 1 of them good")

    study.judge(*[verdict_result("good")] * ROUND)
    gpu_worker.settle()
    study.decide("approve", count=4, settle=False)
    settled(study, "accepted")
    run = study.batches(BatchKind.RUN)[-1]
    assert (str(run.state), len(study.samples_of(run))) == ("done", 4)

    archive = tmp_path / "stripes.zip"
    export_study(gpu_worker.services, study.name, archive, options=ExportOptions(formats=("coco", "semantic")))
    with zipfile.ZipFile(archive) as zipped:
        lines = zipped.read("manifest.jsonl").decode().splitlines()
    for line in map(json.loads, lines):
        assert (line["provenance"]["engine"], line["provenance"]["engine_version"]) == ("stripes", "0.3")
        [instance] = line["instances"]
        assert instance["box"][3] == 7
        assert set(line["provenance"]["steps"]["instances"][0]) == {"label", "top"}


def test_a_wrong_parameter_of_another_package_s_engine_is_refused_before_anything_is_queued(
    gpu_worker: Studio,
) -> None:
    study = gpu_worker.open_study()
    gpu_worker.settle()
    study.use_engine("stripes")
    wrong = replace(gpu_worker.services, engine_parameters={"thickness": 99})
    with pytest.raises(Refused, match=r"Parameter “thickness” is 99; it must be from 1 to 40\. An engine's parameters"):
        replace(study, studio=replace(gpu_worker, services=wrong)).act(StudyEvent.BUILD_PREVIEW)
    assert (study.specs(), gpu_worker.queues.depths()[GPU]) == ([], 0)
