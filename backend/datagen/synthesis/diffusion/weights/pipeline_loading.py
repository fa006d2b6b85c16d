"""Loads an inpainting pipeline onto a device, with its scheduler and its LoRA. Imports torch.

``preflight`` checks the requirements of a machine beforehand. ``inference.autotune`` has the optimizations."""

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

#: A diffusers pipeline; the classes of pipelines have no useful common base.
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
    """Return the torch device for ``wanted`` ("auto", "cuda", "mps", "cpu").

    Raises:
        EngineError: there is no such device, or this torch has no kernels for it.
    """
    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        _require_kernels()
        return torch.device("cuda")
    if wanted in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if wanted == "cpu":
        return torch.device("cpu")
    raise EngineError(
        f"torch {torch.__version__} sees no GPU for “diffusion.device” = {wanted!r}: start a GPU worker on a "
        'machine with one, or set “diffusion.device” to "cpu"'
    )


def _require_kernels() -> None:
    """Check that torch has kernels for the GPU.

    A build of torch excludes old and very new GPUs. On such a GPU torch only warns, and its first computation fails.

    Raises:
        EngineError: this torch has no kernels for the GPU.
    """
    built = [name.partition("_") for name in torch.cuda.get_arch_list()]
    major, minor = torch.cuda.get_device_capability()
    # a GPU runs binaries of its own generation ("sm"), and compiles intermediate code of earlier ones ("compute")
    fits = any(
        number // 10 == major and number % 10 <= minor if kind == "sm" else number <= 10 * major + minor
        for kind, _, version in built
        for number in [int(version.rstrip("af"))]
    )
    if torch.version.cuda and built and not fits:
        raise EngineError(
            f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name()} (compute capability "
            f'{major}.{minor}); install the build of torch that suits it, or set “diffusion.device” to "cpu"'
        )


def device_name(device: torch.device) -> str:
    """Return the name of a device for people."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def dtype_of(wanted: str, device: torch.device) -> torch.dtype:
    """Return the torch data type for ``wanted`` on a device ("auto", "bfloat16", "float16", "float32")."""
    if wanted != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect the pixels, by name."""
    return {name: version(name) for name in PACKAGES}


def same_every_time() -> None:
    """Configure torch so that results can be reproduced: kernels are chosen by rule, not by timing."""
    # cuBLAS reads the variable when it is first used
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def fetch(parameters: DiffusionParameters) -> Path:
    """Return the folder of the weights of a hub id; download them if the hub's cache lacks them.

    Raises:
        EngineError: the weights cannot be fetched.
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
    except Exception as error:  # every library involved has its own exceptions
        raise EngineError(
            f"the weights {parameters.weights} could not be fetched ({type(error).__name__}: {error}); download them "
            "elsewhere and set “diffusion.weights” to their folder"
        ) from error


def load(folder: Path, parameters: DiffusionParameters, device: torch.device, dtype: torch.dtype) -> Pipeline:
    """Load a folder's pipeline onto a device, with the scheduler that the parameters name.

    Raises:
        EngineError: the pipeline cannot be loaded, or does not fit into the device's memory.
        DeviceFault: the device failed.
    """
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    options: dict[str, Any] = {}
    if "safety_checker" in index:
        # the safety checker blackens pictures that it mistakes for nudity, such as pictures of steel
        options = {"safety_checker": None, "requires_safety_checker": False}
    # the auto class does not list the Fill pipelines, although they inpaint
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
    except Exception as error:  # a mismatch of configuration and weights raises various exceptions
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            raise
        raise EngineError(
            f"the weights in {folder} cannot be loaded for inpainting ({type(error).__name__}: {error}); choose others "
            "with “diffusion.weights”"
        ) from error
    _require_all_weights(pipeline, folder, parameters.variant)
    pipeline.set_progress_bar_config(disable=True)
    _set_scheduler(pipeline, parameters.scheduler)
    if dtype != torch.float16:
        _disable_upcast(pipeline)
    if hasattr(pipeline.vae, "enable_slicing"):
        # decode one picture at a time: decoding whole batches takes more memory than the denoiser, and exceeds the
        # range of kernels with 32-bit indices
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
    """Load a LoRA from its file and fuse it into the weights, so that it does not slow inpainting down.

    The fusion is never reverted, because in bfloat16 this would not restore the original weights.

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
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise EngineError(
            f"the LoRA {lora} does not fit the weights ({type(error).__name__}: {error}); clear or correct "
            "“diffusion.lora”"
        ) from error
    pipeline.unload_lora_weights()


def _require_all_weights(pipeline: Pipeline, folder: Path, variant: str) -> None:
    """Check that the weight files contain all numbers of the models.

    diffusers initializes missing numbers at random, with at most a warning. The numbers are counted and not compared by
    name, because files of older versions have other names for the same layers.

    Raises:
        EngineError: the files of a part have too few numbers.
    """
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        needed, stored = sum(numbers.numel() for numbers in part.parameters()), numbers_in(folder / name, variant)
        if stored < needed:
            raise EngineError(
                f"{folder / name} holds {stored:,} of the {needed:,} numbers of its model, and the others would be "
                "filled at random; download the weights again, or choose others with “diffusion.weights”"
            )


def _disable_upcast(pipeline: Pipeline) -> None:
    """Prevent the conversion of the autoencoder to another data type.

    SDXL's configuration requests a conversion to float32 and back for every batch, because its autoencoder overflows in
    float16. In other data types it does not overflow.
    """
    if getattr(pipeline.vae.config, "force_upcast", False):
        pipeline.vae.register_to_config(force_upcast=False)


def _set_scheduler(pipeline: Pipeline, wanted: str) -> None:
    name = wanted
    if wanted == "auto":
        # flow-matching transformers need their own kind of scheduler
        name = "dpm++" if hasattr(pipeline, "unet") else "own"
    if name == "own":
        return
    if not hasattr(pipeline, "unet"):
        raise EngineError(
            f"{type(pipeline).__name__} needs its own scheduler; set “diffusion.scheduler” to “own” or “auto”"
        )
    kind, options = _SCHEDULERS[name]
    if pipeline.scheduler.config.get("rescale_betas_zero_snr"):
        # Karras' steps concentrate at the highest noise, which is infinite for such weights
        options = {key: value for key, value in options.items() if key != "use_karras_sigmas"}
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config, **options)
