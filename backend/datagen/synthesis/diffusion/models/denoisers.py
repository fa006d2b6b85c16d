"""Inputs and training targets for each kind of denoiser: UNets and Flux Fill. Imports torch.

The kinds differ in how noise is added, in their further input channels and in how prompts are encoded. The losses and
the training steps are the same for all (``training``).
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

#: The guidance that Flux is trained with. The model was distilled to take the guidance as an input. A guidance of 1 is
#: the prompt without amplification, which corresponds to a photo.
_FLUX_GUIDANCE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """n encoded prompts for a denoiser: ``tokens`` [n, tokens, c], and for some models pooled embeddings [n, c]."""

    tokens: torch.Tensor
    pooled: torch.Tensor | None


class Denoiser(Protocol):
    """One kind of model that a LoRA can be fitted for."""

    #: the model, and the name of its part in the pipeline
    module: Any
    part: str
    #: names of the layers that a LoRA is added to: all attention layers
    layers: tuple[str, ...]

    def see(self, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the input channels [n, k, h, w] besides the noisy latents.

        ``masked`` [n, c, h, w] are the latents of the masked pictures, and ``mask`` is [n, 1, H, W] in pixels.
        """
        ...

    def times(self, count: int, chance: torch.Generator) -> torch.Tensor:
        """Return ``count`` random timesteps, [n]."""
        ...

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latents with noise, and the target that the model should predict, both [n, c, h, w]."""
        ...

    def guess(self, seen: torch.Tensor, times: torch.Tensor, words: Words) -> torch.Tensor:
        """Return the model's prediction [n, c, h, w].

        ``seen`` [n, c + k, h, w] are the noisy latents followed by the channels of ``see``.
        """
        ...

    def listened(self, positions: torch.Tensor) -> Any:
        """Return a context manager that yields the attention maps for ``positions`` [n, tokens].

        It yields None if the model has no such maps.
        """
        ...

    def layers_to_save(self, lora: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return a LoRA's layers as keyword arguments of the pipeline's ``save_lora_weights``."""
        ...


def denoiser_of(pipeline: Pipeline, resolution: int) -> Denoiser:
    """Return the denoiser of a pipeline.

    Raises:
        EngineError: a LoRA cannot be fitted for this kind of pipeline.
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
    """Return one prompt, encoded with the pipeline's text encoders, as one row and without a negative prompt."""
    options: dict[str, Any] = {"device": pipeline.device, "num_images_per_prompt": 1}
    if hasattr(pipeline, "unet"):
        encoded = pipeline.encode_prompt(sentence, do_classifier_free_guidance=False, **options)
        # SDXL returns (tokens, negative, pooled, negative pooled), the others only the first two
        return Words(tokens=encoded[0], pooled=encoded[2] if len(encoded) > 2 else None)
    tokens, pooled, _ = pipeline.encode_prompt(sentence, **options)
    return Words(tokens=tokens, pooled=pooled)


class UNet:
    """The UNets of SD 1.5, SD 2 and SDXL: a noise schedule of 1000 timesteps, and cross-attention to the prompts."""

    part = "unet"
    layers: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: Pipeline, resolution: int) -> None:
        self.module: Any = pipeline.unet
        self._noising = DDPMScheduler.from_config(pipeline.scheduler.config)
        self._side = float(resolution)

    def see(self, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mask at the size of the latents, followed by the masked latents."""
        return torch.cat([small(mask, (masked.shape[-2], masked.shape[-1])), masked], dim=1)

    def times(self, count: int, chance: torch.Generator) -> torch.Tensor:
        """Return timesteps of the schedule, uniformly distributed."""
        return torch.randint(self._noising.config.num_train_timesteps, (count,), generator=chance)

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latents with the schedule's noise, and the target for the model's prediction type."""
        noisy = self._noising.add_noise(latents, noise, times)
        match self._noising.config.prediction_type:
            case "v_prediction":
                return noisy, self._noising.get_velocity(latents, noise, times)
            case "sample":
                return noisy, latents
            case _:
                return noisy, noise

    def guess(self, seen: torch.Tensor, times: torch.Tensor, words: Words) -> torch.Tensor:
        """Return the prediction, with the prompts as input of the cross-attention.

        SDXL also takes the sizes of the pictures.
        """
        added = None
        if words.pooled is not None:
            # SDXL takes the original size, the crop's corner and the target size
            sizes = [self._side, self._side, 0.0, 0.0, self._side, self._side]
            time_ids = torch.tensor([sizes] * len(seen), device=seen.device, dtype=words.pooled.dtype)
            added = {"text_embeds": words.pooled, "time_ids": time_ids}
        prediction: torch.Tensor = self.module(
            seen, times, encoder_hidden_states=words.tokens, added_cond_kwargs=added, return_dict=False
        )[0]
        return prediction

    @contextmanager
    def listened(self, positions: torch.Tensor) -> Iterator[AttentionMaps | None]:
        """Yield the attention maps of the decoder."""
        with listening(self.module, positions) as maps:
            yield maps

    def layers_to_save(self, lora: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return the LoRA's layers under the names of diffusers."""
        return {"unet_lora_layers": convert_state_dict_to_diffusers(lora)}


class FluxFill:
    """Flux Fill: flow matching on a straight line from latents to noise, with pictures and prompts in one sequence.

    Timesteps are drawn from the logit-normal distribution, as in Flux's own training (Esser et al. 2024, section 3.1).
    There is no attention loss, because no separate layer attends to the prompt.
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
        # the activations of 57 blocks of thousands of tokens do not fit into memory beside the weights
        self.module.enable_gradient_checkpointing()

    def see(self, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the masked latents, followed by the mask, whose pixels are arranged as channels."""
        return torch.cat([masked, functional.pixel_unshuffle(mask, self._factor)], dim=1)

    def times(self, count: int, chance: torch.Generator) -> torch.Tensor:
        """Return random shares of noise, concentrated around one half."""
        return torch.sigmoid(torch.randn(count, generator=chance))

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a point on the line from latents to noise, and as target the direction of the line."""
        share = times.to(latents).view(-1, 1, 1, 1)
        return (1 - share) * latents + share * noise, noise - latents

    def guess(self, seen: torch.Tensor, times: torch.Tensor, words: Words) -> torch.Tensor:
        """Return the prediction. Four neighbouring latents are one token, and the guidance is an input."""
        squares = functional.pixel_unshuffle(seen, 2)
        high, wide = squares.shape[-2:]
        places = torch.zeros(high, wide, 3, device=seen.device, dtype=seen.dtype)
        places[..., 1] = torch.arange(high, device=seen.device)[:, None]
        places[..., 2] = torch.arange(wide, device=seen.device)[None, :]
        guidance = None
        if self.module.config.guidance_embeds:
            guidance = torch.full((len(seen),), _FLUX_GUIDANCE, device=seen.device)
        prediction: torch.Tensor = self.module(
            hidden_states=squares.flatten(2).transpose(1, 2),
            timestep=times.to(seen),
            guidance=guidance,
            pooled_projections=words.pooled,
            encoder_hidden_states=words.tokens,
            txt_ids=torch.zeros(words.tokens.shape[1], 3, device=seen.device, dtype=seen.dtype),
            img_ids=places.flatten(0, 1),
            return_dict=False,
        )[0]
        return functional.pixel_shuffle(prediction.transpose(1, 2).unflatten(2, (high, wide)), 2)

    @contextmanager
    def listened(self, positions: torch.Tensor) -> Iterator[AttentionMaps | None]:  # noqa: ARG002 - part of the protocol
        """Yield None: there are no attention maps."""
        yield None

    def layers_to_save(self, lora: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return the LoRA's layers under the names of peft, which Flux's loader takes."""
        return {"transformer_lora_layers": lora}
