"""The whole engine on a tiny pipeline: the guarantees for every sample, and for fits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from filelock import FileLock  # noqa: E402

from datagen.domain.spec import sample_seed  # noqa: E402
from datagen.errors import DeviceFault, EngineError  # noqa: E402
from datagen.synthesis.diffusion.engine import DiffusionEngine  # noqa: E402
from datagen.synthesis.diffusion.inference.inpainter import Inpainter  # noqa: E402
from datagen.synthesis.diffusion.inference.pipeline_cache import drop_cached_pipeline  # noqa: E402
from datagen.synthesis.engine import EngineSettings, load_engine  # noqa: E402


def ignore(done, step):
    pass


def painted(rendered):
    return [instance.details["pixels"] for instance in rendered.provenance.trace.instances]


def test_it_is_found_by_its_name_and_asks_for_a_gpu_worker():
    engine = load_engine("diffusion")
    assert (engine.name, engine.device) == ("diffusion", "gpu")


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_only_masked_pixels_change_and_the_label_is_where_they_did(study, engine, parameters, kind):
    spec, shelf = study(kind=kind, parameters=parameters(fit_steps=0))
    for sample in engine.fit(spec, shelf, ignore).render(range(3)):
        background = shelf.load(sample.provenance.background)
        different = sample.image != background
        different = different if different.ndim == 2 else different.any(axis=2)
        assert (sample.image.shape, sample.image.dtype) == (background.shape, background.dtype)
        assert not (different & (sample.mask == 0)).any()
        assert different[sample.mask > 0].mean() > 0.8
        assert painted(sample) == ["diffusion"]


def test_masks_boxes_and_outlines_agree(study, engine, parameters, rasterized):
    spec, shelf = study(kind="colour", parameters=parameters(fit_steps=0) | {"instances_min": 2, "instances_max": 2})
    for sample in engine.fit(spec, shelf, ignore).render(range(2)):
        assert sorted(np.unique(sample.mask)) == list(range(len(sample.instances) + 1))
        for number, instance in enumerate(sample.instances, start=1):
            ys, xs = np.nonzero(sample.mask == number)
            assert (instance.box.x, instance.box.y) == (xs.min(), ys.min())
            assert (instance.box.right, instance.box.bottom) == (xs.max() + 1, ys.max() + 1)
            assert np.array_equal(rasterized(instance.outlines, sample.mask.shape), sample.mask == number)


def test_the_same_spec_and_index_give_the_same_image_in_any_company_and_process(study, kept, parameters):
    spec, shelf = study(kind="colour", parameters=parameters())
    together = list(DiffusionEngine(EngineSettings(folder=kept)).fit(spec, shelf, ignore).render(range(3)))
    drop_cached_pipeline()
    [alone] = DiffusionEngine(EngineSettings(folder=kept)).fit(spec, shelf, ignore).render([2])
    assert np.array_equal(alone.image, together[2].image)
    assert np.array_equal(alone.mask, together[2].mask)
    assert (alone.instances, alone.provenance) == (together[2].instances, together[2].provenance)
    assert not np.array_equal(together[0].image, together[1].image)


def test_settings_are_drawn_for_each_sample_and_kept_in_its_trace(study, engine, parameters, monkeypatch):
    called = []
    original = Inpainter.paint

    def noted(self, orders, most=None, settings=None):
        called.append(settings)
        return original(self, orders, most, settings)

    monkeypatch.setattr(Inpainter, "paint", noted)
    names = ("strength", "guidance", "steps")
    own = parameters(fit_steps=0, steps=8) | {"instances_min": 2, "instances_max": 2}
    spec, shelf = study(kind="colour", parameters=own)
    seen = set()
    for sample in engine.fit(spec, shelf, ignore).render(range(3)):
        first, second = (
            [i.draws[n] for n in ("strength", "guidance", "steps")] for i in sample.provenance.trace.instances
        )
        assert first == second, "all instances of a sample have its settings"
        seen.add(tuple(first))
    assert len(seen) == 3
    assert seen <= {(each.strength, each.guidance, float(each.steps)) for each in called}
    plain, _ = study(kind="colour", parameters=parameters(fit_steps=0, vary=False))
    [sample] = engine.fit(plain, shelf, ignore).render([0])
    assert not set(names) & set(sample.provenance.trace.instances[0].draws)


def test_the_provenance_is_enough_to_make_the_image_again(study, engine, parameters):
    spec, shelf = study(kind="colour", parameters=parameters())
    [sample] = engine.fit(spec, shelf, ignore).render([4])
    message = sample.provenance
    assert (message.engine, message.spec_digest, message.index) == ("diffusion", spec.digest, 4)
    assert message.seed == sample_seed(spec.digest, 4)
    steps = message.trace.to_json()
    assert steps["versions"]["torch"] == torch.__version__
    assert steps["weights"] == "tiny-inpainting"
    assert len(steps["weights_sha256"]) == len(steps["lora_sha256"]) == 64
    assert steps["dtype"] in ("float32", "bfloat16", "float16")
    assert steps["device"]
    [instance] = steps["instances"]
    assert {"concept", "degrees", "scale", "candidate", "contrast", "cover"} <= set(instance)
    assert "blend" not in instance


def test_a_spec_is_fitted_once_and_a_child_that_only_moves_finds_its_parents_fit(study, tmp_path, parameters):
    spec, shelf = study(kind="colour", concepts=3, parameters=parameters(fit_steps=2))
    child = replace(spec, seed=2, parameters=spec.parameters | {"size_factor": 1.3})
    other = replace(spec, parameters=parameters(fit_steps=3))
    taught = []
    for fitted_spec in (spec, spec, child, other):
        message = []
        DiffusionEngine(EngineSettings(folder=tmp_path)).fit(
            fitted_spec, shelf, lambda done, step, message=message: message.append(step)
        )
        taught.append(any("teaching the model" in step for step in message))
    assert taught == [True, False, False, True]


def test_what_the_fit_did_is_reported(study, tmp_path, parameters):
    spec, shelf = study(kind="colour", parameters=parameters(fit_steps=2))
    fitted = DiffusionEngine(EngineSettings(folder=tmp_path)).fit(spec, shelf, ignore)
    [message] = [message for message in fitted.report.findings if message.startswith("A LoRA was fitted in 2 steps")]
    assert message.startswith(("A LoRA was fitted in 2 steps.", "A LoRA was fitted in 2 steps; the model fits the"))
    assert any(
        line.startswith("The loss on the concept, at the same noise, went from ") for line in fitted.report.details
    )
    list(fitted.render([0]))
    assert any("1 example was painted" in message for message in fitted.report.details)


def test_a_refined_composite_starts_from_what_composite_made(study, engine, parameters):
    plain, shelf = study(kind="colour", parameters=parameters(fit_steps=0))
    refined, _ = study(kind="colour", parameters=parameters(fit_steps=0, refine_composite=True, strength=0.4, steps=5))
    [sample] = engine.fit(plain, shelf, ignore).render([0])
    [other] = engine.fit(refined, shelf, ignore).render([0])
    assert not np.array_equal(sample.image, other.image)
    background = shelf.load(other.provenance.background)
    assert not ((other.image != background).any(axis=2) & (other.mask == 0)).any()
    assert other.provenance.trace.instances[0].blend


def test_where_nothing_can_be_seen_composites_pixels_are_used_and_counted(study, engine, parameters, monkeypatch):
    spec, shelf = study(kind="colour", parameters=parameters(fit_steps=0))
    # a model that gives every crop back as it was
    monkeypatch.setattr(Inpainter, "paint", lambda self, orders, most, settings: [o.image for o in orders])
    fitted = engine.fit(spec, shelf, ignore)
    [sample] = fitted.render([0])
    assert painted(sample) == ["composite"]
    assert (sample.mask > 0).any()
    assert any(
        "in 1 of 1 place the model painted nothing that can be seen" in message for message in fitted.report.warnings
    )


def test_a_fit_waits_for_the_worker_that_makes_the_same_and_can_be_cancelled_meanwhile(study, tmp_path, parameters):
    spec, shelf = study(kind="colour", concepts=3, parameters=parameters(fit_steps=1))

    class Cancelled(Exception):
        pass

    def cancel(done, step):
        if "another worker" in step:
            raise Cancelled

    DiffusionEngine(EngineSettings(folder=tmp_path)).fit(spec, shelf, ignore)
    [home] = (tmp_path / "fits").iterdir()
    with FileLock(home / "lock"), pytest.raises(Cancelled):
        DiffusionEngine(EngineSettings(folder=tmp_path)).fit(spec, shelf, cancel)


@pytest.fixture(scope="module")
def copy_fit(tmp_path_factory):
    """A function that puts the kept fit of a spec into an empty folder; each spec is fitted once."""
    folders = {}

    def copy(spec, shelf, folder):
        if spec.digest not in folders:
            folders[spec.digest] = tmp_path_factory.mktemp("fitted")
            DiffusionEngine(EngineSettings(folder=folders[spec.digest])).fit(spec, shelf, ignore)
        shutil.copytree(folders[spec.digest], folder, dirs_exist_ok=True)

    return copy


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # a fit done again has the same bytes there
@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "losses.json"])
@pytest.mark.parametrize("left", [0, 0.5, None], ids=["empty", "cut", "missing"])
def test_a_kept_fit_that_is_damaged_is_taught_again(study, tmp_path, parameters, copy_fit, name, left):
    spec, shelf = study(kind="colour", concepts=3, parameters=parameters(fit_steps=1))
    copy_fit(spec, shelf, tmp_path)
    [file] = (tmp_path / "fits").glob(f"*/{name}")
    whole = file.read_bytes()
    file.unlink()
    if left is not None:
        file.write_bytes(whole[: int(left * len(whole))])
    again = DiffusionEngine(EngineSettings(folder=tmp_path)).fit(spec, shelf, ignore)
    assert file.read_bytes() == whole
    assert any("A LoRA was fitted in 1 step" in message for message in again.report.findings)
    lora_was_there = name == "losses.json" or left is not None
    assert (
        any("is damaged; the model was taught again" in message for message in again.report.findings) == lora_was_there
    )


def test_a_data_folder_that_cannot_be_written_is_said_before_anything_is_learned(study, tmp_path, parameters):
    (tmp_path / "file").touch()
    spec, shelf = study(kind="colour", parameters=parameters(fit_steps=1))
    with pytest.raises(EngineError, match=r"/file/diffusion \(Not a directory\); name another data folder"):
        DiffusionEngine(EngineSettings(folder=tmp_path / "file" / "diffusion")).fit(spec, shelf, ignore)
    assert not shelf.loads


def test_a_place_for_fits_that_went_away_after_the_check_is_said(study, tmp_path, parameters):
    (tmp_path / "fits").touch()
    spec, shelf = study(kind="colour", parameters=parameters(fit_steps=1))
    with pytest.raises(EngineError, match=r"cannot be read and written in .*/fits/.*; name another data folder"):
        DiffusionEngine(EngineSettings(folder=tmp_path)).fit(spec, shelf, ignore)


def test_a_lora_given_as_a_file_or_its_folder_is_used_and_none_fitted(study, tmp_path, parameters):
    spec, shelf = study(kind="colour", parameters=parameters(fit_steps=2))
    DiffusionEngine(EngineSettings(folder=tmp_path)).fit(spec, shelf, ignore)
    [home] = (tmp_path / "fits").iterdir()
    file = home / "pytorch_lora_weights.safetensors"
    for named in (file, home):
        given, _ = study(kind="colour", parameters=parameters(lora=str(named)))
        fitted = DiffusionEngine(EngineSettings(folder=tmp_path / "other")).fit(given, shelf, ignore)
        assert f"The LoRA {file.name} is used as it is; none was fitted." in fitted.report.findings
        [sample] = fitted.render([0])
        assert sample.provenance.trace.files["lora"] == sha256(file.read_bytes()).hexdigest()
    assert not (tmp_path / "other" / "fits").exists()


def test_what_the_machine_lacks_is_said_before_anything_is_learned(study, engine, parameters):
    spec, shelf = study(kind="colour", parameters=parameters(weights="/no/such/folder"))
    with pytest.raises(EngineError, match=r"/no/such/folder, which is not on this machine"):
        engine.fit(spec, shelf, ignore)
    assert not shelf.loads


def test_a_gpu_that_is_gone_is_no_fault_of_the_spec(study, engine, parameters, monkeypatch):
    """One failed GPU made every run fail, although other GPUs worked."""
    spec, shelf = study(kind="colour", parameters=parameters(device="cuda"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-gone")
    with pytest.raises(DeviceFault, match=r"the GPU GPU-gone that this worker was given is gone"):
        engine.fit(spec, shelf, ignore)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(EngineError, match=r"No GPU was found"):
        engine.fit(spec, shelf, ignore)


def test_a_lora_that_was_replaced_is_loaded_again_by_a_warm_process(study, engine, parameters, tmp_path, monkeypatch):
    """The provenance named the new file, although the image was painted with the old one."""
    file = tmp_path / "lora.safetensors"
    samples = []
    for seed in (1, 2):
        monkeypatch.setattr("datagen.synthesis.diffusion.training.fit.fit_key", lambda *_, n=seed: f"{n}" * 64)
        taught, shelf = study(kind="colour", parameters=parameters(fit_steps=3))
        home = engine.settings.folder / "fits" / (f"{seed}" * 64)
        engine.fit(taught, shelf, ignore)
        file.write_bytes((home / "pytorch_lora_weights.safetensors").read_bytes())
        given, _ = study(kind="colour", parameters=parameters(lora=str(file)))
        [sample] = engine.fit(given, shelf, ignore).render([0])
        samples.append(sample)
    assert samples[0].provenance.trace.files["lora"] != samples[1].provenance.trace.files["lora"]
    assert not np.array_equal(samples[0].image, samples[1].image)
