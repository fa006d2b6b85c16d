"""Loading an inpainting pipeline onto a device, with its scheduler and its LoRA. Imports torch.

Levers of speed are in ``tuning``; what a machine lacks is said beforehand by ``checks``.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoPipelineForInpainting, DiffusionPipeline

from datagen.errors import EngineError
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.device_errors import device_faults, is_out_of_memory
from datagen.synthesis.diffusion.runtime.watchdog import watched
from datagen.synthesis.diffusion.weights.inspection import numbers_in
from datagen.synthesis.diffusion.weights.preflight import PACKAGES

#: A diffusers pipeline; their types say little, and differ between pipelines.
Pipeline = Any

LORA_FILE = "pytorch_lora_weights.safetensors"
_SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}


def device_of(wanted: str) -> torch.device:
    """The device that ``wanted`` means to torch.

    Raises:
        EngineError: there is none, or this torch has no kernels for it.
    """
    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        _require_kernels()
        return torch.device("cuda")
    if wanted in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if wanted == "cpu":
        return torch.device("cpu")
    raise EngineError(
        f"torch {torch.__version__} sees no GPU for “diffusion.device” = {wanted!r}: run “datagen worker --gpu” on a "
        'machine with one, or set “diffusion.device” to "cpu"'
    )


def _require_kernels() -> None:
    """Builds of torch leave old and very new GPUs out; torch only warns of it, and its first computation fails."""
    built = [name.partition("_") for name in torch.cuda.get_arch_list()]
    major, minor = torch.cuda.get_device_capability()
    # a GPU runs what was compiled for its own generation, and compiles what was left uncompiled for an earlier one
    fits = any(
        found // 10 == major and found % 10 <= minor if kind == "sm" else found <= 10 * major + minor
        for kind, _, version in built
        for found in [int(version.rstrip("af"))]
    )
    if torch.version.cuda and built and not fits:
        raise EngineError(
            f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name()} (compute capability "
            f'{major}.{minor}); install the build of torch that suits it, or set “diffusion.device” to "cpu"'
        )


def device_name(device: torch.device) -> str:
    """What people call the device."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def dtype_of(wanted: str, device: torch.device) -> torch.dtype:
    """The numbers to compute with."""
    if wanted != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def versions() -> dict[str, str]:
    """The versions that decide what is painted."""
    return {name: version(name) for name in PACKAGES}


def same_every_time() -> None:
    """Have torch compute the same twice: kernels chosen by rule, not by a race between them."""
    # cuBLAS reads it when it is first used
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def fetch(parameters: DiffusionParameters) -> Path:
    """Download the weights of a hub id, or find them in the hub's cache; returns their folder.

    Raises:
        EngineError: they cannot be fetched.
    """
    try:
        return Path(
            DiffusionPipeline.download(
                parameters.weights,
                revision=parameters.revision or None,
                variant=parameters.variant or None,
                use_safetensors=True,
            )
        )
    except Exception as fault:  # every library on the way has its own
        raise EngineError(
            f"the weights {parameters.weights} could not be fetched ({type(fault).__name__}: {fault}); download them "
            "elsewhere and set “diffusion.weights” to their folder"
        ) from fault


def load(folder: Path, parameters: DiffusionParameters, device: torch.device, dtype: torch.dtype) -> Pipeline:
    """The pipeline of a folder on a device, with the scheduler that the parameters name.

    Raises:
        EngineError: it cannot be loaded, or does not fit into the device's memory.
        DeviceFault: the device failed.
    """
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    options: dict[str, Any] = {}
    if "safety_checker" in index:
        # it blackens pictures it takes for nudity, and steel is among them
        options = {"safety_checker": None, "requires_safety_checker": False}
    # the Fill pipelines inpaint, but the auto class does not list them
    kind = DiffusionPipeline if "Fill" in str(index["_class_name"]) else AutoPipelineForInpainting
    try:
        pipeline = kind.from_pretrained(
            str(folder),
            dtype=dtype,
            variant=parameters.variant or None,
            use_safetensors=True,
            local_files_only=True,
            **options,
        )
    except Exception as fault:  # configurations that do not fit the weights fail in ways of their own
        if isinstance(fault, MemoryError) or is_out_of_memory(fault):
            raise
        raise EngineError(
            f"the weights in {folder} cannot be loaded for inpainting ({type(fault).__name__}: {fault}); choose others "
            "with “diffusion.weights”"
        ) from fault
    _require_all_numbers(pipeline, folder, parameters.variant)
    pipeline.set_progress_bar_config(disable=True)
    _set_scheduler(pipeline, parameters.scheduler)
    if dtype != torch.float16:
        _keep_numbers(pipeline)
    if hasattr(pipeline.vae, "enable_slicing"):
        # picture by picture: a decoder of whole batches takes more memory than the denoiser, and kernels that count in
        # 32 bits fail in it
        pipeline.vae.enable_slicing()
    with (
        watched(),
        device_faults(
            "loading the weights",
            f"the weights in {folder} do not fit into the device's memory; choose smaller ones with "
            "“diffusion.weights”, set “diffusion.dtype” to “bfloat16”, or end what else uses the device",
        ),
    ):
        return pipeline.to(device)


def add_lora(pipeline: Pipeline, lora: Path) -> None:
    """Load a LoRA's file and fuse it into the weights, so that it costs nothing while painting.

    It is never taken out again: undoing a fusion in bfloat16 leaves other weights behind than there were before.

    Raises:
        EngineError: the file does not fit the pipeline.
    """
    try:
        with (
            watched(),
            device_faults("loading the LoRA", "the LoRA does not fit into the device's memory beside the weights"),
        ):
            pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name, local_files_only=True)
            pipeline.fuse_lora()
    except (OSError, ValueError, RuntimeError, LookupError) as fault:
        raise EngineError(
            f"the LoRA {lora} does not fit the weights ({type(fault).__name__}: {fault}); clear or correct "
            "“diffusion.lora”"
        ) from fault
    pipeline.unload_lora_weights()


def save_whole(pipeline: Pipeline, folder: Path) -> None:
    """Save a pipeline with its LoRA fused in, to be taken to another program.

    ``pipeline.save_pretrained`` with a LoRA still loaded writes ``base_layer`` keys, which ``from_pretrained`` then
    ignores with a warning and fills those layers at random.
    """
    if pipeline.get_active_adapters():
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    pipeline.save_pretrained(str(folder), safe_serialization=True)


def _require_all_numbers(pipeline: Pipeline, folder: Path, variant: str) -> None:
    """What its files lack, a model fills at random, and says so in a warning at most.

    Counted, not compared by name: files of older versions have other names for the same layers.
    """
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        needed, found = sum(numbers.numel() for numbers in part.parameters()), numbers_in(folder / name, variant)
        if found < needed:
            raise EngineError(
                f"{folder / name} holds {found:,} of the {needed:,} numbers of its model, and the others would be "
                "filled at random; download the weights again, or choose others with “diffusion.weights”"
            )


def _keep_numbers(pipeline: Pipeline) -> None:
    """Leave the autoencoder in the numbers it was loaded in.

    SDXL's asks to be taken to float32 and back for every batch, since it overflows in float16; in others it does not.
    """
    if getattr(pipeline.vae.config, "force_upcast", False):
        pipeline.vae.register_to_config(force_upcast=False)


def _set_scheduler(pipeline: Pipeline, wanted: str) -> None:
    name = wanted
    if wanted == "auto":
        # flow-matching transformers have schedulers of their own kind
        name = "dpm++" if hasattr(pipeline, "unet") else "own"
    if name == "own":
        return
    if not hasattr(pipeline, "unet"):
        raise EngineError(
            f"{type(pipeline).__name__} needs its own scheduler; set “diffusion.scheduler” to “own” or “auto”"
        )
    kind, options = _SCHEDULERS[name]
    if pipeline.scheduler.config.get("rescale_betas_zero_snr"):
        # Karras' steps crowd where there is most noise, and for such weights that is without end
        options = {key: value for key, value in options.items() if key != "use_karras_sigmas"}
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config, **options)
