"""Pictures and masks at the size and in the numbers that a denoiser sees. Imports torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional

from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline


def small(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask [n, 1, H, W] at the size of latents."""
    return functional.interpolate(mask, size=size, mode="nearest")


def to_latents(pipeline: Pipeline, images: torch.Tensor, chance: torch.Generator | None = None) -> torch.Tensor:
    """Pictures [n, 3, H, W] (-1 to 1) through the autoencoder, drawn by chance, or else the likeliest."""
    vae: Any = pipeline.vae
    upcast = bool(getattr(vae.config, "force_upcast", False)) and vae.dtype == torch.float16
    if upcast:  # SDXL's autoencoder overflows in float16
        vae.to(dtype=torch.float32)
    spread = vae.encode(images.to(vae.device, vae.dtype)).latent_dist
    if upcast:
        vae.to(dtype=torch.float16)
    found: torch.Tensor = spread.mean
    if chance is not None:
        found = found + spread.std * torch.randn(found.shape, generator=chance).to(found)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (found - shift) * vae.config.scaling_factor
