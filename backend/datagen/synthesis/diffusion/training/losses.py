"""What is lost on lessons: the three parts of DefectFill's loss (CVPR 2025), from one pass through the model.

Defect: to paint the concept where it is masked. Object: to paint the whole where random boxes are masked, the concept
above all. Attention, for UNets alone: there to look for the concept where it is. Imports torch.
"""

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

#: Weight of what lies outside the concept in the object's part (DefectFill, section 4).
BACKGROUND = 0.1


class Losses:
    """A model's losses on encoded lessons; made while the pipeline's text encoders are still on the device."""

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
        self, rows: Sequence[int], chance: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Defect, object and attention loss of some lessons; both kinds of masks go through the model together.

        The way back lies within the context.
        """
        e, n, dtype = self._encoded, len(rows), self._denoiser.module.dtype
        pick = torch.tensor(list(rows))
        # noise is added in float32: in bfloat16 the least noisy times would have none, or a fifth too much
        latents = e.latents[pick].to(self._device)
        noise = torch.randn(latents.shape, generator=chance).to(self._device)
        times = self._denoiser.times(n, chance).to(self._device)
        noisy, target = self._denoiser.noised(latents, noise, times)
        concept = e.concept[pick].to(self._device)
        shown = [part[pick].to(self._device, dtype) for part in (e.concept_seen, e.boxes_seen)]
        seen = torch.cat([torch.cat([noisy.to(dtype), run_periodically], dim=1) for run_periodically in shown])
        said = [self._prompts[e.labels[row]] for row in rows]
        words = _together([one.concept for one in said] + [one.surface for one in said])
        positions = torch.tensor([one.positions for one in said], device=self._device)
        with self._denoiser.listened(positions) as maps:
            with self._autocast():
                guess = self._denoiser.guess(seen, torch.cat([times, times]), words)
            error = (guess.float() - torch.cat([target, target])).square()
            defect = (error[:n] * concept).sum() / (concept.sum() * error.shape[1]).clamp(min=1)
            weight = concept + BACKGROUND * (1 - concept)
            surface = (error[n:] * weight).sum() / (weight.sum() * error.shape[1])
            yield defect, surface, maps.loss(concept) if maps is not None else torch.zeros_like(defect)

    def _autocast(self) -> Any:
        """bfloat16 and float16 weights stay as they are; the LoRA is in float32 and is cast where they meet."""
        dtype = self._denoiser.module.dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self._device.type, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompts:
    """A label's two sentences as the model reads them, and where the taught word stands in the second."""

    concept: Words
    surface: Words
    positions: list[bool]


def _together(words: Sequence[Words]) -> Words:
    pooled = [one.pooled for one in words if one.pooled is not None]
    return Words(tokens=torch.cat([one.tokens for one in words]), pooled=torch.cat(pooled) if pooled else None)


def _prompts(pipeline: Pipeline, p: DiffusionParameters, label: str) -> _Prompts:
    return _Prompts(
        concept=read(pipeline, p.prompt_for(label)),
        surface=read(pipeline, p.object_prompt_for(label)),
        positions=token_positions(pipeline.tokenizer, p.object_prompt_for(label), p.token),
    )
