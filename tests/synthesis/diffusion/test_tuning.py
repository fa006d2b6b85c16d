"""Speed levers: pulled where they help, let go of where not, and held to once measured."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from datagen.synthesis.diffusion import pipelines, tuning  # noqa: E402
from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402

OWN = DiffusionParameters(resolution=32, steps=2, guidance=1.0)


@pytest.fixture
def pipeline(tiny):
    """The tiny pipeline on the CPU."""
    return pipelines.load(tiny, OWN, torch.device("cpu"), torch.float32)


def test_on_a_cpu_nothing_is_measured(pipeline, tmp_path):
    assert tuning.tune(pipeline, OWN, tmp_path, "digest").batch == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lever_is_kept_when_it_helps_and_released_when_not(pipeline, monkeypatch):
    pulled = []
    levers = [
        tuning.Lever(name=name, pull=lambda _, n=name: pulled.append(n), release=lambda _, n=name: pulled.remove(n))
        for name in ("helps", "hurts", "helps a little")
    ]
    rates = iter([10.0, 14.0, 9.0, 14.2])
    monkeypatch.setattr(tuning, "LEVERS", levers)
    monkeypatch.setattr(tuning, "images_per_second", lambda *_: next(rates))
    found = tuning.measure(pipeline, DiffusionParameters(batch=4))
    assert (found.batch, found.levers, pulled) == (4, ("helps",), ["helps"])


def test_the_batch_grows_while_it_helps_and_fits(pipeline, monkeypatch):
    rates = {1: 1.0, 2: 1.9, 4: 3.5, 8: 3.6}
    monkeypatch.setattr(tuning, "images_per_second", lambda p, o, batch: rates[batch])
    assert tuning.measure(pipeline, DiffusionParameters(levers="none")).batch == 4
    monkeypatch.setattr(tuning, "images_per_second", lambda p, o, batch: 1.0 * batch if batch < 4 else None)
    assert tuning.measure(pipeline, DiffusionParameters(levers="none")).batch == 2


@pytest.mark.parametrize(
    "lever", [one for one in tuning.LEVERS if one.name != "compiled_blocks"], ids=lambda one: one.name
)
def test_a_lever_of_this_model_can_be_pulled_and_released(pipeline, lever):
    assert tuning.images_per_second(pipeline, OWN, 1) > 0
    lever.pull(pipeline)
    assert tuning.images_per_second(pipeline, OWN, 1) > 0
    lever.release(pipeline)
    assert tuning.images_per_second(pipeline, OWN, 1) > 0


@pytest.mark.gpu
def test_what_was_measured_on_a_gpu_is_held_to(tiny, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here")
    device = pipelines.device_of("cuda")
    first, again = (
        tuning.tune(pipelines.load(tiny, OWN, device, torch.bfloat16), OWN, tmp_path, "digest") for _ in range(2)
    )
    assert first == again
