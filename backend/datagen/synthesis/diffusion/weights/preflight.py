"""Can this machine paint with these parameters? Asked before any job is queued; no torch, nothing is loaded.

Each answer is a sentence that names the setting to change. ``datagen doctor`` and the decision task ask through
``DiffusionEngine.check``, and add how to go on, which is not the same for a new version and for one that is frozen.
"""

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
from datagen.synthesis.diffusion.runtime.safetensors_header import Broken, read_contents
from datagen.synthesis.diffusion.weights.hub import find_on_the_hub
from datagen.synthesis.diffusion.weights.inspection import Examined, examine, looks_like_hub_id
from datagen.synthesis.engine import sentence

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
#: Bytes of a number.
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
#: Beside the weights: what the device's context takes, and what one crop at 512 pixels needs while it is painted. A
#: coarse bound, so that only what cannot work is refused; running out of memory halves the batch.
_CONTEXT_BYTES, _CROP_BYTES = 600_000_000, 900_000_000


def check(parameters: Mapping[str, Json], kept: Path | None = None) -> tuple[str, ...]:
    """What stands in the way of rendering on this machine with a spec's parameters; empty when nothing does.

    ``kept`` is the folder that fits are to be kept in, if that is to be asked too.
    """
    try:
        own, where = DiffusionParameters.from_spec(parameters)
        CompositeParameters.from_json(where)
    except EngineError as wrong:
        return (sentence(str(wrong)),)
    problems = _packages()
    try:
        problems += _on_this_machine(own)
    except (OSError, RuntimeError, RecursionError) as fault:  # no right to read, no such home, JSON without end
        problems.append(
            f"what “diffusion.weights” or “diffusion.lora” names cannot be read ({type(fault).__name__}: {fault}); "
            "give the user that runs this the right to read it, or correct the name"
        )
    problems += folder_problems(kept) if kept is not None else []
    return tuple(sentence(p) for p in problems)


def _on_this_machine(own: DiffusionParameters) -> list[str]:
    device = find_device(own.device)
    problems = _device(own, device)
    folder, said = find_weights(own)
    problems += said
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
    """The folder of the weights on this machine; None with the reason where they are not, or not yet."""
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
    """The file of the LoRA that is named, itself or by its folder; None with the reason where it cannot be used."""
    if not own.lora:
        return None, []
    named = Path(own.lora).expanduser()
    if not named.exists():
        return None, [f"“diffusion.lora” names {own.lora}, which is not on this machine; place it there, or clear it"]
    # what begins with a dot is a draft
    files = sorted(named.glob("[!.]*.safetensors")) if named.is_dir() else [named]
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
    except Broken as why:
        return None, [f"{file}, named by “diffusion.lora”, {why}"]
    return file, []


def _packages() -> list[str]:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if not missing:
        return []
    return [f"{', '.join(missing)} is not installed here; run: pip install 'label-studio-datagen[diffusion]'"]


def _device(own: DiffusionParameters, device: Device | None) -> list[str]:
    if device is None:
        return [
            f"no GPU was found for “diffusion.device” = {own.device!r}: run “datagen worker --gpu” on a machine with "
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
    """The sentence for a device whose memory cannot hold the weights and one crop."""
    size = _BYTES.get(own.dtype, 4 if device.kind == "cpu" else 2)
    needed = examined.numbers * size + _CONTEXT_BYTES + int(_CROP_BYTES * (own.resolution / 512) ** 2)
    if device.memory and needed > device.memory:
        return [
            f"{device.name} has {device.memory / 1e9:.1f} GB of memory and these weights need about {needed / 1e9:.1f} "
            f"GB at {own.resolution} pixels: lower “diffusion.resolution”, set “diffusion.dtype” to “bfloat16”, or "
            "choose smaller weights"
        ]
    return []
