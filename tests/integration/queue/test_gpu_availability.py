"""Work for engines that need a GPU: it waits for a worker with one, reports progress, can be refused or cancelled."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Json, Spec
from datagen.errors import DeviceFault, Refused
from datagen.operations.supervisor import commands, gpu_commands
from datagen.queue import heartbeats
from datagen.queue.gpu_availability import engine_problems, report_problems
from datagen.queue.jobs import GPU
from datagen.queue.live_workers import live_workers
from datagen.queue.recovery import sweep
from datagen.queue.worker import WORKER_TTL_SECONDS, _worker, run_worker
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.synthesis.engine import EngineSettings, FittedEngine, Progress
from datagen.workflow.decisions import submit
from datagen.workflow.generation import progress
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.services import JobKind, JobRequest
from stage.processes import Processes, wait_until
from studio import PATIENCE_S, ROUND, Studio, Study, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

SETTINGS = EngineSettings()


@pytest.fixture
def own_study(studio: Studio) -> Study:
    """A study of this test, with the engine that needs a GPU."""
    study = studio.open_study()
    studio.settle()
    study.use_engine("diffusion")
    return study


def build(study: Study, **changed: object) -> BatchRow:
    """Build a preview with changed services, and return its round."""
    services = replace(study.studio.services, engine_problems=lambda engine, parameters: (), **changed)
    submit.decide(
        services,
        submit.DecisionCommand(study_id=study.id, decision=Decision(action=StudyEvent.BUILD_PREVIEW), who="tester"),
    )
    return study.batches(BatchKind.ROUND)[-1]


def shard_of(study: Study, batch: BatchRow) -> ShardRow:
    with study.studio.rows() as session:
        return session.scalars(select(ShardRow).where(ShardRow.batch_id == batch.id)).one()


def test_a_shard_that_needs_a_gpu_waits_where_only_gpu_workers_look(studio: Studio, own_study: Study) -> None:
    batch = build(own_study)
    shard = JobRequest(JobKind.GPU_SHARD, shard_of(own_study, batch).id)
    assert studio.queues.depths()[GPU] == 1
    assert shard in studio.queues.queued()
    studio.work()
    assert str(shard_of(own_study, batch).state) == "pending"

    studio.queues.redis.flushdb()  # the job is lost
    sweep(studio.services.database, studio.queues)
    assert shard in studio.queues.queued()

    studio.work(GPU)  # no weights are named: the worker itself says what is missing
    studio.settle()
    assert str(own_study.batches()[-1].state) == "failed"
    assert "“diffusion.weights” is not set" in own_study.page()
    assert "What is named “diffusion.…” is set in DATAGEN_ENGINE_PARAMETERS" in own_study.page()


def test_settings_of_the_engine_become_part_of_the_next_version_and_refining_keeps_them(own_study: Study) -> None:
    build(own_study, engine_parameters={"weights": "owner/name"})
    assert own_study.specs()[-1].body["parameters"] == {"diffusion": {"weights": "owner/name"}}
    own_study.act(StudyEvent.CANCEL)
    build(own_study, engine_parameters={"weights": "owner/other"})
    assert own_study.specs()[-1].body["parameters"] == {"diffusion": {"weights": "owner/other"}}
    own_study.act(StudyEvent.CANCEL)


def test_what_could_not_be_rendered_is_refused_before_anything_is_queued(studio: Studio, own_study: Study) -> None:
    services = replace(
        studio.services, engine_problems=lambda engine, parameters: (f"{engine} lacks weights.", "Name them.")
    )
    with pytest.raises(Refused, match=r"diffusion lacks weights\. Name them\."):
        submit.decide(
            services,
            submit.DecisionCommand(
                study_id=own_study.id, decision=Decision(action=StudyEvent.BUILD_PREVIEW), who="tester"
            ),
        )
    assert (own_study.specs(), studio.queues.depths()[GPU]) == ([], 0)

    own_study.use_engine("composite")  # … and the study continues without a GPU
    own_study.review()


def test_without_a_gpu_worker_the_machine_itself_is_asked(studio: Studio) -> None:
    assert engine_problems(studio.settings.redis_url, SETTINGS, "composite", {}) == ()
    verdict_result = engine_problems(studio.settings.redis_url, SETTINGS, "diffusion", {"diffusion": {"weights": ""}})
    assert any("“diffusion.weights” is not set" in sentence for sentence in verdict_result)


def test_what_a_gpu_machine_elsewhere_lacks_is_said_before_anything_is_queued(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the GPU machine can detect the problem. Without its report, shards were queued that it could not render."""
    own: dict[str, Json] = {"diffusion": {"weights": ""}}
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "gpu-box")
        report = partial(report_problems, settings=SETTINGS, parameters={"diffusion": own})
        worker = _worker(Redis.from_url(studio.settings.redis_url), (GPU,), report)
        worker.register_birth()
        worker.heartbeat(WORKER_TTL_SECONDS)
    with heartbeats.beating(studio.settings.redis_url, heartbeats.Kind.WORKER, worker.process):
        verdict_result = engine_problems(studio.settings.redis_url, SETTINGS, "diffusion", {**own, "size_factor": 1.2})
        assert verdict_result[0].startswith("On gpu-box: ")
        assert any("“diffusion.weights” is not set" in sentence for sentence in verdict_result)
        # it has no report for other parameters: it runs the check when it takes the work
        assert (
            engine_problems(studio.settings.redis_url, SETTINGS, "diffusion", {"diffusion": {"weights": "owner/name"}})
            == ()
        )
    worker.register_death()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ('{"weights": "/moved/away"}', "names the folder /moved/away, which is not on this machine"),
        ('{"wieghts": "/models"}', "DATAGEN_ENGINE_PARAMETERS names 'wieghts', which is no engine's parameter"),
    ],
)
def test_a_gpu_worker_that_cannot_do_the_work_says_so_when_it_starts(
    given: str, sentence: str, studio: Studio, processes: Processes, tmp_path: Path
) -> None:
    """It logged that it had started, and served its queue."""

    def serves() -> bool:
        return any(GPU in worker.queues for worker in live_workers(studio.queues))

    assert not serves()
    worker = processes.start(
        "gpu-in-vain",
        [sys.executable, "-m", "datagen", "worker", "--gpu", "--device", ""],
        env=studio.environment | {"DATAGEN_ENGINE_PARAMETERS": given},
        cwd=tmp_path,
        ready=serves,
        within=60,
    )
    processes.stop(worker)
    lines = [json.loads(line) for line in Path(worker.log).read_text().splitlines() if line.startswith("{")]
    verdict_result = [line for line in lines if line["event"] == "worker.cannot_render"]
    assert any(sentence in line["reason"] for line in verdict_result), lines
    assert {(line["level"], line["engine"]) for line in verdict_result} == {("warning", "diffusion")}


class Teaching(FittedEngineCache):
    """A cache of fitted engines whose engine takes long to fit."""

    def __init__(self, studio: Studio, study: Study) -> None:
        super().__init__(studio.services)
        self._study = study

    def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        verdict_result = "step 100 of 400, loss 0.1234, about 3 min left (25%)"
        progress(0.25, "teaching the model: step 100 of 400, loss 0.1234, about 3 min left")
        wait_until(lambda: verdict_result in self._study.shown(), PATIENCE_S, "A word of the fit", every=0.02)
        assert "width:25.0%" in self._study.shown()
        self._study.act(StudyEvent.CANCEL)
        wait_until(lambda: progress(0.26, "step 101"), PATIENCE_S, "The end of the fit", every=0.02)
        raise AssertionError("it was cancelled")


def test_a_fit_tells_step_loss_and_time_left_and_ends_when_cancelled(
    studio: Studio, own_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.02)
    batch = build(own_study)
    shard = shard_of(own_study, batch)
    render_shard(studio.services, Teaching(studio, own_study), shard.id)
    assert str(shard_of(own_study, batch).state) == "cancelled"
    assert own_study.samples_of(batch) == []


def test_a_worker_whose_device_failed_ends_and_leaves_the_work_to_the_next(
    studio: Studio, own_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = build(own_study)
    shard = shard_of(own_study, batch)

    def fail(self: FittedEngineCache, spec: Spec, progress: Progress) -> FittedEngine:
        raise DeviceFault("the device failed: CUDA error: unspecified launch failure")

    monkeypatch.setattr(FittedEngineCache, "fitted", fail)
    studio.queues.enqueue([request for request in studio.queues.queued() if request.row_id == shard.id])  # a second job
    with studio.as_process():
        run_worker(studio.settings.redis_url, (GPU,), burst=True)
    assert studio.queues.depths()[GPU] == 1  # it took one job, failed, and ended
    left = shard_of(own_study, batch)
    assert (str(left.state), left.attempts) == ("pending", 1)
    assert left.due_at <= now()
    own_study.act(StudyEvent.CANCEL)


def test_a_worker_that_did_its_share_of_jobs_ends_to_be_started_anew(studio: Studio, own_study: Study) -> None:
    batch = build(own_study)
    shard = shard_of(own_study, batch)
    studio.queues.enqueue([request for request in studio.queues.queued() if request.row_id == shard.id])  # a second job
    with studio.as_process():
        run_worker(studio.settings.redis_url, (GPU,), max_jobs=1)
    assert studio.queues.depths()[GPU] == 1
    studio.queues.redis.flushdb()
    studio.settle()


def test_every_gpu_has_a_worker_of_its_own_and_a_machine_without_one_has_one() -> None:
    assert [(name, command[-4:]) for name, command in gpu_commands(("0", "3")).items()] == [
        ("gpu-0", ["worker", "--gpu", "--device", "0"]),
        ("gpu-3", ["worker", "--gpu", "--device", "3"]),
    ]
    assert [(name, command[-1]) for name, command in gpu_commands(()).items()] == [("gpu", "")]
    assert "gpu" in commands(2, gpu=True)
    assert "gpu" not in commands(2)


#: A process that imports torch, teaches and paints, on a busy machine without a GPU.
GPU_PATIENCE_S = 240.0


def test_a_gpu_worker_of_its_own_renders_a_round_with_a_model_that_it_taught(
    studio: Studio, own_study: Study, processes: Processes, tmp_path: Path
) -> None:
    for name in ("torch", "diffusers", "transformers", "peft", "accelerate"):
        pytest.importorskip(name)
    from benches.random_pipeline import build as build_weights

    own: dict[str, Json] = {
        "weights": str(build_weights("tiny", tmp_path / "tiny-inpainting")),
        **{"device": "cpu", "resolution": 32, "steps": 3, "candidates": 2},
        **{"fit_steps": 2, "fit_batch": 1, "lora_rank": 2},
    }
    batch = build(own_study, engine_parameters=own)
    environment = studio.environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "datagen", "worker", "--gpu"]
    worker = processes.start(
        "gpu",
        argv,
        env=environment,
        cwd=tmp_path,
        ready=lambda: str(shard_of(own_study, batch).state) not in ("pending", "running"),
        within=GPU_PATIENCE_S,
    )
    processes.stop(worker)
    studio.settle()

    assert own_study.row().state == "reviewing", own_study.shown()
    steps = [sample.body["provenance"]["steps"] for sample in own_study.samples_of(batch)]
    assert [step["instances"][0]["pixels"] for step in steps] == ["diffusion"] * ROUND
    assert all(step["device"] == "cpu" and len(step["lora_sha256"]) == 64 for step in steps)
    assert "A LoRA was fitted in 2 steps" in own_study.page()

    # what reviewers say is learned about the draws of both engines, and the engine's own parameters are kept
    own_study.judge(*[verdict_result("bad", "too small", "too strong")] * ROUND)
    studio.settle()
    services = replace(studio.services, engine_problems=lambda engine, parameters: ())
    submit.decide(
        services,
        submit.DecisionCommand(study_id=own_study.id, decision=Decision(action=StudyEvent.REFINE), who="tester"),
    )
    refined = own_study.specs()[-1].body["parameters"]
    assert refined["diffusion"] == own
    learned = {term["name"] for term in refined["preference"]["terms"]}
    assert "size" in learned
    assert not learned & {"contrast", "softness", "blend"}  # painting does not go by them
    own_study.act(StudyEvent.CANCEL)
