"""Encodes each lesson with the autoencoder once, so that a training step runs only the denoiser. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from datagen.synthesis.diffusion.models.latents import small, to_latents
from datagen.synthesis.diffusion.runtime.watchdog import watched
from datagen.synthesis.diffusion.training.dataset import Lesson
from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """All lessons in encoded form, on the CPU, in float32.

    ``latents`` [n, c, h, w] are the latents of the crops. ``concept`` [n, 1, h, w] are the masks of the concepts.
    ``concept_seen`` and ``boxes_seen`` [n, k, h, w] are the denoiser's further input channels: the first if the concept
    is masked, the second if the boxes are. ``labels`` are the labels of the lessons.
    """

    latents: torch.Tensor
    concept: torch.Tensor
    concept_seen: torch.Tensor
    boxes_seen: torch.Tensor
    labels: list[str]


def encode(
    pipeline: Pipeline,
    lessons: Iterable[Lesson],
    seed: int,
    see: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Encoded:
    """Return all lessons in encoded form. The latents of each lesson are sampled with a seed of its own.

    ``see`` returns the denoiser's further input channels, given the latents [1, c, h, w] of a masked picture and its
    mask [1, 1, H, W].
    """
    rows: list[tuple[torch.Tensor, ...]] = []
    labels: list[str] = []
    with torch.no_grad():
        for number, lesson in enumerate(lessons):
            image = torch.from_numpy(lesson.image.transpose(2, 0, 1).copy())[None] * 2 - 1
            concept, boxes = (torch.from_numpy(m.copy())[None, None] for m in (lesson.concept, lesson.boxes))
            generator = torch.Generator("cpu").manual_seed((seed + number) % 2**63)
            images = torch.cat([image, *(image * (1 - mask) for mask in (concept, boxes))])
            with watched():
                encoded = to_latents(pipeline, images, generator).to("cpu", torch.float32)
            labels.append(lesson.label)
            size = (int(encoded.shape[-2]), int(encoded.shape[-1]))
            rows.append(
                (
                    encoded[:1],
                    small(concept, size),
                    see(encoded[1:2], concept),
                    see(encoded[2:], boxes),
                )
            )
    latents, concepts, concepts_seen, boxes_seen = (torch.cat(column) for column in zip(*rows, strict=True))
    return Encoded(
        latents=latents,
        concept=concepts,
        concept_seen=concepts_seen,
        boxes_seen=boxes_seen,
        labels=labels,
    )
