"""How a lesson is put to each kind of denoiser, and what the right answer is: UNets, and Flux Fill. Imports torch.

A kind differs in how noise is added, in what it is shown beside it, and in how its words are read; the loss and the
steps are the same for all (``teaching``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as functional
from diffusers import DDPMScheduler
from diffusers.utils import convert_state_dict_to_diffusers

from datagen.errors import EngineError
from datagen.synthesis.diffusion.models.attention import AttentionMaps, listening
from datagen.synthesis.diffusion.models.latents import small
from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline

#: The guidance that Flux is taught at. It was distilled to take the weight of the prompt as an input, and what a photo
#: shows is what that weight at 1 means: the prompt and nothing pushed beyond it.
_FLUX_GUIDANCE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Sentences as a denoiser reads them: [n, tokens, c], and what some read beside them, [n, c]."""

    tokens: torch.Tensor
    pooled: torch.Tensor | None


class Denoiser(Protocol):
    """One kind of model that a LoRA can be put on."""

    #: the model, and the name that its pipeline knows it by
    module: Any
    part: str
    #: the layers that a LoRA is put on: all attention
    layers: tuple[str, ...]

    def see(self, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What is shown beside the noise, [n, k, h, w], of latents [n, c, h, w] and a mask [n, 1, H, W]."""
        ...

    def times(self, count: int, chance: torch.Generator) -> torch.Tensor:
        """How noisy so many rows are to be, each drawn, [n]."""
        ...

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents with noise, and what the model should answer, both [n, c, h, w]."""
        ...

    def guess(self, seen: torch.Tensor, times: torch.Tensor, words: Words) -> torch.Tensor:
        """The answer [n, c, h, w] to noisy latents with what is shown beside them, [n, c + k, h, w]."""
        ...

    def listened(self, positions: torch.Tensor) -> Any:
        """A context in which attention to the tokens at ``positions`` [n, tokens] is noted, or None instead."""
        ...

    def layers_to_save(self, lora: dict[str, torch.Tensor]) -> dict[str, Any]:
        """A LoRA's layers as ``save_lora_weights`` takes them."""
        ...


def denoiser_of(pipeline: Pipeline, resolution: int) -> Denoiser:
    """The denoiser of a pipeline, to be taught.

    Raises:
        EngineError: a LoRA cannot be fitted for its kind.
    """
    if hasattr(pipeline, "unet"):
        return UNet(pipeline, resolution)
    if type(pipeline).__name__ == "FluxFillPipeline":
        return FluxFill(pipeline)
    raise EngineError(
        f"no LoRA can be fitted for {type(pipeline).__name__}; set “diffusion.fit_steps” to 0, or “diffusion.lora” to "
        "a LoRA for it"
    )


def read(pipeline: Pipeline, sentence: str) -> Words:
    """A sentence through the pipeline's text encoders; without guidance, one row."""
    options: dict[str, Any] = {"device": pipeline.device, "num_images_per_prompt": 1}
    if hasattr(pipeline, "unet"):
        found = pipeline.encode_prompt(sentence, do_classifier_free_guidance=False, **options)
        # SDXL answers (tokens, negative, pooled, negative pooled), the others without the pooled ones
        return Words(tokens=found[0], pooled=found[2] if len(found) > 2 else None)
    tokens, pooled, _ = pipeline.encode_prompt(sentence, **options)
    return Words(tokens=tokens, pooled=pooled)


class UNet:
    """SD 1.5, SD 2 and SDXL: noise by a schedule of 1000 times, words by cross-attention."""

    part = "unet"
    layers: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: Pipeline, resolution: int) -> None:
        self.module: Any = pipeline.unet
        self._noising = DDPMScheduler.from_config(pipeline.scheduler.config)
        self._side = float(resolution)

    def see(self, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The small mask and the masked latents."""
        return torch.cat([small(mask, (masked.shape[-2], masked.shape[-1])), masked], dim=1)

    def times(self, count: int, chance: torch.Generator) -> torch.Tensor:
        """Steps of the schedule, all alike likely."""
        return torch.randint(self._noising.config.num_train_timesteps, (count,), generator=chance)

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise by the schedule; the answer is what the model was trained to give."""
        noisy = self._noising.add_noise(latents, noise, times)
        match self._noising.config.prediction_type:
            case "v_prediction":
                return noisy, self._noising.get_velocity(latents, noise, times)
            case "sample":
                return noisy, latents
            case _:
                return noisy, noise

    def guess(self, seen: torch.Tensor, times: torch.Tensor, words: Words) -> torch.Tensor:
        """Words by cross-attention; SDXL is told sizes too."""
        added = None
        if words.pooled is not None:
            # SDXL is told the picture's size, where it was cut, and the size wanted
            sizes = [self._side, self._side, 0.0, 0.0, self._side, self._side]
            told = torch.tensor([sizes] * len(seen), device=seen.device, dtype=words.pooled.dtype)
            added = {"text_embeds": words.pooled, "time_ids": told}
        found: torch.Tensor = self.module(
            seen, times, encoder_hidden_states=words.tokens, added_cond_kwargs=added, return_dict=False
        )[0]
        return found

    @contextmanager
    def listened(self, positions: torch.Tensor) -> Iterator[AttentionMaps | None]:
        """The decoder's attention maps."""
        with listening(self.module, positions) as maps:
            yield maps

    def layers_to_save(self, lora: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Under the names that diffusers gives them."""
        return {"unet_lora_layers": convert_state_dict_to_diffusers(lora)}


class FluxFill:
    """Flux Fill: a straight line from latents to noise (flow matching), pictures and words in one sequence.

    Times are drawn as its makers did, most about the middle (logit-normal; Esser et al. 2024, section 3.1). Its words
    have no attention of their own that a map could be read off, so that part of the loss is left out.
    """

    part = "transformer"
    layers: tuple[str, ...] = (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    )

    def __init__(self, pipeline: Pipeline) -> None:
        self.module: Any = pipeline.transformer
        self._factor = int(pipeline.vae_scale_factor)
        # 57 blocks of thousands of tokens: kept for the way back, they would not fit beside the weights
        self.module.enable_gradient_checkpointing()

    def see(self, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The masked latents, and the mask with its pixels as channels."""
        return torch.cat([masked, functional.pixel_unshuffle(mask, self._factor)], dim=1)

    def times(self, count: int, chance: torch.Generator) -> torch.Tensor:
        """Shares of noise, most about one half."""
        return torch.sigmoid(torch.randn(count, generator=chance))

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A point on the straight line; the answer is its direction."""
        share = times.to(latents).view(-1, 1, 1, 1)
        return (1 - share) * latents + share * noise, noise - latents

    def guess(self, seen: torch.Tensor, times: torch.Tensor, words: Words) -> torch.Tensor:
        """Four neighbours make one token; guidance is a number among the inputs."""
        squares = functional.pixel_unshuffle(seen, 2)
        high, wide = squares.shape[-2:]
        places = torch.zeros(high, wide, 3, device=seen.device, dtype=seen.dtype)
        places[..., 1] = torch.arange(high, device=seen.device)[:, None]
        places[..., 2] = torch.arange(wide, device=seen.device)[None, :]
        guidance = None
        if self.module.config.guidance_embeds:
            guidance = torch.full((len(seen),), _FLUX_GUIDANCE, device=seen.device)
        found: torch.Tensor = self.module(
            hidden_states=squares.flatten(2).transpose(1, 2),
            timestep=times.to(seen),
            guidance=guidance,
            pooled_projections=words.pooled,
            encoder_hidden_states=words.tokens,
            txt_ids=torch.zeros(words.tokens.shape[1], 3, device=seen.device, dtype=seen.dtype),
            img_ids=places.flatten(0, 1),
            return_dict=False,
        )[0]
        return functional.pixel_shuffle(found.transpose(1, 2).unflatten(2, (high, wide)), 2)

    @contextmanager
    def listened(self, positions: torch.Tensor) -> Iterator[AttentionMaps | None]:  # noqa: ARG002 - as the others
        """Nothing is noted."""
        yield None

    def layers_to_save(self, lora: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Under peft's names, as Flux's loader takes them."""
        return {"transformer_lora_layers": lora}
