"""The diffusion engine's own parameters: weights, fitting and inpainting. Does not import torch.

In a spec they are grouped under the key ``diffusion``. The composite engine's parameters are at the top level of the
same spec. They decide the places, sizes and numbers of concepts for both engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from datagen.domain.spec import Json
from datagen.errors import EngineError
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.identity import NAME
from datagen.synthesis.parameter_models import EngineParameters, Whole

#: The key of the diffusion engine's own parameters in a spec.
KEY = "diffusion"


class DiffusionParameters(EngineParameters):
    """The diffusion engine's own parameters.

    The defaults suit an inpainting model of the class of SD 1.5 at 512 pixels.
    """

    engine: ClassVar[str] = NAME
    group: ClassVar[str] = KEY

    # without a default, because weights have licences
    weights: str = Field("", description="hub id (“owner/name”) or local folder of an inpainting pipeline")
    revision: str = Field("", description="commit, branch or tag of a hub id; a commit makes specs reproducible")
    variant: str = Field("", description="variant of the weight files, e.g. “fp16”")
    lora: str = Field(
        "",
        description="a LoRA to use instead of fitting one: its `.safetensors` file, or the folder that holds it alone",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="`auto` requires a GPU; `cpu` is slow and must be set explicitly"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="data type; `auto` is `bfloat16` where the device supports it, else `float16` on a GPU and "
        "`float32` on a CPU",
    )
    resolution: Whole = Field(
        512, ge=32, le=2048, multiple_of=8, description="side of the crop that the model inpaints, pixels"
    )
    # 20 steps of DPM++ match 50 steps of the models' own scheduler
    steps: Whole = Field(20, ge=1, le=200, description="denoising steps")
    scheduler: Literal["auto", "own", "ddim", "dpm++", "unipc", "euler", "lcm", "tcd"] = Field(
        "auto",
        description="`auto` is DPM++ for UNets, else the model's own; `lcm` and `tcd` are for distilled weights, with "
        "`guidance` 1",
    )
    strength: float | None = Field(
        None,
        ge=0.05,
        le=1.0,
        description="share of the noise that inpainting starts from; by default 1, and 0.5 with `refine_composite`",
    )
    guidance: float | None = Field(
        None,
        ge=0.0,
        le=30.0,
        description="weight of the prompt (classifier-free guidance); values up to 1 halve the work. By default 4 for "
        "UNets, and the pipeline's own default for other models (30 for Flux Fill)",
    )
    vary: bool = Field(
        True,
        description="draw strength, guidance (of UNets) and steps anew for each sample, about their settings, so that "
        "verdicts can teach them; `false` inpaints crops of different samples in one batch",
    )
    candidates: Whole = Field(
        4, ge=1, le=16, description="candidates inpainted for one place, of which the best is kept"
    )
    refine_composite: bool = Field(False, description="start from the composite engine's pixels instead of noise alone")
    context: float = Field(
        2.5,
        ge=1.2,
        le=8.0,
        description="side of the crop around a concept, in multiples of its mask's longer side",
    )
    batch: Whole = Field(
        0, ge=0, le=256, description="crops inpainted at once; 0 finds the best batch for the device, up to 16"
    )
    token: str = Field("sks", description="a rare word that the fit binds to the concept")
    prompt: str = Field(
        "a photo of {token} {label}",
        description="prompt for a concept; {label} is the concept's label",
    )
    object_prompt: str = Field(
        "a photo with {token} {label} on it",
        description="prompt for an object with the concept on it; used only for fitting",
    )
    negative_prompt: str = Field("", description="what the model is not to paint")
    fit_steps: Whole = Field(400, ge=0, le=20_000, description="steps of the fit; 0 uses the weights unchanged")
    fit_batch: Whole = Field(4, ge=1, le=64, description="lessons in one step of the fit")
    lora_rank: Whole = Field(8, ge=1, le=256, description="rank of the LoRA")
    learning_rate: float = Field(2e-4, ge=1e-6, le=0.1, description="learning rate of the fit")
    optimizations: Literal["measured", "none"] = Field(
        "measured",
        description="optimizations: `measured` applies those that help on this device, `none` uses the stock pipeline",
    )

    @model_validator(mode="after")
    def _at_least_one_step_is_painted(self) -> Self:
        if int(self.steps * self.noise) < 1:
            raise ValueError(
                f"“{KEY}.steps” × “{KEY}.strength” is {self.steps * self.noise:.2g}, less than one step is "
                "painted; raise one of them"
            )
        return self

    @model_validator(mode="after")
    def _prompts_contain_the_token(self) -> Self:
        for name in ("prompt", "object_prompt"):
            if "{token}" not in getattr(self, name):
                raise ValueError(f"parameter “{KEY}.{name}” must contain {{token}}, the word that is taught")
        return self

    @staticmethod
    def from_spec(parameters: Mapping[str, Json]) -> tuple[DiffusionParameters, dict[str, Json]]:
        """Return the diffusion engine's parameters in a spec, and the composite engine's.

        Raises:
            EngineError: a parameter of the diffusion engine is unknown, has the wrong type, or is out of range.
        """
        own = parameters.get(KEY, {})
        if not isinstance(own, Mapping):
            raise EngineError(f"parameter “{KEY}” must be a mapping with at least “weights”, not {own!r}")
        return DiffusionParameters.from_json(own), {k: v for k, v in parameters.items() if k != KEY}

    @property
    def noise(self) -> float:
        """The share of noise that inpainting starts from: ``strength``, or its default."""
        return self.strength if self.strength is not None else 0.5 if self.refine_composite else 1.0

    def prompt_for(self, label: str) -> str:
        """Return the prompt for a concept with this label."""
        return _filled(self.prompt, self.token, label)

    def object_prompt_for(self, label: str) -> str:
        """Return the prompt for an object with a concept of this label on it. It is used only for fitting."""
        return _filled(self.object_prompt, self.token, label)


class DiffusionSpecParameters(CompositeParameters):
    """All parameters in a spec of the diffusion engine: composite's at the top level, its own in one group."""

    engine: ClassVar[str] = NAME

    diffusion: DiffusionParameters = Field(
        default_factory=DiffusionParameters, description="weights, fitting and inpainting"
    )


def _filled(sentence: str, token: str, label: str) -> str:
    # not str.format: a label may contain braces
    return sentence.replace("{token}", token).replace("{label}", label)
