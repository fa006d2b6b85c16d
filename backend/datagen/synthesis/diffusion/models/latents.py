"""Conversion of pictures and masks to the latent space of a denoiser. Imports torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional

from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline


def small(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return a mask [n, 1, H, W], resized to the latents' height and width ``size``."""
    return functional.interpolate(mask, size=size, mode="nearest")


def to_latents(pipeline: Pipeline, images: torch.Tensor, chance: torch.Generator | None = None) -> torch.Tensor:
    """Return the latents of pictures [n, 3, H, W], whose values are from -1 to 1.

    The latents are sampled with ``chance``; without it, they are the mean of the autoencoder's distribution.
    """
    vae: Any = pipeline.vae
    upcast = bool(getattr(vae.config, "force_upcast", False)) and vae.dtype == torch.float16
    if upcast:  # SDXL's autoencoder overflows in float16
        vae.to(dtype=torch.float32)
    distribution = vae.encode(images.to(vae.device, vae.dtype)).latent_dist
    if upcast:
        vae.to(dtype=torch.float16)
    latents: torch.Tensor = distribution.mean
    if chance is not None:
        latents = latents + distribution.std * torch.randn(latents.shape, generator=chance).to(latents)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (latents - shift) * vae.config.scaling_factor
