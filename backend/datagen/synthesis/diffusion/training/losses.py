"""The three parts of DefectFill's loss (CVPR 2025), computed in one forward pass. Imports torch.

For the defect loss, the concept is masked, and the error is measured on the concept. For the object loss, random boxes
are masked, and the error is measured on the whole crop, with a higher weight on the concept. The attention loss, for
UNets only, is the difference between the attention to the concept's token and the concept's mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from datagen.synthesis.diffusion.models.attention import token_positions
from datagen.synthesis.diffusion.models.denoisers import Denoiser, Words, read
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.training.encoding import Encoded
from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline

#: Weight of pixels outside the concept in the object loss; pixels of the concept have weight 1 (DefectFill, section 4).
BACKGROUND = 0.1


class Losses:
    """Computes the losses of a model on encoded lessons.

    It is created while the text encoders are still on the device, because it encodes the prompts.
    """

    def __init__(
        self, pipeline: Pipeline, denoiser: Denoiser, encoded: Encoded, parameters: DiffusionParameters
    ) -> None:
        self._denoiser = denoiser
        self._encoded = encoded
        self._device: torch.device = pipeline.device
        with torch.no_grad():
            self._prompts = {label: _prompts(pipeline, parameters, label) for label in sorted(set(encoded.labels))}

    @contextmanager
    def __call__(
        self, rows: Sequence[int], generator: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Context manager that yields the defect, object and attention loss of the lessons ``rows``.

        Both kinds of masks share one forward pass. The backward pass must run within the context.
        """
        e, n, dtype = self._encoded, len(rows), self._denoiser.module.dtype
        pick = torch.tensor(list(rows))
        # noise is added in float32: in bfloat16 the least noisy timesteps would get no noise, or a fifth too much
        latents = e.latents[pick].to(self._device)
        noise = torch.randn(latents.shape, generator=generator).to(self._device)
        times = self._denoiser.times(n, generator).to(self._device)
        noisy, target = self._denoiser.noised(latents, noise, times)
        concept = e.concept[pick].to(self._device)
        extra_channels = [part[pick].to(self._device, dtype) for part in (e.concept_seen, e.boxes_seen)]
        seen = torch.cat([torch.cat([noisy.to(dtype), extra], dim=1) for extra in extra_channels])
        prompts = [self._prompts[e.labels[row]] for row in rows]
        words = _concatenate([prompt.concept for prompt in prompts] + [prompt.surface for prompt in prompts])
        positions = torch.tensor([prompt.positions for prompt in prompts], device=self._device)
        with self._denoiser.listened(positions) as maps:
            with self._autocast():
                guess = self._denoiser.guess(seen, torch.cat([times, times]), words)
            error = (guess.float() - torch.cat([target, target])).square()
            defect = (error[:n] * concept).sum() / (concept.sum() * error.shape[1]).clamp(min=1)
            weight = concept + BACKGROUND * (1 - concept)
            surface = (error[n:] * weight).sum() / (weight.sum() * error.shape[1])
            yield defect, surface, maps.loss(concept) if maps is not None else torch.zeros_like(defect)

    def _autocast(self) -> Any:
        """Return a context for computing in the weights' type, bfloat16 or float16; the LoRA is in float32.

        For float32 weights the context does nothing.
        """
        dtype = self._denoiser.module.dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self._device.type, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompts:
    """The encoded prompts of a label: for the concept, and for an object with the concept on it.

    ``positions`` are the positions of the trained token in the second prompt.
    """

    concept: Words
    surface: Words
    positions: list[bool]


def _concatenate(words: Sequence[Words]) -> Words:
    pooled = [prompt.pooled for prompt in words if prompt.pooled is not None]
    return Words(tokens=torch.cat([prompt.tokens for prompt in words]), pooled=torch.cat(pooled) if pooled else None)


def _prompts(pipeline: Pipeline, p: DiffusionParameters, label: str) -> _Prompts:
    return _Prompts(
        concept=read(pipeline, p.prompt_for(label)),
        surface=read(pipeline, p.object_prompt_for(label)),
        positions=token_positions(pipeline.tokenizer, p.object_prompt_for(label), p.token),
    )
