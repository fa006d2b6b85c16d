"""The pipeline that a process keeps on its device between shards and jobs. Imports torch.

Only one pipeline is kept, because two would not fit on most GPUs."""

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
    """An inpainter whose pipeline is on the device.

    ``key``, ``device``, ``dtype`` and ``tuning`` are those that the pipeline was prepared with.
    """

    key: tuple[object, ...]
    painter: Inpainter
    device: str
    dtype: str
    tuning: Tuning


_cached: Warm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifacts:
    """The files of a model: the weights' folder and the LoRA's file with their digests, and the engine's folder."""

    weights: Path
    weights_digest: str
    lora: Path | None
    lora_digest: str | None
    folder: Path


def cached_inpainter(means: ModelArtifacts, own: DiffusionParameters) -> Warm:
    """Return the inpainter for a model and parameters; reuse the cached one if it was prepared with the same.

    Raises:
        EngineError: the device does not exist, or the weights cannot be loaded.
        DeviceFault: the device failed.
    """
    global _cached
    key = (means.weights_digest, means.lora_digest, own)
    if _cached is not None and _cached.key == key:
        return _cached
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
    _cached = Warm(
        key=key,
        painter=Inpainter(pipeline, own, tuning.batch),
        device=pipeline_loading.device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        tuning=tuning,
    )
    return _cached


def drop_cached_pipeline() -> None:
    """Drop the cached pipeline, if there is one, and free its memory on the device."""
    global _cached
    if _cached is not None:
        _cached = None
        free_memory()
        torch.compiler.reset()
