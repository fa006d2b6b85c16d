"""The one pipeline that a process keeps on its device, between shards and between jobs. Imports torch.

Two would not fit beside each other on most GPUs; who asks for another one gets it loaded in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from datagen.synthesis.diffusion.inference.autotune import Tuning, tune
from datagen.synthesis.diffusion.inference.inpainter import Inpainter
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.device_errors import device_faults, free_memory
from datagen.synthesis.diffusion.weights import pipeline_loading


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """A painter that is ready, and what it was made ready with."""

    key: tuple[object, ...]
    painter: Inpainter
    device: str
    dtype: str
    tuning: Tuning


_kept: Warm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifacts:
    """What is painted with: the weights' folder and the LoRA's file with their digests, and where things are kept."""

    weights: Path
    weights_digest: str
    lora: Path | None
    lora_digest: str | None
    folder: Path


def cached_inpainter(means: ModelArtifacts, own: DiffusionParameters) -> Warm:
    """The painter with these means and parameters; the one kept, if it is the same.

    Raises:
        EngineError: there is no such device, or the weights cannot be loaded.
        DeviceFault: the device failed.
    """
    global _kept
    key = (means.weights_digest, means.lora_digest, own)
    if _kept is not None and _kept.key == key:
        return _kept
    with device_faults(
        "making the painter ready",
        "the weights fill the device's memory; choose smaller ones with “diffusion.weights”, or end what else uses it",
    ):
        drop_cached_pipeline()
        device = pipeline_loading.device_of(own.device)
        dtype = pipeline_loading.dtype_of(own.dtype, device)
        pipeline_loading.same_every_time()
        pipeline = pipeline_loading.load(means.weights, own, device, dtype)
        if means.lora is not None:
            pipeline_loading.add_lora(pipeline, means.lora)
        tuning = tune(pipeline, own, means.folder, means.weights_digest)
    _kept = Warm(
        key=key,
        painter=Inpainter(pipeline, own, tuning.batch),
        device=pipeline_loading.device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        tuning=tuning,
    )
    return _kept


def drop_cached_pipeline() -> None:
    """Let go of the pipeline kept, to make room on the device."""
    global _kept
    if _kept is not None:
        _kept = None
        free_memory()
        torch.compiler.reset()
