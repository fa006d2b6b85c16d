"""Speed, by measurement: the batch a device works best with, and the levers that help there. Imports torch.

Measured once for a device, its torch, the weights and the resolution, and kept in a file: other levers or another batch
are other roundings, so what was found is held to. Nothing is measured on a CPU, where neither helps.
"""

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

#: Batches tried, in order; the next is not tried once one brings too little. 16 are 32 rows with guidance, which fill
#: any device; more would be painted in vain wherever a shard ends.
_BATCHES = (1, 2, 4, 8, 16)
#: What a larger batch has to bring, and what a lever: less is within the noise of a shared machine.
_BATCH_GAIN, _LEVER_GAIN = 1.04, 1.03
#: Share of the device's memory that painting may fill; the rest is for fragments and others.
_MEMORY_SHARE = 0.85
#: Denoising steps of the two runs that are measured, and how often each is, after a first, unmeasured time.
_FEW, _MORE, _REPEATS = 2, 6, 2
#: Graphs that may be compiled of one kind of block: up to twenty shapes, at five batches, in two layouts; and of all.
_GRAPHS, _ALL_GRAPHS = 256, 1024
#: Blocks beside those that a model names itself: a UNet spends half of its time in them.
_BLOCKS = frozenset({"ResnetBlock2D"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """One way to be faster: how it is pulled, and how it is let go of again."""

    name: str
    pull: Callable[[Pipeline], None]
    release: Callable[[Pipeline], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was found: the batch, the levers that are pulled, and the images a second after each try."""

    batch: int
    levers: tuple[str, ...]
    images_per_second: dict[str, float]


def denoiser(pipeline: Pipeline) -> Any:
    """The part that a pipeline spends its time in."""
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def _memory_format(pipeline: Pipeline, layout: torch.memory_format) -> None:
    # not the autoencoder: it works picture by picture
    denoiser(pipeline).to(memory_format=layout)


def _unfuse(pipeline: Pipeline) -> None:
    model = denoiser(pipeline)
    model.unfuse_qkv_projections()
    for module in model.modules():  # UNets keep the fused copies
        for name in ("to_qkv", "to_kv"):
            if hasattr(module, name):
                delattr(module, name)


def _compile(pipeline: Pipeline) -> None:
    # a graph for every block's shape at every batch: halving one after another must not run into dynamo's limits
    torch._dynamo.config.recompile_limit = _GRAPHS
    torch._dynamo.config.accumulated_recompile_limit = _ALL_GRAPHS
    # kernels by rule, as everywhere: otherwise inductor times its reductions, and the roundings follow the winner
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


#: Pulled in this order. Scaled-dot-product attention is no lever here: diffusers uses it by itself. The layout comes
#: last: uncompiled normalization takes every tensor out of it and back, compiled blocks do not.
OPTIMIZATIONS = (
    Optimization(name="fused_qkv", pull=lambda pipeline: denoiser(pipeline).fuse_qkv_projections(), release=_unfuse),
    Optimization(name="compiled_blocks", pull=_compile, release=_forget_compiled),
    Optimization(
        name="channels_last",
        pull=lambda pipeline: _memory_format(pipeline, torch.channels_last),
        release=lambda pipeline: _memory_format(pipeline, torch.contiguous_format),
    ),
)


def tune(pipeline: Pipeline, own: DiffusionParameters, folder: Path, weights_digest: str) -> Tuning:
    """The pipeline's levers pulled as measured here, and the batch to use.

    Workers that share the folder wait for the one that measures, and hold to what it found: the same spec would be
    another image on another worker.

    Raises:
        EngineError: nothing can be kept in the folder.
        DeviceFault: the device failed.
    """
    device: torch.device = pipeline.device
    if device.type == "cpu":
        return Tuning(batch=own.batch or 1, levers=(), images_per_second={})
    path = _kept_in(folder, pipeline, own, weights_digest)
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
    return _pulled(pipeline, own, kept)


def _pulled(pipeline: Pipeline, own: DiffusionParameters, kept: Tuning) -> Tuning:
    """The levers that were kept, pulled, and tried before they are relied on: this machine may lack a compiler."""
    levers = [lever for lever in OPTIMIZATIONS if lever.name in kept.levers]
    try:
        for lever in levers:
            lever.pull(pipeline)
        if levers:
            _paint_once(Inpainter(pipeline, own, kept.batch), own)
    except (DeviceFault, EngineError):
        raise
    except Exception:  # compilers raise kinds of their own
        for lever in reversed(levers):
            lever.release(pipeline)
        return replace(kept, levers=())
    return kept


def _read(path: Path) -> Tuning | None:
    """What was measured before; None where nothing was, or the file is broken: then it is measured again."""
    try:
        found = json.loads(path.read_text())
        return Tuning(
            batch=int(found["batch"]), levers=tuple(found["levers"]), images_per_second=dict(found["images_per_second"])
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def measure(pipeline: Pipeline, own: DiffusionParameters) -> Tuning:
    """Find the batch, then try every lever at it and keep those that help."""
    rates: dict[str, float] = {}
    batch = own.batch or _find_batch(pipeline, own, rates)
    best = rates.get(f"batch {batch}") or images_per_second(pipeline, own, batch) or 0.0
    rates[f"batch {batch}"] = best
    pulled: list[str] = []
    for lever in OPTIMIZATIONS if own.levers == "measured" else ():
        try:
            lever.pull(pipeline)
            rate = images_per_second(pipeline, own, batch) or 0.0
        except DeviceFault:
            raise
        except Exception as fault:  # compilers raise kinds of their own
            # a lever that this model or device does not have (no compiler, no such layers, no room) is no lever here
            rates[f"{lever.name}: {type(fault).__name__}"] = 0.0
            rate = 0.0
        rates[lever.name] = rate
        if rate > best * _LEVER_GAIN:
            best = rate
            pulled.append(lever.name)
        else:
            lever.release(pipeline)
    return Tuning(batch=batch, levers=tuple(pulled), images_per_second=rates)


def images_per_second(pipeline: Pipeline, own: DiffusionParameters, batch: int) -> float | None:
    """Crops painted in a second at a batch, told from two short runs; None where they do not fit into memory.

    What differs between the runs is what a step takes, what is left is what comes once: of both the whole is made up,
    so that a step counts as much here as when it is painted.
    """
    seconds: list[float] = []
    for steps in (_FEW, _MORE):
        short = DiffusionParameters.from_json({**own.to_json(), "steps": steps, "strength": 1.0})
        painter = Inpainter(pipeline, short, batch)
        if not seconds:
            _paint_once(painter, short)
        taken = [_paint_once(painter, short) for _ in range(_REPEATS)]
        if painter.batch < batch:
            return None
        seconds.append(min(taken))
    few, more = seconds
    a_step = max(0.0, (more - few) / (_MORE - _FEW))
    return batch / max(few + (own.steps - _FEW) * a_step, 1e-9)


def orders_for(own: DiffusionParameters, count: int) -> list[Order]:
    """Orders as rendering gives them: so many candidates share a crop."""
    side = own.resolution
    mask = np.zeros((side, side), np.float32)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 1
    crops = [np.full((side, side, 3), 0.5, np.float32) for _ in range(0, count, own.candidates)]
    return [
        Order(image=crops[number // own.candidates], mask=mask, prompt=own.prompt_for("thing"), seed=number)
        for number in range(count)
    ]


def _paint_once(painter: Inpainter, own: DiffusionParameters) -> float:
    """The seconds that a full batch takes."""
    orders = orders_for(own, painter.batch)
    began = time.perf_counter()
    list(painter.paint(orders))
    return time.perf_counter() - began


def _find_batch(pipeline: Pipeline, own: DiffusionParameters, rates: dict[str, float]) -> int:
    best, rate = 1, 0.0
    for batch in _BATCHES:
        _forget_peak(pipeline.device)  # what was fitted before in this process may have filled it
        try:
            found = images_per_second(pipeline, own, batch)
        except RuntimeError:
            if batch == 1:
                raise
            found = None  # kernels have limits of their own, such as 2^31 numbers
        if found is None or _fills(pipeline.device):
            free_memory()
            break
        rates[f"batch {batch}"] = found
        if found < rate * _BATCH_GAIN:
            break
        best, rate = batch, found
    return best


def _forget_peak(device: torch.device) -> None:
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _fills(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    used = torch.cuda.max_memory_reserved(device) / torch.cuda.get_device_properties(device).total_memory
    return bool(used > _MEMORY_SHARE)


def _kept_in(folder: Path, pipeline: Pipeline, own: DiffusionParameters, weights_digest: str) -> Path:
    facts = [
        pipeline_loading.device_name(pipeline.device),
        pipeline_loading.versions(),
        weights_digest,
        *(getattr(own, name) for name in ("resolution", "dtype", "batch", "guidance", "scheduler", "levers")),
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return folder / "tuning" / f"{digest[:24]}.json"
