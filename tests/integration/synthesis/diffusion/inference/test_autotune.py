"""Optimizations: used where they help, dropped where not, and kept once measured."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from datagen.errors import DeviceFault, EngineError  # noqa: E402
from datagen.synthesis.diffusion.inference import autotune  # noqa: E402
from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402
from datagen.synthesis.diffusion.weights import pipeline_loading  # noqa: E402

OWN = DiffusionParameters(resolution=32, steps=2, guidance=1.0)


@pytest.fixture
def pipeline(tiny):
    """The tiny pipeline on the CPU."""
    return pipeline_loading.load(tiny, OWN, torch.device("cpu"), torch.float32)


def test_on_a_cpu_nothing_is_measured(pipeline, tmp_path):
    assert autotune.tune(pipeline, OWN, tmp_path, "digest").batch == 1
    assert list(tmp_path.iterdir()) == []


def test_an_optimization_is_kept_when_it_helps_and_reverted_when_not(pipeline, monkeypatch):
    applied = []
    optimizations = [
        autotune.Optimization(
            name=name, apply=lambda _, n=name: applied.append(n), revert=lambda _, n=name: applied.remove(n)
        )
        for name in ("helps", "hurts", "helps a little")
    ]
    rates = iter([10.0, 14.0, 9.0, 14.2])
    monkeypatch.setattr(autotune, "OPTIMIZATIONS", optimizations)
    monkeypatch.setattr(autotune, "images_per_second", lambda *_: next(rates))
    tuning = autotune.measure(pipeline, DiffusionParameters(batch=4))
    assert (tuning.batch, tuning.optimizations, applied) == (4, ("helps",), ["helps"])


def test_the_batch_grows_while_it_helps_and_fits(pipeline, monkeypatch):
    rates = {1: 1.0, 2: 1.9, 4: 3.5, 8: 3.6}
    monkeypatch.setattr(autotune, "images_per_second", lambda p, o, batch: rates[batch])
    assert autotune.measure(pipeline, DiffusionParameters(optimizations="none")).batch == 4
    monkeypatch.setattr(autotune, "images_per_second", lambda p, o, batch: 1.0 * batch if batch < 4 else None)
    assert autotune.measure(pipeline, DiffusionParameters(optimizations="none")).batch == 2


def test_a_batch_that_kernels_cannot_count_is_too_large(pipeline, monkeypatch):
    def rate(_pipeline, _own, batch):
        if batch > 2:
            raise RuntimeError("integer out of range")
        return float(batch)

    monkeypatch.setattr(autotune, "images_per_second", rate)
    assert autotune.measure(pipeline, DiffusionParameters(optimizations="none")).batch == 2


def test_an_optimization_that_fails_is_none_and_a_device_that_fails_ends_the_measuring(pipeline, monkeypatch):
    class CompilersOwn(Exception):
        pass

    def apply(_pipeline):
        raise fault

    monkeypatch.setattr(autotune, "images_per_second", lambda *_: 1.0)
    monkeypatch.setattr(
        autotune, "OPTIMIZATIONS", [autotune.Optimization(name="odd", apply=apply, revert=lambda _: None)]
    )
    fault = CompilersOwn("recompile limit")
    assert autotune.measure(pipeline, DiffusionParameters(batch=1)).optimizations == ()
    fault = DeviceFault("the device failed")
    with pytest.raises(DeviceFault):
        autotune.measure(pipeline, DiffusionParameters(batch=1))


class OnAGpu:
    """A pipeline that reports a GPU as its device; nothing is computed."""

    device = torch.device("cuda")


@pytest.fixture
def measured(monkeypatch):
    """The list of measurements. Each takes 0.2 s, so that two can overlap, and has another result."""
    times = []

    def measure(*_):
        times.append(len(times))
        threading.Event().wait(0.2)
        return autotune.Tuning(batch=1 + len(times), optimizations=(), images_per_second={})

    monkeypatch.setattr(autotune, "measure", measure)
    monkeypatch.setattr(pipeline_loading, "device_name", lambda _: "a GPU")
    return times


def test_two_workers_hold_to_one_measurement(measured, tmp_path):
    """When each worker used its own measurement, the same spec gave different images."""
    with ThreadPoolExecutor(2) as workers:
        tunings = list(workers.map(lambda _: autotune.tune(OnAGpu(), OWN, tmp_path, "digest"), range(2)))
    assert tunings[0] == tunings[1]
    assert len(measured) == 1


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"batch": "many"}'])
def test_a_broken_file_is_measured_again(measured, tmp_path, broken):
    """Every build after it failed, and no sentence named the file."""
    first = autotune.tune(OnAGpu(), OWN, tmp_path, "digest")
    (kept,) = (tmp_path / "tuning").glob("*.json")
    kept.write_text(broken)
    again = autotune.tune(OnAGpu(), OWN, tmp_path, "digest")
    assert len(measured) == 2
    assert again != first
    assert autotune.tune(OnAGpu(), OWN, tmp_path, "digest") == again


def test_a_folder_that_cannot_be_written_is_said(measured, tmp_path):
    (tmp_path / "diffusion").write_text("a file")
    with pytest.raises(EngineError, match="name another data folder"):
        autotune.tune(OnAGpu(), OWN, tmp_path / "diffusion", "digest")


def test_compiled_blocks_take_every_batch_that_memory_may_leave():
    """After the second halving, dynamo's limit of 8 graphs ended every try of the shard."""

    class Block(torch.nn.Module):
        def compile(self, **options):
            super().compile(backend="eager", **options)

        def forward(self, x):
            return 2 * x + 1

    model = torch.nn.Sequential(Block())
    model._repeated_blocks = ["Block"]
    patched = (torch._dynamo.config.patch(recompile_limit=8), torch._inductor.config.patch(deterministic=False))
    with patched[0], patched[1], torch.inference_mode():
        autotune._compile(SimpleNamespace(unet=model))
        assert model[0]._compiled_call_impl is not None
        for batch in range(1, 20):
            assert model(torch.zeros(batch, 4)).shape == (batch, 4)
    torch.compiler.reset()


def test_a_reverted_optimization_leaves_no_copy_of_the_weights_behind(pipeline):
    before = {name: values.shape for name, values in pipeline.unet.state_dict().items()}
    [fused] = [optimization for optimization in autotune.OPTIMIZATIONS if optimization.name == "fused_qkv"]
    fused.apply(pipeline)
    assert len(pipeline.unet.state_dict()) > len(before)
    fused.revert(pipeline)
    assert {name: values.shape for name, values in pipeline.unet.state_dict().items()} == before


def test_an_optimization_that_was_kept_and_does_not_work_here_is_reverted(pipeline, monkeypatch):
    """Without a compiler, every shard failed on the second machine."""
    reverted = []

    def apply(pipeline):
        def broken(*_, **__):
            raise RuntimeError("InductorError: no C++ compiler was found")

        monkeypatch.setattr(pipeline.unet, "forward", broken)

    def revert(_pipeline):
        reverted.append("compiled")
        monkeypatch.undo()

    optimizations = [autotune.Optimization(name="compiled", apply=apply, revert=revert)]
    monkeypatch.setattr(autotune, "OPTIMIZATIONS", optimizations)
    kept = autotune.Tuning(batch=2, optimizations=("compiled",), images_per_second={"batch 2": 1.0})
    assert autotune._applied(pipeline, OWN, kept) == autotune.Tuning(
        batch=2, optimizations=(), images_per_second={"batch 2": 1.0}
    )
    assert reverted == ["compiled"]


def test_a_step_counts_in_a_measurement_as_often_as_it_is_painted(pipeline, monkeypatch):
    """In a run of four steps, the fixed time of a run outweighed the time that an optimization saves in each step."""
    monkeypatch.setattr(autotune, "_paint_once", lambda painter, short: 10.0 + 0.5 * short.steps)
    assert autotune.images_per_second(pipeline, DiffusionParameters(resolution=32, steps=20), 4) == pytest.approx(
        4 / 20
    )


@pytest.mark.parametrize(
    "optimization",
    [optimization for optimization in autotune.OPTIMIZATIONS if optimization.name != "compiled_blocks"],
    ids=lambda optimization: optimization.name,
)
def test_an_optimization_of_this_model_can_be_applied_and_reverted(pipeline, optimization):
    assert autotune.images_per_second(pipeline, OWN, 1) > 0
    optimization.apply(pipeline)
    assert autotune.images_per_second(pipeline, OWN, 1) > 0
    optimization.revert(pipeline)
    assert autotune.images_per_second(pipeline, OWN, 1) > 0


@pytest.mark.gpu
def test_what_was_measured_on_a_gpu_is_held_to(tiny, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here")
    device = pipeline_loading.device_of("cuda")
    first, again = (
        autotune.tune(pipeline_loading.load(tiny, OWN, device, torch.bfloat16), OWN, tmp_path, "digest")
        for _ in range(2)
    )
    assert first == again
