"""Loading and saving with a LoRA: the trained weights are restored bit for bit, never with random values."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")

import safetensors.torch  # noqa: E402
from diffusers.utils import convert_state_dict_to_diffusers  # noqa: E402
from peft.utils import get_peft_model_state_dict  # noqa: E402

from datagen.errors import EngineError  # noqa: E402
from datagen.synthesis.diffusion.inference.inpainter import Inpainter, Order  # noqa: E402
from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402
from datagen.synthesis.diffusion.weights import pipeline_loading  # noqa: E402
from datagen.synthesis.diffusion.weights.inspection import examine  # noqa: E402

OWN = DiffusionParameters(resolution=32, steps=2, optimizations="none")


def load(folder, own=OWN):
    return pipeline_loading.load(folder, own, torch.device("cpu"), torch.float32)


def paint(pipeline):
    mask = np.zeros((32, 32), np.float32)
    mask[8:20, 8:20] = 1
    image = np.full((32, 32, 3), 0.5, np.float32)
    return next(iter(Inpainter(pipeline, OWN, 1).paint([Order(image=image, mask=mask, prompt="a sks pit", seed=1)])))


@pytest.fixture
def taught(tiny):
    """A pipeline with a LoRA loaded that changes what it paints."""
    pipeline = load(tiny)
    torch.manual_seed(3)
    config = peft.LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=["to_q", "to_v", "to_out.0"])
    pipeline.unet.add_adapter(config)
    return pipeline


@pytest.fixture
def lora(taught, tmp_path):
    """The file of the LoRA of ``taught``."""
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(taught.unet))
    type(taught).save_lora_weights(str(tmp_path), unet_lora_layers=layers)
    return tmp_path / pipeline_loading.LORA_FILE


def test_a_lora_saved_and_loaded_again_paints_the_same(tiny, taught, lora):
    with_it = paint(taught)
    again, once_more = load(tiny), load(tiny)
    assert np.abs(paint(again) - with_it).max() > 0.01
    pipeline_loading.add_lora(again, lora)
    pipeline_loading.add_lora(once_more, lora)
    assert np.array_equal(paint(again), paint(once_more))
    # fused, the sums are made in another order: the same but for rounding
    assert np.abs(paint(again) - with_it).max() < 1e-4


def test_saving_with_a_lora_loaded_is_a_trap_and_is_seen_by_the_checks(taught, tmp_path):
    taught.save_pretrained(str(tmp_path / "trap"))
    assert any("was saved with a LoRA loaded" in message for message in examine(tmp_path / "trap").problems)


def test_a_lora_of_another_model_is_refused_by_name(tiny, tmp_path, safetensors_file):
    path = safetensors_file(tmp_path / "other.safetensors", {"unet.nothing.lora_A.weight": ("F32", [4, 32])})
    with pytest.raises(EngineError, match=r"other.safetensors does not fit the weights"):
        pipeline_loading.add_lora(load(tiny), path)


@pytest.mark.parametrize("name", ["own", "ddim", "dpm++", "unipc", "euler", "lcm", "tcd"])
def test_every_scheduler_paints(tiny, name):
    own = DiffusionParameters(resolution=32, steps=2, scheduler=name, optimizations="none")
    assert np.isfinite(paint(load(tiny, own))).all()


def test_weights_of_noise_without_end_are_not_stepped_by_karras(tiny, tmp_path):
    """With Karras sigmas, 13 of 20 steps were at noise levels at which the image is only noise."""
    folder = shutil.copytree(tiny, tmp_path / "endless")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rescale_betas_zero_snr": True}))
    assert load(tiny).scheduler.config["use_karras_sigmas"]
    assert not load(folder).scheduler.config["use_karras_sigmas"]


def test_pictures_are_decoded_one_by_one(tiny):
    """A batch of 32 was more than kernels of 32 bits count, and its decoder took more memory than its denoiser."""
    pipeline, sizes = load(tiny), []
    pipeline.vae.decoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    mask, image = np.ones((32, 32), np.float32), np.full((32, 32, 3), 0.5, np.float32)
    orders = [Order(image=image, mask=mask, prompt="a sks pit", seed=n) for n in range(3)]
    list(Inpainter(pipeline, OWN, 3).paint(orders))
    assert sizes == [1, 1, 1]


def test_a_folder_that_cannot_be_loaded_names_the_setting(weights):
    for part in ("unet", "vae", "text_encoder"):
        (weights / part / "config.json").unlink()
    logging.disable(logging.ERROR)
    try:
        with pytest.raises(EngineError, match=r"choose others with “diffusion.weights”"):
            load(weights)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("text_encoder/config.json", {"hidden_size": 48}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "unheard of"}),
        ("unet/config.json", {"block_out_channels": [32, 96]}),
    ],
)
def test_a_configuration_that_does_not_fit_is_said_once_and_not_tried_five_times(tiny, tmp_path, name, changed):
    folder = shutil.copytree(tiny, tmp_path / "odd")
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(EngineError, match=r"choose others with “diffusion.weights”|filled at random"):
        load(folder)


def test_layers_that_the_files_lack_are_not_filled_at_random(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "lacking")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    layers = safetensors.torch.load_file(file)
    layers.pop("conv_out.weight")
    safetensors.torch.save_file(layers, file)
    assert examine(folder).problems == ()
    with pytest.raises(EngineError, match=r"unet holds .* numbers of its model, and the others would be filled at ran"):
        load(folder)


def test_a_device_that_is_not_there_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineError, match=r'set “diffusion.device” to "cpu"'):
        pipeline_loading.device_of("cuda")


@pytest.mark.parametrize(("wanted", "kind"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_numbers_follow_the_device_unless_named(wanted, kind):
    assert pipeline_loading.dtype_of(wanted, torch.device("cpu")) is kind


@pytest.mark.parametrize(
    ("built", "capability", "runs"),
    [
        ("sm_75 sm_80 sm_90 compute_90", (8, 6), True),
        ("sm_75 sm_80 sm_90 compute_90", (12, 0), True),  # compiled when it starts
        ("sm_75 sm_80 sm_90", (12, 0), False),
        ("sm_86", (8, 0), False),
        ("sm_75 sm_90a sm_120", (6, 1), False),
    ],
)
def test_a_torch_without_kernels_for_the_gpu_is_said_before_the_first_one_fails(monkeypatch, built, capability, runs):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", built.split)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GeForce")
    if runs:
        assert pipeline_loading.device_of("auto") == torch.device("cuda")
    else:
        with pytest.raises(EngineError, match=r"has no kernels for GeForce .*; install the build of torch that suits"):
            pipeline_loading.device_of("auto")
