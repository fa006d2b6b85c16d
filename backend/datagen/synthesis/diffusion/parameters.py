"""The diffusion engine's own parameters: weights, fitting and inpainting. Does not import torch.

In a spec they are grouped under one key, ``diffusion``. The composite engine's parameters beside it decide the places,
sizes and numbers of concepts for both engines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from datagen.domain.spec import Json
from datagen.errors import EngineError

#: The key of these parameters in a spec.
KEY = "diffusion"

#: The smallest and largest value of every numeric parameter, both inclusive.
RANGES: dict[str, tuple[float, float]] = {
    "resolution": (32, 2048),
    "steps": (1, 200),
    "strength": (0.05, 1.0),
    "guidance": (0.0, 30.0),
    "candidates": (1, 16),
    "context": (1.2, 8.0),
    "batch": (0, 256),
    "fit_steps": (0, 20_000),
    "fit_batch": (1, 64),
    "lora_rank": (1, 256),
    "learning_rate": (1e-6, 0.1),
}
_WHOLE = frozenset({"resolution", "steps", "candidates", "batch", "fit_steps", "fit_batch", "lora_rank"})
#: The allowed values of the parameters with a fixed choice.
CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cuda", "mps", "cpu"),
    "dtype": ("auto", "bfloat16", "float16", "float32"),
    "scheduler": ("auto", "own", "ddim", "dpm++", "unipc", "euler", "lcm", "tcd"),
    "levers": ("measured", "none"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionParameters:
    """Every parameter with its default. The defaults suit an SD 1.5-class inpainting model at 512 pixels."""

    #: hub id ("owner/name") or local folder of an inpainting pipeline; without a default, because weights have licences
    weights: str = ""
    #: commit, branch or tag of a hub id; a commit makes specs reproducible
    revision: str = ""
    #: variant of the weight files, e.g. "fp16"
    variant: str = ""
    #: file or folder of a LoRA to use instead of fitting one; empty: a LoRA is fitted on the concepts
    lora: str = ""
    #: "auto" requires a GPU; "cpu" is slow and must be set explicitly
    device: str = "auto"
    #: data type; "auto" is bfloat16 where the device supports it, else float16 on a GPU and float32 on a CPU
    dtype: str = "auto"
    #: side of the crop that the model inpaints, pixels
    resolution: int = 512
    #: denoising steps; 20 steps of DPM++ match 50 steps of the models' own scheduler
    steps: int = 20
    scheduler: str = "auto"
    #: share of the noise that inpainting starts from; by default 1, and 0.5 if a composite is refined
    strength: float | None = None
    #: weight of the prompt (classifier-free guidance); values up to 1 halve the work. By default 4 for UNets, and the
    #: pipeline's own default for other models (30 for Flux Fill)
    guidance: float | None = None
    #: candidates inpainted for one place, of which the best is kept
    candidates: int = 4
    #: start from the composite engine's pixels instead of noise alone
    refine_composite: bool = False
    #: side of the crop around a concept, in multiples of its mask's longer side
    context: float = 2.5
    #: crops inpainted at once; 0 finds the best batch for the device
    batch: int = 0
    #: a rare word that the fit binds to the concept, and the prompts with it; {label} is the concept's label
    token: str = "sks"  # noqa: S105 - a word of a prompt
    prompt: str = "a photo of {token} {label}"
    object_prompt: str = "a photo with {token} {label} on it"
    negative_prompt: str = ""
    #: fitting: steps (0: use the weights unchanged), lessons per step, rank and learning rate
    fit_steps: int = 400
    fit_batch: int = 4
    lora_rank: int = 8
    learning_rate: float = 2e-4
    #: optimizations: "measured" applies those that help on this device, "none" uses the stock pipeline
    levers: str = "measured"

    @staticmethod
    def from_spec(parameters: Mapping[str, Json]) -> tuple[DiffusionParameters, dict[str, Json]]:
        """Split a spec's parameters into the diffusion engine's and the composite engine's.

        Raises:
            EngineError: a parameter of the diffusion engine is unknown, has the wrong type, or is out of range.
        """
        own = parameters.get(KEY, {})
        if not isinstance(own, Mapping):
            raise EngineError(f"parameter {KEY!r} must be a mapping with at least “weights”, not {own!r}")
        return DiffusionParameters.from_json(own), {k: v for k, v in parameters.items() if k != KEY}

    @staticmethod
    def from_json(body: Mapping[str, Json]) -> DiffusionParameters:
        """Create parameters from the mapping that ``to_json`` returns; missing parameters have their defaults.

        Raises:
            EngineError: a name is unknown, or a value has the wrong type or is out of range.
        """
        known = {f.name for f in fields(DiffusionParameters)}
        if unknown := sorted(set(body) - known):
            raise EngineError(
                f"the diffusion engine has no parameter “{KEY}.{unknown[0]}”; there are: {', '.join(sorted(known))}"
            )
        parameters = DiffusionParameters(**{name: _checked(name, value) for name, value in body.items()})  # type: ignore[arg-type]
        if parameters.resolution % 8:
            raise EngineError(f"parameter “{KEY}.resolution” is {parameters.resolution}; it must be a multiple of 8")
        if int(parameters.steps * parameters.noise) < 1:
            raise EngineError(
                f"“{KEY}.steps” × “{KEY}.strength” is {parameters.steps * parameters.noise:.2g}, less than one step is "
                "painted; raise one of them"
            )
        for name in ("prompt", "object_prompt"):
            if "{token}" not in getattr(parameters, name):
                raise EngineError(f"parameter “{KEY}.{name}” must contain {{token}}, the word that is taught")
        return parameters

    def to_json(self) -> dict[str, Json]:
        """Return the parameters that differ from the defaults, so that specs stay small."""
        defaults = DiffusionParameters()
        return {k: v for k, v in asdict(self).items() if v != getattr(defaults, k)}

    @property
    def noise(self) -> float:
        """The effective strength."""
        return self.strength if self.strength is not None else 0.5 if self.refine_composite else 1.0

    def prompt_for(self, label: str) -> str:
        """Return the prompt for a concept."""
        return _filled(self.prompt, self.token, label)

    def object_prompt_for(self, label: str) -> str:
        """Return the prompt for an object with the concept on it; used only for fitting."""
        return _filled(self.object_prompt, self.token, label)


#: Every parameter's name.
NAMES = tuple(f.name for f in fields(DiffusionParameters))


def _filled(sentence: str, token: str, label: str) -> str:
    # not str.format: a label may contain braces
    return sentence.replace("{token}", token).replace("{label}", label)


def _checked(name: str, value: object) -> object:
    where = f"parameter “{KEY}.{name}”"
    if name in RANGES:
        if name in ("strength", "guidance") and value is None:
            return None
        low, high = RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise EngineError(f"{where} must be a number from {low:g} to {high:g}, not {value!r}")
        if not low <= value <= high:
            raise EngineError(f"{where} is {value:g}; it must be from {low:g} to {high:g}")
        if name in _WHOLE and value != int(value):
            raise EngineError(f"{where} must be a whole number, not {value!r}")
        return int(value) if name in _WHOLE else float(value)
    if name == "refine_composite":
        if not isinstance(value, bool):
            raise EngineError(f"{where} must be true or false, not {value!r}")
        return value
    if not isinstance(value, str):
        raise EngineError(f"{where} must be a text, not {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise EngineError(f"{where} is {value!r}; it must be one of: {', '.join(CHOICES[name])}")
    return value
