"""The one pipeline that a process keeps on its device, between shards and between jobs. Imports torch.

Two would not fit beside each other on most GPUs; who asks for another one gets it loaded in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from datagen.synthesis.diffusion import pipelines
from datagen.synthesis.diffusion.faults import device_faults, free_memory
from datagen.synthesis.diffusion.painter import Painter
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.tuning import Tuning, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """A painter that is ready, and what it was made ready with."""

    key: tuple[object, ...]
    painter: Painter
    device: str
    dtype: str
    tuning: Tuning


_kept: Warm | None = None


def warm_painter(weights: Path, weights_digest: str, lora: Path | None, own: DiffusionParameters, folder: Path) -> Warm:
    """The painter for these weights, LoRA and parameters; the one kept, if it is the same.

    Raises:
        EngineError: there is no such device, or the weights cannot be loaded.
        DeviceFault: the device failed.
    """
    global _kept
    key = (weights_digest, lora, own)
    if _kept is not None and _kept.key == key:
        return _kept
    with device_faults(
        "making the painter ready",
        "the weights fill the device's memory; choose smaller ones with “diffusion.weights”, or end what else uses it",
    ):
        drop_warm()
        device = pipelines.device_of(own.device)
        dtype = pipelines.dtype_of(own.dtype, device)
        pipelines.same_every_time()
        pipeline = pipelines.load(weights, own, device, dtype)
        if lora is not None:
            pipelines.add_lora(pipeline, lora)
        tuning = tune(pipeline, own, folder, weights_digest)
    _kept = Warm(
        key=key,
        painter=Painter(pipeline, own, tuning.batch),
        device=pipelines.device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        tuning=tuning,
    )
    return _kept


def drop_warm() -> None:
    """Let go of the pipeline kept, to make room on the device."""
    global _kept
    if _kept is not None:
        _kept = None
        free_memory()
        torch.compiler.reset()
