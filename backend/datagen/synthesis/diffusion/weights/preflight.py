"""Preflight checks of a machine and of parameters before a job is queued. Imports no torch and loads no weights.

Each problem is a sentence that names the parameter to change. Callers of ``DiffusionEngine.check`` add a sentence about
the next step. The next step differs between a new version and a frozen one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from datagen.domain.spec import Json
from datagen.domain.wording import counted
from datagen.errors import EngineError
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.artifact_cache import folder_problems
from datagen.synthesis.diffusion.runtime.devices import Device, find_device, torch_version
from datagen.synthesis.diffusion.weights.hub import find_on_the_hub
from datagen.synthesis.diffusion.weights.inspection import Examined, examine
from datagen.synthesis.engine import sentence
from datagen.synthesis.model_files.hub import looks_like_hub_id
from datagen.synthesis.model_files.safetensors_header import Broken, read_contents
from datagen.synthesis.segmentation import weights as segmentation_weights

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
#: Bytes of a number, by data type.
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
#: Memory in bytes besides the weights: for the device's context, and for inpainting one crop at 512 pixels. The values
#: are low, so that only impossible settings are refused. If the memory runs out later, the batch size is halved.
_CONTEXT_BYTES, _CROP_BYTES = 600_000_000, 900_000_000


def check(parameters: Mapping[str, Json], kept: Path | None = None) -> tuple[str, ...]:
    """Return the problems that prevent rendering with a spec's parameters on this machine; empty if there are none.

    ``kept`` is the folder for fits. If it is given, it is checked too.
    """
    try:
        own, where = DiffusionParameters.from_spec(parameters)
        placing = CompositeParameters.from_json(where)
    except EngineError as error:
        return (sentence(str(error)),)
    problems = [*_packages(), *segmentation_weights.check(placing.segmenter)]
    try:
        problems += _on_this_machine(own)
    except (OSError, RuntimeError, RecursionError) as error:  # no permission, no home folder, endlessly nested JSON
        problems.append(
            f"what “diffusion.weights” or “diffusion.lora” names cannot be read ({type(error).__name__}: {error}); "
            "give the user that runs this the right to read it, or correct the name"
        )
    problems += folder_problems(kept) if kept is not None else []
    return tuple(sentence(p) for p in problems)


def _on_this_machine(own: DiffusionParameters) -> list[str]:
    device = find_device(own.device)
    problems = _device(own, device)
    folder, weights_problems = find_weights(own)
    problems += weights_problems
    if folder is not None:
        examined = examine(folder, own.variant)
        problems += examined.problems
        problems += _fitting(own, examined)
        if examined.denoiser == "transformer" and own.resolution % 16:
            problems.append(
                f"“diffusion.resolution” is {own.resolution}; {examined.pipeline} paints in multiples of 16 pixels"
            )
        if device is not None:
            problems += too_little_memory(own, device, examined)
    return [*problems, *find_lora(own)[1]]


def find_weights(own: DiffusionParameters) -> tuple[Path | None, list[str]]:
    """Return the folder of the weights on this machine, and the problems that make them unavailable.

    The folder is None if they are not on this machine. If it is None and there are no problems, the weights can be
    fetched from the hub.
    """
    if not own.weights:
        return None, [
            "“diffusion.weights” is not set: name an inpainting pipeline, as a hub id (owner/name) or a local folder; "
            "docs/diffusion.md says which"
        ]
    folder = Path(own.weights).expanduser()
    if folder.is_dir():
        return folder, []
    if not looks_like_hub_id(own.weights):
        return None, [
            f"“diffusion.weights” names the folder {own.weights}, which is not on this machine; place the weights "
            "there, or set it to where they are"
        ]
    return find_on_the_hub(own)


def find_lora(own: DiffusionParameters) -> tuple[Path | None, list[str]]:
    """Return the LoRA's file, and the problems that make it unusable.

    The parameter ``lora`` names the file or its folder. The file is None if the parameter is not set, or if there are
    problems.
    """
    if not own.lora:
        return None, []
    path = Path(own.lora).expanduser()
    if not path.exists():
        return None, [f"“diffusion.lora” names {own.lora}, which is not on this machine; place it there, or clear it"]
    # names that begin with a dot are drafts
    files = sorted(path.glob("[!.]*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1:
        return None, [
            f"“diffusion.lora” names the folder {own.lora}, which holds {counted(len(files), 'file')} ending in "
            ".safetensors; name the LoRA’s own file"
        ]
    [file] = files
    if file.suffix != ".safetensors":
        return None, [
            f"“diffusion.lora” names {own.lora}, which is no .safetensors file; others can run code when they are read"
        ]
    try:
        read_contents(file)
    except Broken as error:
        return None, [f"{file}, named by “diffusion.lora”, {error}"]
    return file, []


def _packages() -> list[str]:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if not missing:
        return []
    return [f"{', '.join(missing)} is not installed here; run: pip install 'label-studio-datagen[diffusion]'"]


def _device(own: DiffusionParameters, device: Device | None) -> list[str]:
    if device is None:
        return [
            f"no GPU was found for “diffusion.device” = {own.device!r}: start a GPU worker on a machine with "
            'one, or set “diffusion.device” to "cpu", which takes minutes a picture'
        ]
    torch = torch_version()
    if device.kind == "cuda" and torch is not None and "+cpu" in torch:
        return [f"there is a GPU ({device.name}), but torch {torch} is built without CUDA; install the build with it"]
    if device.kind == "cuda" and own.dtype == "bfloat16" and 0 < device.capability < 8.0:
        return [f"{device.name} does not compute in bfloat16; set “diffusion.dtype” to “float16” or “auto”"]
    if device.kind == "cpu" and own.dtype == "float16":
        return ["a CPU does not compute in float16; set “diffusion.dtype” to “float32”, “bfloat16” or “auto”"]
    return []


def _fitting(own: DiffusionParameters, examined: Examined) -> list[str]:
    fitted = examined.denoiser == "unet" or examined.pipeline == "FluxFillPipeline"
    if examined.pipeline and not fitted and own.fit_steps and not own.lora:
        return [
            f"a LoRA can be fitted for UNets (SD 1.5, SD 2, SDXL) and for Flux Fill, not for {examined.pipeline}: set "
            "“diffusion.fit_steps” to 0 to paint with the weights as they are, or “diffusion.lora” to a LoRA for it"
        ]
    return []


def too_little_memory(own: DiffusionParameters, device: Device, examined: Examined) -> list[str]:
    """Return a sentence if the device's memory is too small for the weights and one crop; empty if it is sufficient."""
    size = _BYTES.get(own.dtype, 4 if device.kind == "cpu" else 2)
    needed = examined.numbers * size + _CONTEXT_BYTES + int(_CROP_BYTES * (own.resolution / 512) ** 2)
    if device.memory and needed > device.memory:
        return [
            f"{device.name} has {device.memory / 1e9:.1f} GB of memory and these weights need about {needed / 1e9:.1f} "
            f"GB at {own.resolution} pixels: lower “diffusion.resolution”, set “diffusion.dtype” to “bfloat16”, or "
            "choose smaller weights"
        ]
    return []
