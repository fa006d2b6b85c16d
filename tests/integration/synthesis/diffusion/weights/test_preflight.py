"""The check before a job is queued: a sentence for each problem names the setting, and nothing is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.devices import Device
from datagen.synthesis.diffusion.weights.inspection import Examined
from datagen.synthesis.diffusion.weights.preflight import check, find_lora, too_little_memory

needs_packages = pytest.mark.skipif(find_spec("diffusers") is None, reason="the extra “diffusion” is not installed")


def ask(weights, **own):
    return check({"diffusion": {"weights": str(weights), "device": "cpu", **own}})


@needs_packages
def test_nothing_stands_in_the_way_of_whole_weights_on_a_device_that_was_asked_for(weights):
    assert ask(weights) == ()


def test_weights_that_are_nowhere_name_the_setting(tmp_path):
    assert any("“diffusion.weights” names the folder" in message for message in ask(tmp_path / "not-there"))
    assert any("“diffusion.weights” is not set" in message for message in ask(""))


@needs_packages
def test_a_hub_that_may_not_be_asked_is_said(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids fetching them" in ask("nobody/no-such-weights")[0]


@needs_packages
def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached" in ask("nobody/no-such-weights")[0]


def test_no_gpu_is_said_before_anything_is_queued(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert any("No GPU was found for “diffusion.device” = 'auto'" in message for message in ask(weights, device="auto"))


def test_float16_on_a_cpu_is_the_wrong_dtype(weights):
    assert any("set “diffusion.dtype” to “float32”" in message for message in ask(weights, dtype="float16"))


def test_bfloat16_on_an_old_gpu_is_the_wrong_dtype(weights, monkeypatch):
    old = Device(kind="cuda", name="Tesla T4", memory=2**34, capability=7.5)
    monkeypatch.setattr("datagen.synthesis.diffusion.weights.preflight.find_device", lambda wanted: old)
    monkeypatch.setattr("datagen.synthesis.diffusion.weights.preflight.torch_version", lambda: "2.13.0+cu130")
    assert any("Tesla T4 does not compute in bfloat16" in message for message in ask(weights, dtype="bfloat16"))


def test_a_gpu_with_a_torch_for_cpus_is_said(weights, monkeypatch):
    device = Device(kind="cuda", name="NVIDIA H200", memory=2**37, capability=9.0)
    monkeypatch.setattr("datagen.synthesis.diffusion.weights.preflight.find_device", lambda wanted: device)
    monkeypatch.setattr("datagen.synthesis.diffusion.weights.preflight.torch_version", lambda: "2.13.0+cpu")
    assert any("torch 2.13.0+cpu is built without CUDA" in message for message in ask(weights, device="auto"))


def test_a_model_that_can_only_paint_says_so_and_how_to_go_on_with_it(weights):
    index = weights / "model_index.json"
    body = json.loads(index.read_text())
    body["_class_name"] = "StableDiffusion3Pipeline"
    body["transformer"] = ["diffusers", "SD3Transformer2DModel"]
    del body["unet"]
    index.write_text(json.dumps(body))
    (weights / "unet").rename(weights / "transformer")
    [message] = ask(weights)
    assert (
        "A LoRA can be fitted for UNets (SD 1.5, SD 2, SDXL) and for Flux Fill, not for StableDiffusion3Pipe" in message
    )
    assert "set “diffusion.fit_steps” to 0" in message
    assert any("paints in multiples of 16 pixels" in sentence for sentence in ask(weights, fit_steps=0, resolution=520))
    if find_spec("diffusers"):
        assert ask(weights, fit_steps=0) == ()


def test_too_little_memory_names_what_would_help():
    flux = Examined(pipeline="FluxFillPipeline", numbers=17_000_000_000, denoiser="transformer", problems=())
    small = Device(kind="cuda", name="RTX 4060", memory=8 * 10**9, capability=8.9)
    [message] = too_little_memory(DiffusionParameters(), small, flux)
    assert "RTX 4060 has 8.0 GB of memory and these weights need about 35.5 GB at 512 pixels" in message
    assert too_little_memory(DiffusionParameters(), Device(kind="cuda", name="H200", memory=141 * 10**9), flux) == []


def test_sdxl_is_not_refused_on_a_card_of_12_gb_that_people_run_it_on():
    sdxl = Examined(pipeline="StableDiffusionXLInpaintPipeline", numbers=3_470_000_000, denoiser="unet", problems=())
    card = Device(kind="cuda", name="RTX 3060", memory=12288 * 2**20)
    assert too_little_memory(DiffusionParameters(resolution=1024), card, sdxl) == []


def test_a_lora_is_found_by_its_file_and_by_its_folder(tmp_path, safetensors_file):
    file = safetensors_file(tmp_path / "lora" / "mine.safetensors", {"w": ("F32", [4])})
    (file.parent / ".mine.safetensors").touch()  # a draft of a writer that was killed
    for named in (file, file.parent):
        assert find_lora(DiffusionParameters(lora=str(named))) == (file, [])


def test_a_folder_that_leaves_open_which_lora_is_meant_is_refused(weights, tmp_path, safetensors_file):
    folder = tmp_path / "loras"
    for count, name in enumerate(["none", "a.safetensors", "b.safetensors"]):
        safetensors_file(folder / name, {"w": ("F32", [4])})
        message = [sentence for sentence in ask(weights, lora=str(folder)) if f"which holds {count} files" in sentence]
        assert (len(message) == 1) == (count != 1)


def test_a_lora_that_is_cut_off_is_refused_before_anything_is_queued(weights, tmp_path, safetensors_file):
    file = safetensors_file(tmp_path / "cut.safetensors", {"w": ("F32", [400])}, missing=100)
    for named in (file, file.parent):
        assert any(
            f"{file}, named by “diffusion.lora”, is half-downloaded" in sentence
            for sentence in ask(weights, lora=str(named))
        )
    file.write_bytes(b"")
    assert any("not even its header is complete" in sentence for sentence in ask(weights, lora=str(file)))


def test_a_lora_in_a_pickle_is_refused_because_it_can_run_code(weights, tmp_path):
    file = tmp_path / "lora.bin"
    file.touch()
    assert any(f"{file}, which is no .safetensors file" in sentence for sentence in ask(weights, lora=str(file)))


def test_a_lora_that_is_nowhere_names_the_setting(weights, tmp_path):
    assert any("“diffusion.lora” names" in sentence for sentence in ask(weights, lora=str(tmp_path / "not-there")))


def test_a_wrong_parameter_of_composites_is_found_too(weights):
    assert check({"size_factor": "big", "diffusion": {"weights": str(weights)}}) == (
        "Parameter “size_factor” must be a number from 0.2 to 5, not 'big'.",
    )


def test_asking_imports_no_torch():
    code = (
        "import sys; from datagen.synthesis.engine import load_engine\n"
        "engine = load_engine('diffusion'); engine.check({'diffusion': {'weights': '/nowhere'}})\n"
        "sys.exit(int(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("weights", ["~nobody-of-that-name/weights", "w" * 5000])
def test_a_name_that_cannot_even_be_looked_up_is_an_answer_and_no_crash(weights):
    """The exception ended the doctor, the decision and the worker."""
    assert any("“diffusion.weights” or “diffusion.lora” names cannot be read" in message for message in ask(weights))


def test_weights_that_may_not_be_read_are_an_answer_and_no_crash(weights, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    # the tests may run as a user that may read everything
    monkeypatch.setattr("datagen.synthesis.diffusion.weights.inspection.read_contents", forbidden)
    assert any("PermissionError" in message and "the right to read it" in message for message in ask(weights))
