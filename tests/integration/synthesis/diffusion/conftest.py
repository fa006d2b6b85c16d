"""A tiny pipeline for the whole suite, and studies to paint; on a machine with a GPU the same tests run on it too."""

from __future__ import annotations

import gc
import json
import struct
from importlib.util import find_spec
from pathlib import Path

import pytest

from datagen.synthesis.diffusion.engine import DiffusionEngine
from datagen.synthesis.engine import EngineSettings
from small_diffusion import SMALL


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No test reaches the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a random inpainting pipeline; its tests are skipped where torch is not installed."""
    for name in ("torch", "diffusers", "transformers", "peft", "accelerate"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: the extra “diffusion” is not tested")
    from benches.random_pipeline import build

    folder = build("tiny", tmp_path_factory.mktemp("weights") / "tiny-inpainting")
    # every fit looks for what may be let go of; what the libraries brought is not among it, and is most of the heap
    gc.collect()
    gc.freeze()
    yield folder
    gc.unfreeze()


@pytest.fixture(scope="session", params=["sdxl", "flux-fill"])
def other_family(request, tiny, tmp_path_factory):
    """The folder of a random pipeline of another family than ``tiny``, which is SD 1.5's."""
    from benches.random_pipeline import build, build_flux_fill

    folder = tmp_path_factory.mktemp("weights") / f"tiny-{request.param}"
    return build("tiny-sdxl", folder) if request.param == "sdxl" else build_flux_fill(folder)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, tiny):
    """The devices that a test is repeated on."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here")
    return request.param


@pytest.fixture
def parameters(tiny, device):
    """A spec's parameters for painting small; takes what differs."""

    def make(**others):
        return {
            "diffusion": {
                "weights": str(tiny),
                "device": device,
                "optimizations": "none",
                "batch": 2,
                **SMALL,
                **others,
            }
        }

    return make


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A folder that fits are kept in, shared by the suite as workers share it."""
    return tmp_path_factory.mktemp("diffusion")


@pytest.fixture
def engine(kept):
    """The engine, keeping its fits in the suite's folder."""
    return DiffusionEngine(EngineSettings(folder=kept))


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]], *, missing: int = 0) -> Path:
    """A safetensors file of zeros, name → (kind, shape), with its last bytes ``missing``."""
    sizes = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8}
    header, at = {}, 0
    for name, (kind, shape) in tensors.items():
        count = 1
        for side in shape:
            count *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + count * sizes[kind]]}
        at += count * sizes[kind]
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((struct.pack("<Q", len(text)) + text + bytes(at))[: 8 + len(text) + at - missing])
    return path


@pytest.fixture
def safetensors_file():
    """``write_safetensors``: a function that writes a file."""
    return write_safetensors


@pytest.fixture
def weights(tmp_path):
    """The skeleton of an SD 1.5-like pipeline's folder: right names, tiny contents; no torch needed."""
    folder = tmp_path / "inpainting"
    index = {
        "_class_name": "StableDiffusionInpaintPipeline",
        "_diffusers_version": "0.42.1",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
    }
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps(index))
    for part, name in (("tokenizer", "vocab.json"), ("scheduler", "scheduler_config.json")):
        (folder / part).mkdir()
        (folder / part / name).write_text("{}")
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        write_safetensors(folder / part / f"{name}.safetensors", {"weight": ("F16", [4, 8])})
        (folder / part / "config.json").write_text(json.dumps({"in_channels": 9} if part == "unet" else {}))
    return folder
