"""Training: the loss falls, a stopped run resumes with the same result, and too little memory is handled."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import islice

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

import safetensors.torch  # noqa: E402
from safetensors import SafetensorError  # noqa: E402

from datagen.errors import DeviceFault, EngineError  # noqa: E402
from datagen.synthesis.composite.parameters import CompositeParameters  # noqa: E402
from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402
from datagen.synthesis.diffusion.training import trainer  # noqa: E402
from datagen.synthesis.diffusion.training.dataset import examples_of, make_lessons  # noqa: E402
from datagen.synthesis.diffusion.training.trainer import Trainer  # noqa: E402
from datagen.synthesis.diffusion.weights import pipeline_loading  # noqa: E402
from small_diffusion import SMALL  # noqa: E402


class Stop(Exception):
    """The exception of a cancelled job."""


@pytest.fixture
def teach(tiny, device, study, tmp_path, monkeypatch):
    """A function that makes a trainer for photos of discs on plates, from a folder's name and changed parameters."""

    def make(name="fit", dtype="float32", judged=True, **others):
        own = DiffusionParameters.from_json({"weights": str(tiny), "device": device, **SMALL, **others})
        spec, shelf = study(kind="colour", concepts=3, canvases=2, backgrounds=2)
        lessons = islice(make_lessons(examples_of(spec, shelf, CompositeParameters()), shelf, own, seed=5), 8)
        pipeline = pipeline_loading.load(tiny, own, pipeline_loading.device_of(device), getattr(torch, dtype))
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        teacher = Trainer(pipeline, lessons, own, folder, seed=5)
        if not judged:
            monkeypatch.setattr(teacher, "judge", lambda: 0.0)
        return teacher

    return make


def ignore(done, step):
    pass


def test_fitting_lowers_the_loss_on_the_concept(teach):
    teacher = teach(fit_steps=20)
    teacher.run(ignore)
    assert teacher.after < 0.97 * teacher.before


def test_progress_says_step_loss_and_time_left_and_the_curve_is_kept(teach, tmp_path):
    message = []
    teach(fit_steps=3).run(lambda done, step: message.append((done, step)))
    assert [done for done, _ in message] == [1 / 3, 2 / 3, 1.0]
    assert "step 2 of 3, loss 0." in message[1][1]
    assert message[1][1].endswith("s left")
    assert (tmp_path / "fit" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_fit_stopped_between_two_steps_goes_on_as_if_it_had_not_been(teach, device):
    if device == "cuda":
        pytest.skip("sums on a GPU depend on the order its threads come in; held to on the CPU")
    whole = teach("whole", fit_steps=6).run(ignore)

    def stop_after_two(done, step):
        if step.startswith("step 2 "):
            raise Stop

    with pytest.raises(Stop):
        teach("stopped", fit_steps=6).run(stop_after_two)
    resumed = teach("stopped", fit_steps=6)
    assert len(resumed.losses) == 2
    assert resumed.before == pytest.approx(teach("another", fit_steps=6).judge())
    assert resumed.run(ignore).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("left", [0, 0.1, 0.5, 0.99])
def test_a_checkpoint_that_is_cut_off_is_dropped_and_the_fit_begins_anew(teach, tmp_path, left):
    def stop_after_one(done, step):
        raise Stop

    with pytest.raises(Stop):
        teach(fit_steps=2).run(stop_after_one)
    checkpoint = tmp_path / "fit" / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: int(left * len(whole))])
    again = teach(fit_steps=2)
    assert again.losses == []
    assert not checkpoint.exists()
    reported = []
    again.run(lambda _done, step: reported.append(step))
    assert len(again.losses) == 2
    assert "was damaged: the fit begins anew" in reported[0]


def test_a_checkpoint_that_only_memory_is_missing_for_is_not_dropped(teach, tmp_path, monkeypatch):
    def too_large(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    checkpoint = tmp_path / "fit" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"whole")
    monkeypatch.setattr(torch, "load", too_large)
    with pytest.raises((RuntimeError, EngineError)):
        teach(fit_steps=2)
    assert checkpoint.exists()


@pytest.mark.parametrize("name", [".checkpoint.pt", "loss.png", "losses.json"])
def test_a_full_disk_names_the_data_folder(teach, tmp_path, name):
    def stop_after_one(done, step):
        if name != "losses.json":
            raise Stop

    teacher = teach(fit_steps=1)
    (tmp_path / "fit" / name).symlink_to("/dev/full")
    with pytest.raises(EngineError, match=r"fit \(No space left on device\); name another data folder"):
        teacher.run(stop_after_one)


def test_a_lora_that_finds_no_room_names_the_data_folder(teach, tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    teacher = teach(fit_steps=1)
    monkeypatch.setattr(type(teacher._pipeline), "save_lora_weights", full)
    with pytest.raises(EngineError, match=r"No space left on device .*name another data folder"):
        teacher.run(ignore)


def test_a_finished_fit_leaves_no_checkpoint(teach, tmp_path):
    teach(fit_steps=1).run(ignore)
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == [
        "loss.png",
        "losses.json",
        "pytorch_lora_weights.safetensors",
    ]


def test_out_of_memory_halves_the_rows_and_goes_on(teach, monkeypatch):
    teacher = teach(fit_steps=2, fit_batch=4, judged=False)
    real, sizes = teacher._losses, []

    def small(rows, chance):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(rows, chance)

    monkeypatch.setattr(teacher, "_losses", small)
    teacher.run(ignore)
    assert sizes == [4, 2, 2, 2, 2]


def test_not_even_one_lesson_fits(teach, monkeypatch):
    teacher = teach(fit_steps=1, fit_batch=1, judged=False)

    def never(rows, chance):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(teacher, "_losses", never)
    with pytest.raises(EngineError, match=r"lower “diffusion.resolution” or “diffusion.lora_rank”"):
        teacher.run(ignore)


def test_a_device_that_fails_is_no_fault_of_the_spec(teach, monkeypatch):
    teacher = teach(fit_steps=1, judged=False)

    def fail(rows, chance):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(teacher, "_losses", fail)
    with pytest.raises(DeviceFault, match=r"illegal memory access"):
        teacher.run(ignore)


def test_what_lies_on_a_failed_device_is_not_read_for_a_checkpoint(teach, monkeypatch):
    teacher = teach(fit_steps=3, judged=False)
    real, calls = teacher._losses, []

    def fail_second(rows, chance):
        calls.append(rows)
        if len(calls) == 2:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return real(rows, chance)

    def unreadable():
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(teacher, "_losses", fail_second)
    monkeypatch.setattr(teacher, "_keep", unreadable)
    with pytest.raises(DeviceFault):
        teacher.run(ignore)


def test_a_loss_that_is_no_number_names_the_setting(teach, monkeypatch):
    teacher = teach(fit_steps=1, judged=False)
    nothing = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(teacher, "_losses", lambda rows, chance: nullcontext((nothing,) * 3))
    with pytest.raises(EngineError, match=r"lower “diffusion.learning_rate”"):
        teacher.run(ignore)


def test_gradients_smaller_than_float16_holds_still_reach_every_layer(teach, monkeypatch):
    for part in ("DEFECT", "OBJECT", "ATTENTION"):
        monkeypatch.setattr(trainer, part, 1e-6)
    teacher = teach(fit_steps=2, dtype="float16")
    lora = safetensors.torch.load_file(teacher.run(ignore))
    taught = {name: values.abs().max() for name, values in lora.items() if "lora.up" in name or "lora_B" in name}
    assert taught
    assert all(taught.values())


def test_a_float16_fit_that_was_stopped_goes_on_with_its_gradients_scale(teach, device):
    if device == "cuda":
        pytest.skip("sums on a GPU depend on the order its threads come in; held to on the CPU")

    def stop_after_two(done, step):
        if step.startswith("step 2 "):
            raise Stop

    whole = teach("whole", fit_steps=4, dtype="float16").run(ignore)
    with pytest.raises(Stop):
        teach("stopped", fit_steps=4, dtype="float16").run(stop_after_two)
    assert teach("stopped", fit_steps=4, dtype="float16").run(ignore).read_bytes() == whole.read_bytes()


def test_where_not_even_one_row_fits_activations_are_computed_again_in_place_of_kept(teach, device, monkeypatch):
    teacher = teach("spare", fit_steps=2, judged=False)
    real = teacher._losses

    def small(rows, chance):
        if not teacher._model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(rows, chance)

    monkeypatch.setattr(teacher, "_losses", small)
    spared = safetensors.torch.load_file(teacher.run(ignore))
    rich = teach("rich", fit_steps=2)
    rich._rows = 1
    kept = safetensors.torch.load_file(rich.run(ignore))
    assert all(torch.allclose(spared[name], kept[name], atol=1e-5) for name in kept)


def test_noise_is_added_in_float32_for_a_bfloat16_model_too(teach, monkeypatch):
    teacher = teach(fit_steps=1, dtype="bfloat16")
    real, kinds = teacher._denoiser.noised, []

    def noised(latents, noise, times):
        noisy, target = real(latents, noise, times)
        kinds.extend(part.dtype for part in (latents, noise, noisy, target))
        return noisy, target

    monkeypatch.setattr(teacher._denoiser, "noised", noised)
    teacher.run(ignore)
    assert set(kinds) == {torch.float32}
