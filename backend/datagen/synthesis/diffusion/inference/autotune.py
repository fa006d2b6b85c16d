"""Measures the best batch size and the useful optimizations for a device. Imports torch.

The measurement runs once per device, torch version, weights and resolution. Its result is stored in a file and always
reused, because other optimizations or another batch size would change the rounding of the pixels. On a CPU nothing is
measured, because neither helps there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torch._inductor.config
from filelock import FileLock

from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.diffusion.inference.inpainter import Inpainter, Order
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.artifact_cache import kept_in
from datagen.synthesis.diffusion.runtime.device_errors import free_memory
from datagen.synthesis.diffusion.weights import pipeline_loading
from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline

#: Batch sizes that are measured, in this order; the search ends at the first one that gains too little. With guidance,
#: a batch of 16 has 32 rows, which fill any device. A larger batch would waste more padding at the end of a shard.
_BATCHES = (1, 2, 4, 8, 16)
#: Minimum speed-up of a larger batch, and of an optimization, as a factor; less is within the noise of a shared
#: machine.
_BATCH_GAIN, _OPTIMIZATION_GAIN = 1.04, 1.03
#: Maximum share of the device's memory for inpainting; the rest is left for fragmentation and other processes.
_MEMORY_SHARE = 0.85
#: Denoising steps of the two measured runs, and how often each is measured. One unmeasured run precedes them.
_FEW, _MORE, _REPEATS = 2, 6, 2
#: Maximum number of compiled graphs for one kind of block, and in total. A block has up to twenty shapes, each at five
#: batch sizes in two memory layouts.
_GRAPHS, _ALL_GRAPHS = 256, 1024
#: Kinds of blocks that are compiled besides those that a model lists; a UNet spends half of its time in them.
_BLOCKS = frozenset({"ResnetBlock2D"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """One optimization, with the functions that apply and revert it."""

    name: str
    apply: Callable[[Pipeline], None]
    revert: Callable[[Pipeline], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The result of a measurement.

    ``batch`` is the batch size, and ``optimizations`` are the names of those to apply. ``images_per_second`` has the
    rate of every attempt.
    """

    batch: int
    optimizations: tuple[str, ...]
    images_per_second: dict[str, float]


def denoiser(pipeline: Pipeline) -> Any:
    """Return the pipeline's denoiser, which takes most of its time."""
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def _memory_format(pipeline: Pipeline, layout: torch.memory_format) -> None:
    # not the autoencoder, which processes one picture at a time
    denoiser(pipeline).to(memory_format=layout)


def _unfuse(pipeline: Pipeline) -> None:
    model = denoiser(pipeline)
    model.unfuse_qkv_projections()
    for module in model.modules():  # UNets keep the fused copies
        for name in ("to_qkv", "to_kv"):
            if hasattr(module, name):
                delattr(module, name)


def _compile(pipeline: Pipeline) -> None:
    # every shape of a block has a graph for every batch: repeated halving must not reach dynamo's limits
    torch._dynamo.config.recompile_limit = _GRAPHS
    torch._dynamo.config.accumulated_recompile_limit = _ALL_GRAPHS
    # deterministic kernels: otherwise inductor chooses its reductions by timing, and roundings depend on the choice
    torch._inductor.config.deterministic = True
    model = denoiser(pipeline)
    kinds = _BLOCKS | set(getattr(model, "_repeated_blocks", None) or ())
    for module in model.modules():
        if type(module).__name__ in kinds:
            module.compile(fullgraph=True, dynamic=False)


def _forget_compiled(pipeline: Pipeline) -> None:
    for module in denoiser(pipeline).modules():
        module._compiled_call_impl = None
    torch.compiler.reset()


#: The optimizations, in the order in which they are applied. Scaled-dot-product attention is missing, because diffusers
#: uses it by default. The memory layout comes last: without compiled blocks, every normalization would convert tensors
#: to another layout and back.
OPTIMIZATIONS = (
    Optimization(name="fused_qkv", apply=lambda pipeline: denoiser(pipeline).fuse_qkv_projections(), revert=_unfuse),
    Optimization(name="compiled_blocks", apply=_compile, revert=_forget_compiled),
    Optimization(
        name="channels_last",
        apply=lambda pipeline: _memory_format(pipeline, torch.channels_last),
        revert=lambda pipeline: _memory_format(pipeline, torch.contiguous_format),
    ),
)


def tune(pipeline: Pipeline, own: DiffusionParameters, folder: Path, weights_digest: str) -> Tuning:
    """Apply the measured optimizations to the pipeline; return them with the batch size.

    Workers that share the folder wait for the worker that measures, and use its result. Otherwise the same spec could
    produce different images on different workers.

    Raises:
        EngineError: the folder cannot be written.
        DeviceFault: the device failed.
    """
    device: torch.device = pipeline.device
    if device.type == "cpu":
        return Tuning(batch=own.batch or 1, optimizations=(), images_per_second={})
    path = _tuning_file(folder, pipeline, own, weights_digest)
    with kept_in(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            kept = _read(path)
            if kept is None:
                measured = measure(pipeline, own)
                draft = path.with_name(f".{path.name}")
                draft.write_text(json.dumps(asdict(measured), indent=1))
                draft.replace(path)
                return measured
    return _applied(pipeline, own, kept)


def _applied(pipeline: Pipeline, own: DiffusionParameters, kept: Tuning) -> Tuning:
    """Apply the stored optimizations and test them; revert them if they fail here, for example without a compiler."""
    chosen = [optimization for optimization in OPTIMIZATIONS if optimization.name in kept.optimizations]
    try:
        for optimization in chosen:
            optimization.apply(pipeline)
        if chosen:
            _paint_once(Inpainter(pipeline, own, kept.batch), own)
    except (DeviceFault, EngineError):
        raise
    except Exception:  # compilers raise exceptions of their own
        for optimization in reversed(chosen):
            optimization.revert(pipeline)
        return replace(kept, optimizations=())
    return kept


def _read(path: Path) -> Tuning | None:
    """Return the stored measurement; None if the file is missing or damaged, so that a new measurement is needed."""
    try:
        stored = json.loads(path.read_text())
        return Tuning(
            batch=int(stored["batch"]),
            optimizations=tuple(stored["optimizations"]),
            images_per_second=dict(stored["images_per_second"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def measure(pipeline: Pipeline, own: DiffusionParameters) -> Tuning:
    """Find the batch size, then measure each optimization with it; return the batch size and those that help."""
    rates: dict[str, float] = {}
    batch = own.batch or _find_batch(pipeline, own, rates)
    best = rates.get(f"batch {batch}") or images_per_second(pipeline, own, batch) or 0.0
    rates[f"batch {batch}"] = best
    applied: list[str] = []
    for optimization in OPTIMIZATIONS if own.optimizations == "measured" else ():
        try:
            optimization.apply(pipeline)
            rate = images_per_second(pipeline, own, batch) or 0.0
        except DeviceFault:
            raise
        except Exception as error:  # compilers raise exceptions of their own
            # this model or device does not support the optimization: no compiler, no such layers, or too little memory
            rates[f"{optimization.name}: {type(error).__name__}"] = 0.0
            rate = 0.0
        rates[optimization.name] = rate
        if rate > best * _OPTIMIZATION_GAIN:
            best = rate
            applied.append(optimization.name)
        else:
            optimization.revert(pipeline)
    return Tuning(batch=batch, optimizations=tuple(applied), images_per_second=rates)


def images_per_second(pipeline: Pipeline, own: DiffusionParameters, batch: int) -> float | None:
    """Return the crops per second at a batch size; None if the batch does not fit into memory.

    Two short runs are measured. Their difference gives the time of a step. The rest is the fixed time of a run. The
    time of a run with all steps is computed from both.
    """
    seconds: list[float] = []
    for steps in (_FEW, _MORE):
        short = DiffusionParameters.from_json({**own.to_json(), "steps": steps, "strength": 1.0})
        painter = Inpainter(pipeline, short, batch)
        if not seconds:
            _paint_once(painter, short)
        durations = [_paint_once(painter, short) for _ in range(_REPEATS)]
        if painter.batch < batch:
            return None
        seconds.append(min(durations))
    few, more = seconds
    step_seconds = max(0.0, (more - few) / (_MORE - _FEW))
    return batch / max(few + (own.steps - _FEW) * step_seconds, 1e-9)


def orders_for(own: DiffusionParameters, count: int) -> list[Order]:
    """Return ``count`` orders like those of rendering, in which the candidates for one place share a crop."""
    side = own.resolution
    mask = np.zeros((side, side), np.float32)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 1
    crops = [np.full((side, side, 3), 0.5, np.float32) for _ in range(0, count, own.candidates)]
    return [
        Order(image=crops[number // own.candidates], mask=mask, prompt=own.prompt_for("thing"), seed=number)
        for number in range(count)
    ]


def _paint_once(painter: Inpainter, own: DiffusionParameters) -> float:
    """Inpaint one full batch; return the duration in seconds."""
    orders = orders_for(own, painter.batch)
    began = time.perf_counter()
    list(painter.paint(orders))
    return time.perf_counter() - began


def _find_batch(pipeline: Pipeline, own: DiffusionParameters, rates: dict[str, float]) -> int:
    best, best_rate = 1, 0.0
    for batch in _BATCHES:
        _reset_peak(pipeline.device)  # an earlier fit in this process may have raised the peak
        try:
            rate = images_per_second(pipeline, own, batch)
        except RuntimeError:
            if batch == 1:
                raise
            rate = None  # kernels have limits of their own, such as 2^31 numbers
        if rate is None or _exceeds_memory_share(pipeline.device):
            free_memory()
            break
        rates[f"batch {batch}"] = rate
        if rate < best_rate * _BATCH_GAIN:
            break
        best, best_rate = batch, rate
    return best


def _reset_peak(device: torch.device) -> None:
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _exceeds_memory_share(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    used = torch.cuda.max_memory_reserved(device) / torch.cuda.get_device_properties(device).total_memory
    return bool(used > _MEMORY_SHARE)


def _tuning_file(folder: Path, pipeline: Pipeline, own: DiffusionParameters, weights_digest: str) -> Path:
    facts = [
        pipeline_loading.device_name(pipeline.device),
        pipeline_loading.versions(),
        weights_digest,
        *(getattr(own, name) for name in ("resolution", "dtype", "batch", "guidance", "scheduler", "optimizations")),
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return folder / "tuning" / f"{digest[:24]}.json"
